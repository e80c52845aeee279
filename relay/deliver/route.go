package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"gatepost/relay/resolver"
	"gatepost/relay/verdict"
)

// maxHosts is how many hosts are dialled in one attempt. Hosts that a policy
// rules out do not count: they cost nothing.
const maxHosts = 10

// host is one MX host to try.
type host struct {
	name string // "" for an address literal
	pref uint16
	// addrs are the addresses to try, in their order, or err says why there is
	// none. resolve sets them.
	addrs []netip.Addr
	err   error
}

// noRoute is why there is no host to try.
type noRoute struct {
	outcome  verdict.Outcome
	reason   verdict.Reason
	enhanced string
	detail   string
	rule     string
}

// loopback is the route that leads to ourselves only.
func loopback() *noRoute {
	return &noRoute{verdict.Returned, verdict.Loop, "5.4.6", "this box is the best mail server of the domain", "RFC 5321, Section 5.1"}
}

// hosts gives the hosts of the domain in the order in which to try them
// (RFC 5321, Section 5.1), and writes down what the DNS said.
func (a *attempt) hosts(ctx context.Context) ([]host, *noRoute) {
	domain := a.m.Domain
	if strings.HasPrefix(domain, "[") {
		a.ev.Route = verdict.RouteLiteral
		return a.literal(domain)
	}
	a.ev.DNS = &verdict.DNS{Security: "unsigned"}
	mxs, err := a.d.cfg.Resolver.LookupMX(ctx, domain)
	switch {
	case errors.Is(err, resolver.ErrNoData):
		// No MX: the domain itself is the host.
		a.ev.DNS.Implicit = true
		return []host{{name: strings.ToLower(domain)}}, nil
	case errors.Is(err, resolver.ErrNXDomain):
		a.ev.DNS.Error = cut(err.Error(), maxDetail)
		return nil, &noRoute{verdict.Returned, verdict.NoRoute, "5.1.2", err.Error(), "RFC 5321, Section 5.1"}
	case err != nil:
		a.ev.DNS.Error = cut(err.Error(), maxDetail)
		return nil, &noRoute{verdict.Deferred, verdict.DNSBroken, "4.4.3", err.Error(), "RFC 5321, Section 5.1"}
	}
	sortMX(mxs, rand.Shuffle)
	a.witnessMX(mxs)
	// "." among others is an error of the domain and is passed over; nothing but
	// "." says that the domain takes no mail.
	mxs = slices.DeleteFunc(mxs, func(m resolver.MX) bool { return m.Host == "" })
	if len(mxs) == 0 {
		a.ev.DNS.Null = true
		return nil, &noRoute{verdict.Returned, verdict.NullMX, "5.1.10", "the domain has a null MX record", "RFC 7505, Section 3"}
	}
	// Our own name in the list: we are one of its hosts, and the ones of the
	// same or a worse preference would send the message back to us. Our own
	// addresses behind other names are found in resolve.
	own := slices.IndexFunc(mxs, func(m resolver.MX) bool { return strings.EqualFold(m.Host, a.d.cfg.Hostname) })
	if own >= 0 {
		pref := mxs[own].Pref
		mxs = slices.DeleteFunc(mxs, func(m resolver.MX) bool { return m.Pref >= pref })
		if len(mxs) == 0 {
			return nil, loopback()
		}
	}
	hosts := make([]host, len(mxs))
	for i, m := range mxs {
		hosts[i] = host{name: m.Host, pref: m.Pref}
	}
	return hosts, nil
}

// sortMX orders by preference and shuffles equals, so that load spreads.
func sortMX(mxs []resolver.MX, shuffle func(int, func(i, j int))) {
	shuffle(len(mxs), func(i, j int) { mxs[i], mxs[j] = mxs[j], mxs[i] })
	slices.SortStableFunc(mxs, func(a, b resolver.MX) int { return int(a.Pref) - int(b.Pref) })
}

// literal is the route of an address such as user@[192.0.2.1] (RFC 5321,
// Section 4.1.3).
func (a *attempt) literal(domain string) ([]host, *noRoute) {
	s := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if v6, ok := strings.CutPrefix(strings.ToLower(s), "ipv6:"); ok {
		s = v6
	}
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return nil, &noRoute{verdict.Returned, verdict.NoRoute, "5.1.2", err.Error(), "RFC 5321, Section 4.1.3"}
	case a.d.cfg.Own(addr):
		return nil, loopback()
	}
	h := host{addrs: []netip.Addr{addr}}
	if !a.d.cfg.Allow(addr) {
		h.err = errRefusedAddress
	}
	return []host{h}, nil
}
