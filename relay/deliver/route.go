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

// Limits on what a domain's owner can make us do in one attempt.
const (
	maxHosts     = 10 // MX hosts tried
	maxAddresses = 4  // addresses tried of one host
)

// host is one MX host to try.
type host struct {
	name string     // "" for an address literal
	addr netip.Addr // of an address literal
}

// noRoute is why there is no host to try.
type noRoute struct {
	outcome  verdict.Outcome
	reason   verdict.Reason
	enhanced string
	detail   string
	rule     string
}

// route gives the hosts of a domain in the order in which to try them
// (RFC 5321, Section 5.1).
func (d *Deliverer) route(ctx context.Context, domain string) ([]host, *noRoute) {
	if strings.HasPrefix(domain, "[") {
		return literal(domain)
	}
	mxs, err := d.cfg.Resolver.LookupMX(ctx, domain)
	switch {
	case errors.Is(err, resolver.ErrNoData):
		// No MX: the domain itself is the host.
		return []host{{name: strings.ToLower(domain)}}, nil
	case errors.Is(err, resolver.ErrNXDomain):
		return nil, &noRoute{verdict.Returned, verdict.NoRoute, "5.1.2", err.Error(), "RFC 5321, Section 5.1"}
	case err != nil:
		return nil, &noRoute{verdict.Deferred, verdict.DNSBroken, "4.4.3", err.Error(), "RFC 5321, Section 5.1"}
	}
	// "." among others is an error of the domain and is passed over; nothing but
	// "." says that the domain takes no mail.
	mxs = slices.DeleteFunc(mxs, func(m resolver.MX) bool { return m.Host == "" })
	if len(mxs) == 0 {
		return nil, &noRoute{verdict.Returned, verdict.NullMX, "5.1.10", "the domain has a null MX record", "RFC 7505, Section 3"}
	}
	sortMX(mxs, rand.Shuffle)

	// Our own name in the list: we are one of its hosts, and the ones of the
	// same or a worse preference would send the message back to us.
	own := slices.IndexFunc(mxs, func(m resolver.MX) bool { return strings.EqualFold(m.Host, d.cfg.Hostname) })
	if own >= 0 {
		pref := mxs[own].Pref
		mxs = slices.DeleteFunc(mxs, func(m resolver.MX) bool { return m.Pref >= pref })
		if len(mxs) == 0 {
			return nil, &noRoute{verdict.Returned, verdict.Loop, "5.4.6", "this box is the best mail server of the domain", "RFC 5321, Section 5.1"}
		}
	}
	var hosts []host
	for _, m := range mxs[:min(len(mxs), maxHosts)] {
		hosts = append(hosts, host{name: m.Host})
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
func literal(domain string) ([]host, *noRoute) {
	s := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if v6, ok := strings.CutPrefix(strings.ToLower(s), "ipv6:"); ok {
		s = v6
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return nil, &noRoute{verdict.Returned, verdict.NoRoute, "5.1.2", err.Error(), "RFC 5321, Section 4.1.3"}
	}
	return []host{{addr: a}}, nil
}

// addresses gives the addresses of a host that may be dialled.
func (d *Deliverer) addresses(ctx context.Context, h host) ([]netip.Addr, error) {
	if h.name == "" {
		if !d.cfg.Allow(h.addr) {
			return nil, errRefusedAddress
		}
		return []netip.Addr{h.addr}, nil
	}
	all, err := d.cfg.Resolver.LookupNetIP(ctx, d.cfg.Family, h.name)
	if err != nil {
		return nil, err
	}
	ok := slices.DeleteFunc(all, func(a netip.Addr) bool { return !d.cfg.Allow(a) })
	if len(ok) == 0 {
		return nil, errRefusedAddress
	}
	return ok[:min(len(ok), maxAddresses)], nil
}

// errRefusedAddress says that a host has only addresses to which no mail is
// sent: loopback, link-local, multicast and the like.
var errRefusedAddress = errors.New("the server has no address to which mail may be sent")

// MayDial is the default of Config.Allow: every address but those that can
// only be this machine, its own link or a group. Private addresses are allowed,
// since an office may run mail servers of its own.
func MayDial(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
