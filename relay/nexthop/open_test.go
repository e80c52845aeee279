package nexthop

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

// what an attempt led to, in one word.
func outcome(s *Session, err error) string {
	var ns *NotSafeError
	var re *smtpc.ReplyError
	var te *smtpc.TLSError
	switch {
	case err == nil:
		return string(s.Protection)
	case errors.As(err, &ns):
		return "not safe: " + string(ns.Reason)
	case errors.Is(err, ErrLogin) && errors.As(err, &re):
		return fmt.Sprintf("login %d", re.Code)
	case errors.Is(err, ErrLogin):
		return "login impossible"
	case errors.As(err, &te):
		return "network"
	case errors.As(err, &re):
		return fmt.Sprintf("reply %d to %s", re.Code, re.Command)
	}
	return err.Error()
}

// Every rule against every behaviour of a server, without and with a login.
// After each: nothing in clear that must not be, whatever the outcome was.
func TestOpenRules(t *testing.T) {
	g := newGround(t)
	const (
		clear, encrypted, verified = string(verdict.Clear), string(verdict.Encrypted), string(verdict.Verified)
		noTLS, broken              = "not safe: starttls-not-supported", "not safe: validation-failure"
	)
	// The expectations stand in the order none, try, require, verify.
	type want [4]string
	for _, tt := range []struct {
		name  string
		how   conduct
		want  want // without a login
		login want // with one; none is refused by Validate
	}{
		{"good", conduct{starttls: "ok", cert: g.good, auth: "235 ok"}, want{clear, encrypted, encrypted, verified}, want{"", encrypted, encrypted, verified}},
		{"no STARTTLS", conduct{}, want{clear, clear, noTLS, noTLS}, want{"", noTLS, noTLS, noTLS}},
		{"no STARTTLS, AUTH in clear", conduct{clearAuth: true, auth: "235 ok"}, want{clear, clear, noTLS, noTLS}, want{"", noTLS, noTLS, noTLS}},
		{"STARTTLS 454", conduct{starttls: "454", clearAuth: true, auth: "235 ok"}, want{clear, clear, broken, broken}, want{"", broken, broken, broken}},
		{"injection", conduct{starttls: "inject", auth: "235 ok"}, want{clear, clear, broken, broken}, want{"", broken, broken, broken}},
		{"garbage for a handshake", conduct{starttls: "garbage"}, want{clear, clear, broken, broken}, want{"", broken, broken, broken}},
		{"old version", conduct{starttls: "old", cert: g.good}, want{clear, clear, broken, broken}, want{"", broken, broken, broken}},
		{"no certificate", conduct{starttls: "ok"}, want{clear, clear, broken, broken}, want{"", broken, broken, broken}},
		{"wrong name", conduct{starttls: "ok", cert: g.wrongName, auth: "235 ok"}, want{clear, encrypted, encrypted, "not safe: certificate-host-mismatch"}, want{"", encrypted, encrypted, "not safe: certificate-host-mismatch"}},
		{"expired", conduct{starttls: "ok", cert: g.expired, auth: "235 ok"}, want{clear, encrypted, encrypted, "not safe: certificate-expired"}, want{"", encrypted, encrypted, "not safe: certificate-expired"}},
		{"not trusted", conduct{starttls: "ok", cert: g.notTrusted, auth: "235 ok"}, want{clear, encrypted, encrypted, "not safe: certificate-not-trusted"}, want{"", encrypted, encrypted, "not safe: certificate-not-trusted"}},
		{"hangs up at STARTTLS", conduct{starttls: "hangup"}, want{clear, clear, "smtpc: STARTTLS: EOF", "smtpc: STARTTLS: EOF"}, want{"", "smtpc: STARTTLS: EOF", "smtpc: STARTTLS: EOF", "smtpc: STARTTLS: EOF"}},
		{"knows HELO only", conduct{noEHLO: true}, want{clear, clear, "reply 502 to EHLO", "reply 502 to EHLO"}, want{"", "reply 502 to EHLO", "reply 502 to EHLO", "reply 502 to EHLO"}},
		{"554 greeting", conduct{greeting: "554 5.7.1 go away"}, want{"reply 554 to greeting", "reply 554 to greeting", "reply 554 to greeting", "reply 554 to greeting"}, want{"", "reply 554 to greeting", "reply 554 to greeting", "reply 554 to greeting"}},
		{"login refused", conduct{starttls: "ok", cert: g.good, auth: "535 5.7.8 wrong"}, want{clear, encrypted, encrypted, verified}, want{"", "login 535", "login 535", "login 535"}},
		{"login not now", conduct{starttls: "ok", cert: g.good, auth: "454 4.7.0 later"}, want{clear, encrypted, encrypted, verified}, want{"", "login 454", "login 454", "login 454"}},
		{"no login", conduct{starttls: "ok", cert: g.good, clearAuth: true}, want{clear, encrypted, encrypted, verified}, want{"", "login impossible", "login impossible", "login impossible"}},
		{"a login that never ends", conduct{starttls: "ok", cert: g.good, auth: "334 more"}, want{clear, encrypted, encrypted, verified}, want{"", "smtpc: AUTH: a challenge that does not belong to the mechanism", "smtpc: AUTH: a challenge that does not belong to the mechanism", "smtpc: AUTH: a challenge that does not belong to the mechanism"}},

		{"implicit, good", conduct{implicit: true, cert: g.good, auth: "235 ok"}, want{"", encrypted, encrypted, verified}, want{"", encrypted, encrypted, verified}},
		{"implicit, wrong name", conduct{implicit: true, cert: g.wrongName, auth: "235 ok"}, want{"", encrypted, encrypted, "not safe: certificate-host-mismatch"}, want{"", encrypted, encrypted, "not safe: certificate-host-mismatch"}},
		{"implicit, not trusted", conduct{implicit: true, cert: g.notTrusted, auth: "235 ok"}, want{"", encrypted, encrypted, "not safe: certificate-not-trusted"}, want{"", encrypted, encrypted, "not safe: certificate-not-trusted"}},
		{"implicit, no certificate", conduct{implicit: true}, want{"", broken, broken, broken}, want{"", broken, broken, broken}},
		{"implicit, login refused", conduct{implicit: true, cert: g.good, auth: "535 5.7.8 wrong"}, want{"", encrypted, encrypted, verified}, want{"", "login 535", "login 535", "login 535"}},
	} {
		for i, rule := range []TLSRule{TLSNone, TLSTry, TLSRequire, TLSVerify} {
			for _, login := range []bool{false, true} {
				want := tt.want[i]
				if login {
					want = tt.login[i]
				}
				if want == "" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/login=%v", tt.name, rule, login), func(t *testing.T) {
					srv := serve(t, tt.how)
					h := srv.hop(rule)
					if login {
						h.User, h.Password = user, password
					}
					var notes []verdict.Host
					env := g.env()
					env.Note = func(n verdict.Host) { notes = append(notes, n) }
					s, err := h.Open(context.Background(), env)
					if got := outcome(s, err); got != want {
						t.Errorf("got %s (%v), want %s", got, err, want)
					}
					if err != nil {
						for _, x := range secrets {
							if strings.Contains(fmt.Sprintf("%v %+v", err, notes), x) {
								t.Errorf("the password is in %v", err)
							}
						}
						if len(notes) != 1 || notes[0].Addr != "127.0.0.1" || notes[0].Detail == "" {
							t.Errorf("got notes %+v, want one", notes)
						}
					} else {
						if login != srv.saw("AUTH PLAIN ") {
							t.Errorf("got logged in %v, want %v", !login, login)
						}
						post(t, s.Conn)
						s.Conn.Quit()
						if (s.Protection == verdict.Clear) == srv.saw("Subject: "+canary) {
							t.Errorf("got %s, and the message otherwise", s.Protection)
						}
						if rule == TLSTry && (s.Clear != nil) != (s.Protection == verdict.Clear) {
							t.Errorf("got %s and reason %v", s.Protection, s.Clear)
						}
					}
					if rule == TLSVerify && want != verified && !strings.HasPrefix(want, "login") && !strings.Contains(want, "AUTH") && srv.saw("AUTH") {
						t.Error("the login went to a server whose certificate is not good")
					}
					srv.leaks((rule == TLSNone || rule == TLSTry) && !login && !tt.how.implicit)
				})
			}
		}
	}
}

