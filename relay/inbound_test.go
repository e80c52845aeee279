package relay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/lab"
	"gatepost/relay/nexthop"
	"gatepost/relay/queue"
	"gatepost/relay/smtpd"
	"gatepost/relay/verdict"
)

// inner is the office's own mail server: it knows a few recipients and keeps
// what it gets.
type inner struct {
	addr netip.AddrPort // where the machine finds it, in the lab's network

	mu   sync.Mutex
	mail []innerMail
	user string // who logged in last
}

type innerMail struct {
	env  smtpd.Envelope
	data []byte
}

func (n *inner) received() []innerMail {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.mail)
}

// startInner runs an inner server until the test ends. Without a certificate it
// offers no TLS.
func startInner(t *testing.T, b *bench, addr string, cert *tls.Certificate, role smtpd.Role, known ...string) *inner {
	t.Helper()
	n := &inner{addr: netip.MustParseAddrPort(addr)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.net.Map(n.addr, netip.MustParseAddrPort(l.Addr().String()))
	cfg := smtpd.Config{
		Hostname:        "inner.office.example",
		Listeners:       []smtpd.Listener{{Listener: l, Role: role, ImplicitTLS: n.addr.Port() == 465}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Accept: func(_ context.Context, env smtpd.Envelope, body io.Reader) (string, error) {
			data, err := io.ReadAll(body)
			if err != nil {
				return "", err
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.mail = append(n.mail, innerMail{env, data})
			return "x", nil
		},
		Auth: func(user, password string) (bool, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.user = user
			return user == "box" && password == "secret", nil
		},
	}
	if known != nil {
		cfg.Local = func(domain string) (smtpd.Local, bool) { return smtpd.Local{}, domain == "office.example" }
		cfg.Verify = func(_ context.Context, q smtpd.Question) error {
			if slices.Contains(known, q.Rcpt) {
				return nil
			}
			return smtpd.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "nobody of that name"}
		}
	}
	if cert != nil {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	s := smtpd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("inner server: %v", err)
		}
	})
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

const innerAddr = "192.168.77.10:2525"

// insideConfig makes the machine the office's gateway for strangers: nobody is
// trusted.
func insideConfig(change func(*relay.Inside)) func(*relay.Config) {
	return func(c *relay.Config) {
		c.TrustedNetworks = nil
		in := relay.Inside{
			Hop: nexthop.Hop{Host: "192.168.77.10", Port: 2525, TLS: nexthop.TLSTry},
			Ask: true,
		}
		if change != nil {
			change(&in)
		}
		c.Inside = map[string]relay.Inside{"office.example": in}
	}
}

// Strangers reach the people of the own domain and nobody else, and what they
// send arrives byte for byte.
func TestInbound(t *testing.T) {
	b := newBench(t, lab.Office(), insideConfig(nil))
	n := startInner(t, b, innerAddr, nil, smtpd.Trusted, "anna@office.example", "postmaster@office.example")
	for _, c := range []struct{ rcpt, want string }{
		{"<anna@office.example>", "250 "},
		{"<anna@OFFICE.example>", "250 "},
		{"<nobody@office.example>", "550 5.1.1 "},
		{"<postmaster@office.example>", "250 "},
		{"<postmaster>", "250 "},
		{"<anna@good.example>", "550 5.7.1 "},
		{"<anna@sub.office.example>", "550 5.7.1 "},
		{"<anna%good.example@office.example>", "550 5."},
	} {
		if got := b.talk("MAIL FROM:<joe@good.example>", "RCPT TO:"+c.rcpt); !strings.HasPrefix(got, c.want) {
			t.Errorf("RCPT TO:%s: got %q, want %q", c.rcpt, got, c.want)
		}
	}
	body := "Subject: hello\r\n\r\nGood morning\r\n..two dots\r\n"
	if got := b.talk("MAIL FROM:<joe@good.example>", "RCPT TO:<anna@office.example>", "DATA", body+"."); !strings.HasPrefix(got, "250 ") {
		t.Fatalf("DATA: got %q", got)
	}
	v := b.await("office.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered })
	if v.Evidence == nil || v.Evidence.Route != verdict.RouteInside {
		t.Errorf("got evidence %+v, want the route inside", v.Evidence)
	}
	eventually(t, "the inner server has the message", func() bool { return len(n.received()) == 1 })
	got := n.received()[0]
	if !bytes.HasSuffix(got.data, []byte("Subject: hello\r\n\r\nGood morning\r\n.two dots\r\n")) {
		t.Errorf("the inner server got\n%q", got.data)
	}
	if bytes.Count(got.data, []byte("Received: ")) != 2 {
		t.Errorf("got\n%q\nwant the Received fields of the gateway and of the inner server", got.data)
	}
}

// While the inner server is away mail for it is taken and waits; nobody is
// refused because of that.
func TestInnerServerAway(t *testing.T) {
	b := newBench(t, lab.Office(), insideConfig(nil))
	if got := b.talk("MAIL FROM:<joe@good.example>", "RCPT TO:<anna@office.example>", "DATA", "Subject: x\r\n\r\nx\r\n."); !strings.HasPrefix(got, "250 ") {
		t.Fatalf("got %q", got)
	}
	b.await("office.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Deferred })
	n := startInner(t, b, innerAddr, nil, smtpd.Trusted)
	eventually(t, "the inner server has the message", func() bool { return len(n.received()) == 1 })
}

// The inbound rule: required refuses in clear but takes reports about broken
// TLS; watch takes and tells.
func TestInboundTLSRule(t *testing.T) {
	mail := func(b *bench, rcpt string) string {
		return b.talk("MAIL FROM:<joe@good.example>", "RCPT TO:<"+rcpt+"@office.example>")
	}
	required := newBench(t, lab.Office(), insideConfig(func(in *relay.Inside) {
		in.Ask, in.TLS, in.Reports = false, smtpd.TLSRequired, []string{"tls-reports"}
	}))
	if got := mail(required, "anna"); !strings.HasPrefix(got, "530 5.7.0 ") {
		t.Errorf("required: got %q, want 530 5.7.0", got)
	}
	if got := mail(required, "tls-reports"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("required, report address: got %q, want 250", got)
	}
	watch := newBench(t, lab.Office(), insideConfig(func(in *relay.Inside) { in.Ask, in.TLS = false, smtpd.TLSWatch }))
	got := watch.talk("MAIL FROM:<joe@good.example>", "RCPT TO:<anna@office.example>", "DATA", "Subject: x\r\n\r\nx\r\n.")
	if !strings.HasPrefix(got, "250 ") {
		t.Errorf("watch: got %q, want 250", got)
	}
	watch.mu.Lock()
	defer watch.mu.Unlock()
	if !slices.ContainsFunc(watch.events, func(e event.Event) bool {
		c, ok := e.(event.InboundClear)
		return ok && c.Domain == "office.example"
	}) {
		t.Errorf("watch: nothing was told; got %+v", watch.events)
	}
}

// A list of recipients is all there are, and postmaster.
func TestRecipientList(t *testing.T) {
	b := newBench(t, lab.Office(), insideConfig(func(in *relay.Inside) {
		in.Ask, in.Recipients = false, []string{"anna", "Berta@Office.example"}
	}))
	for rcpt, want := range map[string]string{
		"anna": "250 ", "ANNA": "250 ", "berta": "250 ", "carla": "550 5.1.1 ", "postmaster": "250 ", "PostMaster": "250 ",
	} {
		if got := b.talk("MAIL FROM:<joe@good.example>", "RCPT TO:<"+rcpt+"@office.example>"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", rcpt, got, want)
		}
	}
}

// Everything but own domains goes through the smart host, with its login, and
// only under its TLS rule.
func TestSmartHost(t *testing.T) {
	for _, c := range []struct {
		name     string
		port     uint16
		implicit bool
		noTLS    bool
		password string
		fits     func(verdict.Verdict) bool
	}{
		{"starttls", 587, false, false, "secret", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered }},
		{"implicit", 465, true, false, "secret", func(v verdict.Verdict) bool { return v.Protection == verdict.Verified }},
		{"wrong password", 587, false, false, "guess", func(v verdict.Verdict) bool {
			return v.Outcome == verdict.Deferred && v.Reason == verdict.LoginRefused
		}},
		{"no TLS", 587, false, true, "secret", func(v verdict.Verdict) bool {
			return v.Outcome == verdict.Held && v.Reason == verdict.RouteNotSafe
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, lab.Office(), func(cfg *relay.Config) {
				cfg.SmartHost = &nexthop.Hop{
					Host: "203.0.113.99", Name: "smtp.provider.example", Port: c.port, Implicit: c.implicit,
					TLS: nexthop.TLSVerify, User: "box", Password: c.password,
				}
			})
			cert, err := b.lab.CA().Issue("smtp.provider.example", lab.Cert{}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			role := smtpd.Submission
			if c.noTLS {
				cert, role = nil, smtpd.Trusted
			}
			n := startInner(t, b, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.99"), c.port).String(), cert, role)
			b.send("anything.example")
			v := b.await("anything.example", c.fits)
			if (v.Outcome == verdict.Delivered) != (len(n.received()) == 1) {
				t.Errorf("verdict %s, the smart host has %d messages", v.Outcome, len(n.received()))
			}
			if c.noTLS && n.user != "" {
				t.Errorf("a login was tried in clear")
			}
		})
	}
}

// What a person has stopped stays stopped over a restart.
func TestPauseOutlivesRestart(t *testing.T) {
	b := newBench(t, lab.Office(), nil)
	if err := b.machine.Pause(queue.Pause{Domain: "good.example", By: "Anna"}); err != nil {
		t.Fatal(err)
	}
	b.send("good.example")
	b.stop()
	b.start(b.net)
	time.Sleep(time.Second)
	if got := b.lab.Received("good.example"); len(got) != 0 {
		t.Fatalf("mail to a paused domain went out")
	}
	if got := b.machine.Pauses(); len(got) != 1 || got[0].By != "Anna" {
		t.Fatalf("pauses after the restart: %+v", got)
	}
	if err := b.machine.Resume(queue.Pause{Domain: "good.example", By: "Anna"}); err != nil {
		t.Fatal(err)
	}
	b.await("good.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered })
	notes, err := b.machine.Notes(10)
	if err != nil || len(notes) != 2 {
		t.Errorf("notes: %+v, %v; want paused and resumed", notes, err)
	}
}

// A message with a null return path that cannot be delivered is told to the
// people of the box, and to nobody else.
func TestDoubleBounce(t *testing.T) {
	b := newBench(t, lab.Office(), nil)
	if got := b.talk("MAIL FROM:<>", "RCPT TO:<joe@nowhere.example>", "DATA", "Subject: lost\r\n\r\nx\r\n."); !strings.HasPrefix(got, "250 ") {
		t.Fatalf("got %q", got)
	}
	b.await("nowhere.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Returned })
	eventually(t, "the note is there", func() bool {
		notes, err := b.machine.Notes(10)
		return err == nil && len(notes) == 1 && notes[0].Kind == "double-bounce" && notes[0].Rcpt == "joe@nowhere.example" && notes[0].Text == "lost"
	})
}
