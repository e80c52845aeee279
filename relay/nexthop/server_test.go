package nexthop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/smtpc"
)

const (
	user     = "gate"
	password = "correct-horse-battery"
	canary   = "CANARY-7731"
	hostName = "mail.office.example"
)

var secrets = []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))}

// conduct is how a mail server behaves.
type conduct struct {
	implicit   bool
	starttls   string           // "" is not offered; "ok", or what goes wrong: "454", "inject", "garbage", "hangup", "old"
	cert       *tls.Certificate // what it shows
	auth       string           // the reply to AUTH; "" is not offered inside TLS
	clearAuth  bool             // AUTH is offered in clear
	noEHLO     bool             // EHLO is refused, HELO is taken
	greeting   string           // "" is 220
	requireTLS bool             // REQUIRETLS inside TLS
}

// server is a mail server on a loopback socket that behaves as told, and keeps
// what it saw.
type server struct {
	conduct
	t    *testing.T
	addr netip.AddrPort

	mu    sync.Mutex
	raw   bytes.Buffer // every byte that came, as it was on the wire
	clear []string     // command lines outside TLS
	inTLS []string     // command lines and message inside TLS
	conns int
}

func serve(t *testing.T, how conduct) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{conduct: how, t: t, addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				s.serve(&tapped{Conn: nc, s: s})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return s
}

// tapped keeps the bytes that are read.
type tapped struct {
	net.Conn
	s *server
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.mu.Lock()
	c.s.raw.Write(p[:n])
	c.s.mu.Unlock()
	return n, err
}

func (s *server) secure(nc net.Conn) *tls.Conn {
	cfg := &tls.Config{}
	if s.cert != nil {
		cfg.Certificates = []tls.Certificate{*s.cert}
	}
	if s.starttls == "old" {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	tc := tls.Server(nc, cfg)
	if tc.Handshake() != nil {
		return nil
	}
	return tc
}

func (s *server) serve(nc net.Conn) {
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	inTLS := false
	if s.implicit {
		tc := s.secure(nc)
		if tc == nil {
			return
		}
		nc, inTLS = tc, true
	}
	br := bufio.NewReader(nc)
	say := func(text string) { _, _ = io.WriteString(nc, strings.ReplaceAll(text, "\n", "\r\n")) }
	if s.greeting != "" {
		say(s.greeting + "\n")
		return
	}
	say("220 " + hostName + "\n")
	data := false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		if inTLS {
			s.inTLS = append(s.inTLS, line)
		} else {
			s.clear = append(s.clear, line)
		}
		s.mu.Unlock()
		if data {
			if line == "." {
				data = false
				say("250 ok\n")
			}
			continue
		}
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			if s.noEHLO {
				say("502 5.5.1 what?\n")
				continue
			}
			text := "250-" + hostName + "\n"
			if s.starttls != "" && !inTLS {
				text += "250-STARTTLS\n"
			}
			if s.auth != "" && inTLS || s.clearAuth && !inTLS {
				text += "250-AUTH PLAIN LOGIN\n"
			}
			if s.requireTLS && inTLS {
				text += "250-REQUIRETLS\n"
			}
			say(text + "250 8BITMIME\n")
		case "STARTTLS":
			switch s.starttls {
			case "454":
				say("454 4.7.0 not now\n")
				continue
			case "hangup":
				return
			case "garbage":
				say("220 go\n")
				_, _ = br.ReadByte()
				say("500 what is this? what is this? what is this?\n")
				_, _ = io.Copy(io.Discard, br)
				return
			case "inject":
				say("220 go\n250-" + hostName + "\n250 AUTH PLAIN\n")
				_, _ = io.Copy(io.Discard, br)
				return
			}
			say("220 go\n")
			tc := s.secure(nc)
			if tc == nil {
				_, _ = io.Copy(io.Discard, nc)
				return
			}
			nc, inTLS, br = tc, true, bufio.NewReader(tc)
		case "AUTH":
			say(s.auth + "\n")
		case "DATA":
			say("354 go\n")
			data = true
		case "QUIT":
			say("221 bye\n")
			return
		default:
			say("250 ok\n")
		}
	}
}

// leaks looks for what must not have crossed the wire outside TLS. mail says
// that mail may have.
func (s *server) leaks(mail bool) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := s.raw.String()
	for _, x := range secrets {
		if strings.Contains(raw, x) {
			s.t.Errorf("the password crossed the wire in clear: %q", x)
		}
	}
	if strings.Contains(raw, "AUTH ") {
		s.t.Error("AUTH crossed the wire in clear")
	}
	if mail {
		return
	}
	for _, x := range []string{"MAIL FROM", "RCPT TO", canary} {
		if strings.Contains(raw, x) {
			s.t.Errorf("%s crossed the wire in clear", x)
		}
	}
	for _, line := range s.clear {
		if line != "EHLO gate.office.example" && line != "STARTTLS" && line != "QUIT" && !strings.HasPrefix(line, "\x16\x03") && strings.ToValidUTF8(line, "") == line {
			s.t.Errorf("%q crossed the wire in clear", line)
		}
	}
}

// saw reports whether a command with the prefix came inside TLS.
func (s *server) saw(prefix string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.inTLS {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// ground is what the tests share: an authority, and certificates good and bad.
type ground struct {
	ca                                   *lab.CA
	good, wrongName, expired, notTrusted *tls.Certificate
}

func newGround(t *testing.T) *ground {
	t.Helper()
	now := time.Now()
	ca, err := lab.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(f lab.CertFault) *tls.Certificate {
		c, err := ca.Issue(hostName, lab.Cert{Fault: f}, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return &ground{ca: ca, good: issue(""), wrongName: issue(lab.WrongName), expired: issue(lab.Expired), notTrusted: issue(lab.NotTrusted)}
}

func (g *ground) env() Env {
	return Env{
		SMTP: smtpc.Config{
			Hello: "gate.office.example",
			Timeouts: smtpc.Timeouts{
				Dial: 5 * time.Second, Greeting: 5 * time.Second, Hello: 5 * time.Second, StartTLS: 5 * time.Second,
				Handshake: 5 * time.Second, Auth: 5 * time.Second, Quit: 100 * time.Millisecond,
			},
		},
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Roots: g.ca.Pool(),
	}
}

func (s *server) hop(rule TLSRule) Hop {
	return Hop{Host: hostName, Port: s.addr.Port(), TLS: rule, Implicit: s.implicit}
}

// post sends a message with the canary.
func post(t *testing.T, c *smtpc.Conn) {
	t.Helper()
	res, err := c.Send(context.Background(), smtpc.Transaction{From: "b@office.example", Rcpts: []smtpc.Rcpt{{Addr: "a@office.example"}}}, strings.NewReader("Subject: "+canary+"\r\n\r\nhi\r\n"))
	if err != nil || res[0].Err != nil {
		t.Errorf("got %v, %v from Send", res, err)
	}
}
