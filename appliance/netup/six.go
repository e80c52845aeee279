package netup

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Limits on what routers may say.
const (
	maxRouters   = 8
	maxAddresses = 8 // IPv6 addresses that are told
)

// Advertisement is what a router of IPv6 says of itself.
type Advertisement struct {
	Router netip.Addr // link-local, with its zone
	// Lifetime of the router as a way out; 0 means that it is none.
	Lifetime time.Duration
	// DNS are its name servers and Domains its search list (RFC 8106), each
	// with a lifetime, 0 for one that must not be used any more.
	DNS     []TimedAddr
	Domains []TimedName
}

// TimedAddr is an address for a time.
type TimedAddr struct {
	Addr     netip.Addr
	Lifetime time.Duration
}

// TimedName is a name for a time.
type TimedName struct {
	Name     string
	Lifetime time.Duration
}

// sixState is what is known of IPv6: from the kernel and from the routers.
type sixState struct {
	addresses []netip.Prefix
	gateway   netip.Addr
	dns       []netip.Addr
	domain    string
}

// join makes one state of both families. configured are the name servers of the
// settings. With IPv6 alone the box is up only when it can resolve names.
func join(four State, six sixState, configured []netip.Addr) State {
	s := four
	if s.Kind == NoLink {
		return s
	}
	s.DNS = firstOnes(slices.Concat(configured, four.DNS, six.dns), maxServers)
	if s.Address.IsValid() {
		s.Addresses = append([]netip.Prefix{s.Address}, six.addresses...)
	} else {
		s.Addresses = slices.Clone(six.addresses)
	}
	if !s.Gateway.IsValid() {
		s.Gateway = six.gateway
	}
	if s.Domain == "" {
		s.Domain = six.domain
	}
	if s.Kind == NoLease && len(six.addresses) > 0 && len(s.DNS) > 0 {
		s.Kind, s.Note = Up, "only IPv6 is up; IPv4: "+four.Note
	}
	return s
}

// routers is what all routers have said, until when.
type routers struct {
	gateways map[netip.Addr]time.Time
	dns      map[netip.Addr]time.Time
	domains  map[string]time.Time
}

func newRouters() *routers {
	return &routers{map[netip.Addr]time.Time{}, map[netip.Addr]time.Time{}, map[string]time.Time{}}
}

// hear takes an advertisement over. What is past its time makes room first;
// what then goes beyond the limits is dropped.
func (t *routers) hear(a Advertisement, now time.Time) {
	t.forget(now)
	keep(t.gateways, a.Router, a.Lifetime, now, maxRouters)
	for _, s := range a.DNS {
		ip := s.Addr
		if !ip.Is6() || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
			continue
		}
		if ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(a.Router.Zone())
		}
		keep(t.dns, ip, s.Lifetime, now, maxServers)
	}
	for _, d := range a.Domains {
		if name := domainName(d.Name); name != "" {
			keep(t.domains, name, d.Lifetime, now, maxServers)
		}
	}
}

func keep[K comparable](m map[K]time.Time, k K, lifetime time.Duration, now time.Time, limit int) {
	if lifetime <= 0 {
		delete(m, k)
		return
	}
	if _, known := m[k]; known || len(m) < limit {
		m[k] = now.Add(lifetime)
	}
}

// forget drops what is past its time.
func (t *routers) forget(now time.Time) {
	forget(t.gateways, now)
	forget(t.dns, now)
	forget(t.domains, now)
}

func forget[K comparable](m map[K]time.Time, now time.Time) {
	for k, end := range m {
		if !now.Before(end) {
			delete(m, k)
		}
	}
}

// next is when the first entry ends; zero when there is none.
func (t *routers) next() time.Time {
	var first time.Time
	see := func(end time.Time) {
		if first.IsZero() || end.Before(first) {
			first = end
		}
	}
	for _, e := range t.gateways {
		see(e)
	}
	for _, e := range t.dns {
		see(e)
	}
	for _, e := range t.domains {
		see(e)
	}
	return first
}

// state is what holds now, in an order that does not depend on who spoke last.
func (t *routers) state() sixState {
	s := sixState{dns: sorted(t.dns, netip.Addr.Compare)}
	if g := sorted(t.gateways, netip.Addr.Compare); len(g) > 0 {
		s.gateway = g[0]
	}
	if d := sorted(t.domains, strings.Compare); len(d) > 0 {
		s.domain = d[0]
	}
	return s
}

func sorted[K comparable](m map[K]time.Time, compare func(a, b K) int) []K {
	var out []K
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}

// hearRouters keeps what the routers say up to date, until ctx is done.
func (r *Runner) hearRouters(ctx context.Context) {
	if r.Routers == nil || r.IPv6.Off {
		<-ctx.Done()
		return
	}
	heard := make(chan Advertisement)
	go func() {
		for ctx.Err() == nil {
			err := r.guarded(ctx, func(ctx context.Context) {
				err := r.Routers.Listen(ctx, r.link, func(a Advertisement) {
					select {
					case heard <- a:
					case <-ctx.Done():
					}
				})
				if err != nil && ctx.Err() == nil {
					r.Log.Info("the routers of IPv6 are not heard", "interface", r.link.Name, "error", err)
				}
			})
			if err != nil || ctx.Err() == nil {
				sleep(ctx, longestRetry)
			}
		}
		close(heard)
	}()
	t := newRouters()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case a, open := <-heard:
			if !open {
				return
			}
			t.hear(a, time.Now())
		case <-timer.C:
			t.forget(time.Now())
		}
		if end := t.next(); !end.IsZero() {
			timer.Reset(max(time.Until(end), time.Second))
		}
		r.fromRouters(t.state())
	}
}

// fromRouters changes the routers' part of the state of IPv6.
func (r *Runner) fromRouters(s sixState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.addresses = r.six.addresses
	r.tellSix(s)
}

// lookAtSix changes the kernel's part of the state of IPv6.
func (r *Runner) lookAtSix(link Link) {
	if r.IPv6.Off {
		return
	}
	list, err := r.Kernel.Addresses6(link.Index)
	if err != nil {
		r.Log.Warn("IPv6 addresses cannot be listed", "interface", link.Name, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.six
	s.addresses = list[:min(len(list), maxAddresses)]
	r.tellSix(s)
}
