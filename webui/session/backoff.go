package session

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Limits of the slowing down. A name or an address waits 1, 2, 4 ... 60
// seconds after each wrong password. It is never shut out for good.
const (
	maxDelay   = 60 * time.Second
	forgetting = 15 * time.Minute // without a wrong try
	maxTracked = 2048             // names and addresses together
	freeTries  = 2                // before an address, which many people may share, waits
)

type failures struct {
	count int
	until time.Time
	last  time.Time
}

// Backoff slows down guessing, by name and by address (the /64 of an IPv6
// address). An address from which a person has logged in is not slowed down by
// others' wrong tries for that person's name, so that a stranger cannot keep
// the owner out. It is safe for concurrent use.
type Backoff struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[string]*failures
	good map[string]time.Time // "name address" of good logins
}

// NewBackoff returns a Backoff that has seen nothing. A nil now is time.Now.
func NewBackoff(now func() time.Time) *Backoff {
	if now == nil {
		now = time.Now
	}
	return &Backoff{now: now, seen: map[string]*failures{}, good: map[string]time.Time{}}
}

func network(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}

// keys returns what a try is counted under. Names are cut so that they cannot
// fill the memory.
func keys(name string, addr netip.Addr) (byName, byAddr, pair string) {
	name = strings.ToLower(strings.TrimSpace(name))
	if len(name) > 64 {
		name = name[:64]
	}
	net := network(addr)
	return "name " + name, "addr " + net, name + " " + net
}

// Try asks for a try with this name from this address. Above zero, it has to
// wait that long, and no password may be looked at. At zero the try counts as a
// wrong one until Succeeded is called: many tries at once gain nothing.
func (b *Backoff) Try(name string, addr netip.Addr) (wait time.Duration) {
	byName, byAddr, pair := keys(name, addr)
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	wait = b.wait(byAddr, now)
	if _, known := b.good[pair]; !known {
		wait = max(wait, b.wait(byName, now))
	}
	if wait == 0 {
		b.count(byName, 0, now)
		b.count(byAddr, freeTries, now)
	}
	return wait
}

func (b *Backoff) wait(key string, now time.Time) time.Duration {
	if f := b.seen[key]; f != nil {
		return max(0, f.until.Sub(now))
	}
	return 0
}

func (b *Backoff) count(key string, free int, now time.Time) {
	f := b.seen[key]
	if f == nil {
		b.makeRoom(now)
		f = &failures{}
		b.seen[key] = f
	}
	if now.Sub(f.last) > forgetting {
		f.count = 0
	}
	f.count, f.last = f.count+1, now
	if n := f.count - free; n > 0 {
		f.until = now.Add(min(maxDelay, time.Second<<min(n-1, 6)))
	}
}

// makeRoom drops what is forgotten, and the oldest when that is not enough.
func (b *Backoff) makeRoom(now time.Time) {
	if len(b.seen) < maxTracked {
		return
	}
	var oldest string
	var last time.Time
	for k, f := range b.seen {
		if now.Sub(f.last) > forgetting {
			delete(b.seen, k)
		} else if last.IsZero() || f.last.Before(last) {
			oldest, last = k, f.last
		}
	}
	if len(b.seen) >= maxTracked {
		delete(b.seen, oldest)
	}
}

// Succeeded forgets the wrong tries of this name and address.
func (b *Backoff) Succeeded(name string, addr netip.Addr) {
	byName, byAddr, pair := keys(name, addr)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.seen, byName)
	delete(b.seen, byAddr)
	if len(b.good) >= 64 {
		var oldest string
		for k, t := range b.good {
			if oldest == "" || t.Before(b.good[oldest]) {
				oldest = k
			}
		}
		delete(b.good, oldest)
	}
	b.good[pair] = b.now()
}
