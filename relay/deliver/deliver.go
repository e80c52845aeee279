package deliver

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// Resolver finds mail servers and their addresses; *resolver.Resolver is one.
// Its errors must match the sentinels of package resolver.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) ([]resolver.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Policies says which MTA-STS policy holds; *mtasts.Cache is one.
type Policies interface {
	Policy(ctx context.Context, domain string) (mtasts.Answer, error)
	Recheck(ctx context.Context, domain string) (mtasts.Answer, error)
	// ObserveMX tells the cache which hosts the DNS names now, so that it can
	// raise an alarm when they have left the policy.
	ObserveMX(domain string, hosts []string)
}

// Config is what a Deliverer needs. Resolver, Policies, SMTP.Hello and Hostname
// are required.
type Config struct {
	Resolver Resolver
	Policies Policies
	SMTP     smtpc.Config
	Hostname string         // our own name, to notice ourselves among MX hosts
	Roots    *x509.CertPool // for MX certificates; nil means the system's
	// Allow says whether mail may be sent to an address; nil means MayDial.
	Allow  func(netip.Addr) bool
	Family string           // "ip", "ip4" or "ip6"; "" means "ip"
	Port   uint16           // of MX hosts; 0 means 25
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
	// PolicyTries is how many attempts a message waits for a domain whose policy
	// record cannot be looked up because of a fault in the DNS and for which
	// nothing is saved. After them the message goes as to a domain without a
	// policy, and the verdict says so. Zero means 5, which is over an hour with
	// the usual schedule. (RFC 8461 does not say; a domain whose name servers
	// never answer for _mta-sts must still get mail.) Attempts are counted, not
	// time, because the time of arrival may be from a clock that was wrong.
	PolicyTries int
}

// Deliverer makes attempts. It may be used by many goroutines at once.
type Deliverer struct{ cfg Config }

