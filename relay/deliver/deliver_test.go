package deliver

import (
	"context"
	"errors"
	"testing"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// saved is a Policies that answers what the test sets; it stands in for the
// cache in tests of what follows from its answers.
type saved struct {
	answer  mtasts.Answer
	err     error
	again   mtasts.Answer // of Recheck
	rechked int
}

func (s *saved) Policy(context.Context, string) (mtasts.Answer, error) { return s.answer, s.err }

func (s *saved) Recheck(context.Context, string) (mtasts.Answer, error) {
	s.rechked++
	return s.again, s.err
}

func (s *saved) ObserveMX(string, []string) {}

func enforce(id, mx string) mtasts.Answer {
	return mtasts.Answer{
		Held: true, RecordID: id, RecordChecked: true,
		Policy: mtasts.Policy{Mode: mtasts.Enforce, MX: []string{mx}},
	}
}

func message(tries int, final bool) queue.Message {
	return queue.Message{
		ID: "m", Domain: "a.example", Rcpts: []int{0}, Tries: tries, Final: final,
		Envelope: spool.Envelope{From: "x@office.example", Rcpts: []spool.Rcpt{{Addr: "y@a.example"}}},
	}
}

func one(t *testing.T, results []queue.Result) queue.Result {
	t.Helper()
	if len(results) != 1 {
		t.Fatalf("got %d results, want 1", len(results))
	}
	return results[0]
}

var mxOfA = zone{"a.example": []resolver.MX{{Host: "mx.a.example", Pref: 10}}}

// A fault of the DNS is not "no policy": the message waits, but not for ever.
func TestPolicyUnknown(t *testing.T) {
	for _, c := range []struct {
		err    error
		tries  int
		reason verdict.Reason
	}{
		{mtasts.ErrTemporary, 0, verdict.DNSBroken},
		{mtasts.ErrTemporary, 4, verdict.DNSBroken},
		{mtasts.ErrTemporary, 5, verdict.NoRoute}, // goes on: the host has no address here
		{mtasts.ErrStore, 99, verdict.DNSBroken},  // a saved policy may exist: never without it
		{mtasts.ErrClock, 99, verdict.ClockWrong},
		{mtasts.ErrDomain, 0, verdict.NoRoute},
		{errors.New("anything else"), 99, verdict.DNSBroken},
	} {
		d := New(Config{Hostname: "g.example", Resolver: mxOfA, Policies: &saved{err: c.err}})
		got := one(t, d.Deliver(t.Context(), message(c.tries, false))).Verdict
		if got.Reason != c.reason {
			t.Errorf("%v after %d tries: got %s (%s), want %s", c.err, c.tries, got.Reason, got.Detail, c.reason)
		}
		if got.Outcome == verdict.Returned && !errors.Is(c.err, mtasts.ErrDomain) {
			t.Errorf("%v: returned", c.err)
		}
	}
}

// RFC 8461, Section 5.1: before a failure becomes permanent the domain is asked
// for a new policy; when nobody can say, it does not become permanent.
func TestFinalAttemptAsksAgain(t *testing.T) {
	for _, c := range []struct {
		name      string
		again     mtasts.Answer
		reason    verdict.Reason
		unsettled bool
	}{
		{"nothing new", enforce("1", "other.example"), verdict.MXNotListed, false},
		{"a new policy lists the host", enforce("2", "mx.a.example"), verdict.NoRoute, false},
		{"nobody can say", func() mtasts.Answer { a := enforce("1", "other.example"); a.RecordChecked = false; return a }(), verdict.MXNotListed, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &saved{answer: enforce("1", "other.example"), again: c.again}
			d := New(Config{Hostname: "g.example", Resolver: mxOfA, Policies: p})
			got := one(t, d.Deliver(t.Context(), message(9, true)))
			if got.Verdict.Reason != c.reason || got.Unsettled != c.unsettled || p.rechked != 1 {
				t.Errorf("got %s, unsettled %v, asked again %d times; want %s, %v, once", got.Verdict.Reason, got.Unsettled, p.rechked, c.reason, c.unsettled)
			}
		})
	}
	p := &saved{answer: enforce("1", "other.example")}
	d := New(Config{Hostname: "g.example", Resolver: mxOfA, Policies: p})
	if got := one(t, d.Deliver(t.Context(), message(0, false))); got.Verdict.Outcome != verdict.Held || p.rechked != 0 {
		t.Errorf("not the last attempt: got %+v, asked again %d times", got.Verdict, p.rechked)
	}
}

// Under an enforced policy an unsigned "there is no such domain" does not make
// the mail return at once; without one it does.
func TestForgedAbsence(t *testing.T) {
	for name, z := range map[string]zone{
		"no such domain": {},
		"null MX":        {"a.example": []resolver.MX{{}}},
	} {
		d := New(Config{Hostname: "g.example", Resolver: z, Policies: &saved{answer: enforce("1", "mx.a.example")}})
		if got := one(t, d.Deliver(t.Context(), message(0, false))).Verdict; got.Outcome != verdict.Deferred {
			t.Errorf("%s, enforced: got %s, want deferred", name, got.Outcome)
		}
		d = New(Config{Hostname: "g.example", Resolver: z, Policies: &saved{}})
		if got := one(t, d.Deliver(t.Context(), message(0, false))).Verdict; got.Outcome != verdict.Returned {
			t.Errorf("%s, no policy: got %s, want returned", name, got.Outcome)
		}
	}
}
