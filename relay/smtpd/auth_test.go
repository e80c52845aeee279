package smtpd

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestLogin(t *testing.T) {
	f := start(t, nil)
	for _, addr := range []string{f.submission, f.implicit} {
		c, ehlo := f.secure(addr)
		if !strings.Contains(ehlo, "AUTH PLAIN LOGIN") {
			t.Errorf("got EHLO %q without AUTH", ehlo)
		}
		c.want("MAIL FROM:<scan@office.example>", "530 5.7.0 ")
		c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ")
		c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "503 ")
		c.want("MAIL FROM:<scan@office.example>", "250 ")
		c.want("RCPT TO:<anna@good.example>", "250 ")
		c.want("DATA", "354 ")
		c.want("Subject: scan\r\n\r\n.", "250 ")
		got := f.all()
		m := got[len(got)-1]
		if m.env.User != "printer" || !strings.Contains(m.text, " with ESMTPSA id ") || !strings.Contains(m.text, "\r\n\ttls TLS_") {
			t.Errorf("got user %q and %q", m.env.User, m.text)
		}
		if strings.Contains(m.text, "printer") {
			t.Errorf("got the login name in %q", m.text)
		}
	}
	for _, steps := range [][]string{
		{"AUTH LOGIN", "334 VXNlcm5hbWU6", b64("printer"), "334 UGFzc3dvcmQ6", b64("secret"), "235 "},
		{"AUTH LOGIN " + b64("printer"), "334 UGFzc3dvcmQ6", b64("secret"), "235 "},
		{"AUTH PLAIN", "334 ", b64("\x00printer\x00secret"), "235 "},
		{"auth plain " + b64("printer\x00printer\x00secret"), "235 "},
		{"AUTH PLAIN", "334 ", "*", "501 "},
		{"AUTH PLAIN " + b64("root\x00printer\x00secret"), "535 5.7.8 "}, // in the name of another
		{"AUTH PLAIN " + b64("\x00printer\x00wrong"), "535 5.7.8 "},
		{"AUTH PLAIN " + b64("\x00printer\x00"), "535 5.7.8 "},
		{"AUTH PLAIN " + b64("printer"), "535 5.7.8 "},
		{"AUTH PLAIN =", "535 5.7.8 "},
		{"AUTH PLAIN " + b64("\x00"+strings.Repeat("x", 2000)+"\x00secret"), "535 5.7.8 "},
		{"AUTH LOGIN " + b64("printer"), "334 ", b64("wrong"), "535 5.7.8 "},
		{"AUTH LOGIN =", "334 ", b64("secret"), "535 5.7.8 "},
		{"AUTH CRAM-MD5", "504 "},
	} {
		c, _ := f.secure(f.submission)
		for i := 0; i < len(steps); i += 2 {
			c.want(steps[i], steps[i+1])
		}
	}
}

func TestNoLoginInClear(t *testing.T) {
	f := start(t, nil)
	c, ehlo := f.hello(f.submission)
	if strings.Contains(ehlo, "AUTH") {
		t.Errorf("got EHLO %q with AUTH in clear", ehlo)
	}
	c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "538 5.7.11 ")
	c.want("MAIL FROM:<scan@office.example>", "530 5.7.0 Send STARTTLS first")
	// A login does not outlive STARTTLS, and there is none on the trusted port.
	c, _ = f.secure(f.trusted)
	c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "503 5.5.1 ")
}

func TestNoLoginWithinTransaction(t *testing.T) {
	f := start(t, nil)
	c, _ := f.secure(f.submission)
	c.want("AUTH PLAIN "+b64("\x00printer\x00wrong"), "535 ")
	c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ")
	c.want("MAIL FROM:<scan@office.example>", "250 ")
	c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "503 ")
	// In the session itself too, for the library only looks at an earlier success.
	s := &session{srv: New(Config{Auth: func(string, string) (bool, error) { return true, nil }}), d: &dialog{conn: &conn{role: Submission}, tls: &tls.Conn{}}, tx: &transaction{}}
	if _, err := s.Auth("PLAIN"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want 503", err)
	}
}

func TestFailedLoginsSlowDownAndEnd(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.AuthDelay = 50 * time.Millisecond })
	c, _ := f.secure(f.submission)
	began := time.Now()
	c.want("AUTH PLAIN "+b64("\x00printer\x001"), "535 5.7.8 ")
	c.want("AUTH PLAIN "+b64("\x00printer\x002"), "535 5.7.8 ")
	c.want("AUTH PLAIN "+b64("\x00printer\x003"), "421 4.7.0 ")
	c.gone()
	if took := time.Since(began); took < 350*time.Millisecond {
		t.Errorf("got three failures in %v, want 50+100+200 ms", took)
	}
	// A new connection does not start from nothing.
	c, _ = f.secure(f.submission)
	began = time.Now()
	c.want("AUTH PLAIN "+b64("\x00printer\x004"), "535 ")
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("got the fourth failure in %v, want 400 ms", took)
	}
}

func TestSourceOfManyFailuresIsBlocked(t *testing.T) {
	s := newLimiter(Limits{})
	now, peer := time.Now(), netip.MustParseAddr("192.0.2.66")
	for range maxAuthFails {
		if s.authBlocked(peer, now) {
			t.Fatal("blocked too early")
		}
		s.authFailed(peer, now)
	}
	if !s.authBlocked(peer, now.Add(sourceMemory-1)) || s.authBlocked(peer, now.Add(sourceMemory)) {
		t.Error("got the wrong end of the block")
	}
}

func TestLoginCannotBeChecked(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Auth = func(string, string) (bool, error) { return true, errors.New("open /data/secret: no such file") }
	})
	c, _ := f.secure(f.submission)
	if r := c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "454 4.7.0 "); strings.Contains(r, "data") {
		t.Errorf("got %q, which tells the cause", r)
	}
	c.want("MAIL FROM:<scan@office.example>", "530 ")
}

func TestFewLoginsAreCheckedAtOnce(t *testing.T) {
	var now, most atomic.Int32
	f := start(t, func(c *Config) {
		c.Auth = func(string, string) (bool, error) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(20 * time.Millisecond)
			now.Add(-1)
			return true, nil
		}
	})
	var wg sync.WaitGroup
	for range 8 {
		c, _ := f.secure(f.implicit)
		wg.Go(func() { c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ") })
	}
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("got %d checks at once, want 2", most.Load())
	}
}

func TestSenderRights(t *testing.T) {
	f := start(t, func(c *Config) {
		c.MaySend = func(user, from string) bool { return user == "printer" && from == "scan@office.example" }
	})
	c, _ := f.secure(f.submission)
	c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ")
	c.want("MAIL FROM:<boss@office.example>", "550 5.7.1 ")
	c.want("MAIL FROM:<scan@office.example>", "250 ")
}