// A server in clear on the port of implicit TLS gets a handshake and no more.
func TestOpenImplicitAgainstClear(t *testing.T) {
	g := newGround(t)
	for _, rule := range []TLSRule{TLSTry, TLSRequire, TLSVerify} {
		srv := serve(t, conduct{starttls: "ok", cert: g.good, clearAuth: true, auth: "235 ok"})
		h := Hop{Host: hostName, Port: srv.addr.Port(), TLS: rule, Implicit: true, User: user, Password: password}
		_, err := h.Open(context.Background(), g.env())
		if got := outcome(nil, err); got != "not safe: validation-failure" {
			t.Errorf("%s: got %s (%v)", rule, got, err)
		}
		srv.leaks(false)
	}
}

// The attacker on the path takes STARTTLS out of the reply (RFC 3207, Section 6).
func TestOpenStripped(t *testing.T) {
	network := lab.NewLoopback()
	client, mx := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.25")
	lan := lab.LAN{
		Prefix: netip.MustParsePrefix("192.168.77.0/24"), Router: netip.MustParseAddr("192.168.77.1"), Guest: netip.MustParseAddr("192.168.77.2"),
		Host: netip.MustParseAddr("192.168.77.3"), Lease: time.Hour, Domain: "office.example",
	}
	world := lab.World{LAN: lan, Domains: []lab.Domain{{
		Name: "office.example", MX: []lab.MX{{Host: hostName, Addr: mx, TLS: true}},
		Attack: lab.Attack{Kind: lab.Strip, Start: lab.FromTheStart},
	}}}
	l, err := lab.New(world, network, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	env := Env{SMTP: smtpc.Config{Hello: "gate.office.example", Dial: lab.Dialer(network, client)}, Roots: l.CA().Pool()}
	for _, tt := range []struct {
		rule TLSRule
		want string
	}{
		{TLSTry, "clear"},
		{TLSRequire, "not safe: starttls-not-supported"},
		{TLSVerify, "not safe: starttls-not-supported"},
	} {
		s, err := Hop{Host: mx.String(), TLS: tt.rule, Name: hostName}.Open(ctx, env)
		if got := outcome(s, err); got != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.rule, got, err, tt.want)
		}
		if s != nil {
			s.Conn.Quit()
		}
	}
	if err := l.EndAttack("office.example"); err != nil {
		t.Fatal(err)
	}
	s, err := Hop{Host: mx.String(), TLS: TLSVerify, Name: hostName}.Open(ctx, env)
	if got := outcome(s, err); got != "verified" {
		t.Fatalf("got %s (%v) after the attack, want verified", got, err)
	}
	post(t, s.Conn)
	s.Conn.Quit()
	if mails := l.Received("office.example"); len(mails) != 1 || mails[0].TLS == "" || mails[0].SNI != hostName {
		t.Errorf("got %+v, want one mail in TLS", mails)
	}
	if leaks := l.Leaks(); len(leaks) > 0 {
		t.Errorf("got leaks %v", leaks)
	}
}

