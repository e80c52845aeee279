package deliver

import (
	"context"
	"errors"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// byMX delivers to the MX hosts of the domain under its policy.
func (a *attempt) byMX(ctx context.Context) []queue.Result {
	if stop := a.ask(ctx); stop != nil {
		return a.all(*stop)
	}
	results := a.walk(ctx)
	if !a.givingUp(results) || ctx.Err() != nil {
		return results
	}
	// RFC 8461, Section 5.1: no permanent failure before the domain has had
	// its chance to say that the policy is a new one.
	again, err := a.d.cfg.Policies.Recheck(ctx, a.m.Domain)
	if err != nil || !again.RecordChecked {
		return unsettled(results)
	}
	if again.RecordID == a.base.PolicyID && again.FetchedAt.Equal(a.base.PolicyFetched) {
		return results
	}
	a.d.cfg.Log.Info("the domain has a new policy, trying once more before giving up", "domain", a.m.Domain, "id", a.m.ID)
	notePolicy(&a.base, again)
	a.demand = tlspolicy.New(again.Policy, again.Held, a.m.Envelope.RequireTLS)
	a.failed = nil
	return a.walk(ctx)
}

// ask asks for the policy in force and notes it. The verdict is not nil when
// nothing may be decided now.
func (a *attempt) ask(ctx context.Context) *verdict.Verdict {
	tag := a.m.Envelope.RequireTLS
	a.demand = tlspolicy.New(mtasts.Policy{}, false, tag)
	if a.m.Domain != "" && a.m.Domain[0] == '[' {
		return nil
	}
	if optional := a.d.cfg.TLSOptional; optional != nil && !tag && optional(a.m) {
		a.base.Detail = "the sender wants delivery even where TLS cannot be had (RFC 8689, Section 4.2.2)"
		return nil
	}
	p, err := a.d.cfg.Policies.Policy(ctx, a.m.Domain)
	if err == nil {
		notePolicy(&a.base, p)
		if tag && !p.Held && unread(a.base.PolicyNote) {
			// The domain may have promised just what the sender asks for.
			v := finish(a.base, verdict.Deferred, verdict.RequireTLS, "RFC 8689, Section 4.2.1", "the policy of the domain cannot be read: "+p.Detail)
			v.Enhanced = "4.7.10"
			return &v
		}
		a.demand = tlspolicy.New(p.Policy, p.Held, tag)
		return nil
	}
	return a.noPolicy(err)
}

// unread reports whether a domain announces a policy that could not be had.
func unread(trouble verdict.Reason) bool {
	switch trouble {
	case verdict.PolicyFetchError, verdict.PolicyInvalid, verdict.PolicyWebPKI, verdict.DNSBroken:
		return true
	}
	return false
}

// noPolicy says what follows when nobody can say whether there is a policy.
func (a *attempt) noPolicy(err error) *verdict.Verdict {
	v := a.base
	switch {
	case errors.Is(err, mtasts.ErrDomain):
		v = finish(v, verdict.Returned, verdict.NoRoute, "RFC 5321, Section 4.1.2", err.Error())
		v.Enhanced = "5.1.2"
	case errors.Is(err, mtasts.ErrClock):
		v = finish(v, verdict.Deferred, verdict.ClockWrong, "", err.Error())
	case errors.Is(err, mtasts.ErrTemporary) && a.m.Tries >= a.d.cfg.PolicyTries && !a.m.Envelope.RequireTLS:
		// Bounded: see Config.PolicyTries.
		a.base.PolicyNote, a.base.Detail = verdict.DNSBroken, cut(err.Error(), maxDetail)
		return nil
	default:
		v = finish(v, verdict.Deferred, verdict.DNSBroken, "RFC 8461, Section 3.1", err.Error())
	}
	return &v
}

// walk tries the hosts in their order until one has decided for the recipients.
func (a *attempt) walk(ctx context.Context) []queue.Result {
	hosts, no := a.hosts(ctx)
	if no != nil {
		return a.all(a.unroutable(*no))
	}
	a.observe(hosts)
	tried, dialled := 0, 0
	for len(hosts) > 0 {
		group := samePreference(hosts)
		hosts = hosts[len(group):]
		if loop := a.resolve(ctx, group); loop {
			// We are one of these hosts, and those of the same or a worse
			// preference would send the message back to us.
			if tried == 0 {
				return a.all(a.unroutable(*loopback()))
			}
			break
		}
		for i := range group {
			if dialled == maxHosts || ctx.Err() != nil {
				return a.unsent(tried)
			}
			tried++
			v := a.base
			v.MX, v.MXTried = group[i].name, tried
			results, dials := a.tryHost(ctx, &group[i], v)
			if results != nil {
				return results
			}
			if dials {
				dialled++
			}
		}
	}
	return a.unsent(tried)
}

// samePreference gives the hosts at the head of a list that have the preference
// of the first.
func samePreference(hosts []host) []host {
	for i, h := range hosts {
		if h.pref != hosts[0].pref {
			return hosts[:i]
		}
	}
	return hosts
}

// unsent is the result when no host has taken the message.
func (a *attempt) unsent(tried int) []queue.Result {
	if a.failed == nil {
		return a.all(finish(a.base, verdict.Deferred, verdict.ConnectTimeout, "", "no server was tried"))
	}
	v := *a.failed
	v.MXTried = tried
	return a.all(v)
}

// unroutable is the verdict when there is no host to try.
func (a *attempt) unroutable(no noRoute) verdict.Verdict {
	if no.outcome == verdict.Returned && a.demand.MustVerify() && a.base.PolicyID != "" {
		// A domain that asks for protection does not vanish from one moment
		// to the next: an unsigned answer that says so is waited for, as an
		// attacker could send it to have the mail returned.
		no.outcome = verdict.Deferred
	}
	v := finish(a.base, no.outcome, no.reason, no.rule, no.detail)
	v.Enhanced = no.enhanced
	if v.Outcome == verdict.Deferred {
		v.Enhanced = "4" + v.Enhanced[1:] // RFC 3463, Section 2: the class is the outcome's
	}
	return v
}

// tryHost tries the addresses of one host. It returns results when the host
// decided, and nil when the next host should be tried; what happened has then
// been noted. dials is false when nothing was dialled.
func (a *attempt) tryHost(ctx context.Context, h *host, v verdict.Verdict) (results []queue.Result, dials bool) {
	dec, stop := a.mayDial(h, v)
	if stop {
		return nil, false
	}
	// A family of addresses to which this box has no way says nothing as long as
	// another address of the host was reached or tried.
	var away *verdict.Verdict
	tried := false
	for _, addr := range h.addrs {
		v.Addr = addr.String()
		w := a.mxWay(h.name, addr, dec.Pattern, v)
		results := a.use(ctx, w)
		if results != nil || ctx.Err() != nil {
			return results, true
		}
		if w.away != nil && away == nil {
			away = w.away
		}
		tried = tried || w.away == nil
	}
	if !tried && away != nil {
		a.note(*away)
	}
	return nil, true
}

// mayDial decides whether a host is dialled at all. When stop is true it is not,
// which has then been noted.
func (a *attempt) mayDial(h *host, v verdict.Verdict) (dec tlspolicy.Decision, stop bool) {
	// A host that the policy does not list is not even connected to
	// (RFC 8461, Section 5.1: like a host that cannot be reached).
	dec = a.demand.Host(h.name)
	if !dec.Send {
		a.refuse(refused(v, dec))
		return dec, true
	}
	if h.err != nil {
		reason := verdict.DNSBroken
		if errors.Is(h.err, resolver.ErrNXDomain) || errors.Is(h.err, resolver.ErrNoData) || errors.Is(h.err, errRefusedAddress) {
			reason = verdict.NoRoute
		}
		a.refuse(finish(v, verdict.Deferred, reason, "RFC 5321, Section 5.1", h.err.Error()))
		return dec, true
	}
	return dec, false
}

// refuse notes the verdict on a host that was not dialled, with its evidence.
func (a *attempt) refuse(v verdict.Verdict) {
	a.note(v)
	a.witness(v, verdict.Host{Time: a.d.cfg.Now()})
}

func (a *attempt) observe(hosts []host) {
	var names []string
	for _, h := range hosts {
		if h.name != "" {
			names = append(names, h.name)
		}
	}
	if len(names) > 0 {
		a.d.cfg.Policies.ObserveMX(a.m.Domain, names)
	}
}

// givingUp reports whether results would end the message for a reason that a
// new policy of the domain could take away.
func (a *attempt) givingUp(results []queue.Result) bool {
	for _, r := range results {
		switch r.Verdict.Outcome {
		case verdict.Held:
			if a.m.Final {
				return true
			}
		case verdict.Returned:
			if r.Verdict.Reason == verdict.RequireTLS {
				return true
			}
		}
	}
	return false
}

// unsettled marks what a policy decided as not to be made permanent: nobody
// could say whether the domain has a new one.
func unsettled(results []queue.Result) []queue.Result {
	for i := range results {
		v := &results[i].Verdict
		switch {
		case v.Outcome == verdict.Held:
			results[i].Unsettled = true
		case v.Outcome == verdict.Returned && v.Reason == verdict.RequireTLS:
			v.Outcome, v.Enhanced = verdict.Deferred, "4.7.10"
			results[i].Unsettled = true
		}
	}
	return results
}
