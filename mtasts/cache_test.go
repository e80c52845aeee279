package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstContact(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := r.policy()
		r.want(a, Enforce, "")
		if a.Domain != domain || a.RecordID != "id1" || a.Seen != "id1" || a.Body != goodPolicy || !a.RecordChecked ||
			a.Host.TLSVersion != "TLS 1.3" || !a.FetchedAt.Equal(time.Now()) {
			t.Errorf("got %+v", a)
		}
		r.wantEvents(PolicyNew)
		for range 3 {
			r.want(r.policy(), Enforce, "")
		}
		if r.zone.asked != 1 {
			t.Errorf("the DNS was asked %d times within a minute, want once", r.zone.asked)
		}
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, "")
		if r.zone.asked != 2 {
			t.Errorf("the DNS was asked %d times, want twice", r.zone.asked)
		}
		r.wantFetches(1)
		r.wantEvents()
	})
}

// TestNoPolicy: without a cached policy nothing is demanded, and only a
// temporary failure of the DNS is an error.
func TestNoPolicy(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(r *rig)
		trouble Reason
		err     error
		fetches int
		events  []EventKind
	}{
		{"no record", func(r *rig) { r.id() }, "", nil, 0, nil},
		{"two records", func(r *rig) { r.id("a", "b") }, ReasonRecord, nil, 0, nil},
		{"malformed record", func(r *rig) { r.id("a-b") }, ReasonRecord, nil, 0, nil},
		{"SERVFAIL", func(r *rig) { r.servfail(true) }, "", ErrTemporary, 0, nil},
		{"no policy host", func(r *rig) { r.block(errBlocked) }, ReasonFetch, nil, 0, []EventKind{FetchFailed}},
		{"malformed policy", func(r *rig) { r.serve("hello") }, ReasonInvalid, nil, 1, []EventKind{FetchFailed}},
		{"bad certificate", func(r *rig) { r.host.tls = newPolicyHost(r.t).tls }, ReasonWebPKI, nil, 0, []EventKind{FetchFailed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				test.change(r)
				a, err := r.cache.Policy(r.t.Context(), domain)
				if !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				r.want(a, "", test.trouble)
				r.wantFetches(test.fetches)
				r.wantEvents(test.events...)
				if test.err == nil && !a.RecordChecked {
					t.Error("the record was not checked")
				}
			})
		})
	}
}

func TestNoPolicyDomain(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, literal := range []string{"[192.0.2.1]", "[IPv6:2001:db8::1]"} {
			a, err := r.cache.Policy(r.t.Context(), literal)
			b, err2 := r.cache.Recheck(r.t.Context(), literal)
			if a.Held || b.Held || err != nil || err2 != nil {
				t.Errorf("%s: got %v, %v, %v, %v", literal, a, b, err, err2)
			}
		}
		for _, f := range []func() error{
			func() error { _, err := r.cache.Policy(r.t.Context(), "a..b"); return err },
			func() error { _, err := r.cache.Recheck(r.t.Context(), "a..b"); return err },
			func() error { _, err := r.cache.Refresh(r.t.Context(), "a..b"); return err },
			func() error { return r.cache.Forget(r.t.Context(), "a..b") },
		} {
			if err := f(); !errors.Is(err, ErrDomain) {
				t.Errorf("got %v, want ErrDomain", err)
			}
		}
	})
}

// TestLifeFromFetch: an unchanged id extends nothing; the policy ends max_age
// after its fetch (Section 3.2).
func TestLifeFromFetch(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.block(errBlocked)
		for range 6 {
			time.Sleep(24 * time.Hour)
			r.want(r.policy(), Enforce, "") // asks the DNS, sees id1
		}
		time.Sleep(24*time.Hour - time.Second)
		r.want(r.policy(), Enforce, "")
		time.Sleep(time.Second)
		r.want(r.policy(), "", ReasonFetch)
		r.wantEvents(PolicyNew, PolicyExpired)
		r.block(nil)
		time.Sleep(7 * time.Minute)
		r.want(r.policy(), Enforce, "")
	})
}

// TestNewID: a new id brings the new policy at once; whatever the old one was.
func TestNewID(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.wantEvents(PolicyNew)
		r.id("id2")
		r.serve(policyText("testing", "604800"))
		a, err := r.cache.Recheck(r.t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		r.want(a, Testing, "")
		r.wantEvents(PolicyChanged, PolicyWeakened)
		r.want(r.policy(), Testing, "")

		r.id("id0") // not greater: different
		r.serve("version: STSv1\nmode: none\nmax_age: 86400\n")
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), None, "")
		r.wantEvents(PolicyChanged)
		r.restart()
		r.want(r.policy(), None, "")

		r.id("id3")
		r.serve(goodPolicy)
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, "")
		r.id("id4") // a new id for the same text is no change
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, "")
		r.wantEvents(PolicyChanged)
		r.wantFetches(5)
	})
}

