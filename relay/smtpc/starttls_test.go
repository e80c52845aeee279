package smtpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"
)

const tlsEHLO = "250-mx.good.example\n250-STARTTLS\n250-REQUIRETLS\n250 PIPELINING\n"

// The certificate is expired, self-signed and for another name: the handshake
// works, the state is kept, SNI is the MX host, and only the second EHLO counts.
func TestStartTLSKeepsStateAndDoesNotJudge(t *testing.T) {
	cert := selfSigned(t, "other.example", time.Unix(1000, 0))
	var sni string
	done := make(chan struct{})
	c := dial(t, tlsEHLO, func(p *peer) {
		defer close(done)
		p.want("STARTTLS", "220 go\n")
		if err := p.startTLS(cert); err != nil {
			t.Errorf("peer: handshake: %v", err)
			return
		}
		sni = p.sni
		p.want("EHLO gate.office.example", "250-mx.good.example\n250 SIZE 5\n")
		p.want("QUIT", "221 bye\n")
	})
	if err := c.StartTLS(context.Background(), nil); err != nil {
		t.Fatalf("StartTLS: %v", err)
	}
	st := c.State()
	if st == nil || len(st.PeerCertificates) != 1 || st.PeerCertificates[0].DNSNames[0] != "other.example" || st.Version < tls.VersionTLS12 {
		t.Errorf("got state %+v, want the certificate that was shown", st)
	}
	if !c.Offered() {
		t.Error("got Offered false after TLS, want what was true before")
	}
	if e := c.Extensions(); e.StartTLS || e.RequireTLS || e.Pipelining || e.MaxSize != 5 {
		t.Errorf("got %+v, want only what the second EHLO said", e)
	}
	c.Quit()
	<-done
	if sni != "mx.good.example" {
		t.Errorf("got SNI %q, want mx.good.example", sni)
	}
}

func TestStartTLSInjection(t *testing.T) {
	c := dial(t, tlsEHLO, func(p *peer) {
		p.want("STARTTLS", "220 go\n250-mx.good.example\n250 REQUIRETLS\n")
		p.line()
	})
	err := c.StartTLS(context.Background(), nil)
	if !errors.Is(err, ErrInjected) {
		t.Errorf("got %v, want ErrInjected", err)
	}
	if c.Alive() || c.HandshakeErr() == nil {
		t.Errorf("got alive %v handshake error %v, want dead with an error", c.Alive(), c.HandshakeErr())
	}
}

func TestStartTLSRefused(t *testing.T) {
	c := dial(t, tlsEHLO, func(p *peer) {
		p.want("STARTTLS", "454 4.7.0 TLS not available\n")
		p.want("QUIT", "221 bye\n")
	})
	err := c.StartTLS(context.Background(), nil)
	if msg := wantReply("STARTTLS", 454, "4.7.0", true)(err); msg != "" {
		t.Errorf("got %v: %s", err, msg)
	}
	if c.State() != nil {
		t.Error("got a TLS state")
	}
	c.Quit()
}

func TestStartTLSHandshakeFails(t *testing.T) {
	tests := []struct {
		name    string
		script  func(p *peer)
		network bool
	}{
		{"garbage", func(p *peer) { p.br.ReadByte(); p.send("500 what is this? 500 what is this?\n") }, false},
		{"old version", func(p *peer) {
			tc := tls.Server(p.nc, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, Certificates: []tls.Certificate{selfSigned(p.t, "x", time.Now().Add(time.Hour))}})
			if tc.Handshake() == nil {
				p.t.Error("peer: got a handshake with TLS 1.1")
			}
		}, false},
		{"closed", func(p *peer) {}, true},
		{"black hole", func(p *peer) { io.Copy(io.Discard, p.br) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, func(p *peer) {
				p.send("220 hi\n")
				p.want("EHLO gate.office.example", tlsEHLO)
				p.want("STARTTLS", "220 go\n")
				tt.script(p)
			})
			cfg := testConfig
			cfg.Timeouts.Handshake = 300 * time.Millisecond
			c, err := cfg.Connect(context.Background(), "mx.good.example", addr)
			if err != nil {
				t.Fatal(err)
			}
			err = c.StartTLS(context.Background(), nil)
			var te *TLSError
			if !errors.As(err, &te) {
				t.Fatalf("got %v (%T), want a *TLSError", err, err)
			}
			if te.Network() != tt.network {
				t.Errorf("got Network %v for %v, want %v", te.Network(), err, tt.network)
			}
			if c.Alive() {
				t.Error("the connection goes on after a failed handshake")
			}
			if _, err := c.Send(context.Background(), Transaction{Rcpts: []Rcpt{{Addr: "a@b.example"}}}, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v from Send, want ErrClosed", err)
			}
			if !c.Offered() {
				t.Error("got Offered false, want true")
			}
		})
	}
}
