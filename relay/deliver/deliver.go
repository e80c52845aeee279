package deliver

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/nexthop"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
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
	Roots    *x509.CertPool // for the certificates of servers; nil means the system's
	// Route gives the next hop of the settings for a recipient domain (lower
	// case, A-labels, or an address literal in brackets) and how it was found,
	// RouteInside or RouteSmartHost; ok false, or a nil func, means by MX. It is
	// asked in each attempt.
	Route func(domain string) (hop nexthop.Hop, how verdict.Route, ok bool)
	// Own reports whether an address is one of ours, to notice ourselves behind
	// the names of others (RFC 5321, Section 5.1). nil: none is known.
	Own func(netip.Addr) bool
	// Allow says whether mail may be sent to an address found by MX; nil means
	// MayDial. The hops of Route are the operator's choice and not asked about.
	Allow  func(netip.Addr) bool
	Family string           // "ip", "ip4" or "ip6"; "" means "ip"
	Port   uint16           // of MX hosts; 0 means 25
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
	// Idle is how long a connection waits for a further message to the same
	// server; 0 means 5 seconds, less than 0 that none waits. PerConn is the
	// number of messages on one connection; 0 means 100.
	Idle    time.Duration
	PerConn int
	// PolicyTries is how many attempts a message waits for a domain whose policy
	// record cannot be looked up because of a fault in the DNS and for which
	// nothing is saved. After them the message goes as to a domain without a
	// policy, and the verdict says so; one that demands REQUIRETLS never does.
	// Zero means 5, which is over an hour with the usual schedule. (RFC 8461
	// does not say; a domain whose name servers never answer for _mta-sts must
	// still get mail.) Attempts are counted, not time, because the time of
	// arrival may be from a clock that was wrong.
	PolicyTries int
	// TLSOptional reports whether the sender of a message wants it delivered
	// even where TLS cannot be had (RFC 8689, Section 3; TLS reports, RFC 8460,
	// Section 3): no policy is asked for then, TLS is used where it works. A
	// message with REQUIRETLS is not asked about (Section 4.1). It does not
	// weaken the rule of a hop of the settings. nil: no message wants that.
	TLSOptional func(queue.Message) bool
}

// Deliverer makes attempts. It may be used by many goroutines at once.
type Deliverer struct {
	cfg  Config
	pool *pool
}

// New makes a Deliverer. It starts nothing. Who is done with it calls Close.
func New(cfg Config) *Deliverer {
	if cfg.Allow == nil {
		cfg.Allow = MayDial
	}
	if cfg.Own == nil {
		cfg.Own = func(netip.Addr) bool { return false }
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
	if cfg.Idle == 0 {
		cfg.Idle = 5 * time.Second
	}
	if cfg.PerConn <= 0 {
		cfg.PerConn = 100
	}
	return &Deliverer{cfg: cfg, pool: newPool(cfg.Idle, cfg.PerConn)}
}

// Close takes leave of the servers whose connections are idle, waits until that
// is done (some seconds at most) and lets no connection wait any more. Attempts
// that go on are not disturbed, and further ones may be made.
func (d *Deliverer) Close() { d.pool.close() }

// Deliver implements queue.Deliverer: one result for each of m.Rcpts. The
// verdicts of one call share their Evidence.
func (d *Deliverer) Deliver(ctx context.Context, m queue.Message) []queue.Result {
	// Policy, MX and address records are all asked for by A-labels. What is no
	// domain name stays as it is, demand and route say what that means.
	if name, err := mtasts.PolicyDomain(m.Domain); err == nil {
		m.Domain = name
	}
	a := &attempt{
		d: d, m: m, ev: &verdict.Evidence{Route: verdict.RouteMX},
		base: verdict.Verdict{Time: d.cfg.Now(), Domain: m.Domain},
	}
	var results []queue.Result
	if hop, how, ok := d.route(m.Domain); ok {
		a.ev.Route = how
		results = a.throughHop(ctx, hop)
	} else {
		results = a.byMX(ctx)
	}
	for i := range results {
		results[i].Verdict.Evidence = a.ev
	}
	return results
}

func (d *Deliverer) route(domain string) (nexthop.Hop, verdict.Route, bool) {
	if d.cfg.Route == nil {
		return nexthop.Hop{}, "", false
	}
	return d.cfg.Route(domain)
}