// TestRecheck: it asks the DNS each time, and says whether the DNS answered.
func TestRecheck(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.policy()
		for i := range 3 {
			a, err := r.cache.Recheck(r.t.Context(), domain)
			if err != nil || !a.RecordChecked || r.zone.asked != i+2 {
				t.Errorf("got %+v, %v after %d questions", a, err, r.zone.asked)
			}
		}
		r.servfail(true)
		a, err := r.cache.Recheck(r.t.Context(), domain)
		if err != nil || a.RecordChecked {
			t.Errorf("got RecordChecked %v, %v although the DNS fails", a.RecordChecked, err)
		}
		r.want(a, Enforce, ReasonDNS)
	})
}

// TestRecordReuse: a negative RecordReuse asks the DNS for each delivery.
func TestRecordReuse(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.cfg.RecordReuse = -1
		r.restart()
		for range 4 {
			r.policy()
		}
		if r.zone.asked != 4 {
			t.Errorf("got %d questions, want 4", r.zone.asked)
		}
	})
}

// TestModeNone: no alarm while the cached mode is none (Section 3.3).
func TestModeNone(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.serve("version: STSv1\nmode: none\nmax_age: 604800\n")
		r.want(r.policy(), None, "")
		r.wantEvents(PolicyNew)
		r.id()
		time.Sleep(time.Hour)
		r.want(r.policy(), None, ReasonRecordGone)
		r.id("id2")
		r.block(errBlocked)
		time.Sleep(time.Hour)
		r.want(r.policy(), None, ReasonFetch)
		r.cache.ObserveMX(domain, []string{"other.example"})
		r.wantEvents()
	})
}

// TestBackOff: five minutes, and a little more, between failed fetches for one
// id; a new id may be tried at once (Section 3.3).
func TestBackOff(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.handle(http.NotFound)
		r.want(r.policy(), "", ReasonFetch)
		for range 4*60 + 59 {
			time.Sleep(time.Second)
			r.want(r.policy(), "", ReasonFetch)
		}
		r.wantFetches(1)
		time.Sleep(61 * time.Second) // with the jitter, at most six minutes
		r.want(r.policy(), "", ReasonFetch)
		r.wantFetches(2)
		r.id("id2")
		r.want(r.policy(), "", ReasonFetch)
		r.wantFetches(3)
		r.id("id1") // has to wait still
		r.want(r.policy(), "", ReasonFetch)
		r.wantFetches(3)
		if _, err := r.cache.Refresh(r.t.Context(), domain); err != nil {
			t.Error(err)
		}
		r.wantFetches(3)
	})
}

// TestFlapping: forged ids do not make us hammer a policy host.
func TestFlapping(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		for i := range 1000 {
			r.id(fmt.Sprintf("forged%d", i))
			if _, err := r.cache.Recheck(r.t.Context(), domain); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		r.wantFetches(maxTries)
		r.want(r.policy(), Enforce, ReasonFetch)
		r.wantEvents(PolicyNew, RecordFlapping)
		time.Sleep(6 * time.Minute)
		r.want(r.policy(), Enforce, "")
		r.wantFetches(maxTries + 1)
	})
}

// TestSharedFetch: concurrent deliveries share one look-up and one fetch.
func TestSharedFetch(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.zone.wait = time.Second
		r.handle(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second)
			answer(200, "text/plain", policyText("enforce", "0"))(w, nil)
		})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				a := r.policy()
				r.want(a, Enforce, "") // for all, although max_age is 0
			})
		}
		wg.Wait()
		r.wantFetches(1)
		if r.zone.asked != 1 {
			t.Errorf("got %d questions to the DNS, want 1", r.zone.asked)
		}
	})
}

// TestImpatience: who goes away does not spoil the fetch for the others, and
// the last one ends it.
func TestImpatience(t *testing.T) {
	inBubble(t, func(r *rig) {
		release := make(chan struct{})
		r.handle(func(w http.ResponseWriter, req *http.Request) {
			select {
			case <-release:
				answer(200, "text/plain", goodPolicy)(w, nil)
			case <-req.Context().Done():
			}
		})
		hasty, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.cache.Policy(hasty, domain); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { r.want(r.policy(), Enforce, "") })
		time.Sleep(5 * time.Second)
		close(release)
		wg.Wait()
		r.wantFetches(1)
		r.wantEvents(PolicyNew)

		r.id("id2")
		release = make(chan struct{})
		hasty, cancel = context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		if _, err := r.cache.Recheck(hasty, domain); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		if _, err := r.cache.Recheck(hasty, domain); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that is over: got %v, want the deadline", err)
		}
		synctest.Wait()
		close(release)
		a, err := r.cache.Recheck(r.t.Context(), domain) // it was no failure of the host
		if err != nil || a.RecordID != "id2" {
			t.Errorf("got %+v, %v", a, err)
		}
		r.wantEvents()
	})
}

