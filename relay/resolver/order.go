package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// avoidFor is how long a name server that did not answer is asked last. With it
// a dead first server costs one wait, and not one for every name.
const avoidFor = 30 * time.Second

// impatient is how long a server must have been silent to count as failed when
// the caller gives up first.
const impatient = time.Second

// order remembers which name servers did not answer lately.
type order struct {
	mu     sync.Mutex
	failed map[netip.AddrPort]time.Time
}

// of puts the servers that did not answer lately behind the others; else the
// order stays.
func (o *order) of(servers []netip.AddrPort, now time.Time) []netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	late := func(s netip.AddrPort) bool {
		at, failed := o.failed[s]
		return failed && now.Sub(at) < avoidFor
	}
	out := slices.Clone(servers)
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int {
		switch {
		case !late(a) && late(b):
			return -1
		case late(a) && !late(b):
			return 1
		}
		return 0
	})
	return out
}

// note takes down how a server did. servers are all there are: others are
// forgotten.
func (o *order) note(s netip.AddrPort, answered bool, servers []netip.AddrPort, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if answered {
		delete(o.failed, s)
		return
	}
	if o.failed == nil {
		o.failed = map[netip.AddrPort]time.Time{}
	}
	for old := range o.failed {
		if !slices.Contains(servers, old) {
			delete(o.failed, old)
		}
	}
	o.failed[s] = now
}
