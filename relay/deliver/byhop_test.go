package deliver

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"gatepost/mtasts"
	"gatepost/relay/lab"
	"gatepost/relay/nexthop"
	"gatepost/relay/verdict"
)

// through makes every domain go through a hop. The hop's host is one of the
// world's servers, or its address.
func (w *world) through(hop nexthop.Hop, how verdict.Route) *world {
	before := w.cfg
	w.cfg = func(cfg *Config) {
		if before != nil {
			before(cfg)
		}
		cfg.Route = func(string) (nexthop.Hop, verdict.Route, bool) { return hop, how, true }
	}
	return w
}

// asked is a Policies that remembers for which domains it was asked.
type asked struct {
	saved
	domains, again []string
}

func (p *asked) Policy(ctx context.Context, domain string) (mtasts.Answer, error) {
	p.domains = append(p.domains, domain)
	return p.saved.Policy(ctx, domain)
}

func (p *asked) Recheck(ctx context.Context, domain string) (mtasts.Answer, error) {
	p.again = append(p.again, domain)
	return p.saved.Recheck(ctx, domain)
}

// RFC 8461, Sections 2 and 3.4: with a hop of the settings the recipient domain
// is not the policy domain. Neither its MX records nor its policy are asked
// for, and an enforced policy of it changes nothing.
func TestHopNeedsNeitherMXNorPolicy(t *testing.T) {
	for _, c := range []struct {
		how   verdict.Route
		asked string
	}{
		{verdict.RouteInside, ""},
		{verdict.RouteSmartHost, "mx.a.example"}, // its own name: Section 3.4
	} {
		s := &server{}
		w := single(s).through(nexthop.Hop{Host: "mx.a.example", TLS: nexthop.TLSTry}, c.how)
		p := &asked{}
		v := deliverN(t, w.deliverer(t, p), 1)[0]
		wantDelivered(t, v)
		if got := strings.Join(p.domains, " "); got != c.asked || w.askedMX != 0 {
			t.Errorf("%s: asked for the policies of %q and %d times for MX, want %q, 0", c.how, got, w.askedMX, c.asked)
		}
		if v.Evidence.Route != c.how || v.Evidence.DNS != nil || v.MX != "mx.a.example" || v.Addr != "203.0.113.1" || v.Protection != verdict.Clear {
			t.Errorf("%s: got %+v, evidence %+v", c.how, v, v.Evidence)
		}
	}
}

// The rule of the settings decides, and a rule that is not met holds the
// message.
func TestHopRules(t *testing.T) {
	none, try, require, verify := nexthop.TLSNone, nexthop.TLSTry, nexthop.TLSRequire, nexthop.TLSVerify
	for _, c := range []struct {
		name       string
		rule       nexthop.TLSRule
		tls        bool
		fault      lab.CertFault
		broken     bool
		outcome    verdict.Outcome
		reason     verdict.Reason
		protection verdict.Protection
	}{
		{"none", none, true, lab.CertFine, false, verdict.Delivered, "", verdict.Clear},
		{"try", try, true, lab.NotTrusted, false, verdict.Delivered, "", verdict.Encrypted},
		{"try, not offered", try, false, "", false, verdict.Delivered, "", verdict.Clear},
		{"try, broken", try, false, "", true, verdict.Delivered, "", verdict.Clear},
		{"require", require, true, lab.NotTrusted, false, verdict.Delivered, "", verdict.Encrypted},
		{"require, not offered", require, false, "", false, verdict.Held, verdict.RouteNotSafe, ""},
		{"require, broken", require, false, "", true, verdict.Held, verdict.RouteNotSafe, ""},
		{"verify", verify, true, lab.CertFine, false, verdict.Delivered, "", verdict.Verified},
		{"verify, wrong name", verify, true, lab.WrongName, false, verdict.Held, verdict.RouteNotSafe, ""},
		{"verify, expired", verify, true, lab.Expired, false, verdict.Held, verdict.RouteNotSafe, ""},
		{"verify, not offered", verify, false, "", false, verdict.Held, verdict.RouteNotSafe, ""},
		{"no rule is the strictest", "", true, lab.NotTrusted, false, verdict.Held, verdict.RouteNotSafe, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{starttls: c.broken}
			w := single(s)
			if c.tls {
				w = secured(t, s, lab.Cert{Fault: c.fault})
			}
			w.through(nexthop.Hop{Host: "mx.a.example", TLS: c.rule}, verdict.RouteInside)
			v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
			if v.Outcome != c.outcome || v.Reason != c.reason || v.Protection != c.protection {
				t.Errorf("got %s, %s, %q (%s); want %s, %s, %q", v.Outcome, v.Reason, v.Protection, v.Detail, c.outcome, c.reason, c.protection)
			}
			mails, _, _ := s.count()
			if (mails == 1) != (c.outcome == verdict.Delivered) {
				t.Errorf("%d messages were sent", mails)
			}
			if len(v.Evidence.Hosts) != 1 || last(t, v).Outcome != c.outcome {
				t.Errorf("the evidence is %+v", v.Evidence.Hosts)
			}
			if v.Outcome == verdict.Held && v.Rule == "" {
				t.Error("held without a rule")
			}
		})
	}
}

