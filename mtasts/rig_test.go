package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const domain = "good.example"

// rig is a cache in a small world: one domain, its DNS, its policy host.
type rig struct {
	t     *testing.T
	zone  *zone
	host  *policyHost
	store *flakyStore
	cfg   CacheConfig
	cache *Cache

	mu        sync.Mutex
	events    []Event
	offset    time.Duration // of the wall clock
	untrusted bool
}

// inBubble runs a test with a rig and faked time.
func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		test(r)
		time.Sleep(time.Minute) // lets closing connections end
	})
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, zone: newZone(domain, "id1"), host: newPolicyHost(t), store: &flakyStore{Store: new(MemoryStore)}}
	r.cfg = CacheConfig{
		Resolver: r.zone,
		Fetcher:  r.host.fetcher(),
		Store:    r.store,
		Now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Now().Add(r.offset)
		},
		ClockTrusted: func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return !r.untrusted
		},
		OnEvent: func(e Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	}
	r.cache = NewCache(r.cfg)
	return r
}

// restart makes a new cache over the same store.
func (r *rig) restart() { r.cache = NewCache(r.cfg) }

// run starts Run and gives a function that ends it.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error)
	cache := r.cache
	go func() { done <- cache.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run: got %v, want context.Canceled", err)
		}
	}
}

func (r *rig) leap(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offset += d
}

func (r *rig) trust(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untrusted = !yes
}

func (r *rig) policy() Answer {
	r.t.Helper()
	a, err := r.cache.Policy(r.t.Context(), domain)
	if err != nil {
		r.t.Errorf("Policy: %v", err)
	}
	return a
}

// want checks an answer: the mode ("" for no policy) and the trouble.
func (r *rig) want(a Answer, mode Mode, trouble Reason) {
	r.t.Helper()
	if a.Held != (mode != "") || a.Policy.Mode != mode || a.Trouble != trouble {
		r.t.Errorf("got held %v, mode %q, trouble %q (%s), want mode %q, trouble %q",
			a.Held, a.Policy.Mode, a.Trouble, a.Detail, mode, trouble)
	}
	if a.Held && a.Policy.MaxAge > 0 && !a.ExpiresAt.Equal(a.FetchedAt.Add(a.Policy.MaxAge)) {
		r.t.Errorf("fetched at %s, max_age %s, expires at %s", a.FetchedAt, a.Policy.MaxAge, a.ExpiresAt)
	}
}

// wantFetches checks how often the policy host was asked.
func (r *rig) wantFetches(n int) {
	r.t.Helper()
	if got := r.host.count(); got != n {
		r.t.Errorf("got %d fetches, want %d", got, n)
	}
}

// wantEvents takes the events so far and compares their kinds.
func (r *rig) wantEvents(kinds ...EventKind) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []EventKind
	for _, e := range r.events {
		got = append(got, e.Kind)
		if e.Time.IsZero() {
			r.t.Errorf("%s without a time", e.Kind)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(kinds) {
		r.t.Errorf("events: got %v, want %v\n%+v", got, kinds, r.events)
	}
	r.events = nil
}

func (r *rig) serve(body string) { r.host.set(func(h *policyHost) { h.body = body }) }
func (r *rig) handle(f http.HandlerFunc) {
	r.host.set(func(h *policyHost) { h.handler = f })
}
func (r *rig) block(err error)   { r.host.set(func(h *policyHost) { h.dialErr = err }) }
func (r *rig) id(ids ...string)  { r.zone.setID(domain, ids...) }
func (r *rig) servfail(yes bool) { r.zone.setErr(map[bool]error{true: errServfail}[yes]) }
func policyText(mode, age string) string {
	return strings.NewReplacer("enforce", mode, "604800", age).Replace(goodPolicy)
}

var errBlocked = errors.New("connection refused")

// flakyStore is a store that can fail.
type flakyStore struct {
	Store
	mu                       sync.Mutex
	load, save, delete, list error
	saves                    int
}

func (s *flakyStore) set(load, save, list error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load, s.save, s.list, s.delete = load, save, list, save
}

func (s *flakyStore) Load(ctx context.Context, domain string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.load != nil {
		return nil, s.load
	}
	return s.Store.Load(ctx, domain)
}

func (s *flakyStore) Save(ctx context.Context, domain string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	if s.save != nil {
		return s.save
	}
	return s.Store.Save(ctx, domain, value)
}

func (s *flakyStore) Delete(ctx context.Context, domain string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delete != nil {
		return s.delete
	}
	return s.Store.Delete(ctx, domain)
}

func (s *flakyStore) List(ctx context.Context, yield func(string, []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.Store.List(ctx, yield)
	return errors.Join(err, s.list)
}
