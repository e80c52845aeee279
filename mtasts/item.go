package mtasts

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	alarmEvery = 24 * time.Hour
	// maxIdle bounds the items of one shard that hold no policy, but only the
	// memory of a failed fetch.
	maxIdle = 256
)

type shard struct {
	mu    sync.RWMutex
	items map[string]*item
	idle  int // items without a policy
}

// item is what the cache knows of one domain. It is guarded by its shard's
// lock, but for used.
type item struct {
	kept *kept        // nil: no policy is known
	used atomic.Int64 // last question, unix seconds

	// The last decision, see Answer.
	seen       string
	checked    bool
	trouble    Reason
	detail     string
	reuseUntil time.Duration // monotonic

	tries    []try
	failures int // failed fetches since the last good one
	// failure is why the last of them failed.
	failure       Reason
	failureDetail string
	refresh       time.Duration // planned refresh, monotonic; 0 for none
	unsaved       bool          // the store has an older state
	told          map[EventKind]time.Duration
}

// kept is a policy in the cache. It is never changed.
type kept struct {
	policy  Policy
	body    string
	id      string
	fetched time.Time
	expires time.Time
	host    HostEvidence
}

// ended reports whether the policy's life is over (Section 3.2, max_age).
// While the clock is unknown, no life is.
func (k *kept) ended(m moment) bool { return m.trusted && !m.life.Before(k.expires) }

// size estimates the memory of a policy and its item.
func (k *kept) size() int64 {
	return int64(len(k.body) + 16*len(k.policy.MX) + 32*len(k.policy.Extensions) + 800)
}

// try is one fetch under one record id in the last minutes.
type try struct {
	id     string
	until  time.Duration // monotonic: until then it counts
	failed bool
	reason Reason
	detail string
}

func (c *Cache) shard(domain string) *shard {
	return &c.shards[maphash.String(c.seed, domain)%uint64(len(c.shards))]
}

// remembered gives the last answer for a domain where it can be reused.
func (c *Cache) remembered(domain string, m moment) (Answer, bool) {
	s := c.shard(domain)
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.items[domain]
	if it == nil || it.kept == nil || m.mono >= it.reuseUntil || it.kept.ended(m) {
		return Answer{}, false
	}
	it.use(m)
	return it.answer(domain, m), true
}

// use notes that somebody asked for the domain.
func (it *item) use(m moment) {
	if now := m.wall.Unix(); m.trusted && it.used.Load() < now {
		it.used.Store(now)
	}
}

// answer is the Answer from the item's policy and its last decision.
func (it *item) answer(domain string, m moment) Answer {
	a := Answer{Domain: domain, Seen: it.seen, RecordChecked: it.checked, Trouble: it.trouble, Detail: it.detail}
	if k := it.kept; k != nil && !k.ended(m) {
		k.fill(&a)
		if a.Trouble == "" && !m.wall.Before(k.expires) {
			a.Trouble, a.Detail = ReasonClock, "by the clock, which cannot be believed, the policy has ended"
		}
	}
	return a
}

func (k *kept) fill(a *Answer) {
	a.Held = true
	a.Policy, a.Body, a.RecordID, a.Host = k.policy, k.body, k.id, k.host
	a.FetchedAt, a.ExpiresAt = k.fetched, k.expires
}

func (it *item) info(domain string, m moment) EntryInfo {
	k := it.kept
	e := EntryInfo{
		Domain: domain, Mode: k.policy.Mode, MX: k.policy.MX, RecordID: k.id, MaxAge: k.policy.MaxAge,
		FetchedAt: k.fetched, ExpiresAt: k.expires, Ended: k.ended(m), Trouble: it.trouble, Detail: it.detail,
	}
	if used := it.used.Load(); used > 0 {
		e.UsedAt = time.Unix(used, 0).UTC()
	}
	if it.refresh > 0 {
		e.RefreshAt = m.wall.Add(it.refresh - m.mono)
	}
	return e
}

// alarm adds an event, unless the same alarm was told in the last day.
func (it *item) alarm(events []Event, m moment, e Event) []Event {
	e.Time = m.wall
	if !e.Kind.Alarm() {
		return append(events, e)
	}
	if last, told := it.told[e.Kind]; told && m.mono-last < alarmEvery {
		return events
	}
	if it.told == nil {
		it.told = make(map[EventKind]time.Duration)
	}
	it.told[e.Kind] = m.mono
	return append(events, e)
}

// failedBefore gives the failure for which an id has to wait (Section 3.3:
// five minutes). room is false when so many ids were tried lately that no
// further one is, which is how forged records would make a sender hammer a
// policy host.
func (it *item) failedBefore(id string, m moment) (failure *try, room bool) {
	kept := it.tries[:0]
	for _, t := range it.tries {
		if m.mono < t.until {
			kept = append(kept, t)
		}
	}
	clear(it.tries[len(kept):])
	it.tries = kept
	for i := range it.tries {
		if it.tries[i].id == id {
			if it.tries[i].failed {
				return &it.tries[i], true
			}
			return nil, true
		}
	}
	return nil, len(it.tries) < maxTries
}

// note remembers a fetch under an id.
func (it *item) note(t try) {
	for i := range it.tries {
		if it.tries[i].id == t.id {
			it.tries[i] = t
			return
		}
	}
	it.tries = append(it.tries, t)
}

// get gives the item of a domain, a new one if need be. s.mu is held.
func (s *shard) get(domain string, m moment) *item {
	if it := s.items[domain]; it != nil {
		return it
	}
	if s.items == nil {
		s.items = make(map[string]*item)
	}
	if s.idle >= maxIdle {
		s.trim(m)
	}
	it := new(item)
	s.items[domain] = it
	s.idle++
	return it
}

// trim makes room among the items that hold no policy: first those with
// nothing left to remember, then any.
func (s *shard) trim(m moment) {
	for domain, it := range s.items {
		if it.kept == nil && !it.remembers(m) {
			delete(s.items, domain)
			s.idle--
		}
	}
	for domain, it := range s.items {
		if s.idle < maxIdle {
			return
		}
		if it.kept == nil {
			delete(s.items, domain)
			s.idle--
		}
	}
}

// remembers reports whether a fetch is still to be counted.
func (it *item) remembers(m moment) bool {
	for _, t := range it.tries {
		if m.mono < t.until {
			return true
		}
	}
	return false
}

// put replaces the item's policy. s.mu is held.
func (c *Cache) put(s *shard, it *item, k *kept) {
	if it.kept == nil {
		s.idle--
	} else {
		c.bytes.Add(-it.kept.size())
	}
	it.kept = k
	c.bytes.Add(k.size())
}

// drop removes a domain from memory.
func (c *Cache) drop(domain string) {
	s := c.shard(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[domain]
	if it == nil {
		return
	}
	if it.kept == nil {
		s.idle--
	} else {
		c.bytes.Add(-it.kept.size())
	}
	delete(s.items, domain)
}

// jitter gives a random duration from lo up to hi.
func jitter(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + rand.N(hi-lo)
}
