package deliver

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/lab"
	"gatepost/relay/nexthop"
	"gatepost/relay/queue"
	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

// deliverN delivers n messages one after the other and returns their verdicts.
func deliverN(t *testing.T, d *Deliverer, n int) []verdict.Verdict {
	t.Helper()
	var out []verdict.Verdict
	for range n {
		out = append(out, one(t, d.Deliver(t.Context(), letter(1))).Verdict)
	}
	return out
}

func wantDelivered(t *testing.T, vs ...verdict.Verdict) {
	t.Helper()
	for i, v := range vs {
		if v.Outcome != verdict.Delivered {
			t.Errorf("message %d: got %s, %s (%s), want delivered", i+1, v.Outcome, v.Reason, v.Detail)
		}
	}
}

// last is the evidence about the last server.
func last(t *testing.T, v verdict.Verdict) verdict.Host {
	t.Helper()
	if v.Evidence == nil || len(v.Evidence.Hosts) == 0 {
		t.Fatal("no evidence about a server")
	}
	return v.Evidence.Hosts[len(v.Evidence.Hosts)-1]
}

// await waits for what another goroutine is about to do.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it did not come", what)
		}
	}
}

func TestReuse(t *testing.T) {
	for _, c := range []struct {
		name   string
		server *server
		idle   time.Duration
		per    int
		n      int
		talks  int
	}{
		{"one connection for all", &server{}, 0, 0, 5, 1},
		{"with pipelining", &server{offers: []string{"PIPELINING"}}, 0, 0, 5, 1},
		{"never", &server{}, -1, 0, 3, 3},
		{"PerConn", &server{}, 0, 3, 7, 3},
		{"MAILMAX", &server{offers: []string{"LIMITS MAILMAX=2"}}, 0, 0, 4, 2}, // RFC 9422, Section 4.1
		{"a server that wants one message", &server{oneMail: true}, 0, 0, 3, 3},
		{"a server that closes", &server{closes: true}, 0, 0, 3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := single(c.server)
			w.cfg = func(cfg *Config) { cfg.Idle, cfg.PerConn = c.idle, c.per }
			vs := deliverN(t, w.deliverer(t, noPolicy), c.n)
			wantDelivered(t, vs...)
			mails, talks, _ := c.server.count()
			if mails != c.n || talks != c.talks {
				t.Errorf("got %d messages in %d sessions, want %d in %d", mails, talks, c.n, c.talks)
			}
			for i, v := range vs {
				if n := len(v.Evidence.Hosts); n != 1 {
					t.Errorf("message %d: %d servers in the evidence, want 1: %+v", i+1, n, v.Evidence.Hosts)
				}
			}
			if c.talks == 1 && (last(t, vs[0]).Reused || !last(t, vs[1]).Reused) {
				t.Error("the evidence does not say which message used an open connection")
			}
		})
	}
}

// A connection that the server closed while it waited is replaced, and that
// counts as no failure; so is one that dies at any command before the end of
// the message.
func TestDeadIdleConnection(t *testing.T) {
	for _, at := range []string{"MAIL", "RCPT", "DATA"} {
		for _, how := range []string{"close", "421 4.4.2 I have waited too long", "451 4.3.0 not in this session"} {
			if at != "MAIL" && how[:3] == "451" {
				continue // that is an answer about the message
			}
			t.Run(at+" "+how, func(t *testing.T) {
				s := &server{}
				d := single(s).deliverer(t, noPolicy)
				wantDelivered(t, deliverN(t, d, 1)...)
				s.set(func() { s.once = map[string]string{at: how} })
				v := one(t, d.Deliver(t.Context(), letter(1))).Verdict
				wantDelivered(t, v)
				if _, talks, _ := s.count(); talks != 2 {
					t.Errorf("got %d sessions, want 2", talks)
				}
				if n := len(v.Evidence.Hosts); n != 1 || last(t, v).Reused {
					t.Errorf("the dead connection counts: %+v", v.Evidence.Hosts)
				}
			})
		}
	}
}

