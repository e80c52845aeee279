package deliver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/verdict"
)

// RFC 5321, Section 5.1: this box among the MX hosts, by name or behind another
// one, goes with all hosts of the same or a worse preference.
func TestOwnAddressAmongMX(t *testing.T) {
	for _, c := range []struct {
		name    string
		names   []string
		prefs   []uint16
		own     string // address of ours
		gets    string // the host that got the message
		reason  verdict.Reason
		outcome verdict.Outcome
	}{
		{"nobody is us", []string{"a", "b"}, []uint16{1, 2}, "192.0.2.1", "a", "", verdict.Delivered},
		{"the worse one is us", []string{"a", "b"}, []uint16{1, 2}, "203.0.113.2", "a", "", verdict.Delivered},
		{"the best one is us", []string{"a", "b"}, []uint16{1, 2}, "203.0.113.1", "", verdict.Loop, verdict.Returned},
		{"of the same preference", []string{"a", "b"}, []uint16{5, 5}, "203.0.113.2", "", verdict.Loop, verdict.Returned},
		{"one of its addresses", []string{"two"}, []uint16{1}, "2001:db8::99", "", verdict.Loop, verdict.Returned},
		{"the better one is down", []string{"down", "b", "c"}, []uint16{1, 2, 3}, "203.0.113.2", "", verdict.ConnectTimeout, verdict.Deferred},
		{"our name, not our address", []string{"a", "g.example", "c"}, []uint16{1, 2, 3}, "192.0.2.1", "a", "", verdict.Delivered},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{names: c.names, prefs: c.prefs, hosts: map[string]*server{}, addrs: map[string][]string{"two": {"2001:db8::99"}}}
			for _, n := range c.names {
				w.hosts[n] = &server{down: n == "down"}
			}
			w.cfg = func(cfg *Config) {
				cfg.Own = func(a netip.Addr) bool { return a == netip.MustParseAddr(c.own) }
			}
			v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
			if v.Outcome != c.outcome || v.Reason != c.reason {
				t.Errorf("got %s, %s (%s), want %s, %s", v.Outcome, v.Reason, v.Detail, c.outcome, c.reason)
			}
			if v.Reason == verdict.Loop && v.Enhanced != "5.4.6" {
				t.Errorf("got code %q, want 5.4.6", v.Enhanced)
			}
			for n, s := range w.hosts {
				if mails, _, _ := s.count(); (mails == 1) != (n == c.gets) {
					t.Errorf("%s got %d messages", n, mails)
				}
			}
		})
	}
	// An address literal and an implicit MX can be ours too.
	w := single(&server{})
	w.cfg = func(cfg *Config) { cfg.Own = func(netip.Addr) bool { return true } }
	m := letter(1)
	m.Domain = "[203.0.113.1]"
	if v := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict; v.Reason != verdict.Loop {
		t.Errorf("a literal: got %s, %s", v.Outcome, v.Reason)
	}
	// Under an enforced policy an unsigned answer that points at us is waited for.
	if v := deliverN(t, w.deliverer(t, &saved{answer: enforce("1", "mx.a.example")}), 1)[0]; v.Outcome != verdict.Deferred || v.Enhanced != "4.4.6" {
		t.Errorf("under a policy: got %s, %s, want deferred, 4.4.6", v.Outcome, v.Enhanced)
	}
}

// Hosts that the policy does not list cost nothing and use up no budget; hosts
// that are dialled do.
func TestHostBudget(t *testing.T) {
	w := &world{hosts: map[string]*server{}}
	for i := range 30 {
		n := fmt.Sprintf("out%d.example", i)
		w.names = append(w.names, n)
		w.hosts[n] = &server{}
	}
	w.names = append(w.names, "in.a.example")
	w.hosts["in.a.example"] = &server{}
	watched := enforce("1", "in.a.example")
	v := deliverN(t, w.deliverer(t, &saved{answer: watched}), 1)[0]
	if v.Reason != verdict.StartTLSNotSupported || v.MXTried != 31 || len(w.dialled) != 1 {
		t.Errorf("got %s after %d hosts, %d dialled; want the listed one tried: %s after 31, 1", v.Reason, v.MXTried, len(w.dialled), verdict.StartTLSNotSupported)
	}
	if n := len(v.Evidence.Hosts); n != verdict.MaxHosts || last(t, v).MX != "in.a.example" {
		t.Errorf("%d hosts in the evidence, the last is %s; want %d with the one that was tried", n, last(t, v).MX, verdict.MaxHosts)
	}
	if d := v.Evidence.DNS; len(d.MX) != verdict.MaxMX || d.More != 11 {
		t.Errorf("the evidence has %d MX records and %d more", len(d.MX), d.More)
	}
	dead := &world{hosts: map[string]*server{}}
	for i := range 15 {
		dead.names = append(dead.names, fmt.Sprintf("m%d.example", i))
	}
	v = deliverN(t, dead.deliverer(t, noPolicy), 1)[0]
	if len(dead.dialled) != maxHosts || v.Outcome != verdict.Deferred {
		t.Errorf("%d hosts were dialled, want %d; %s", len(dead.dialled), maxHosts, v.Outcome)
	}
}

