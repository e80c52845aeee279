package deliver

import (
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/lab"
	"gatepost/relay/queue"
	"gatepost/relay/verdict"
)

func tagged() queue.Message {
	m := letter(1)
	m.Envelope.RequireTLS = true
	return m
}

// RFC 8689, Section 4.2.1: where nobody vouches for the hosts, or none of them
// offers the option, waiting does not help: the message is returned at once.
// Whatever may pass is waited for.
func TestRequireTLS(t *testing.T) {
	strict := enforce("1", "*.a.example")
	with := func(m mtasts.Mode) mtasts.Answer { a := strict; a.Policy.Mode = m; return a }
	trouble := func(r mtasts.Reason) mtasts.Answer { return mtasts.Answer{RecordChecked: true, Trouble: r} }
	option := []string{"REQUIRETLS"}
	for _, c := range []struct {
		name     string
		answer   mtasts.Answer
		err      error
		first    *server // both have a good certificate unless they say otherwise
		second   *server
		outcome  verdict.Outcome
		reason   verdict.Reason
		enhanced string
		talks    int // sessions with either
	}{
		{"offered", strict, nil, &server{offers: option}, &server{}, verdict.Delivered, "", "2.0.0", 1},
		{"the second offers it", strict, nil, &server{}, &server{offers: option}, verdict.Delivered, "", "2.0.0", 2},
		{"none offers it", strict, nil, &server{}, &server{}, verdict.Returned, verdict.RequireTLS, "5.7.30", 2},
		{"one is down", strict, nil, &server{}, &server{down: true}, verdict.Deferred, verdict.ConnectTimeout, "", 1},
		{"one is busy", strict, nil, &server{greeting: "421 4.3.2 too busy"}, &server{}, verdict.Deferred, verdict.RateLimited, "4.3.2", 2},
		{"one wants to see us later", strict, nil, &server{offers: option, replies: map[string]string{"RCPT": "450 4.7.1 Greylisted"}}, &server{}, verdict.Deferred, verdict.Greylisted, "4.7.1", 1},
		{"TLS is hidden", strict, nil, &server{replies: map[string]string{"EHLO": "250 mx"}}, &server{}, verdict.Held, verdict.StartTLSNotSupported, "", 2},
		{"no policy", mtasts.Answer{RecordChecked: true}, nil, &server{offers: option}, &server{offers: option}, verdict.Returned, verdict.RequireTLS, "5.7.10", 0},
		{"a policy in testing", with(mtasts.Testing), nil, &server{offers: option}, &server{offers: option}, verdict.Returned, verdict.RequireTLS, "5.7.10", 0},
		{"mode none", with(mtasts.None), nil, &server{offers: option}, &server{offers: option}, verdict.Returned, verdict.RequireTLS, "5.7.10", 0},
		{"not listed", enforce("1", "other.example"), nil, &server{offers: option}, &server{offers: option}, verdict.Held, verdict.MXNotListed, "", 0},
		// A policy that cannot be had may be the one that vouches.
		{"DNS is broken", mtasts.Answer{}, mtasts.ErrTemporary, &server{offers: option}, &server{}, verdict.Deferred, verdict.DNSBroken, "", 0},
		{"the policy cannot be fetched", trouble(mtasts.ReasonFetch), nil, &server{offers: option}, &server{}, verdict.Deferred, verdict.RequireTLS, "4.7.10", 0},
		{"its host has a bad certificate", trouble(mtasts.ReasonWebPKI), nil, &server{offers: option}, &server{}, verdict.Deferred, verdict.RequireTLS, "4.7.10", 0},
		{"the record is broken", trouble(mtasts.ReasonRecord), nil, &server{offers: option}, &server{}, verdict.Returned, verdict.RequireTLS, "5.7.10", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{names: []string{"mx1.a.example", "mx2.a.example"}, hosts: map[string]*server{"mx1.a.example": c.first, "mx2.a.example": c.second}}
			var err error
			if w.ca, err = lab.NewCA(time.Now()); err != nil {
				t.Fatal(err)
			}
			c.first.cert, c.second.cert = w.issue(t, "mx1.a.example", lab.Cert{}), w.issue(t, "mx2.a.example", lab.Cert{})
			m := tagged()
			m.Tries = 99 // no number of attempts makes it go without
			v := one(t, w.deliverer(t, &saved{answer: c.answer, again: c.answer, err: c.err}).Deliver(t.Context(), m)).Verdict
			if v.Outcome != c.outcome || v.Reason != c.reason || v.Enhanced != c.enhanced {
				t.Errorf("got %s, %s, %q (%s); want %s, %s, %q", v.Outcome, v.Reason, v.Enhanced, v.Detail, c.outcome, c.reason, c.enhanced)
			}
			_, one, _ := c.first.count()
			_, two, _ := c.second.count()
			if one+two != c.talks {
				t.Errorf("got %d sessions, want %d", one+two, c.talks)
			}
			if v.Outcome == verdict.Returned && v.Rule != ruleTag {
				t.Errorf("returned by %q", v.Rule)
			}
		})
	}
}

// RFC 8461, Section 5.1: before the message is returned because no policy
// vouches, the domain is asked for a new one.
func TestRequireTLSAsksAgain(t *testing.T) {
	s := &server{offers: []string{"REQUIRETLS"}}
	w := secured(t, s, lab.Cert{})
	watch := enforce("1", "mx.a.example")
	watch.Policy.Mode = mtasts.Testing
	p := &saved{answer: watch, again: enforce("2", "mx.a.example")}
	if v := one(t, w.deliverer(t, p).Deliver(t.Context(), tagged())).Verdict; v.Outcome != verdict.Delivered || p.rechked != 1 {
		t.Errorf("a new policy in enforce: got %s (%s), asked again %d times", v.Outcome, v.Detail, p.rechked)
	}
	p = &saved{answer: watch, again: mtasts.Answer{}}
	r := one(t, w.deliverer(t, p).Deliver(t.Context(), tagged()))
	if v := r.Verdict; v.Outcome != verdict.Deferred || v.Enhanced != "4.7.10" || !r.Unsettled {
		t.Errorf("nobody can say: got %s, %s, unsettled %v; want it to wait", v.Outcome, v.Enhanced, r.Unsettled)
	}
}

// RFC 8689, Sections 3 and 4.2.2: a sender may want delivery even where TLS
// cannot be had; a message with REQUIRETLS is not asked about (Section 4.1).
func TestTLSOptional(t *testing.T) {
	s := &server{}
	w := single(s)
	w.cfg = func(cfg *Config) { cfg.TLSOptional = func(queue.Message) bool { return true } }
	d := w.deliverer(t, &saved{answer: enforce("1", "mx.a.example"), again: enforce("1", "mx.a.example")})
	if v := deliverN(t, d, 1)[0]; v.Outcome != verdict.Delivered || v.Protection != verdict.Clear || v.Detail == "" {
		t.Errorf("got %s, %s, %q; want it delivered in clear, and why", v.Outcome, v.Protection, v.Detail)
	}
	if v := one(t, d.Deliver(t.Context(), tagged())).Verdict; v.Outcome != verdict.Held || v.Reason != verdict.StartTLSNotSupported {
		t.Errorf("with REQUIRETLS: got %s, %s, want held", v.Outcome, v.Reason)
	}
	if mails, _, _ := s.count(); mails != 1 {
		t.Errorf("got %d messages, want 1", mails)
	}
}
