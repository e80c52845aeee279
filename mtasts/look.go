package mtasts

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	recordTimeout = 30 * time.Second // one question to the DNS
	storeTimeout  = 10 * time.Second // one access to the store
	// After a failed fetch the same id waits this long (Section 3.3: five
	// minutes or longer); the rest is jitter.
	waitAfterFailure, waitAtMost = 5 * time.Minute, 6 * time.Minute
	// maxTries bounds the ids of one domain that are tried in that time.
	maxTries = 8
)

// finding is what a look-up has found out, besides the policy.
type finding struct {
	seen    string
	checked bool
	trouble Reason
	detail  string
}

// look finds out what holds for a domain: the one place where record, cached
// policy and fetch come together (Sections 3.3 and 5.1).
func (c *Cache) look(ctx context.Context, domain string, p purpose) (Answer, error) {
	storeErr := c.recall(ctx, domain)
	rec, recErr := c.record(ctx, domain)
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	find := finding{seen: rec.ID, checked: !errors.Is(recErr, ErrTemporary)}
	id, fetch, err := c.decide(domain, p, recErr, &find)
	if err == nil && fetch {
		fetched, fetchErr := c.fetch(ctx, domain)
		switch {
		case fetchErr == nil:
			return c.adopt(ctx, domain, id, fetched, p, find), nil
		case ctx.Err() != nil:
			return Answer{}, ctx.Err()
		}
		c.failed(domain, id, fetchErr, &find)
	}
	if err != nil {
		return Answer{}, err
	}
	a := c.settle(domain, p, find)
	if !a.Held && storeErr != nil {
		// There may be a policy that could not be read.
		return Answer{}, storeErr
	}
	return a, nil
}

// record asks for the TXT record; the second resolver, where there is one, is
// asked when the first gives none and a policy holds or nothing is known.
func (c *Cache) record(ctx context.Context, domain string) (Record, error) {
	ask := func(r Resolver) (Record, error) {
		ctx, cancel := context.WithTimeout(ctx, recordTimeout)
		defer cancel()
		return LookupRecord(ctx, r, domain)
	}
	rec, err := ask(c.cfg.Resolver)
	if err == nil || c.cfg.FallbackResolver == nil || ctx.Err() != nil {
		return rec, err
	}
	if !errors.Is(err, ErrTemporary) && !c.holds(domain) {
		return rec, err
	}
	if second, err2 := ask(c.cfg.FallbackResolver); err2 == nil || errors.Is(err, ErrTemporary) && !errors.Is(err2, ErrTemporary) {
		return second, err2
	}
	return rec, err
}

// holds reports whether a policy is in force from memory.
func (c *Cache) holds(domain string) bool {
	m := c.moment()
	s := c.shard(domain)
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.items[domain]
	return it != nil && it.kept != nil && !it.kept.ended(m)
}

