package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
)

// Limits on what the owner of a domain can make us do in one attempt.
const (
	maxAddresses = 4  // addresses tried of one host
	maxResolved  = 20 // hosts of one preference whose addresses are looked up
)

// resolve finds the addresses of hosts of the same preference. It reports
// whether one of them is this box: any of its addresses is ours (RFC 5321,
// Section 5.1). A host that cannot be looked up is taken for somebody else's.
func (a *attempt) resolve(ctx context.Context, group []host) (loop bool) {
	for i := maxResolved; i < len(group); i++ {
		group[i].err = errTooManyHosts
	}
	group = group[:min(len(group), maxResolved)]
	var wg sync.WaitGroup
	for i := range group {
		h := &group[i]
		if h.addrs != nil || h.err != nil {
			continue // an address literal
		}
		if len(group) == 1 {
			h.addrs, h.err = a.d.addresses(ctx, h.name)
			break
		}
		wg.Go(func() { h.addrs, h.err = a.d.addresses(ctx, h.name) })
	}
	wg.Wait()
	return slices.ContainsFunc(group, func(h host) bool { return errors.Is(h.err, errOurselves) })
}

// addresses gives the addresses of a host that may be dialled, in the order in
// which to try them.
func (d *Deliverer) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	all, err := d.cfg.Resolver.LookupNetIP(ctx, d.cfg.Family, name)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, d.cfg.Own) {
		return nil, errOurselves
	}
	ok := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !d.cfg.Allow(a) })
	if len(ok) == 0 {
		return nil, errRefusedAddress
	}
	ok = inOrder(ok, rand.Shuffle)
	return ok[:min(len(ok), maxAddresses)], nil
}

// inOrder puts addresses into the order in which to try them: IPv4 and IPv6 in
// turn, so that both are tried within the limit, each family shuffled, so that
// load spreads.
//
// IPv4 goes first, against the order that RFC 6724 prefers: what an office has
// of reverse names and of reputation belongs to its IPv4 address, and a server
// that refuses a sender for the lack of either refuses for good, so that a
// second family comes too late. A family without a route on this box fails at
// once and costs nothing.
func inOrder(addrs []netip.Addr, shuffle func(int, func(i, j int))) []netip.Addr {
	shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	var four, six []netip.Addr
	for _, a := range addrs {
		if a.Unmap().Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(four), len(six)) {
		if i < len(four) {
			out = append(out, four[i])
		}
		if i < len(six) {
			out = append(out, six[i])
		}
	}
	return out
}

var (
	// errRefusedAddress says that a host has only addresses to which no mail is
	// sent: loopback, link-local, multicast and the like.
	errRefusedAddress = errors.New("the server has no address to which mail may be sent")
	errOurselves      = errors.New("the server is this box")
	errTooManyHosts   = errors.New("the domain names too many servers of one preference")
)

// noWay reports whether a connection failed because this box has no way to the
// family of the address: nobody was asked.
func noWay(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) ||
		errors.Is(err, syscall.EADDRNOTAVAIL)
}

// MayDial is the default of Config.Allow: every address but those that can
// only be this machine, its own link or a group. Private addresses are allowed,
// since an office may run mail servers of its own.
func MayDial(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
