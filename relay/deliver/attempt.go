package deliver

import (
	"slices"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// attempt is one call of Deliver: what is asked for and what was seen so far.
// One goroutine uses it.
type attempt struct {
	d      *Deliverer
	m      queue.Message
	demand tlspolicy.Demand
	base   verdict.Verdict // what is the same for every host
	ev     *verdict.Evidence
	text   *content // what is known about the bytes of the message; nil: not read yet

	// failed is the verdict to show when no host takes the message: the first
	// that says most.
	failed *verdict.Verdict
}

// note keeps the verdict of a host that did not take the message.
func (a *attempt) note(v verdict.Verdict) {
	if a.failed == nil || telling(v) > telling(*a.failed) {
		a.failed = &v
	}
}

// telling orders the verdicts of hosts that did not take a message. What a host
// cannot take is final only when nothing else came of the others; a refusal of
// ours says more than any failure, most of all one of what a server showed, and
// what a server said more than silence.
func telling(v verdict.Verdict) int {
	switch {
	case v.Outcome == verdict.Held && v.Addr != "":
		return 4
	case v.Outcome == verdict.Held:
		return 3
	case v.Outcome == verdict.Returned:
		return 0
	case v.Code != 0:
		return 2
	}
	return 1
}

func notePolicy(v *verdict.Verdict, a mtasts.Answer) {
	v.PolicyMode, v.PolicyID, v.PolicyMX = "", "", nil
	v.PolicyFetched, v.PolicyExpires = a.FetchedAt, a.ExpiresAt
	if a.Held {
		// The owner of the domain chose the hosts, and every recipient's verdict
		// holds them: a few are evidence enough.
		mx := a.Policy.MX[:min(len(a.Policy.MX), maxPolicyMX)]
		v.PolicyMode, v.PolicyID, v.PolicyMX = string(a.Policy.Mode), a.RecordID, slices.Clone(mx)
	}
	switch r := verdict.Reason(a.Trouble); r {
	case verdict.PolicyFetchError, verdict.PolicyInvalid, verdict.PolicyWebPKI, verdict.RecordGone,
		verdict.RecordInvalid, verdict.DNSBroken:
		v.PolicyNote = r
	}
}

func finish(v verdict.Verdict, o verdict.Outcome, r verdict.Reason, rule, detail string) verdict.Verdict {
	v.Outcome, v.Reason, v.Rule = o, r, rule
	if detail != "" {
		v.Detail = cut(detail, maxDetail)
	}
	return v
}

// refused is the verdict that follows from a decision not to send.
func refused(v verdict.Verdict, dec tlspolicy.Decision) verdict.Verdict {
	v = finish(v, verdict.Held, dec.Reason, dec.Rule, dec.Detail)
	if dec.Permanent {
		v.Outcome, v.Enhanced = verdict.Returned, dec.Enhanced
	}
	return v
}

const (
	maxDetail   = 500
	maxReply    = 1000
	maxPolicyMX = 20 // hosts of a policy that are kept with a verdict
)

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// all gives every recipient of the attempt the same verdict.
func (a *attempt) all(v verdict.Verdict) []queue.Result { return same(a.m.Rcpts, v) }

func same(rcpts []int, v verdict.Verdict) []queue.Result {
	out := make([]queue.Result, len(rcpts))
	for i, r := range rcpts {
		out[i] = queue.Result{Rcpt: r, Verdict: v}
	}
	return out
}