// RFC 5321, Section 4.5.3.2.6: after the final dot the server may have the
// message. It is never sent a second time in the same attempt, over no other
// connection and to no other host.
func TestNoSecondSendAfterTheDot(t *testing.T) {
	for _, reused := range []bool{false, true} {
		first, second := &server{}, &server{}
		w := &world{names: []string{"mx1.a.example", "mx2.a.example"}, hosts: map[string]*server{"mx1.a.example": first, "mx2.a.example": second}}
		d := w.deliverer(t, noPolicy)
		n := 1
		if reused {
			wantDelivered(t, deliverN(t, d, 1)...)
			n = 2
		}
		first.set(func() { first.replies = map[string]string{".": "close"} })
		v := deliverN(t, d, 1)[0]
		mails, talks, _ := first.count()
		others, _, _ := second.count()
		if v.Outcome != verdict.Deferred || mails != n || talks != 1 || others != 0 {
			t.Errorf("reused %v: got %s, %d messages in %d sessions, %d at the other host; want deferred, %d in 1, 0", reused, v.Outcome, mails, talks, others, n)
		}
		if last(t, v).Reused != reused {
			t.Errorf("reused %v: the evidence says %v", reused, last(t, v).Reused)
		}
	}
}

// The policy may have come, or have become stricter, since the connection was
// opened: it is judged again for each message.
func TestReuseIsJudgedAgain(t *testing.T) {
	none := mtasts.Answer{RecordChecked: true}
	strict := enforce("1", "mx.a.example")
	elsewhere := enforce("2", "other.example")
	watch := strict
	watch.Policy.Mode = mtasts.Testing
	for _, c := range []struct {
		name          string
		cert          lab.CertFault
		tls           bool
		first, second mtasts.Answer
		outcome       verdict.Outcome
		reason        verdict.Reason
		protection    verdict.Protection
		talks         int
	}{
		{"no policy, then enforce", lab.CertFine, true, none, strict, verdict.Delivered, "", verdict.Verified, 1},
		{"no policy, then enforce, bad certificate", lab.NotTrusted, true, none, strict, verdict.Held, verdict.CertificateNotTrusted, verdict.Encrypted, 2},
		{"no policy in clear, then enforce", "", false, none, strict, verdict.Held, verdict.StartTLSNotSupported, verdict.Clear, 2},
		{"no policy in clear, then testing", "", false, none, watch, verdict.Delivered, verdict.StartTLSNotSupported, verdict.Clear, 2},
		{"testing, then enforce", lab.WrongName, true, watch, strict, verdict.Held, verdict.CertificateHostMismatch, verdict.Encrypted, 2},
		{"enforce, then one that does not list it", lab.CertFine, true, strict, elsewhere, verdict.Held, verdict.MXNotListed, "", 1},
		{"enforce, then none", lab.CertFine, true, strict, none, verdict.Delivered, "", verdict.Encrypted, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{}
			w := single(s)
			if c.tls {
				w = secured(t, s, lab.Cert{Fault: c.cert})
			}
			p := &saved{answer: c.first}
			d := w.deliverer(t, p)
			wantDelivered(t, deliverN(t, d, 1)...)
			p.answer = c.second
			v := deliverN(t, d, 1)[0]
			_, talks, _ := s.count()
			if v.Outcome != c.outcome || v.Reason != c.reason || v.Protection != c.protection || talks != c.talks {
				t.Errorf("got %s, %q, %q in %d sessions (%s); want %s, %q, %q in %d", v.Outcome, v.Reason, v.Protection, talks, v.Detail, c.outcome, c.reason, c.protection, c.talks)
			}
			if v.Outcome == verdict.Held {
				if mails, _, _ := s.count(); mails != 1 {
					t.Errorf("%d messages went out, want 1", mails)
				}
			}
		})
	}
}

// A certificate that ends while the connection waits is not good enough for the
// next message; a new connection may show its successor.
func TestCertificateEndsWhileIdle(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		s := &server{}
		w := secured(t, s, lab.Cert{})
		var mu sync.Mutex
		now := time.Now()
		w.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		d := w.deliverer(t, &saved{answer: enforce("1", "mx.a.example")})
		wantDelivered(t, deliverN(t, d, 1)...)
		mu.Lock()
		now = now.Add(100 * 24 * time.Hour)
		mu.Unlock()
		want, reason := verdict.Held, verdict.CertificateExpired
		if renewed {
			cert, err := w.ca.Issue("mx.a.example", lab.Cert{}, now)
			if err != nil {
				t.Fatal(err)
			}
			s.set(func() { s.cert = cert })
			want, reason = verdict.Delivered, ""
		}
		v := deliverN(t, d, 1)[0]
		if _, talks, _ := s.count(); v.Outcome != want || v.Reason != reason || talks != 2 {
			t.Errorf("renewed %v: got %s, %s in %d sessions; want %s, %s in 2", renewed, v.Outcome, v.Reason, talks, want, reason)
		}
	}
}

