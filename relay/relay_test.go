package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/lab"
	"gatepost/relay/queue"
	"gatepost/relay/smtpd"
	"gatepost/relay/verdict"
)

// patience bounds every wait of these tests; a quiet machine needs a hundredth.
const patience = time.Minute

// bench is a mail machine inside the simulated internet, on real sockets of
// 127.0.0.1.
type bench struct {
	t    *testing.T
	lab  *lab.Lab
	net  *lab.Loopback
	data *os.Root
	real net.Listener
	cfg  func(*relay.Config)

	machine *relay.Machine
	stop    func()

	mu        sync.Mutex
	attempts  map[string][]verdict.Verdict // by recipient domain
	changed   chan struct{}
	events    []event.Event // all but attempts
	delivered []event.Attempted
}

func newBench(t *testing.T, world lab.World, cfg func(*relay.Config)) *bench {
	t.Helper()
	network := lab.NewLoopback()
	l, err := lab.New(world, network, lab.Options{NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	b := &bench{t: t, lab: l, data: root, cfg: cfg, attempts: map[string][]verdict.Verdict{}, changed: make(chan struct{}, 1)}
	b.start(network)
	t.Cleanup(func() { b.stop() })
	return b
}

// start switches the machine on, on a new port.
func (b *bench) start(network *lab.Loopback) {
	b.t.Helper()
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.real, b.net = real, network
	network.Map(b.lab.GuestSMTP(), netip.MustParseAddrPort(real.Addr().String()))
	cfg := relay.Config{
		Version: "test", Hostname: "gatepost.office.example",
		Listeners:       []smtpd.Listener{{Listener: real, Role: smtpd.Trusted}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		MaxMessage:      10 << 20, MaxRecipients: 100,
		Retry: []time.Duration{300 * time.Millisecond}, Lifetime: time.Hour, Parallel: 20, PerDomain: 2,
		Data:        b.data,
		NameServers: func() []netip.AddrPort { return []netip.AddrPort{b.lab.Resolver()} },
		Dial:        b.lab.DialContext, Roots: b.lab.CA().Pool(),
		RecordReuse: -1,
		Events:      b.event,
		Log:         slog.New(slog.NewTextHandler(testWriter{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if b.cfg != nil {
		b.cfg(&cfg)
	}
	m, err := relay.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	b.machine = m
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("machine: %v", err)
		}
	})
}

func (b *bench) event(e event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := e.(event.Attempted)
	if !ok {
		b.events = append(b.events, e)
		return
	}
	if a.Verdict.Outcome == verdict.Delivered {
		b.delivered = append(b.delivered, a)
	}
	_, domain, _ := strings.Cut(a.Rcpt, "@")
	b.attempts[domain] = append(b.attempts[domain], a.Verdict)
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// await waits for an attempt at the domain that fits and returns it.
func (b *bench) await(domain string, fits func(verdict.Verdict) bool) verdict.Verdict {
	b.t.Helper()
	end := time.After(patience)
	for {
		b.mu.Lock()
		all := b.attempts[domain]
		b.mu.Unlock()
		for _, v := range all {
			if fits(v) {
				return v
			}
		}
		select {
		case <-b.changed:
		case <-time.After(50 * time.Millisecond):
		case <-end:
			b.t.Fatalf("%s: no such attempt came; the last of %d: %+v", domain, len(all), all[max(0, len(all)-1):])
		}
	}
}

func (b *bench) send(domain string) lab.Sent {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	s, err := b.lab.Send(ctx, "", domain)
	if err != nil {
		b.t.Fatalf("%s: the office could not hand its message over: %v", domain, err)
	}
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func fits(e lab.Expect) func(verdict.Verdict) bool {
	return func(v verdict.Verdict) bool {
		return v.Outcome == e.Outcome && (e.Outcome == verdict.Delivered || v.Reason == e.Reason) &&
			(e.Protection == "" || v.Protection == e.Protection)
	}
}

// Every domain of the office's world does what it is meant to show, and the
// wire holds the proof: no message for an enforcing domain in clear, nothing at
// the attacker's.
func TestOfficeWorld(t *testing.T) {
	world := lab.Office()
	for i := range world.Domains {
		world.Domains[i].MendAfter = 0 // repaired by hand below
	}
	b := newBench(t, world, nil)
	for _, d := range world.Domains {
		first := b.send(d.Name)
		v := b.await(d.Name, fits(d.Expect[0]))
		if v.Outcome == verdict.Delivered {
			b.wantBytes(d.Name, 0, first)
		}
		if v.Outcome == verdict.Held && v.Rule == "" {
			t.Errorf("%s: held without a rule", d.Name)
		}
	}

	// The attacker has begun to forge: a second message finds the remembered
	// policy in force.
	b.waitAttack("forged.example")
	time.Sleep(2 * time.Second) // the TTL of the honest answers
	b.send("forged.example")
	v := b.await("forged.example", fits(world.Domains[4].Expect[1]))
	if v.PolicyID != "20260901" || v.PolicyFetched.IsZero() || v.MX != "mx.attacker.example" {
		t.Errorf("forged: the evidence is thin: %+v", v)
	}

	// The repaired domain gets what was held, by itself.
	if err := b.lab.Repair("repairing.example"); err != nil {
		t.Fatal(err)
	}
	b.await("repairing.example", fits(lab.Expect{Outcome: verdict.Delivered, Protection: verdict.Verified}))

	for _, leak := range b.lab.Leaks() {
		if !leak.Allowed {
			t.Errorf("a message for %s was seen in clear on its way to %s", leak.Intended, leak.To)
		}
	}
	if got := b.lab.Received(world.Attacker.Domain); len(got) > 0 {
		t.Errorf("the attacker got %d messages", len(got))
	}
	for _, d := range []string{"wrongname", "expired", "stripped", "unlisted", "down"} {
		if got := b.lab.Received(d + ".example"); len(got) > 0 {
			t.Errorf("%s: %d messages arrived that should be held", d, len(got))
		}
	}
	if got := b.lab.Received("forged.example"); len(got) != 1 {
		t.Errorf("forged: got %d messages, want the one before the attack", len(got))
	}
	s := b.machine.Status()
	if s.Queue.Held != 5 || s.Today.Accepted != 12 || s.Today.Clear != 1 {
		t.Errorf("status: got held %d, accepted %d, clear %d; want 5, 12, 1", s.Queue.Held, s.Today.Accepted, s.Today.Clear)
	}
}

func (b *bench) waitAttack(domain string) {
	b.t.Helper()
	for end := time.Now().Add(patience); b.lab.Attacked(domain) == lab.NoAttack; {
		if time.Now().After(end) {
			b.t.Fatalf("%s: the attack did not begin", domain)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// wantBytes checks that message n of a domain arrived byte for byte, with one
// Received field on top.
func (b *bench) wantBytes(domain string, n int, sent lab.Sent) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	got, err := b.lab.WaitReceived(ctx, domain, n+1)
	if err != nil {
		b.t.Fatalf("%s: %v", domain, err)
	}
	mail := got[n]
	trace, ok := bytes.CutSuffix(mail.Data, sent.Message)
	if !ok || !bytes.HasPrefix(trace, []byte("Received: ")) || bytes.Count(trace, []byte("\r\n")) == 0 {
		b.t.Errorf("%s: got\n%q\nwant one Received field and then\n%q", domain, mail.Data, sent.Message)
	}
	if mail.From != sent.From || fmt.Sprint(mail.Rcpts) != fmt.Sprint([]string{sent.To}) {
		b.t.Errorf("%s: got envelope %q, %q", domain, mail.From, mail.Rcpts)
	}
}

// What waits and what is known of policies survive a restart: the forged
// domain stays protected although its policy host is out of reach ever after.
func TestRestart(t *testing.T) {
	world := lab.Office()
	network := lab.NewLoopback()
	l, err := lab.New(world, network, lab.Options{NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	labDone := make(chan error, 1)
	go func() { labDone <- l.Run(ctx) }()
	defer func() { cancel(); <-labDone }()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	b := &bench{t: t, lab: l, data: root, attempts: map[string][]verdict.Verdict{}, changed: make(chan struct{}, 1)}
	b.start(network)
	b.send("forged.example")
	b.await("forged.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered })
	held := b.send("wrongname.example")
	b.await("wrongname.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Held })
	b.waitAttack("forged.example")
	b.stop()

	b.attempts = map[string][]verdict.Verdict{}
	b.start(network)
	defer b.stop()
	time.Sleep(2 * time.Second) // the TTL of the honest answers
	b.send("forged.example")
	b.await("forged.example", func(v verdict.Verdict) bool {
		return v.Outcome == verdict.Held && v.Reason == verdict.MXNotListed
	})
	b.await("wrongname.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Held })
	if err := l.Repair("wrongname.example"); err != nil {
		t.Fatal(err)
	}
	b.await("wrongname.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered })
	b.wantBytes("wrongname.example", 0, held)
}

// While the clock is not trusted everything is taken in and nothing is decided.
func TestUnknownClock(t *testing.T) {
	var mu sync.Mutex
	trusted := false
	clock := func() bool { mu.Lock(); defer mu.Unlock(); return trusted }
	b := newBench(t, lab.Office(), func(c *relay.Config) { c.Ready, c.ClockTrusted = clock, clock })
	for _, d := range []string{"good.example", "plain.example", "expired.example"} {
		b.send(d)
	}
	time.Sleep(time.Second)
	b.mu.Lock()
	n := len(b.attempts)
	b.mu.Unlock()
	if n != 0 {
		t.Fatalf("attempts at %d domains while the time was unknown", n)
	}
	if s := b.machine.Status(); s.Queue.Waiting != 3 || s.Delivering {
		t.Errorf("got %d waiting, delivering %v; want 3, false", s.Queue.Waiting, s.Delivering)
	}
	mu.Lock()
	trusted = true
	mu.Unlock()
	b.await("good.example", func(v verdict.Verdict) bool { return v.Protection == verdict.Verified })
	b.await("expired.example", func(v verdict.Verdict) bool { return v.Reason == verdict.CertificateExpired })
}

// Without storage every sender is told to come back; nothing is taken in.
func TestNoStorage(t *testing.T) {
	b := newBench(t, lab.Office(), func(c *relay.Config) { c.Data, c.DataTrouble = nil, "no disk" })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if s, err := b.lab.Send(ctx, "", "good.example"); err == nil {
		t.Errorf("a message was accepted without storage: %q", s.Reply)
	}
	c, err := net.Dial("tcp", b.real.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 512)
	k, _ := c.Read(buf)
	if got := string(buf[:k]); !strings.HasPrefix(got, "421 4.3.2 ") {
		t.Errorf("greeting: got %q, want 421 4.3.2", got)
	}
	if s := b.machine.Status(); s.Storage != "missing" || s.StorageText != "no disk" {
		t.Errorf("status: got %q, %q", s.Storage, s.StorageText)
	}
}

// A recipient that the other side refuses for good comes back to its sender as
// a notice; a null return path gets none.
func TestReturned(t *testing.T) {
	world := lab.Office()
	office := lab.Domain{
		Name: "office.example",
		MX:   []lab.MX{{Host: "mail.office.example", Pref: 10, Addr: netip.MustParseAddr("203.0.113.77"), TLS: true}},
	}
	world.Domains = append(world.Domains, office)
	world.Records = world.Records[:2]
	b := newBench(t, world, nil)
	b.send("nowhere.example")
	b.await("nowhere.example", func(v verdict.Verdict) bool {
		return v.Outcome == verdict.Returned && v.Reason == verdict.NoRoute
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := b.lab.WaitReceived(ctx, "office.example", 1)
	if err != nil {
		t.Fatalf("no notice came: %v", err)
	}
	notice := string(got[0].Data)
	for _, want := range []string{"report-type=delivery-status", "Final-Recipient: rfc822;", "Action: failed", "Status: 5.1.2"} {
		if !strings.Contains(notice, want) {
			t.Errorf("the notice has no %q:\n%s", want, notice)
		}
	}
	if got[0].From != "" {
		t.Errorf("the notice has the return path %q, want none", got[0].From)
	}
	for end := time.Now().Add(patience); len(b.machine.Waiting(queue.ListOptions{})) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting: %+v", b.machine.Waiting(queue.ListOptions{}))
		}
	}
}
