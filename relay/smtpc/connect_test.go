package smtpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConnectReadsExtensions(t *testing.T) {
	c := dial(t, "250-MX.Good.Example at your service\n250-pipelining\n250-StartTLS\n250-size 5000000000\n250-8bitmime\n250-SMTPUTF8\n250-dsn\n250-RequireTLS\n250-Limits RCPTMAX=7 MAILMAX=3\n250-AUTH plain LOGIN\n250 enhancedstatuscodes\n", func(p *peer) {
		p.want("QUIT", "221 bye\n")
	})
	e := c.Extensions()
	if e.Name != "MX.Good.Example" || !e.Pipelining || !e.StartTLS || !e.EightBitMIME || !e.SMTPUTF8 || !e.DSN || !e.RequireTLS || !e.Enhanced {
		t.Errorf("got %+v, want every extension known in any case", e)
	}
	if e.MaxSize != 5_000_000_000 || e.RcptMax != 7 || e.MailMax != 3 || strings.Join(e.Auth, " ") != "PLAIN LOGIN" {
		t.Errorf("got size %d rcptmax %d mailmax %d auth %q", e.MaxSize, e.RcptMax, e.MailMax, e.Auth)
	}
	if !c.Offered() || c.State() != nil || c.HandshakeErr() != nil {
		t.Errorf("got offered %v state %v err %v, want offered and no TLS", c.Offered(), c.State(), c.HandshakeErr())
	}
	c.Quit()
	if c.Alive() {
		t.Error("got an alive connection after Quit")
	}
}

// RFC 9422, Section 4: what is no number from 1 to 999999 limits nothing.
func TestLimitsValues(t *testing.T) {
	for value, want := range map[string]int{"1": 1, "999999": 999999, "1000000": 0, "0": 0, "05": 0, "+5": 0, "-5": 0, "": 0, "x": 0, "5x": 0, "99999999999999999999": 0} {
		e := parseEHLO([]string{"mx", "LIMITS RCPTMAX=" + value + " mailmax=" + value, "limits RcptDomainMax=" + value + " OTHER=3"})
		if e.RcptMax != want || e.MailMax != want || e.RcptDomains != want {
			t.Errorf("%q: got %d, %d, %d, want %d", value, e.RcptMax, e.MailMax, e.RcptDomains, want)
		}
	}
}

// RFC 5321, Section 4.5.3.2: no limit of ours is shorter than the minimum.
func TestDefaultTimeouts(t *testing.T) {
	d := Timeouts{}.withDefaults()
	for name, limit := range map[string][2]time.Duration{
		"greeting (4.5.3.2.1)":   {d.Greeting, 5 * time.Minute},
		"MAIL (4.5.3.2.2)":       {d.Mail, 5 * time.Minute},
		"RCPT (4.5.3.2.3)":       {d.Rcpt, 5 * time.Minute},
		"DATA (4.5.3.2.4)":       {d.DataInit, 2 * time.Minute},
		"data block (4.5.3.2.5)": {d.DataBlock, 3 * time.Minute},
		"final dot (4.5.3.2.6)":  {d.DataDone, 10 * time.Minute},
	} {
		if limit[0] < limit[1] {
			t.Errorf("%s: got %v, want at least %v", name, limit[0], limit[1])
		}
	}
	if own := (Timeouts{Mail: time.Second}).withDefaults(); own.Mail != time.Second || own.Rcpt != d.Rcpt {
		t.Errorf("got %+v, want what was set to stay", own)
	}
}

// A middlebox that overwrites the keyword hides STARTTLS: it must look like not offered.
func TestMangledKeywordIsNotSTARTTLS(t *testing.T) {
	c := dial(t, "250-mx.good.example\n250-XXXXXXXA\n250 SIZE\n", func(p *peer) { p.line() })
	if c.Offered() {
		t.Error("got STARTTLS offered, want not")
	}
	if err := c.StartTLS(context.Background(), nil); !errors.Is(err, ErrNoSTARTTLS) {
		t.Errorf("got %v, want ErrNoSTARTTLS", err)
	}
	if !c.Alive() {
		t.Error("got a dead connection, want one that QUIT can be said on")
	}
}