// RFC 8689: a hop of the settings is a hop too. It must be verified and offer
// the option, unless the operator declares that mail is at its end there.
func TestHopRequireTLS(t *testing.T) {
	for _, c := range []struct {
		name     string
		rule     nexthop.TLSRule
		final    bool
		tls      bool
		fault    lab.CertFault
		offers   []string
		outcome  verdict.Outcome
		reason   verdict.Reason
		enhanced string
		tagged   bool
	}{
		{"verified, offered", nexthop.TLSVerify, false, true, lab.CertFine, []string{"REQUIRETLS"}, verdict.Delivered, "", "2.0.0", true},
		{"not offered", nexthop.TLSVerify, false, true, lab.CertFine, nil, verdict.Returned, verdict.RequireTLS, "5.7.30", false},
		{"the rule is raised", nexthop.TLSTry, false, true, lab.NotTrusted, []string{"REQUIRETLS"}, verdict.Held, verdict.RouteNotSafe, "", false},
		{"no TLS at all", nexthop.TLSTry, false, false, "", []string{"REQUIRETLS"}, verdict.Returned, verdict.RequireTLS, "5.7.10", false},
		{"no TLS where the rule wants it", nexthop.TLSVerify, false, false, "", nil, verdict.Held, verdict.RouteNotSafe, "", false},
		{"final", nexthop.TLSVerify, true, true, lab.CertFine, nil, verdict.Delivered, "", "2.0.0", false},
		{"final, by its own rule", nexthop.TLSTry, true, false, "", nil, verdict.Delivered, "", "2.0.0", false},
		{"final, its rule not met", nexthop.TLSVerify, true, true, lab.Expired, nil, verdict.Held, verdict.RouteNotSafe, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{offers: c.offers}
			w := single(s)
			if c.tls {
				w = secured(t, s, lab.Cert{Fault: c.fault})
			}
			w.through(nexthop.Hop{Host: "mx.a.example", TLS: c.rule, Final: c.final}, verdict.RouteInside)
			m := letter(1)
			m.Envelope.RequireTLS = true
			v := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
			if v.Outcome != c.outcome || v.Reason != c.reason || v.Enhanced != c.enhanced {
				t.Errorf("got %s, %s, %q (%s); want %s, %s, %q", v.Outcome, v.Reason, v.Enhanced, v.Detail, c.outcome, c.reason, c.enhanced)
			}
			if tagged := strings.Contains(strings.Join(s.said("MAIL"), " "), "REQUIRETLS"); tagged != c.tagged {
				t.Errorf("sent with the tag: %v, want %v", tagged, c.tagged)
			}
		})
	}
}

// RFC 4954, Section 6: whatever the server says to a login is a fault of the
// settings. Nothing is returned to a sender because of it.
func TestHopLogin(t *testing.T) {
	for _, c := range []struct {
		name    string
		offers  []string
		replies map[string]string
		outcome verdict.Outcome
		reason  verdict.Reason
		code    int
	}{
		{"taken", []string{"AUTH PLAIN"}, nil, verdict.Delivered, "", 250},
		{"refused", []string{"AUTH PLAIN"}, map[string]string{"AUTH": "535 5.7.8 wrong"}, verdict.Deferred, verdict.LoginRefused, 535},
		{"not now", []string{"AUTH PLAIN"}, map[string]string{"AUTH": "454 4.7.0 not now"}, verdict.Deferred, verdict.LoginRefused, 454},
		{"not offered", nil, nil, verdict.Deferred, verdict.LoginRefused, 0},
		{"asked for at MAIL", []string{"AUTH PLAIN"}, map[string]string{"MAIL": "530 5.7.0 Authentication required"}, verdict.Deferred, verdict.LoginRefused, 530},
		{"no relaying", []string{"AUTH PLAIN"}, map[string]string{"RCPT": "554 5.7.1 <y0@a.example>: Relay access denied"}, verdict.Deferred, verdict.LoginRefused, 554},
		{"no such user", []string{"AUTH PLAIN"}, map[string]string{"RCPT": "550 5.1.1 No such user"}, verdict.Returned, verdict.NoSuchUser, 550},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{offers: c.offers, replies: c.replies}
			w := secured(t, s, lab.Cert{})
			w.through(nexthop.Hop{Host: "mx.a.example", Port: 587, User: "office", Password: "secret"}, verdict.RouteSmartHost)
			v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
			if v.Outcome != c.outcome || v.Reason != c.reason || v.Code != c.code {
				t.Errorf("got %s, %s, %d (%s); want %s, %s, %d", v.Outcome, v.Reason, v.Code, v.Detail, c.outcome, c.reason, c.code)
			}
			if last(t, v).Outcome != c.outcome {
				t.Errorf("the evidence says %s", last(t, v).Outcome)
			}
		})
	}
	// By MX the same words are an answer about the message.
	s := &server{replies: map[string]string{"RCPT": "554 5.7.1 <y0@a.example>: Relay access denied"}}
	if v := deliverN(t, single(s).deliverer(t, noPolicy), 1)[0]; v.Outcome != verdict.Returned || v.Reason != verdict.RelayDenied {
		t.Errorf("by MX: got %s, %s, want returned, relay-denied", v.Outcome, v.Reason)
	}
}