// Addresses are tried in turn; the error that says most is told; a refused
// login is not tried again elsewhere.
func TestOpenAddresses(t *testing.T) {
	g := newGround(t)
	good := serve(t, conduct{starttls: "ok", cert: g.good, auth: "235 ok"})
	plain := serve(t, conduct{})
	wrong := serve(t, conduct{starttls: "ok", cert: g.good, auth: "535 5.7.8 no"})
	at := map[string]netip.AddrPort{"10.0.0.1": good.addr, "10.0.0.2": plain.addr, "10.0.0.3": wrong.addr}
	for _, tt := range []struct {
		addrs []string
		login bool
		want  string
		notes int
	}{
		{[]string{"10.0.0.9", "10.0.0.1"}, true, "verified", 1},
		{[]string{"10.0.0.9", "10.0.0.2", "10.0.0.1"}, false, "verified", 2},
		{[]string{"10.0.0.2", "10.0.0.9"}, false, "not safe: starttls-not-supported", 2},
		{[]string{"10.0.0.9", "10.0.0.2"}, false, "not safe: starttls-not-supported", 2},
		{[]string{"10.0.0.2", "10.0.0.3", "10.0.0.1"}, true, "login 535", 2},
		{[]string{"10.0.0.9"}, false, "smtpc: dial: connection refused by the test", 1},
		{[]string{"::ffff:10.0.0.1", "10.0.0.1"}, false, "verified", 0},
		{[]string{"0.0.0.0", "224.0.0.1", "::"}, false, ErrNoAddress.Error(), 0},
		{nil, false, ErrNoAddress.Error(), 0},
	} {
		env := g.env()
		notes := 0
		env.Note = func(verdict.Host) { notes++ }
		env.LookupNetIP = func(_ context.Context, network, host string) ([]netip.Addr, error) {
			if network != "ip4" || host != hostName {
				t.Errorf("got a lookup of %s %s", network, host)
			}
			var out []netip.Addr
			for _, a := range tt.addrs {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		}
		env.Family = "ip4"
		env.SMTP.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			ap := netip.MustParseAddrPort(addr)
			if ap.Port() != 587 {
				t.Errorf("got port %d", ap.Port())
			}
			to, ok := at[ap.Addr().String()]
			if !ok {
				return nil, errors.New("connection refused by the test")
			}
			return new(net.Dialer).DialContext(ctx, network, to.String())
		}
		h := Hop{Host: hostName, Port: 587, TLS: TLSVerify}
		if tt.login {
			h.User, h.Password = user, password
		}
		s, err := h.Open(context.Background(), env)
		if got := outcome(s, err); got != tt.want || notes != tt.notes {
			t.Errorf("%v: got %s (%v) and %d notes, want %s and %d", tt.addrs, got, err, notes, tt.want, tt.notes)
		}
		if s != nil {
			s.Conn.Quit()
		}
	}
}