// decide says whether to fetch, and under which id. It fails when nothing can
// be said.
func (c *Cache) decide(domain string, p purpose, recErr error, find *finding) (id string, fetch bool, err error) {
	m := c.moment()
	var events []Event
	defer func() { c.tell(events) }()
	s := c.shard(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[domain]
	var k *kept
	if it != nil && it.kept != nil && !it.kept.ended(m) {
		k = it.kept
	}
	if recErr == nil {
		id = find.seen
		fetch = k == nil || k.id != id || k.doubtful(m) || p == forRefresh
	} else {
		kind := EventKind("")
		find.detail = bounded(recErr.Error())
		switch {
		case errors.Is(recErr, ErrTemporary):
			if k == nil {
				return "", false, recErr
			}
			find.trouble = ReasonDNS
		case !errors.Is(recErr, ErrNoRecord):
			find.trouble, kind = ReasonRecord, RecordBroken
		case k == nil:
			find.detail = "" // a domain without MTA-STS: no trouble
		default:
			find.trouble, kind = ReasonRecordGone, RecordVanished
		}
		if k == nil {
			return "", false, nil
		}
		if kind != "" && k.policy.Mode != None {
			events = it.alarm(events, m, Event{
				Kind: kind, Domain: domain, OldID: k.id, Mode: k.policy.Mode, ExpiresAt: k.expires, Detail: find.detail,
			})
		}
		// A policy is refreshed by HTTPS, not by its record.
		id, fetch = k.id, p == forRefresh
	}
	if !fetch {
		return id, false, nil
	}
	if !m.trusted {
		if k == nil {
			return "", false, fmt.Errorf("%w: the policy of %s cannot be fetched", ErrClock, domain)
		}
		find.trouble, find.detail = ReasonClock, "the clock is not set, so nothing is fetched"
		return id, false, nil
	}
	if it == nil {
		return id, true, nil
	}
	switch failure, room := it.failedBefore(id, m); {
	case failure != nil:
		find.trouble, find.detail = failure.reason, failure.detail
		return id, false, nil
	case !room:
		find.trouble = ReasonFetch
		find.detail = fmt.Sprintf("%d different record ids within minutes: no further one is tried now", len(it.tries))
		e := Event{Kind: RecordFlapping, Domain: domain, ID: id, Detail: find.detail}
		if k != nil {
			e.OldID, e.Mode, e.ExpiresAt = k.id, k.policy.Mode, k.expires
		}
		events = it.alarm(events, m, e)
		return id, false, nil
	}
	return id, true, nil
}

// doubtful reports whether the wall clock contradicts a policy that holds: it
// came from the future, or has ended by a clock that has leapt.
func (k *kept) doubtful(m moment) bool {
	return !m.wall.Before(k.expires) || m.wall.Before(k.fetched.Add(-leapTolerance))
}

// fetch asks the policy host, a second way if there is one and the first fails.
func (c *Cache) fetch(ctx context.Context, domain string) (Fetched, error) {
	f, err := c.cfg.Fetcher.Fetch(ctx, domain)
	if err == nil || c.cfg.FallbackFetcher == nil || ctx.Err() != nil {
		return f, err
	}
	if second, err2 := c.cfg.FallbackFetcher.Fetch(ctx, domain); err2 == nil {
		return second, nil
	}
	return f, err
}

// adopt takes a fetched policy into the cache and answers with it. That it is
// kept, in memory and in the store, is less important than that it is used.
func (c *Cache) adopt(ctx context.Context, domain, id string, f Fetched, p purpose, find finding) Answer {
	m := c.moment()
	k := &kept{policy: f.Policy, body: f.Body, id: id, host: f.Host, fetched: m.late.Round(0).UTC()}
	k.expires = k.fetched.Add(f.Policy.MaxAge)
	answer := Answer{Domain: domain, Seen: find.seen, RecordChecked: find.checked, Trouble: find.trouble, Detail: find.detail}
	k.fill(&answer)

	s := c.shard(domain)
	s.mu.RLock()
	room := s.items[domain] != nil && s.items[domain].kept != nil // what is kept may change
	s.mu.RUnlock()
	room = room || c.room(ctx, k, m)
	s.mu.Lock()
	it := s.get(domain, m)
	old := it.kept
	events := it.changes(domain, old, k, m)
	it.note(try{id: id, until: m.mono + waitAfterFailure})
	it.failures = 0
	if p != forRefresh || it.used.Load() == 0 {
		it.use(m)
	}
	keep := room || old != nil
	if keep {
		c.put(s, it, k)
		it.set(find, m, c.cfg.RecordReuse)
		it.refresh = m.mono + k.refreshIn()
		if k.policy.MaxAge < shortLife {
			it.refresh = 0
		}
		c.plan.add(domain, it.refresh)
		it.unsaved = true
	}
	s.mu.Unlock()
	c.tell(events)
	if !keep {
		c.tellOnce(m, Event{Kind: CacheFull, Detail: fmt.Sprintf("%d bytes of policies are kept, %s is not", c.bytes.Load(), domain)})
		return answer
	}
	c.save(ctx, domain, it)
	return answer
}

// changes lists what a person may want to know of a new policy.
func (it *item) changes(domain string, old, k *kept, m moment) []Event {
	e := Event{Time: m.wall, Domain: domain, ID: k.id, Mode: k.policy.Mode, ExpiresAt: k.expires}
	if old == nil {
		e.Kind = PolicyNew
		return []Event{e}
	}
	e.OldID, e.OldMode = old.id, old.policy.Mode
	if old.body == k.body {
		return nil
	}
	e.Kind = PolicyChanged
	events := []Event{e}
	if old.policy.Mode == Enforce && k.policy.Mode != Enforce && !old.ended(m) {
		e.Kind = PolicyWeakened
		events = it.alarm(events, m, e)
	}
	return events
}

// failed notes a fetch that failed. What is cached goes on to hold.
func (c *Cache) failed(domain, id string, err error, find *finding) {
	m := c.moment()
	find.trouble, find.detail = ReasonFetch, bounded(err.Error())
	var fe *FetchError
	if errors.As(err, &fe) {
		find.trouble, find.detail = fe.Reason, bounded(fe.Err.Error())
	}
	s := c.shard(domain)
	s.mu.Lock()
	it := s.get(domain, m)
	it.note(try{
		id: id, until: m.mono + jitter(waitAfterFailure, waitAtMost),
		failed: true, reason: find.trouble, detail: find.detail,
	})
	it.failures++
	it.failure, it.failureDetail = find.trouble, find.detail
	e := Event{Kind: FetchFailed, Domain: domain, ID: id, Detail: find.detail}
	var events []Event
	switch k := it.kept; {
	case k == nil:
		events = it.alarm(events, m, e)
	case k.policy.Mode == None:
		// No alarm while the cached mode is none (Section 3.3).
		it.replan(c, domain, m)
	default:
		e.OldID, e.Mode, e.ExpiresAt = k.id, k.policy.Mode, k.expires
		e.Kind = RefreshFailed
		if k.ended(m) {
			e.Kind = PolicyExpired
		}
		events = it.alarm(events, m, e)
		if left := k.expires.Sub(m.life); !k.ended(m) && left < min(k.policy.MaxAge/4, expiringSoon) {
			e.Kind = PolicyExpiring
			events = it.alarm(events, m, e)
		}
		it.replan(c, domain, m)
	}
	s.mu.Unlock()
	c.tell(events)
}

// settle gives the answer from what is in memory, after a look-up that brought
// no new policy.
func (c *Cache) settle(domain string, p purpose, find finding) Answer {
	m := c.moment()
	s := c.shard(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[domain]
	if it == nil {
		it = new(item) // nothing to remember
	}
	if p != forRefresh {
		it.use(m)
	}
	if find.trouble == "" && it.kept != nil && it.failures > 0 {
		// Refreshing fails, although this look-up did not try.
		find.trouble, find.detail = it.failure, it.failureDetail
	}
	it.set(find, m, c.cfg.RecordReuse)
	return it.answer(domain, m)
}

func (it *item) set(find finding, m moment, reuse time.Duration) {
	it.seen, it.checked, it.trouble, it.detail = find.seen, find.checked, find.trouble, find.detail
	it.reuseUntil = m.mono + reuse
}