// New makes a Deliverer. It starts nothing.
func New(cfg Config) *Deliverer {
	if cfg.Allow == nil {
		cfg.Allow = MayDial
	}
	if cfg.Family == "" {
		cfg.Family = "ip"
	}
	if cfg.Port == 0 {
		cfg.Port = 25
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PolicyTries == 0 {
		cfg.PolicyTries = 5
	}
	return &Deliverer{cfg: cfg}
}

// Deliver implements queue.Deliverer: one result for each of m.Rcpts.
func (d *Deliverer) Deliver(ctx context.Context, m queue.Message) []queue.Result {
	// Policy, MX and address records are all asked for by A-labels. What is no
	// domain name stays as it is, demand and route say what that means.
	if name, err := mtasts.PolicyDomain(m.Domain); err == nil {
		m.Domain = name
	}
	base := verdict.Verdict{Time: d.cfg.Now(), Domain: m.Domain}
	demand, stop := d.demand(ctx, m, &base)
	if stop {
		return same(m, base)
	}
	results := d.deliver(ctx, m, demand, base)
	if !m.Final || !anyHeld(results) || ctx.Err() != nil {
		return results
	}
	// RFC 8461, Section 5.1: no permanent failure before the domain has had
	// its chance to say that the policy is a new one.
	a, err := d.cfg.Policies.Recheck(ctx, m.Domain)
	if err != nil || !a.RecordChecked {
		return unsettled(results)
	}
	if a.RecordID == base.PolicyID && a.FetchedAt.Equal(base.PolicyFetched) {
		return results
	}
	d.cfg.Log.Info("the domain has a new policy, trying once more before giving up", "domain", m.Domain, "id", m.ID)
	notePolicy(&base, a)
	return d.deliver(ctx, m, tlspolicy.New(a.Policy, a.Held, m.Envelope.RequireTLS), base)
}

// demand asks for the policy in force and notes it in the verdict. stop says
// that the verdict is complete: nothing may be decided now.
func (d *Deliverer) demand(ctx context.Context, m queue.Message, v *verdict.Verdict) (dem tlspolicy.Demand, stop bool) {
	if m.Domain != "" && m.Domain[0] == '[' {
		return tlspolicy.New(mtasts.Policy{}, false, m.Envelope.RequireTLS), false
	}
	a, err := d.cfg.Policies.Policy(ctx, m.Domain)
	switch {
	case err == nil:
		notePolicy(v, a)
		return tlspolicy.New(a.Policy, a.Held, m.Envelope.RequireTLS), false
	case errors.Is(err, mtasts.ErrDomain):
		*v = finish(*v, verdict.Returned, verdict.NoRoute, "RFC 5321, Section 4.1.2", err.Error())
		v.Enhanced = "5.1.2"
		return dem, true
	case errors.Is(err, mtasts.ErrClock):
		*v = finish(*v, verdict.Deferred, verdict.ClockWrong, "", err.Error())
		return dem, true
	case errors.Is(err, mtasts.ErrTemporary) && m.Tries >= d.cfg.PolicyTries:
		// Bounded: see Config.PolicyTries.
		v.PolicyNote, v.Detail = verdict.DNSBroken, err.Error()
		return tlspolicy.New(mtasts.Policy{}, false, m.Envelope.RequireTLS), false
	}
	*v = finish(*v, verdict.Deferred, verdict.DNSBroken, "RFC 8461, Section 3.1", err.Error())
	return dem, true
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

// deliver walks the hosts until one has decided for the recipients.
func (d *Deliverer) deliver(ctx context.Context, m queue.Message, demand tlspolicy.Demand, base verdict.Verdict) []queue.Result {
	hosts, no := d.route(ctx, m.Domain)
	if no != nil {
		if no.outcome == verdict.Returned && demand.MustVerify() && base.PolicyID != "" {
			// A domain that asks for protection does not vanish from one moment
			// to the next: an unsigned answer that says so is waited for, as an
			// attacker could send it to have the mail returned.
			no.outcome = verdict.Deferred
		}
		v := finish(base, no.outcome, no.reason, no.rule, no.detail)
		v.Enhanced = no.enhanced
		return same(m, v)
	}
	d.observe(m.Domain, hosts)
	// The verdict to show when no host takes the message: the first that says
	// most.
	var failed *verdict.Verdict
	note := func(v verdict.Verdict) {
		if failed == nil || telling(v) > telling(*failed) {
			failed = &v
		}
	}
	for i, h := range hosts {
		v := base
		v.MX, v.MXTried = h.name, i+1
		results := d.tryHost(ctx, m, demand, h, v, note)
		if results != nil {
			return results
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failed != nil {
		failed.MXTried = len(hosts)
		return same(m, *failed)
	}
	return same(m, finish(base, verdict.Deferred, verdict.ConnectTimeout, "", "no server was tried"))
}

// telling orders the verdicts of hosts that did not take a message. What a host
// cannot take is final only when nothing else came of the others; a refusal of
// ours says more than any failure, and what a server said more than silence.
func telling(v verdict.Verdict) int {
	switch {
	case v.Outcome == verdict.Held:
		return 3
	case v.Outcome == verdict.Returned:
		return 0
	case v.Code != 0:
		return 2
	}
	return 1
}

// tryHost tries the addresses of one host. It returns results when the host
// decided, and nil when the next host should be tried; what happened has then
// been noted.
func (d *Deliverer) tryHost(ctx context.Context, m queue.Message, demand tlspolicy.Demand, h host, v verdict.Verdict, note func(verdict.Verdict)) []queue.Result {
	// A host that the policy does not list is not even connected to
	// (RFC 8461, Section 5.1: like a host that cannot be reached).
	if dec := demand.Host(h.name); !dec.Send {
		note(finish(v, verdict.Held, dec.Reason, dec.Rule, dec.Detail))
		return nil
	}
	addrs, err := d.addresses(ctx, h)
	if err != nil {
		reason := verdict.DNSBroken
		if errors.Is(err, resolver.ErrNXDomain) || errors.Is(err, resolver.ErrNoData) || errors.Is(err, errRefusedAddress) {
			reason = verdict.NoRoute
		}
		note(finish(v, verdict.Deferred, reason, "RFC 5321, Section 5.1", err.Error()))
		return nil
	}
	for _, a := range addrs {
		v.Addr = a.String()
		results := d.tryAddress(ctx, m, demand, h, netip.AddrPortFrom(a, d.cfg.Port), v, note)
		if results != nil || ctx.Err() != nil {
			return results
		}
	}
	return nil
}

func (d *Deliverer) observe(domain string, hosts []host) {
	var names []string
	for _, h := range hosts {
		if h.name != "" {
			names = append(names, h.name)
		}
	}
	if len(names) > 0 {
		d.cfg.Policies.ObserveMX(domain, names)
	}
}

func finish(v verdict.Verdict, o verdict.Outcome, r verdict.Reason, rule, detail string) verdict.Verdict {
	v.Outcome, v.Reason, v.Rule = o, r, rule
	if detail != "" {
		v.Detail = cut(detail, maxDetail)
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

// same gives every recipient the same verdict.
func same(m queue.Message, v verdict.Verdict) []queue.Result {
	out := make([]queue.Result, len(m.Rcpts))
	for i, r := range m.Rcpts {
		out[i] = queue.Result{Rcpt: r, Verdict: v}
	}
	return out
}

// unsettled marks what is held as not to be made permanent: nobody could say
// whether the domain has a new policy.
func unsettled(results []queue.Result) []queue.Result {
	for i, r := range results {
		results[i].Unsettled = r.Verdict.Outcome == verdict.Held
	}
	return results
}

func anyHeld(results []queue.Result) bool {
	for _, r := range results {
		if r.Verdict.Outcome == verdict.Held {
			return true
		}
	}
	return false
}
