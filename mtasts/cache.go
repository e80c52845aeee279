package mtasts

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CacheConfig is what a Cache needs. Resolver and Fetcher are required.
type CacheConfig struct {
	Resolver Resolver
	Fetcher  *Fetcher
	// FallbackResolver and FallbackFetcher are a second resolver and a second
	// way to the policy hosts, tried when the first failed; nil means none.
	FallbackResolver Resolver
	FallbackFetcher  *Fetcher
	// Store keeps policies across restarts; nil means a MemoryStore.
	Store Store
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// ClockTrusted says whether Now can be believed; nil means always. While
	// it cannot, no policy ends, none is fetched and nothing is removed.
	ClockTrusted func() bool
	// OnEvent takes events, one at a time; it must return quickly and must not
	// call the Cache. nil drops them.
	OnEvent func(Event)
	// Log takes technical details; nil discards them.
	Log *slog.Logger
	// RecordReuse is how long an answer of the DNS is reused without asking
	// again, while a policy holds; 0 means DefaultRecordReuse, a negative
	// value means never.
	RecordReuse time.Duration
	// MaxBytes bounds the memory of the kept policies; 0 means
	// DefaultMaxBytes. When it is full, a policy that has not ended is never
	// given up for a new one: see CacheFull.
	MaxBytes int64
	// RefreshParallel bounds the refreshes at one time; 0 means
	// DefaultRefreshParallel.
	RefreshParallel int
}

// Defaults of CacheConfig.
const (
	DefaultRecordReuse     = time.Minute
	DefaultMaxBytes        = 64 << 20
	DefaultRefreshParallel = 8
)

// Cache answers what policy holds for a domain now (Sections 3.3 and 5.1). Its
// methods may be called from many goroutines at once.
//
// A policy that has not ended holds, whatever happens: a record that vanished
// or was doubled, a new id whose policy cannot be fetched, a DNS or a store
// that fails, a restart, a clock that leaps. Its life counts from the last
// fetch over HTTPS.
type Cache struct {
	cfg   CacheConfig
	clock steadyClock

	seed   maphash.Seed
	shards [64]shard
	bytes  atomic.Int64 // memory of the kept policies, estimated
	listed atomic.Bool  // the whole store is in memory

	flights flights
	plan    plan

	eventMu sync.Mutex
	told    map[EventKind]time.Duration // alarms that concern no single domain
	swept   atomic.Int64                // when room was last looked for, monotonic
}

// NewCache makes a cache; it starts nothing and reads nothing. It panics when
// Resolver or Fetcher is missing.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Resolver == nil || cfg.Fetcher == nil {
		panic("mtasts: CacheConfig without Resolver or Fetcher")
	}
	if cfg.Store == nil {
		cfg.Store = new(MemoryStore)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ClockTrusted == nil {
		cfg.ClockTrusted = func() bool { return true }
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.RecordReuse == 0 {
		cfg.RecordReuse = DefaultRecordReuse
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.RefreshParallel <= 0 {
		cfg.RefreshParallel = DefaultRefreshParallel
	}
	c := &Cache{cfg: cfg, seed: maphash.MakeSeed(), told: make(map[EventKind]time.Duration)}
	c.clock = steadyClock{start: time.Now(), now: cfg.Now, trusted: cfg.ClockTrusted}
	c.swept.Store(int64(-sweepEvery))
	return c
}

// Policy says what holds for a recipient domain now. For an address literal
// that is nothing (the zero Answer). The error is not nil only when nothing can
// be said: ErrTemporary, ErrClock, ErrStore, ErrDomain or ctx's. The caller
// decides what then happens to the mail.
func (c *Cache) Policy(ctx context.Context, domain string) (Answer, error) {
	if strings.HasPrefix(domain, "[") {
		return Answer{}, nil
	}
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Answer{}, err
	}
	m := c.moment()
	if a, ok := c.remembered(domain, m); ok {
		return a, nil
	}
	return c.flights.do(ctx, c, domain, forDelivery)
}

// Recheck is Policy with a new question to the DNS, for the moment before mail
// fails permanently (Section 5.1, step 3): a new id means a new policy. Give up
// on a message only after an Answer with RecordChecked.
func (c *Cache) Recheck(ctx context.Context, domain string) (Answer, error) {
	if strings.HasPrefix(domain, "[") {
		return Answer{}, nil
	}
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Answer{}, err
	}
	return c.flights.do(ctx, c, domain, forRecheck)
}