// RFC 8314, Section 3: TLS from the first byte counts as what it is.
func TestHopImplicitTLS(t *testing.T) {
	s := &server{implicit: true}
	w := secured(t, s, lab.Cert{})
	w.through(nexthop.Hop{Host: "mx.a.example", Implicit: true}, verdict.RouteSmartHost)
	v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
	if v.Outcome != verdict.Delivered || v.Protection != verdict.Verified || len(last(t, v).Chain) != 1 {
		t.Errorf("got %s, %s (%s)", v.Outcome, v.Protection, v.Detail)
	}
}

// RFC 5321, Section 5.1: what leads back to this box is a loop, also when a
// person set it so.
func TestHopLeadsHome(t *testing.T) {
	for _, c := range []struct {
		hop  nexthop.Hop
		loop bool
	}{
		{nexthop.Hop{Host: "203.0.113.1", TLS: nexthop.TLSTry}, true},
		{nexthop.Hop{Host: "mx.a.example", TLS: nexthop.TLSTry}, true},
		{nexthop.Hop{Host: "mx.a.example", Port: 25, TLS: nexthop.TLSTry}, true},
		{nexthop.Hop{Host: "G.example.", TLS: nexthop.TLSTry}, true},
		{nexthop.Hop{Host: "mx.a.example", Port: 2525, TLS: nexthop.TLSTry}, false}, // another server of this machine
	} {
		w := single(&server{}).through(c.hop, verdict.RouteInside)
		before := w.cfg
		w.cfg = func(cfg *Config) {
			before(cfg)
			cfg.Own = func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.1") }
		}
		v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
		if loop := v.Outcome == verdict.Returned && v.Reason == verdict.Loop && v.Enhanced == "5.4.6"; loop != c.loop {
			t.Errorf("%s: got %s, %s, %s; want a loop: %v", c.hop, v.Outcome, v.Reason, v.Enhanced, c.loop)
		}
	}
}