func TestOpenLookupFails(t *testing.T) {
	g := newGround(t)
	env := g.env()
	cause := errors.New("no answer")
	env.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) { return nil, cause }
	if _, err := (Hop{Host: hostName}).Open(context.Background(), env); !errors.Is(err, ErrNoAddress) || !errors.Is(err, cause) {
		t.Errorf("got %v, want ErrNoAddress with its cause", err)
	}
	env.LookupNetIP = nil
	if _, err := (Hop{Host: hostName}).Open(context.Background(), env); !errors.Is(err, ErrNoAddress) {
		t.Errorf("got %v, want ErrNoAddress", err)
	}
}

// An address literal is looked up nowhere, and may be what the certificate shows.
func TestOpenLiteral(t *testing.T) {
	g := newGround(t)
	own := ipCertificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	srv := serve(t, conduct{starttls: "ok", cert: own})
	env := g.env()
	env.LookupNetIP = nil
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	for _, tt := range []struct {
		hop  Hop
		want string
	}{
		{Hop{Host: "127.0.0.1", Roots: pool}, "verified"},
		{Hop{Host: "127.0.0.1"}, "not safe: certificate-not-trusted"},
		{Hop{Host: "127.0.0.1", Roots: pool, Name: "127.0.0.2"}, "not safe: certificate-host-mismatch"},
		{Hop{Host: "127.0.0.1", Roots: pool, Name: hostName}, "not safe: certificate-host-mismatch"},
	} {
		tt.hop.Port = srv.addr.Port()
		s, err := tt.hop.Open(context.Background(), env)
		if got := outcome(s, err); got != tt.want {
			t.Errorf("%+v: got %s (%v), want %s", tt.hop, got, err, tt.want)
		}
		if s != nil {
			s.Conn.Quit()
		}
	}
	late := ipCertificate(t, "127.0.0.1", time.Now().Add(-time.Hour))
	srv = serve(t, conduct{starttls: "ok", cert: late})
	if leaf, err = x509.ParseCertificate(late.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	s, err := Hop{Host: "127.0.0.1", Port: srv.addr.Port(), Roots: pool}.Open(context.Background(), env)
	if got := outcome(s, err); got != "not safe: certificate-expired" {
		t.Errorf("got %s (%v), want expired", got, err)
	}
}

// The end of the context ends the attempt, and no further address is tried.
func TestOpenCancelled(t *testing.T) {
	g := newGround(t)
	ctx, cancel := context.WithCancel(context.Background())
	env := g.env()
	dials := 0
	env.SMTP.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials++
		cancel()
		return nil, ctx.Err()
	}
	env.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, nil
	}
	if _, err := (Hop{Host: hostName}).Open(ctx, env); !errors.Is(err, context.Canceled) || dials != 1 {
		t.Errorf("got %v after %d dials, want it cancelled after one", err, dials)
	}
}
