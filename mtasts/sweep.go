package mtasts

import (
	"context"
	"time"
)

const (
	sweepEvery = 10 * time.Minute
	// An entry that nobody has asked for in this time is refreshed no more,
	// and leaves when its policy has ended: to drop a policy in force would
	// be a downgrade.
	unusedAfter = 180 * 24 * time.Hour
	// An ended policy is kept for a while: should the clock turn out to have
	// been wrong, it holds again.
	endedAfter = 30 * 24 * time.Hour
)

// unused reports whether nobody has asked for the domain in a long time.
func (it *item) unused(m moment) bool {
	return m.trusted && m.life.Sub(time.Unix(it.used.Load(), 0)) > unusedAfter
}

// sweeps removes old entries and saves what could not be saved, again and
// again until ctx is done.
func (c *Cache) sweeps(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.sweep(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cache) sweep(ctx context.Context) {
	m := c.moment()
	type entry struct {
		domain string
		it     *item
	}
	var unsaved []entry
	var removed, events []Event
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for domain, it := range s.items {
			switch k := it.kept; {
			case k == nil:
				if !it.remembers(m) {
					delete(s.items, domain)
					s.idle--
				}
			case k.ended(m) && (it.unused(m) || m.life.Sub(k.expires) > endedAfter):
				c.bytes.Add(-k.size())
				delete(s.items, domain)
				removed = append(removed, Event{
					Kind: EntryRemoved, Time: m.wall, Domain: domain, OldID: k.id, OldMode: k.policy.Mode, ExpiresAt: k.expires,
				})
			case it.unsaved:
				unsaved = append(unsaved, entry{domain, it})
			case k.ended(m) && k.policy.Mode != None && it.failures > 0:
				events = it.alarm(events, m, Event{
					Kind: PolicyExpired, Domain: domain, OldID: k.id, Mode: k.policy.Mode, ExpiresAt: k.expires, Detail: it.detail,
				})
			}
		}
		s.mu.Unlock()
	}
	for _, e := range removed {
		c.delete(ctx, e.Domain)
	}
	c.tell(append(events, removed...))
	for _, e := range unsaved {
		if ctx.Err() != nil || !c.save(ctx, e.domain, e.it) {
			return // a disk that is full is full for the others too
		}
	}
}

// room reports whether a new policy may be kept. When memory is full, ended
// policies and those of mode none make way; one in force never does.
func (c *Cache) room(ctx context.Context, k *kept, m moment) bool {
	fits := func() bool { return c.bytes.Load()+k.size() <= c.cfg.MaxBytes }
	if fits() {
		return true
	}
	last := c.swept.Load()
	if time.Duration(int64(m.mono)-last) < sweepEvery || !c.swept.CompareAndSwap(last, int64(m.mono)) {
		return false
	}
	var gone []string
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for domain, it := range s.items {
			if old := it.kept; old != nil && (old.ended(m) || old.policy.Mode == None) {
				c.bytes.Add(-old.size())
				delete(s.items, domain)
				gone = append(gone, domain)
			}
		}
		s.mu.Unlock()
	}
	for _, domain := range gone {
		c.delete(ctx, domain)
	}
	return fits()
}
