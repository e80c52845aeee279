package deliver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gatepost/mtasts"
	"gatepost/relay/nexthop"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// Rules of a hop of the settings.
const (
	ruleSettings  = "the settings"
	ruleSmartHost = "RFC 8461, Section 3.4"
	ruleTag       = "RFC 8689, Section 4.2.1"
)

// byHop is delivery to a hop of the settings.
type byHop struct {
	a    *attempt
	hop  nexthop.Hop // with the rule that counts for this message
	rule string      // who made that rule
}

// throughHop gives the message to a hop of the settings: no MX records and no
// policy of the recipient domain are asked for (see the package comment).
func (a *attempt) throughHop(ctx context.Context, hop nexthop.Hop) []queue.Result {
	a.base.MX, a.base.MXTried = hop.Host, 1
	if a.leadsHome(ctx, hop) {
		no := loopback()
		no.detail = "the server of the settings, " + hop.String() + ", is this box"
		v := finish(a.base, no.outcome, no.reason, no.rule, no.detail)
		v.Enhanced = no.enhanced
		return a.all(v)
	}
	b := &byHop{a: a, hop: hop, rule: ruleSettings}
	settled := true
	if a.ev.Route == verdict.RouteSmartHost {
		var stop *verdict.Verdict
		if settled, stop = b.policy(ctx); stop != nil {
			return a.settle(settled, a.all(*stop))
		}
	}
	// A hop is one more hop for RFC 8689, wherever it stands, unless the operator
	// declares that mail is at its end there.
	tag := a.m.Envelope.RequireTLS && !hop.Final
	if tag && !b.verifies() {
		b.hop.TLS, b.rule = nexthop.TLSVerify, ruleTag
	}
	w := &way{
		key: key{hop: b.hop}, plain: a.base, requireTLS: tag, settings: true,
		open: b.open, judge: b.judge,
	}
	results := a.use(ctx, w)
	if results == nil {
		results = a.unsent(1)
	}
	return a.settle(settled, results)
}

// settle keeps a hold from becoming permanent when nobody could say whether the
// policy behind it still holds (RFC 8461, Section 5.1).
func (a *attempt) settle(settled bool, results []queue.Result) []queue.Result {
	if a.m.Final && !settled {
		return unsettled(results)
	}
	return results
}

func (b *byHop) verifies() bool { return b.hop.TLS == nexthop.TLSVerify || b.hop.TLS == "" }

// leadsHome reports whether the hop is this box: the port of MX hosts at one of
// our addresses.
func (a *attempt) leadsHome(ctx context.Context, hop nexthop.Hop) bool {
	if hop.Implicit || hop.Port != 0 && hop.Port != a.d.cfg.Port {
		return false
	}
	if strings.EqualFold(strings.TrimSuffix(hop.Host, "."), a.d.cfg.Hostname) {
		return true
	}
	if addr, err := netip.ParseAddr(hop.Host); err == nil {
		return a.d.cfg.Own(addr)
	}
	// What cannot be looked up now is found out when it is dialled.
	addrs, _ := a.d.cfg.Resolver.LookupNetIP(ctx, a.d.cfg.Family, hop.Host)
	return slices.ContainsFunc(addrs, a.d.cfg.Own)
}

// policy applies the policy of a smart host's own name: that is the policy
// domain of mail that goes through it (RFC 8461, Section 3.4). It can make the
// rule of the settings stricter, never weaker. stop is not nil when the message
// has to wait. settled is false when a stop, or a rule from a policy, must not
// become permanent.
func (b *byHop) policy(ctx context.Context) (settled bool, stop *verdict.Verdict) {
	a := b.a
	if _, err := netip.ParseAddr(b.hop.Host); err == nil {
		return true, nil // an address has no policy
	}
	ask := a.d.cfg.Policies.Policy
	if a.m.Final {
		ask = a.d.cfg.Policies.Recheck // RFC 8461, Section 5.1
	}
	p, err := ask(ctx, b.hop.Host)
	switch {
	case errors.Is(err, mtasts.ErrDomain):
		return true, nil // a name of the office's own network
	case err != nil && b.verifies():
		// The settings ask for what a policy would: a host that they name, with a
		// certificate for it.
		a.base.PolicyNote = verdict.DNSBroken
		return true, nil
	case err != nil:
		return true, a.noPolicy(err)
	}
	notePolicy(&a.base, p)
	if !p.Held || p.Policy.Mode != mtasts.Enforce {
		return true, nil
	}
	if dec := tlspolicy.New(p.Policy, true, false).Host(b.hop.Host); !dec.Send {
		v := finish(a.base, verdict.Held, verdict.RouteNotSafe, ruleSmartHost, "the smart host's own policy does not list it: "+dec.Detail)
		a.witness(v, verdict.Host{Time: a.d.cfg.Now()})
		return p.RecordChecked, &v
	}
	if !b.verifies() || b.hop.Name != "" {
		// The certificate must be for the host's own name (Section 4.2).
		b.hop.TLS, b.hop.Name, b.rule = nexthop.TLSVerify, "", ruleSmartHost
		return p.RecordChecked, nil
	}
	return true, nil
}