// The decision on a certificate is not kept beyond its end, however short ago it
// was made; nor for a clock that went back.
func TestDecisionEndsWithTheCertificate(t *testing.T) {
	for _, c := range []struct {
		at, step time.Duration // from the end of the certificate; to the second message
		want     verdict.Outcome
	}{
		{-10 * time.Second, time.Second, verdict.Delivered},
		{-time.Second, 3 * time.Second, verdict.Held},
		{-time.Second, -365 * 24 * time.Hour, verdict.Held},
	} {
		for _, hop := range []bool{false, true} {
			s := &server{}
			w := secured(t, s, lab.Cert{})
			now := s.cert.Leaf.NotAfter.Add(c.at)
			w.now = func() time.Time { return now }
			if hop {
				w.through(nexthop.Hop{Host: "mx.a.example"}, verdict.RouteInside)
			}
			d := w.deliverer(t, &saved{answer: enforce("1", "mx.a.example")})
			wantDelivered(t, deliverN(t, d, 1)...)
			now = now.Add(c.step)
			if v := deliverN(t, d, 1)[0]; v.Outcome != c.want {
				t.Errorf("%v before the end, hop %v, %v later: got %s (%s), want %s", -c.at, hop, c.step, v.Outcome, v.Detail, c.want)
			}
		}
	}
}

// RFC 8689, Section 4.2.1: a connection of an ordinary message is used for a
// tagged one only when it gives what the tag asks for.
func TestReuseForRequireTLS(t *testing.T) {
	for _, c := range []struct {
		name    string
		offers  []string
		outcome verdict.Outcome
		lines   int // MAIL commands with the tag
	}{
		{"offered", []string{"REQUIRETLS"}, verdict.Delivered, 1},
		{"not offered", nil, verdict.Returned, 0},
	} {
		s := &server{offers: c.offers}
		d := secured(t, s, lab.Cert{}).deliverer(t, &saved{answer: enforce("1", "mx.a.example"), again: enforce("1", "mx.a.example")})
		wantDelivered(t, deliverN(t, d, 1)...)
		m := letter(1)
		m.Envelope.RequireTLS = true
		v := one(t, d.Deliver(t.Context(), m)).Verdict
		if v.Outcome != c.outcome || !last(t, v).Reused {
			t.Errorf("%s: got %s (%s), reused %v; want %s over the open connection", c.name, v.Outcome, v.Detail, last(t, v).Reused, c.outcome)
		}
		tagged := 0
		for _, l := range s.said("MAIL") {
			if l == "MAIL FROM:<x@office.example> REQUIRETLS" {
				tagged++
			}
		}
		if tagged != c.lines {
			t.Errorf("%s: %d tagged messages, want %d: %q", c.name, tagged, c.lines, s.said("MAIL"))
		}
		// What this message needs and the server lacks does not end the session.
		wantDelivered(t, deliverN(t, d, 1)...)
		if _, talks, _ := s.count(); talks != 1 {
			t.Errorf("%s: got %d sessions, want 1", c.name, talks)
		}
	}
}

// A session in clear after TLS broke is not used again: the next message tries
// TLS anew.
func TestBrokenTLSIsTriedAgain(t *testing.T) {
	for _, hop := range []bool{false, true} {
		s := &server{starttls: true}
		w := single(s)
		if hop {
			w.through(nexthop.Hop{Host: "mx.a.example", TLS: nexthop.TLSTry}, verdict.RouteInside)
		}
		vs := deliverN(t, w.deliverer(t, noPolicy), 2)
		wantDelivered(t, vs...)
		if n := len(s.said("STARTTLS")); n != 2 || last(t, vs[1]).Reused || !strings.Contains(vs[1].Detail, "TLS was tried first") {
			t.Errorf("hop %v: STARTTLS was tried %d times for 2 messages, want 2; %q", hop, n, vs[1].Detail)
		}
	}
}

// Mail for one domain never uses the connection of another one, though the
// server be the same.
func TestNoReuseAcrossDomains(t *testing.T) {
	s := &server{}
	w := single(s)
	d := w.deliverer(t, noPolicy)
	wantDelivered(t, deliverN(t, d, 1)...)
	w.domain = "b.example"
	m := letter(1)
	m.Domain = "b.example"
	v := one(t, d.Deliver(t.Context(), m)).Verdict
	if _, talks, _ := s.count(); v.Outcome != verdict.Delivered || last(t, v).Reused || talks != 2 {
		t.Errorf("got %s in %d sessions, want delivered in 2", v.Outcome, talks)
	}
}