func TestConnectRefusals(t *testing.T) {
	tests := []struct {
		name   string
		script func(p *peer)
		check  func(error) string
	}{
		{"554 greeting", func(p *peer) { p.send("554 5.7.1 no mail here\n"); p.want("QUIT", "221 bye\n") }, wantReply("greeting", 554, "5.7.1", false)},
		{"421 greeting", func(p *peer) { p.send("421 busy\n") }, wantReply("greeting", 421, "", true)},
		{"unknown 4yz greeting", func(p *peer) { p.send("499-one\n499 two\n"); p.line() }, wantReply("greeting", 499, "", true)},
		{"EHLO refused", func(p *peer) { p.send("220 hi\n"); p.want("EHLO gate.office.example", "502 5.5.1 what?\n"); p.line() }, wantReply("EHLO", 502, "5.5.1", false)},
		{"354 to EHLO", func(p *peer) { p.send("220 hi\n"); p.want("EHLO gate.office.example", "354 go\n") }, wantProtocol("EHLO")},
		{"codes differ", func(p *peer) { p.send("220-hi\n250 there\n") }, wantProtocol("greeting")},
		{"no code", func(p *peer) { p.send("SSH-2.0-OpenSSH_9.2\n") }, wantProtocol("greeting")},
		{"code out of range", func(p *peer) { p.send("620 hi\n") }, wantProtocol("greeting")},
		{"endless lines", func(p *peer) { p.flood("220-more\r\n") }, wantProtocol("greeting")},
		{"endless line", func(p *peer) { p.flood("220 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") }, wantProtocol("greeting")},
		{"closed", func(p *peer) {}, wantNet("greeting", false)},
		{"closed in a line", func(p *peer) { io.WriteString(p.nc, "220 h") }, wantNet("greeting", false)},
		{"silence", func(p *peer) { p.line() }, wantNet("greeting", true)},
		{"drip", func(p *peer) {
			for range 100 {
				if _, err := io.WriteString(p.nc, "220-x\r\n"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, wantNet("greeting", true)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig
			cfg.Timeouts.Greeting = 300 * time.Millisecond
			c, err := cfg.Connect(context.Background(), "mx.good.example", serve(t, tt.script))
			if c != nil {
				t.Error("got a connection, want none")
			}
			if msg := tt.check(err); msg != "" {
				t.Errorf("got error %v (%T): %s", err, err, msg)
			}
		})
	}
}

// flood sends s until the client hangs up.
func (p *peer) flood(s string) {
	s = strings.Repeat(s, 100)
	for {
		if _, err := io.WriteString(p.nc, s); err != nil {
			return
		}
	}
}

func wantReply(command string, code int, enhanced string, temporary bool) func(error) string {
	return func(err error) string {
		var re *ReplyError
		switch {
		case !errors.As(err, &re):
			return "want a *ReplyError"
		case re.Command != command || re.Code != code || re.Enhanced != enhanced:
			return "want another command or code"
		case re.Temporary() != temporary:
			return "Temporary is wrong"
		case !re.Host():
			return "want a host failure"
		}
		return ""
	}
}

func wantProtocol(phase string) func(error) string {
	return func(err error) string {
		var pe *ProtocolError
		if !errors.As(err, &pe) || pe.Phase != phase {
			return "want a *ProtocolError in " + phase
		}
		return ""
	}
}

func wantNet(phase string, timeout bool) func(error) string {
	return func(err error) string {
		var ne *NetError
		if !errors.As(err, &ne) || ne.Phase != phase || ne.Timeout() != timeout {
			return "want a *NetError in " + phase
		}
		return ""
	}
}

func TestConnectHELO(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.send("220 old\n")
		p.want("HELO gate.office.example", "250-old.example hello\n250 STARTTLS\n")
		p.line()
	})
	c, err := testConfig.ConnectHELO(context.Background(), "old.example", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if e := c.Extensions(); e.StartTLS || e.Name != "old.example" {
		t.Errorf("got %+v, want a name and no extension after HELO", e)
	}
}

func TestConnectCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addr := serve(t, func(p *peer) { cancel(); p.line() })
	_, err := testConfig.Connect(ctx, "mx.good.example", addr)
	var ne *NetError
	if !errors.As(err, &ne) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a *NetError of context.Canceled", err)
	}
}

func TestDialFails(t *testing.T) {
	cfg := testConfig
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }
	_, err := cfg.Connect(context.Background(), "mx.good.example", netip.MustParseAddrPort("203.0.113.1:25"))
	if msg := wantNet("dial", false)(err); msg != "" {
		t.Errorf("got %v: %s", err, msg)
	}
}

func TestHelloIsChecked(t *testing.T) {
	for _, hello := range []string{"", "a b", "a\r\nMAIL FROM:<x@y>", "ü.example", "-"} {
		cfg := Config{Hello: hello, Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Errorf("dialled with the name %q", hello)
			return nil, errors.New("no")
		}}
		if _, err := cfg.Connect(context.Background(), "mx", netip.AddrPort{}); err == nil {
			t.Errorf("got no error for the name %q", hello)
		}
	}
}