// Refresh fetches the policy of a domain now, whatever its age, unless a fetch
// for the same id failed less than five minutes ago. It does not count as a
// use of the entry. A domain without a record and without a policy is left
// alone.
func (c *Cache) Refresh(ctx context.Context, domain string) (Answer, error) {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Answer{}, err
	}
	return c.flights.do(ctx, c, domain, forRefresh)
}

// Forget drops what is known of a domain, from the store too: for an operator
// who has been told that a policy is wrong (Section 10.3). The next question
// for the domain starts from nothing.
func (c *Cache) Forget(ctx context.Context, domain string) error {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return err
	}
	c.drop(domain)
	if err := c.cfg.Store.Delete(ctx, domain); err != nil {
		return fmt.Errorf("%w: delete %s: %w", ErrStore, domain, err)
	}
	return nil
}

// ObserveMX tells the cache which MX hosts a domain has. When a policy in
// force lists none of them, it raises MXLeftPolicy.
func (c *Cache) ObserveMX(domain string, hosts []string) {
	domain, err := PolicyDomain(domain)
	if err != nil || len(hosts) == 0 {
		return
	}
	m := c.moment()
	s := c.shard(domain)
	s.mu.Lock()
	it := s.items[domain]
	if it == nil || it.kept == nil || it.kept.ended(m) || it.kept.policy.Mode == None ||
		slices.ContainsFunc(hosts, it.kept.policy.Match) {
		s.mu.Unlock()
		return
	}
	k := it.kept
	events := it.alarm(nil, m, Event{
		Kind: MXLeftPolicy, Domain: domain, ID: k.id, Mode: k.policy.Mode, ExpiresAt: k.expires,
		Detail: bounded(fmt.Sprintf("MX %q, policy %q", hosts[:min(5, len(hosts))], k.policy.MX[:min(5, len(k.policy.MX))])),
	})
	s.mu.Unlock()
	c.tell(events)
}

// Entries lists the kept policies, those that have ended too, sorted by
// domain.
func (c *Cache) Entries() []EntryInfo {
	m := c.moment()
	var list []EntryInfo
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		for domain, it := range s.items {
			if it.kept != nil {
				list = append(list, it.info(domain, m))
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(list, func(a, b EntryInfo) int { return cmp.Compare(a.Domain, b.Domain) })
	return list
}

// Entry tells what is kept of one domain, one that has ended too; false when
// nothing is. It asks nobody and does not count as a question for the domain.
func (c *Cache) Entry(domain string) (Entry, bool) {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Entry{}, false
	}
	m := c.moment()
	s := c.shard(domain)
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.items[domain]
	if it == nil || it.kept == nil {
		return Entry{}, false
	}
	return Entry{EntryInfo: it.info(domain, m), Body: it.kept.body, Host: it.kept.host, Seen: it.seen}, true
}

// moment reads the clocks and tells of a leap.
func (c *Cache) moment() moment {
	m, leap := c.clock.read()
	if leap != "" {
		c.tellOnce(m, Event{Kind: ClockJumped, Detail: leap})
	}
	return m
}

// tell hands events on. No lock of a shard may be held.
func (c *Cache) tell(events []Event) {
	if len(events) == 0 {
		return
	}
	c.eventMu.Lock()
	defer c.eventMu.Unlock()
	for _, e := range events {
		c.cfg.Log.Debug("mtasts event", "kind", e.Kind, "domain", e.Domain, "detail", e.Detail)
		c.cfg.OnEvent(e)
	}
}

// tellOnce is tell for an alarm of the cache as a whole: once a day.
func (c *Cache) tellOnce(m moment, e Event) {
	c.eventMu.Lock()
	last, told := c.told[e.Kind]
	if told && m.mono-last < alarmEvery {
		c.eventMu.Unlock()
		return
	}
	c.told[e.Kind] = m.mono
	c.eventMu.Unlock()
	e.Time = m.wall
	c.tell([]Event{e})
}