// Both families are tried within the limit, IPv4 first.
func TestAddressOrder(t *testing.T) {
	still := func(int, func(i, j int)) {}
	for _, c := range []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:db8::1 192.0.2.1", "192.0.2.1 2001:db8::1"},
		{"2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2", "192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2"},
		{"192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.3"},
	} {
		var in []netip.Addr
		for _, s := range strings.Fields(c.in) {
			in = append(in, netip.MustParseAddr(s))
		}
		var got []string
		for _, a := range inOrder(in, still) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, want %s", c.in, strings.Join(got, " "), c.want)
		}
	}
}

// A family to which this box has no way fails at once and says nothing about
// the host, unless the host has no other address.
func TestFamilyWithoutARoute(t *testing.T) {
	s := &server{}
	w := single(s)
	w.addrs = map[string][]string{"mx.a.example": {"2001:db8::1"}}
	m := letter(1)
	m.Envelope.SMTPUTF8 = true
	m.Body = body("Subject: Größe\r\n\r\nhi\r\n")
	v := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
	if v.Outcome != verdict.Returned || v.Enhanced != "5.6.7" || v.Addr != "203.0.113.1" {
		t.Errorf("got %s, %s of %s (%s), want the answer of the address that was reached", v.Outcome, v.Enhanced, v.Addr, v.Detail)
	}
	if got := v.Evidence.Hosts; len(got) != 2 || got[1].Addr != "2001:db8::1" || got[1].Reason != verdict.ConnectTimeout {
		t.Errorf("the evidence leaves the other address out: %+v", got)
	}
	w = &world{names: []string{}, addrs: map[string][]string{"six.example": {"2001:db8::1"}}}
	d := New(Config{Hostname: "g.example", Resolver: zoneWith{zone{"a.example": []resolver.MX{{Host: "six.example"}}}, w}, Policies: noPolicy})
	d.cfg.SMTP.Dial, d.cfg.SMTP.Hello = w.dial, "g.example"
	if v := deliverN(t, d, 1)[0]; v.Outcome != verdict.Deferred || v.Addr != "2001:db8::1" {
		t.Errorf("an address of that family alone: got %s of %q, want deferred", v.Outcome, v.Addr)
	}
}

// zoneWith has the MX records of one and the addresses of the other.
type zoneWith struct {
	zone
	*world
}

func (z zoneWith) LookupMX(ctx context.Context, domain string) ([]resolver.MX, error) {
	return z.zone.LookupMX(ctx, domain)
}

func (z zoneWith) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return z.world.LookupNetIP(ctx, network, host)
}

