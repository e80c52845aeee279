package resolver

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxCached      = 10000          // answers; a stranger chooses the names we look up
	maxCachedBytes = 8 << 20        // of them in memory, estimated; a stranger writes them
	maxTTL         = 24 * time.Hour // no answer is kept longer
)

// cache keeps answers until their TTL is over.
type cache struct {
	now      func() time.Time
	max      int // answers
	maxBytes int

	mu    sync.Mutex
	m     map[cacheKey]cached
	bytes int
}

type cacheKey struct {
	name string
	t    uint16
}

type cached struct {
	answer  answer
	expires time.Time
	bytes   int
}

func (c *cache) get(name string, t uint16) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[cacheKey{name, t}]
	if !ok || !c.now().Before(e.expires) {
		return answer{}, false
	}
	return e.answer, true
}

func (c *cache) put(name string, t uint16, a answer) {
	if a.ttl <= 0 {
		return
	}
	k, size := cacheKey{name, t}, weight(name, a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[cacheKey]cached)
	}
	c.remove(k)
	if size > c.maxBytes/16 {
		return // too large to push others out for it
	}
	if len(c.m) >= c.max || c.bytes+size > c.maxBytes {
		c.makeRoom(size)
	}
	c.m[k] = cached{a, c.now().Add(a.ttl), size}
	c.bytes += size
}

// remove takes an answer out. The caller holds the lock.
func (c *cache) remove(k cacheKey) {
	c.bytes -= c.m[k].bytes
	delete(c.m, k)
}

// makeRoom takes answers out until one of size bytes fits: of a few that come
// first in the map's order, which is none, those that have ended; then any, it
// is only asked for again. The caller holds the lock.
func (c *cache) makeRoom(size int) {
	now, seen := c.now(), 0
	for k, e := range c.m {
		if seen++; seen > 32 {
			break
		}
		if !now.Before(e.expires) {
			c.remove(k)
		}
	}
	for k := range c.m {
		if len(c.m) < c.max && c.bytes+size <= c.maxBytes {
			break
		}
		c.remove(k)
	}
}

// weight estimates the memory of an answer in bytes: what the records take on
// the wire, twice, and what maps and headers take.
func weight(name string, a answer) int {
	n := 200 + len(name) + len(a.next)
	for _, rr := range a.records {
		n += 100 + 2*dns.Len(rr)
	}
	return n
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
	c.bytes = 0
}

// Flush forgets every answer. The caller does so when the network changes or
// when it must look again, as RFC 8461, Section 5.1 asks before a permanent
// failure.
func (r *Resolver) Flush() { r.cache.flush() }