// TestMaxAgeZero: valid, used for this delivery, over at once; and it replaces
// the policy before it.
func TestMaxAgeZero(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.id("id2")
		r.serve(policyText("enforce", "0"))
		time.Sleep(2 * time.Minute)
		for i := range 3 {
			r.want(r.policy(), Enforce, "")
			r.wantFetches(i + 2)
		}
		r.block(errBlocked)
		r.want(r.policy(), "", ReasonFetch)
		r.restart()
		r.want(r.policy(), "", ReasonFetch)
	})
}

func TestSmallMaxAge(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.serve(policyText("enforce", "90"))
		r.want(r.policy(), Enforce, "")
		r.block(errBlocked)
		time.Sleep(89 * time.Second)
		r.want(r.policy(), Enforce, "")
		time.Sleep(time.Second)
		r.want(r.policy(), "", ReasonFetch)
	})
}

func TestObserveMX(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.cache.ObserveMX(domain, []string{"other.example"}) // nothing cached yet
		r.cache.ObserveMX("a..b", []string{"other.example"})
		r.policy()
		r.wantEvents(PolicyNew)
		r.cache.ObserveMX(domain, nil)
		r.cache.ObserveMX(domain, []string{"other.example", "MX.good.example."})
		r.wantEvents()
		for range 3 {
			r.cache.ObserveMX(domain, []string{"other.example"})
		}
		r.wantEvents(MXLeftPolicy) // once a day
		time.Sleep(25 * time.Hour)
		r.cache.ObserveMX(domain, []string{"other.example"})
		r.wantEvents(MXLeftPolicy)
	})
}

func TestForget(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.policy()
		r.block(errBlocked)
		if err := r.cache.Forget(r.t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		if err := r.cache.Forget(r.t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		r.want(r.policy(), "", ReasonFetch)
		if err := r.cache.Forget(r.t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		r.restart()
		r.want(r.policy(), "", ReasonFetch)
		r.store.set(nil, errBlocked, nil)
		if err := r.cache.Forget(r.t.Context(), domain); !errors.Is(err, ErrStore) {
			t.Errorf("got %v, want ErrStore", err)
		}
	})
}

func TestEntries(t *testing.T) {
	inBubble(t, func(r *rig) {
		if got := r.cache.Entries(); len(got) != 0 {
			t.Errorf("got %v, want none", got)
		}
		r.policy()
		r.block(errBlocked)
		_, _ = r.cache.Policy(r.t.Context(), "other.example")
		list := r.cache.Entries()
		if len(list) != 1 {
			t.Fatalf("got %d entries, want 1", len(list))
		}
		e := list[0]
		if e.Domain != domain || e.Mode != Enforce || e.RecordID != "id1" || !e.UsedAt.Equal(time.Now()) || e.Ended ||
			!e.RefreshAt.After(time.Now()) || e.ExpiresAt.Sub(e.FetchedAt) != e.MaxAge {
			t.Errorf("got %+v", e)
		}
		all, ok := r.cache.Entry("GOOD.example.")
		if !ok || all.Domain != domain || all.RecordID != e.RecordID || !all.UsedAt.Equal(e.UsedAt) || all.Body == "" || all.Seen != "id1" || all.Host.TLSVersion == "" {
			t.Errorf("got %v, %+v, want %+v and the evidence", ok, all, e)
		}
		for _, other := range []string{"other.example", "[192.0.2.1]", "a..b", ""} {
			if got, ok := r.cache.Entry(other); ok {
				t.Errorf("%q: got %+v, want nothing", other, got)
			}
		}
		time.Sleep(8 * 24 * time.Hour)
		if all, ok := r.cache.Entry(domain); !ok || !all.Ended {
			t.Errorf("got %v, %+v, want one that has ended", ok, all)
		}
		if list := r.cache.Entries(); len(list) != 1 || !list[0].Ended {
			t.Errorf("got %+v, want one that has ended", list)
		}
	})
}

func TestNewCacheChecks(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewCache took a config without a Fetcher")
		}
	}()
	NewCache(CacheConfig{Resolver: newZone(domain, "x")})
}
