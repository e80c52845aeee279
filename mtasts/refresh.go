package mtasts

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	refreshEvery = 24 * time.Hour // Section 3.3: about daily
	// A policy with a shorter life is not refreshed ahead of need.
	shortLife = time.Hour
	// A restart spreads what is overdue over this time.
	restartSpread = 15 * time.Minute
	retryAtMost   = 6 * time.Hour
	expiringSoon  = 3 * 24 * time.Hour
)

// refreshIn is the time from a fetch to the next: about a day, and well before
// the end of the policy; at an unpredictable moment (Section 10.2), so that
// nobody can be on the path at just that time.
func (k *kept) refreshIn() time.Duration {
	every := min(refreshEvery, k.policy.MaxAge/2)
	return jitter(every*3/4, every)
}

// replan sets the next refresh after a failure: later each time, but several
// times before the policy ends. The shard's lock is held.
func (it *item) replan(c *Cache, domain string, m moment) {
	k := it.kept
	if k.ended(m) || k.policy.MaxAge < shortLife {
		it.refresh = 0
		return
	}
	wait := min(waitAtMost<<min(it.failures, 10), retryAtMost, k.expires.Sub(m.life)/4)
	wait = max(wait, waitAtMost)
	it.refresh = m.mono + jitter(wait, wait+wait/5)
	c.plan.add(domain, it.refresh)
}

// due is a planned refresh.
type due struct {
	at     time.Duration // monotonic
	domain string
}

// plan holds the planned refreshes, the next one first. A refresh that was
// planned anew leaves its old line behind; who takes a line out compares it
// with the item. Nothing is planned before Run.
type plan struct {
	mu      sync.Mutex
	running bool
	lines   dueHeap
	wake    chan struct{}
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = due{}
	*h = (*h)[:last]
	return d
}

func (p *plan) add(domain string, at time.Duration) {
	if at == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return
	}
	heap.Push(&p.lines, due{at, domain})
	if p.lines[0].domain == domain {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// next takes out the first line that is due. wait is the time until there will
// be one, when there is none.
func (p *plan) next(mono time.Duration) (d due, wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return due{}, time.Hour, false
	}
	if wait := p.lines[0].at - mono; wait > 0 {
		return due{}, wait, false
	}
	return heap.Pop(&p.lines).(due), 0, true
}

// Run reads the store, keeps policies fresh and removes what is long unused,
// until ctx is done. It returns ctx's error after everything that it and the
// look-ups of other methods started has ended. It must not be called twice. A
// Cache works without Run, but then refreshes only what is asked for.
func (c *Cache) Run(ctx context.Context) error {
	c.plan.mu.Lock()
	c.plan.running, c.plan.wake = true, make(chan struct{}, 1)
	c.plan.mu.Unlock()

	c.list(ctx)
	c.planAll()

	var wg sync.WaitGroup
	work := make(chan due)
	for range c.cfg.RefreshParallel {
		wg.Go(func() {
			for d := range work {
				c.refreshDue(ctx, d)
			}
		})
	}
	wg.Go(func() { c.sweeps(ctx) })
	c.dispatch(ctx, work)
	close(work)
	wg.Wait()
	c.flights.stop()

	c.plan.mu.Lock()
	c.plan.running, c.plan.lines = false, nil
	c.plan.mu.Unlock()
	return ctx.Err()
}

// dispatch hands due refreshes to the workers until ctx is done.
func (c *Cache) dispatch(ctx context.Context, work chan<- due) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d, wait, ok := c.plan.next(c.moment().mono)
		if ok {
			select {
			case work <- d:
			case <-ctx.Done():
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.plan.wake:
		case <-ctx.Done():
			return
		}
	}
}

// refreshDue refreshes a domain, if the plan still says so.
func (c *Cache) refreshDue(ctx context.Context, d due) {
	m := c.moment()
	s := c.shard(d.domain)
	s.mu.Lock()
	it := s.items[d.domain]
	if it == nil || it.kept == nil || it.refresh != d.at {
		s.mu.Unlock()
		return
	}
	switch {
	case it.kept.ended(m), it.unused(m):
		it.refresh = 0
		s.mu.Unlock()
		return
	case !m.trusted:
		it.refresh = m.mono + jitter(waitAfterFailure, waitAtMost)
		c.plan.add(d.domain, it.refresh)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	_, err := c.flights.do(ctx, c, d.domain, forRefresh)
	if err != nil {
		c.cfg.Log.Debug("mtasts refresh", "domain", d.domain, "err", err)
	}
	// A look-up that fetched nothing (an id that has to wait, too many ids, a
	// DNS or store failure) planned nothing.
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.items[d.domain]; it != nil && it.kept != nil && it.refresh == d.at {
		it.replan(c, d.domain, c.moment())
	}
}

// planAll plans the refreshes of what was read from the store, or used before
// Run: what is overdue is spread, but done before its end.
func (c *Cache) planAll() {
	m := c.moment()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for domain, it := range s.items {
			k := it.kept
			if k == nil || k.ended(m) || k.policy.MaxAge < shortLife {
				continue
			}
			if it.refresh == 0 {
				wait := k.fetched.Add(k.refreshIn()).Sub(m.wall)
				if wait <= 0 || wait > refreshEvery || !m.trusted {
					wait = jitter(0, restartSpread)
				}
				if m.trusted {
					wait = min(wait, max(time.Second, k.expires.Sub(m.life)/2))
				}
				it.refresh = m.mono + max(wait, 1)
			}
			c.plan.add(domain, it.refresh)
		}
		s.mu.Unlock()
	}
}
