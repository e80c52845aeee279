package smtpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const (
	testUser     = "gate"
	testPassword = "correct horse"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// dialTLS connects to a scripted peer over TLS from the first byte.
func dialTLS(t *testing.T, log *slog.Logger, ehlo string, script func(p *peer)) *Conn {
	t.Helper()
	cert := selfSigned(t, "mx.good.example", time.Now().Add(time.Hour))
	addr := serve(t, func(p *peer) {
		if err := p.startTLS(cert); err != nil {
			t.Errorf("peer: %v", err)
			return
		}
		p.send("220 hi\n")
		p.want("EHLO gate.office.example", ehlo)
		script(p)
	})
	cfg := testConfig
	cfg.Log = log
	c, err := cfg.ConnectTLS(context.Background(), "mx.good.example", addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// RFC 4954: both mechanisms, each kind of answer. The password must be in no
// error and no log line whatever the server says.
func TestLogin(t *testing.T) {
	plain := "AUTH PLAIN " + b64("\x00"+testUser+"\x00"+testPassword)
	const offer, onlyLogin = "250-x\n250 AUTH LOGIN plain CRAM-MD5\n", "250-x\n250 AUTH LOGIN\n"
	tests := []struct {
		name   string
		ehlo   string
		script func(p *peer)
		want   string // of the error, "" for none
		alive  bool
	}{
		{"PLAIN", offer, func(p *peer) { p.want(plain, "235 2.7.0 welcome\n") }, "", true},
		{"PLAIN, 2yz by its first digit", offer, func(p *peer) { p.want(plain, "299 welcome\n") }, "", true},
		{"PLAIN, initial response not seen", offer, func(p *peer) { p.want(plain, "334 \n") }, "AUTH: a challenge that does not belong", false},
		{"PLAIN, the end of it taken for a login", offer, func(p *peer) {
			p.want(plain, "334 \n")
			p.want("*", "235 welcome\n")
		}, "AUTH: a challenge that does not belong", false},
		{"PLAIN refused", offer, func(p *peer) { p.want(plain, "535 5.7.8 no\n") }, "AUTH answered with 535 5.7.8 no", true},
		{"PLAIN not now", offer, func(p *peer) { p.want(plain, "454 4.7.0 later\n") }, "AUTH answered with 454 4.7.0 later", true},
		{"PLAIN, too weak", offer, func(p *peer) { p.want(plain, "534 5.7.9 weak\n") }, "AUTH answered with 534 5.7.9 weak", true},
		{"421", offer, func(p *peer) { p.want(plain, "421 4.7.0 too many\n") }, "AUTH answered with 421 4.7.0 too many", false},
		{"closed", offer, func(p *peer) { p.line() }, "AUTH: EOF", false},
		{"malformed reply", offer, func(p *peer) { p.want(plain, "yes\n") }, "AUTH: a reply line has no valid code", false},
		{"password quoted", offer, func(p *peer) { p.want(plain, "535 5.7.8 no such login: gate/"+testPassword+"\n") }, "AUTH answered with 535 5.7.8 (a text that quotes the password)", true},
		{"password quoted in base64", offer, func(p *peer) { p.want(plain, "535 bad "+b64(testPassword)+"\n") }, "AUTH answered with 535 (a text that quotes the password)", true},
		{"line quoted", offer, func(p *peer) { p.want(plain, "501 bad "+plain+"\n") }, "AUTH answered with 501 (a text that quotes the password)", true},
		{"LOGIN", onlyLogin, func(p *peer) {
			p.want("AUTH LOGIN", "334 VXNlcm5hbWU6\n")
			p.want(b64(testUser), "334 UGFzc3dvcmQ6\n")
			p.want(b64(testPassword), "235 ok\n")
		}, "", true},
		{"LOGIN, prompts are not read", onlyLogin, func(p *peer) {
			p.want("AUTH LOGIN", "334\n")
			p.want(b64(testUser), "334-\x00\x1b%%%\n334 not base64\n")
			p.want(b64(testPassword), "235 ok\n")
		}, "", true},
		{"LOGIN, user refused", onlyLogin, func(p *peer) {
			p.want("AUTH LOGIN", "334 VXNlcm5hbWU6\n")
			p.want(b64(testUser), "535 5.7.8 who?\n")
		}, "AUTH answered with 535 5.7.8 who?", true},
		{"LOGIN, yes before the password", onlyLogin, func(p *peer) {
			p.want("AUTH LOGIN", "334 VXNlcm5hbWU6\n")
			p.want(b64(testUser), "235 ok\n")
		}, "AUTH: a reply that does not fit the login", false},
		{"LOGIN, endless prompts", onlyLogin, func(p *peer) {
			p.want("AUTH LOGIN", "334 a\n")
			p.want(b64(testUser), "334 b\n")
			p.want(b64(testPassword), "334 c\n")
			p.want("*", "501 5.7.0 cancelled\n")
		}, "AUTH: a challenge that does not belong", false},
		{"not offered", "250-x\n250 SIZE\n", func(p *peer) {}, "offers no login", true},
		{"only others", "250-x\n250 AUTH CRAM-MD5 XOAUTH2\n", func(p *peer) {}, "offers no login", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			c := dialTLS(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), tt.ehlo, func(p *peer) {
				tt.script(p)
				if tt.alive {
					p.want("QUIT", "221 bye\n")
				} else if tt.name == "PLAIN, initial response not seen" {
					p.want("*", "501 ok\n")
				}
			})
			err := c.Login(context.Background(), testUser, testPassword)
			if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && !strings.Contains(got, tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var re *ReplyError
			if errors.As(err, &re) && !re.Host() {
				t.Error("got a refusal that is not about the host")
			}
			if c.Alive() != tt.alive {
				t.Errorf("got alive %v, want %v", c.Alive(), tt.alive)
			}
			c.Quit()
			for _, text := range []string{log.String(), fmt.Sprintf("%v %+v %#v", err, err, re)} {
				for _, secret := range []string{testPassword, b64(testPassword), b64("\x00" + testUser + "\x00" + testPassword)} {
					if strings.Contains(text, secret) {
						t.Errorf("got the password in %q", text)
					}
				}
			}
		})
	}
}

// A line that would be too long goes without the initial response (RFC 4954, Section 4).
func TestLoginLong(t *testing.T) {
	user, password := strings.Repeat("u", 255), strings.Repeat("p", 255)
	c := dialTLS(t, nil, "250-x\n250 AUTH PLAIN\n", func(p *peer) {
		p.want("AUTH PLAIN", "334 \n")
		p.want(b64("\x00"+user+"\x00"+password), "235 ok\n")
		p.want("QUIT", "221 bye\n")
	})
	if err := c.Login(context.Background(), user, password); err != nil {
		t.Error(err)
	}
	c.Quit()
}

// RFC 4954, Section 4; RFC 8314, Section 3.1: not a byte of a login outside TLS.
func TestLoginInClear(t *testing.T) {
	c := dial(t, "250-x\n250-STARTTLS\n250 AUTH PLAIN LOGIN\n", func(p *peer) { p.want("QUIT", "221 bye\n") })
	if err := c.Login(context.Background(), testUser, testPassword); !errors.Is(err, ErrClearLogin) {
		t.Errorf("got %v, want ErrClearLogin", err)
	}
	c.Quit()
}

func TestLoginCredentials(t *testing.T) {
	c := dialTLS(t, nil, "250-x\n250 AUTH PLAIN LOGIN\n", func(p *peer) { p.want("QUIT", "221 bye\n") })
	for _, x := range [][2]string{{"", "x"}, {"x", ""}, {"a\x00b", "x"}, {"x", "a\x00b"}, {strings.Repeat("x", 256), "x"}, {"x", strings.Repeat("x", 256)}} {
		if err := c.Login(context.Background(), x[0], x[1]); !errors.Is(err, ErrCredentials) {
			t.Errorf("%.10q: got %v, want ErrCredentials", x, err)
		}
	}
	c.Quit()
	if err := c.Login(context.Background(), "a", "b"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v after Quit, want ErrClosed", err)
	}
}

func TestLoginCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := dialTLS(t, nil, "250-x\n250 AUTH PLAIN\n", func(p *peer) {
		p.line()
		cancel()
		p.line()
	})
	err := c.Login(ctx, testUser, testPassword)
	var ne *NetError
	if !errors.As(err, &ne) || ne.Phase != "AUTH" || !errors.Is(err, context.Canceled) || c.Alive() {
		t.Errorf("got %v, want a *NetError in AUTH", err)
	}
}

// RFC 8314, Section 3: TLS from the first byte. What is read and written
// before it is TLS, or the connection ends; nothing is sent in clear.
func TestConnectTLS(t *testing.T) {
	cert := selfSigned(t, "other.example", time.Unix(1000, 0))
	c := dialTLS(t, nil, "250-x\n250-STARTTLS\n250 REQUIRETLS\n", func(p *peer) { p.want("QUIT", "221 bye\n") })
	if st := c.State(); st == nil || st.ServerName != "mx.good.example" || len(st.PeerCertificates) != 1 || !c.Offered() {
		t.Errorf("got state %+v offered %v, want that of a session in TLS", st, c.Offered())
	}
	if err := c.StartTLS(context.Background(), nil); err == nil {
		t.Error("got TLS inside TLS")
	}
	c.Quit()

	tests := []struct {
		name    string
		script  func(p *peer)
		network bool
	}{
		{"a server in clear", func(p *peer) { p.send("220 mx.good.example ESMTP\n") }, false},
		{"old version", func(p *peer) {
			_ = tls.Server(p.nc, &tls.Config{MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{cert}}).Handshake()
		}, false},
		{"closed", func(p *peer) { p.br.ReadByte(); p.nc.Close() }, true},
		{"black hole", func(p *peer) { io.Copy(io.Discard, p.br) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var raw bytes.Buffer
			done := make(chan struct{})
			addr := serve(t, func(p *peer) {
				defer close(done)
				p.br.Reset(io.TeeReader(p.nc, &raw))
				tt.script(p)
				_ = p.nc.SetReadDeadline(time.Now().Add(time.Second))
				_, _ = io.Copy(io.Discard, p.br)
			})
			cfg := testConfig
			cfg.Timeouts.Handshake = 300 * time.Millisecond
			c, err := cfg.ConnectTLS(context.Background(), "mx.good.example", addr, nil)
			var te *TLSError
			if c != nil || !errors.As(err, &te) || te.Network() != tt.network {
				t.Errorf("got %v, want a *TLSError, network %v", err, tt.network)
			}
			<-done
			if s := raw.String(); strings.Contains(s, "EHLO") || strings.Contains(s, "QUIT") {
				t.Errorf("got %q in clear", s)
			}
		})
	}
}