func TestIdleConnectionIsLeft(t *testing.T) {
	s := &server{}
	w := single(s)
	w.cfg = func(cfg *Config) { cfg.Idle = 20 * time.Millisecond }
	wantDelivered(t, deliverN(t, w.deliverer(t, noPolicy), 1)...)
	await(t, "QUIT", func() bool { _, _, quits := s.count(); return quits == 1 })
}

func TestClose(t *testing.T) {
	s := &server{}
	d := single(s).deliverer(t, noPolicy)
	wantDelivered(t, deliverN(t, d, 1)...)
	d.Close()
	if _, _, quits := s.count(); quits != 1 {
		t.Errorf("after Close: got %d times QUIT, want 1", quits)
	}
	// It can still be used, but nothing waits any more.
	wantDelivered(t, deliverN(t, d, 2)...)
	if _, talks, quits := s.count(); talks != 3 || quits != 3 {
		t.Errorf("after Close and two messages: got %d sessions, %d times QUIT, want 3, 3", talks, quits)
	}
	d.Close()
}

// pooled is a session with a quiet server for tests of the pool alone.
func pooled(t *testing.T, s *server, k key) *session {
	t.Helper()
	cfg := smtpc.Config{Hello: "g.example", Dial: single(s).dial}
	conn, err := cfg.Connect(t.Context(), "mx", netip.MustParseAddrPort("203.0.113.1:25"))
	if err != nil {
		t.Fatal(err)
	}
	return newSession(k, conn, mtasts.TLSState{})
}

func TestPoolIsBounded(t *testing.T) {
	s := &server{}
	p := newPool(time.Minute, 100)
	defer p.close()
	for i := range maxIdle + 5 {
		p.put(pooled(t, s, key{domain: fmt.Sprintf("d%d.example", i)}))
	}
	if len(p.order) != maxIdle || len(p.byKey) != maxIdle {
		t.Errorf("%d connections wait under %d keys, want %d", len(p.order), len(p.byKey), maxIdle)
	}
	if p.take(key{domain: "d0.example"}) != nil {
		t.Error("the one that waits longest was not given up")
	}
	for range maxIdleKey + 3 {
		p.put(pooled(t, s, key{domain: "one.example"}))
	}
	if n := len(p.byKey[key{domain: "one.example"}]); n != maxIdleKey {
		t.Errorf("%d connections wait for one server, want %d", n, maxIdleKey)
	}
	old := pooled(t, s, key{domain: "old.example"})
	old.opened = old.opened.Add(-maxAge)
	p.put(old)
	if p.take(old.key) != nil {
		t.Error("an old connection was given out")
	}
}

// Many attempts at once share the connections and lose nothing.
func TestReuseFromManyGoroutines(t *testing.T) {
	s := &server{offers: []string{"PIPELINING"}}
	w := secured(t, s, lab.Cert{})
	w.cfg = func(cfg *Config) { cfg.Idle, cfg.PerConn = 3*time.Millisecond, 4 }
	d := w.deliverer(t, &saved{answer: enforce("1", "mx.a.example")})
	const workers, each = 8, 12
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				v := d.Deliver(t.Context(), letter(1))[0].Verdict
				if v.Outcome != verdict.Delivered || v.Protection != verdict.Verified {
					t.Errorf("got %s, %s (%s)", v.Outcome, v.Protection, v.Detail)
				}
				if i%3 == 0 {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	d.Close()
	if mails, talks, quits := s.count(); mails != workers*each || quits != talks {
		t.Errorf("got %d messages, %d sessions, %d of them left with QUIT; want %d, all", mails, talks, quits, workers*each)
	}
}

// A server that says nothing to QUIT does not hold up the message.
func TestQuitIsNotWaitedFor(t *testing.T) {
	s := &server{}
	w := single(s)
	w.cfg = func(cfg *Config) {
		cfg.Idle = -1
		cfg.SMTP.Timeouts.Quit = 2 * time.Second
	}
	s.replies = map[string]string{"QUIT": "250-and so"}
	start := time.Now()
	wantDelivered(t, deliverN(t, w.deliverer(t, noPolicy), 1)...)
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

var _ queue.Deliverer = (*Deliverer)(nil)
