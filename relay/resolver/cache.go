package resolver

import (
	"sync"
	"time"
)

const (
	maxCached = 10000          // answers; a stranger chooses the names we look up
	maxTTL    = 24 * time.Hour // no answer is kept longer
)

// cache keeps answers until their TTL is over.
type cache struct {
	now func() time.Time
	max int

	mu sync.Mutex
	m  map[cacheKey]cached
}

type cacheKey struct {
	name string
	t    uint16
}

type cached struct {
	answer  answer
	expires time.Time
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[cacheKey]cached)
	}
	now := c.now()
	if len(c.m) >= c.max {
		for k, e := range c.m {
			if !now.Before(e.expires) {
				delete(c.m, k)
			}
		}
		// Still full: any entry may go, it is only asked for again.
		for k := range c.m {
			if len(c.m) < c.max {
				break
			}
			delete(c.m, k)
		}
	}
	c.m[cacheKey{name, t}] = cached{a, now.Add(a.ttl)}
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
}

// Flush forgets every answer. The caller does so when the network changes or
// when it must look again, as RFC 8461, Section 5.1 asks before a permanent
// failure.
func (r *Resolver) Flush() { r.cache.flush() }