func (b *byHop) env() nexthop.Env {
	cfg := &b.a.d.cfg
	return nexthop.Env{
		SMTP: cfg.SMTP, LookupNetIP: cfg.Resolver.LookupNetIP, Family: cfg.Family, Roots: cfg.Roots, Now: cfg.Now,
	}
}

// open makes a session with the hop, at the first of its addresses that gives
// one.
func (b *byHop) open(ctx context.Context, w *way) *session {
	a := b.a
	env, told := b.env(), false
	env.Note = func(h verdict.Host) {
		told = true
		v := finish(w.plain, h.Outcome, h.Reason, b.rule, h.Detail)
		v.Addr, v.Code, v.Enhanced, v.Reply = h.Addr, h.Code, h.Enhanced, h.Reply
		if h.Reason == verdict.LoginRefused {
			v.Outcome = verdict.Deferred
		}
		a.witness(v, h)
	}
	hs, err := b.hop.Open(ctx, env)
	if err != nil {
		v := b.failure(w.plain, err)
		w.failed = &v
		a.note(v)
		if !told {
			a.witness(v, verdict.Host{Time: w.start})
		}
		return nil
	}
	st := mtasts.TLSState{STARTTLS: hs.Conn.Offered(), Connection: hs.Conn.State()}
	s := newSession(w.key, hs.Conn, st)
	s.hop, s.addr = hs, hs.Addr.Addr().String()
	// Where TLS broke, the next message tries it again.
	s.once = hs.Clear != nil && !errors.Is(hs.Clear, smtpc.ErrNoSTARTTLS)
	if w.dec = b.judge(s, &w.v); !w.dec.Send {
		a.d.pool.quit(s)
		a.miss(w, finish(w.v, verdict.Held, verdict.RouteNotSafe, b.rule, w.dec.Detail), a.seen(w, s, false))
		return nil
	}
	return s
}

// judge asks the hop's rule about a session. Sessions are shared between equal
// hops only, so that there is one demand for each.
func (b *byHop) judge(s *session, v *verdict.Verdict) tlspolicy.Decision {
	now := b.a.d.cfg.Now()
	dec, ok := s.recall(tlspolicy.Demand{}, now)
	if !ok {
		dec = tlspolicy.Decision{Send: true, Protection: s.hop.Protection}
		if err := b.hop.Judge(s.conn, b.env()); err != nil {
			dec.Send, dec.Detail = false, err.Error()
		}
		if len(s.chain) > 0 {
			leaf := s.chain[0]
			dec.CertNames, dec.CertIssuer, dec.CertNotAfter = leaf.Names, leaf.Issuer, leaf.NotAfter
		}
		if s.once {
			dec.Detail = "TLS was tried first: " + s.hop.Clear.Error()
		}
		s.remember(tlspolicy.Demand{}, dec, now)
	}
	dec.Rule = b.rule
	v.Addr = s.addr
	describe(v, dec, s.conn.State())
	return dec
}

// failure is the verdict on a hop that gave no session.
func (b *byHop) failure(v verdict.Verdict, err error) verdict.Verdict {
	var ns *nexthop.NotSafeError
	var re *smtpc.ReplyError
	switch {
	case errors.As(err, &ns):
		return b.notSafe(v, ns)
	case errors.Is(err, nexthop.ErrLogin):
		v = finish(v, verdict.Deferred, verdict.LoginRefused, "RFC 4954, Section 6", err.Error())
		if errors.As(err, &re) {
			v.Code, v.Enhanced, v.Reply = re.Code, re.Enhanced, cut(re.Text, maxReply)
		}
		return v
	case errors.Is(err, nexthop.ErrNoAddress):
		reason := verdict.DNSBroken
		if errors.Is(err, resolver.ErrNXDomain) || errors.Is(err, resolver.ErrNoData) {
			reason = verdict.NoRoute
		}
		return finish(v, verdict.Deferred, reason, b.rule, err.Error())
	}
	if bad := b.hop.Validate(); bad != nil {
		return finish(v, verdict.Held, verdict.RouteNotSafe, b.rule, bad.Error())
	}
	return connectFailure(v, err)
}

// notSafe is the verdict on a hop that does not meet the rule.
func (b *byHop) notSafe(v verdict.Verdict, ns *nexthop.NotSafeError) verdict.Verdict {
	switch {
	case ns.Reason == verdict.ClockWrong:
		return finish(v, verdict.Deferred, verdict.ClockWrong, b.rule, ns.Detail)
	case ns.Reason == verdict.StartTLSNotSupported && b.rule == ruleTag:
		// The settings would do without TLS here, so the hop has none: what the
		// sender asks for cannot be had on this way (RFC 8689, Section 4.2.1).
		v = finish(v, verdict.Returned, verdict.RequireTLS, ruleTag, ns.Detail)
		v.Enhanced = "5.7.10"
		return v
	}
	return finish(v, verdict.Held, verdict.RouteNotSafe, b.rule, fmt.Sprintf("%s (%s)", ns.Detail, ns.Reason))
}