// Each recipient gets the answer that was given for it.
func TestMixedReplies(t *testing.T) {
	for _, offers := range [][]string{nil, {"PIPELINING"}} {
		s := &server{offers: offers, replies: map[string]string{
			"RCPT TO:<Y1": "550 5.1.1 No such user", "RCPT TO:<Y2": "450 4.7.1 Greylisted", "RCPT TO:<Y3": "452 4.2.2 Mailbox full",
		}}
		results := single(s).deliverer(t, noPolicy).Deliver(t.Context(), letter(5))
		slices.SortFunc(results, func(a, b queue.Result) int { return a.Rcpt - b.Rcpt })
		want := []struct {
			outcome verdict.Outcome
			reason  verdict.Reason
			code    int
		}{
			{verdict.Delivered, "", 250},
			{verdict.Returned, verdict.NoSuchUser, 550},
			{verdict.Deferred, verdict.Greylisted, 450},
			{verdict.Deferred, verdict.MailboxFull, 452},
			{verdict.Delivered, "", 250},
		}
		for i, r := range results {
			if v := r.Verdict; r.Rcpt != i || v.Outcome != want[i].outcome || v.Reason != want[i].reason || v.Code != want[i].code {
				t.Errorf("%v, recipient %d: got %s, %s, %d; want %+v", offers, r.Rcpt, v.Outcome, v.Reason, v.Code, want[i])
			}
			if r.Verdict.Evidence != results[0].Verdict.Evidence {
				t.Error("the recipients do not share their evidence")
			}
		}
		// The evidence has one line for the server: what it took.
		if h := results[0].Verdict.Evidence.Hosts; len(h) != 1 || h[0].Outcome != verdict.Delivered {
			t.Errorf("the evidence is %+v", h)
		}
	}
}

// RFC 3461, Section 5.2.1: who hands NOTIFY on owes no notice of success.
func TestNoticePassed(t *testing.T) {
	for _, c := range []struct {
		offers []string
		notify []string
		reply  string
		want   bool
	}{
		{[]string{"DSN"}, []string{"SUCCESS"}, "", true},
		{[]string{"DSN"}, []string{"NEVER"}, "", true},
		{[]string{"DSN"}, nil, "", false},
		{nil, []string{"SUCCESS"}, "", false},
		{[]string{"DSN"}, []string{"SUCCESS"}, "550 5.1.1 no", false},
	} {
		s := &server{offers: c.offers}
		if c.reply != "" {
			s.replies = map[string]string{"RCPT": c.reply}
		}
		m := letter(1)
		m.Envelope.Rcpts[0].Notify = c.notify
		v := one(t, single(s).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
		sent := strings.Contains(strings.Join(s.said("RCPT"), " "), "NOTIFY=")
		if v.NoticePassed != c.want || c.want && !sent {
			t.Errorf("%v, %v: got %v, sent %v; want %v", c.offers, c.notify, v.NoticePassed, sent, c.want)
		}
	}
}

// RFC 5321, Section 3.2: HELO is a way for servers without extensions where
// nobody demands TLS, and only there.
func TestHELO(t *testing.T) {
	s := &server{oldHello: true}
	if v := deliverN(t, single(s).deliverer(t, noPolicy), 1)[0]; v.Outcome != verdict.Delivered {
		t.Errorf("no policy: got %s (%s)", v.Outcome, v.Detail)
	}
	s = &server{oldHello: true}
	v := deliverN(t, single(s).deliverer(t, &saved{answer: enforce("1", "mx.a.example")}), 1)[0]
	if v.Outcome == verdict.Delivered || len(s.said("HELO")) != 0 {
		t.Errorf("enforce: got %s, %d times HELO", v.Outcome, len(s.said("HELO")))
	}
}

// What a message needs is found in its bytes, not believed (RFC 6152, RFC 6531,
// Section 3.2, RFC 1870).
func TestContent(t *testing.T) {
	ascii, latin := "Subject: x\r\n\r\nhi\r\n", "Subject: x\r\n\r\nGrüße\r\n"
	utf8 := "Subject: Größe\r\n\r\nhi\r\n"
	long := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 30_000) + "ü\r\n"
	longHeader := "X: " + strings.Repeat("a", 32<<10) + "ä\r\n\r\nhi\r\n"
	all := []string{"8BITMIME", "SMTPUTF8"}
	for _, c := range []struct {
		name     string
		text     string
		eight    bool // as the sender declared
		utf8     bool
		offers   []string
		enhanced string // of the bounce
		params   string // of MAIL
	}{
		{"plain", ascii, false, false, nil, "", ""},
		{"declared for nothing", ascii, true, true, nil, "", ""},
		{"declared for nothing, offered", ascii, true, true, all, "", " BODY=8BITMIME SMTPUTF8"},
		{"8-bit body", latin, true, false, []string{"8BITMIME"}, "", " BODY=8BITMIME"},
		{"8-bit body, not declared", latin, false, false, []string{"8BITMIME"}, "", " BODY=8BITMIME"},
		{"8-bit body, not offered", latin, true, false, nil, "5.6.3", ""},
		{"8-bit body, neither", latin, false, false, nil, "", ""},
		{"SMTPUTF8 for the body alone", latin, true, true, []string{"8BITMIME"}, "", " BODY=8BITMIME"},
		{"UTF-8 header", utf8, true, true, all, "", " BODY=8BITMIME SMTPUTF8"},
		{"UTF-8 header, not offered", utf8, true, true, []string{"8BITMIME"}, "5.6.7", ""},
		{"a long message", long, true, true, nil, "5.6.3", ""},
		{"a long message, 8BITMIME", long, false, true, []string{"8BITMIME"}, "", " BODY=8BITMIME"},
		{"UTF-8 late in a long header", longHeader, true, true, []string{"8BITMIME"}, "5.6.7", ""},
		{"too big", ascii, false, false, []string{"SIZE 10"}, "5.3.4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{offers: c.offers}
			w := &world{names: []string{"mx1.a.example", "mx2.a.example"}, hosts: map[string]*server{"mx1.a.example": s, "mx2.a.example": {down: true}}}
			if c.enhanced != "" {
				w = single(s)
			}
			m := letter(1)
			m.Body = body(c.text)
			m.Envelope.EightBit, m.Envelope.SMTPUTF8, m.Envelope.Size = c.eight, c.utf8, int64(len(c.text))
			v := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
			if c.enhanced != "" {
				if v.Outcome != verdict.Returned || v.Enhanced != c.enhanced {
					t.Errorf("got %s, %s (%s), want returned, %s", v.Outcome, v.Enhanced, v.Detail, c.enhanced)
				}
				return
			}
			if v.Outcome != verdict.Delivered || s.texts[0] != c.text {
				t.Fatalf("got %s (%s), or other bytes than were accepted", v.Outcome, v.Detail)
			}
			if got := strings.TrimPrefix(s.said("MAIL")[0], "MAIL FROM:<x@office.example>"); got != c.params {
				t.Errorf("got parameters %q, want %q", got, c.params)
			}
		})
	}
}