// RFC 8461, Section 3.4: a smart host's own name is the policy domain of mail
// through it. Its policy makes the rule of the settings stricter, never weaker.
func TestSmartHostPolicy(t *testing.T) {
	listed, other := enforce("1", "mx.a.example"), enforce("1", "other.example")
	watch := other
	watch.Policy.Mode = mtasts.Testing
	for _, c := range []struct {
		name    string
		answer  mtasts.Answer
		err     error
		rule    nexthop.TLSRule
		fault   lab.CertFault
		outcome verdict.Outcome
		reason  verdict.Reason
		rfc     string
	}{
		{"raises the rule", listed, nil, nexthop.TLSTry, lab.NotTrusted, verdict.Held, verdict.RouteNotSafe, ruleSmartHost},
		{"is met", listed, nil, nexthop.TLSTry, lab.CertFine, verdict.Delivered, "", ruleSmartHost},
		{"does not list it", other, nil, nexthop.TLSVerify, lab.CertFine, verdict.Held, verdict.RouteNotSafe, ruleSmartHost},
		{"testing", watch, nil, nexthop.TLSTry, lab.NotTrusted, verdict.Delivered, "", ruleSettings},
		{"unknown, rule try", mtasts.Answer{}, mtasts.ErrTemporary, nexthop.TLSTry, lab.CertFine, verdict.Deferred, verdict.DNSBroken, ""},
		{"unknown, rule verify", mtasts.Answer{}, mtasts.ErrTemporary, nexthop.TLSVerify, lab.CertFine, verdict.Delivered, "", ruleSettings},
		{"a name without a domain", mtasts.Answer{}, mtasts.ErrDomain, nexthop.TLSTry, lab.NotTrusted, verdict.Delivered, "", ruleSettings},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := secured(t, &server{}, lab.Cert{Fault: c.fault})
			w.through(nexthop.Hop{Host: "mx.a.example", TLS: c.rule}, verdict.RouteSmartHost)
			v := deliverN(t, w.deliverer(t, &saved{answer: c.answer, err: c.err}), 1)[0]
			if v.Outcome != c.outcome || v.Reason != c.reason || c.rfc != "" && v.Rule != c.rfc {
				t.Errorf("got %s, %s, %s (%s); want %s, %s, %s", v.Outcome, v.Reason, v.Rule, v.Detail, c.outcome, c.reason, c.rfc)
			}
		})
	}
	// Section 5.1: no permanent failure while nobody can say whether the policy
	// still holds.
	unknown := other
	unknown.RecordChecked = false
	w := secured(t, &server{}, lab.Cert{})
	w.through(nexthop.Hop{Host: "mx.a.example"}, verdict.RouteSmartHost)
	p := &asked{saved: saved{answer: other, again: unknown}}
	m := letter(1)
	m.Final = true
	if r := one(t, w.deliverer(t, p).Deliver(t.Context(), m)); !r.Unsettled || len(p.again) != 1 {
		t.Errorf("the last attempt: unsettled %v, asked again %q; want true, once", r.Unsettled, p.again)
	}
	p = &asked{saved: saved{again: enforce("1", "mx.a.example")}}
	p.saved.again.RecordChecked = false
	w = secured(t, &server{}, lab.Cert{Fault: lab.Expired})
	w.through(nexthop.Hop{Host: "mx.a.example", TLS: nexthop.TLSTry}, verdict.RouteSmartHost)
	if r := one(t, w.deliverer(t, p).Deliver(t.Context(), m)); !r.Unsettled || r.Verdict.Outcome != verdict.Held {
		t.Errorf("a rule from the policy: got %s, unsettled %v; want held, true", r.Verdict.Outcome, r.Unsettled)
	}
	// A hold by the rule of the settings alone ends in its time.
	w = secured(t, &server{}, lab.Cert{Fault: lab.Expired})
	w.through(nexthop.Hop{Host: "mx.a.example"}, verdict.RouteSmartHost)
	for _, p := range []*saved{{err: mtasts.ErrTemporary}, {again: unknown}} {
		p.again.Policy.MX = []string{"mx.a.example"}
		if r := one(t, w.deliverer(t, p).Deliver(t.Context(), m)); r.Unsettled || r.Verdict.Outcome != verdict.Held {
			t.Errorf("the rule of the settings: got %s, unsettled %v; want held, false", r.Verdict.Outcome, r.Unsettled)
		}
	}
}

// A hop whose name cannot be looked up is told in the evidence too, and the
// message waits: the name is from the settings.
func TestHopWithoutAddress(t *testing.T) {
	w := single(&server{}).through(nexthop.Hop{Host: "gone.example"}, verdict.RouteInside)
	v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
	if v.Outcome != verdict.Deferred || v.Reason != verdict.NoRoute || last(t, v).Reason != verdict.NoRoute {
		t.Errorf("got %s, %s (%s), evidence %+v", v.Outcome, v.Reason, v.Detail, v.Evidence.Hosts)
	}
}

// Connections are shared between equal hops only: a changed password or rule is
// another hop.
func TestHopReuse(t *testing.T) {
	s := &server{offers: []string{"AUTH PLAIN", "REQUIRETLS"}}
	w := secured(t, s, lab.Cert{})
	hop := nexthop.Hop{Host: "mx.a.example", TLS: nexthop.TLSRequire, User: "office", Password: "one"}
	w.cfg = func(cfg *Config) {
		cfg.Route = func(string) (nexthop.Hop, verdict.Route, bool) { return hop, verdict.RouteSmartHost, true }
	}
	d := w.deliverer(t, noPolicy)
	step := func(what string, talks int) {
		t.Helper()
		wantDelivered(t, deliverN(t, d, 1)...)
		if _, got, _ := s.count(); got != talks {
			t.Errorf("%s: got %d sessions, want %d", what, got, talks)
		}
	}
	step("the first", 1)
	step("the same", 1)
	hop.Password = "two"
	step("another password", 2)
	hop.TLS = nexthop.TLSVerify
	step("another rule", 3)
	m := letter(1)
	m.Envelope.RequireTLS = true
	if v := one(t, d.Deliver(t.Context(), m)).Verdict; v.Outcome != verdict.Delivered || !last(t, v).Reused {
		t.Errorf("a tagged message over a verified session: got %s, reused %v", v.Outcome, last(t, v).Reused)
	}
}