// The end of the header is found wherever it lies in the pieces that are read,
// and addresses count (RFC 6531, Section 3.2).
func TestWhereTheHeaderEnds(t *testing.T) {
	for n := 32<<10 - 12; n < 32<<10+4; n++ {
		m := letter(1)
		m.Envelope.SMTPUTF8 = true
		field := "X: " + strings.Repeat("a", 59) + "\r\n"
		head := strings.Repeat(field, n/len(field)-1)
		head += "X: " + strings.Repeat("a", n-len(head)-5) + "\r\n"
		m.Body = body(head + "\r\nGrüße\r\n")
		s := &server{offers: []string{"8BITMIME"}}
		if v := one(t, single(s).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict; v.Outcome != verdict.Delivered {
			t.Errorf("a header of %d bytes: got %s, %s", n, v.Outcome, v.Enhanced)
		}
	}
	m := letter(1)
	m.Envelope.SMTPUTF8, m.Envelope.Rcpts[0].Addr = true, "größe@a.example"
	if v := one(t, single(&server{}).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict; v.Outcome != verdict.Returned || v.Enhanced != "5.6.7" {
		t.Errorf("a UTF-8 address: got %s, %s, want returned, 5.6.7", v.Outcome, v.Enhanced)
	}
}

// A domain without a policy gets the second host when the first is broken in
// the middle of a message (RFC 5321, Section 5.1).
func TestNextHostAfterAFailure(t *testing.T) {
	for _, at := range []string{"EHLO", "MAIL", "RCPT", "DATA"} {
		w := &world{names: []string{"mx1.a.example", "mx2.a.example"}, hosts: map[string]*server{
			"mx1.a.example": {replies: map[string]string{at: "close"}}, "mx2.a.example": {},
		}}
		v := deliverN(t, w.deliverer(t, &saved{answer: mtasts.Answer{RecordChecked: true}}), 1)[0]
		if v.Outcome != verdict.Delivered || v.MX != "mx2.a.example" || v.MXTried != 2 || len(v.Evidence.Hosts) != 2 {
			t.Errorf("lost at %s: got %s by %s, %d hosts in the evidence", at, v.Outcome, v.MX, len(v.Evidence.Hosts))
		}
	}
}
