package mtasts

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefreshDaily: by HTTPS, about daily, at unpredictable moments, whatever
// the record says (Sections 3.3 and 10.2).
func TestRefreshDaily(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.run()()
		var at []time.Duration
		start := time.Now()
		r.handle(func(w http.ResponseWriter, _ *http.Request) {
			at = append(at, time.Since(start))
			answer(200, "text/plain", goodPolicy)(w, nil)
		})
		r.want(r.policy(), Enforce, "")
		r.id() // a vanished record is no reason not to refresh
		time.Sleep(60 * 24 * time.Hour)
		synctest.Wait()
		if n := len(at); n < 60 || n > 81 {
			t.Errorf("got %d fetches in 60 days, want one in 18 to 24 hours", n)
		}
		gaps := make(map[time.Duration]bool)
		for i := 1; i < len(at); i++ {
			gap := at[i] - at[i-1]
			if gap < 18*time.Hour || gap > 24*time.Hour+time.Minute {
				t.Errorf("two fetches are %s apart", gap)
			}
			gaps[gap.Round(time.Minute)] = true
		}
		if len(gaps) < len(at)/2 {
			t.Errorf("%d fetches, only %d different gaps", len(at), len(gaps))
		}
		a := r.policy()
		r.want(a, Enforce, ReasonRecordGone) // two months later, with a max_age of a week
		if e := r.cache.Entries(); e[0].UsedAt.Before(time.Now().Add(-time.Second)) {
			t.Errorf("used at %s", e[0].UsedAt)
		}
	})
}

// TestRefreshBringsNewID: a refresh takes the id from the record.
func TestRefreshBringsNewID(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.policy()
		r.id("id2")
		a, err := r.cache.Refresh(r.t.Context(), domain)
		if err != nil || a.RecordID != "id2" {
			t.Errorf("got id %s, %v, want id2", a.RecordID, err)
		}
		r.servfail(true)
		if a, err = r.cache.Refresh(r.t.Context(), domain); err != nil || a.RecordID != "id2" || a.Trouble != ReasonDNS {
			t.Errorf("got %+v, %v, want the old id", a, err)
		}
		r.wantFetches(3)
	})
}

// TestRefreshFails: the operator hears of it, again before the end, and at the
// end; the attempts go on but never closer than five minutes.
func TestRefreshFails(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.run()()
		var at []time.Time
		r.want(r.policy(), Enforce, "")
		r.handle(func(w http.ResponseWriter, _ *http.Request) {
			at = append(at, time.Now())
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		time.Sleep(7*24*time.Hour - time.Second)
		synctest.Wait()
		r.want(r.policy(), Enforce, ReasonFetch)
		if len(at) < 20 {
			t.Errorf("got %d attempts in six days, want 20 or more", len(at))
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap < 5*time.Minute {
				t.Errorf("two attempts are %s apart", gap)
			}
		}
		r.mu.Lock()
		var kinds []EventKind
		for _, e := range r.events {
			if !slices.Contains(kinds, e.Kind) {
				kinds = append(kinds, e.Kind)
			}
		}
		n := len(r.events)
		r.events = nil
		r.mu.Unlock()
		if got, want := fmt.Sprint(kinds), fmt.Sprint([]EventKind{PolicyNew, RefreshFailed, PolicyExpiring}); got != want {
			t.Errorf("events: got %s, want %s", got, want)
		}
		if n > 1+7+3 {
			t.Errorf("got %d events, want no alarm twice a day", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		r.wantEvents(PolicyExpired)
		attempts := len(at)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(at) > attempts+1 {
			t.Errorf("an ended policy is refreshed: %d attempts", len(at)-attempts)
		}
	})
}

// TestRefreshAfterRestart: what is overdue is spread, bounded, and done before
// its end; what is not keeps its time.
func TestRefreshAfterRestart(t *testing.T) {
	inBubble(t, func(r *rig) {
		const n = 40
		for i := range n {
			name := fmt.Sprintf("d%d.good.example", i)
			k := &kept{body: policyText("enforce", "7200"), id: "x", fetched: time.Now().Add(-time.Hour)}
			if i%2 == 0 {
				k = &kept{body: goodPolicy, id: "x", fetched: time.Now().Add(-30 * time.Hour)}
			}
			value, err := encodeEntry(name, k, time.Now().Unix())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.store.Save(r.t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
		r.host.ca = newAuthority(t, "Test CA")
		busy, most := 0, 0
		r.cfg.RefreshParallel = 3
		r.cfg.Fetcher = &Fetcher{LookupNetIP: r.cfg.Fetcher.LookupNetIP, DialContext: r.host.dial}
		r.cfg.Resolver = resolverFunc(func(context.Context, string) ([]string, error) {
			r.mu.Lock()
			busy++
			most = max(most, busy)
			r.mu.Unlock()
			time.Sleep(10 * time.Second)
			r.mu.Lock()
			busy--
			r.mu.Unlock()
			return nil, errServfail
		})
		r.restart()
		defer r.run()()
		if got := len(r.cache.Entries()); got != n {
			t.Fatalf("got %d entries, want %d", got, n)
		}
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if most != 3 {
			t.Errorf("got %d refreshes at a time, want 3", most)
		}
		r.host.mu.Lock()
		defer r.host.mu.Unlock()
		if len(r.host.dialled) < n {
			t.Errorf("got %d attempts before the end of the short policies, want %d or more", len(r.host.dialled), n)
		}
	})
}

// TestRefreshClockUnknown: the plan waits for the clock.
func TestRefreshClockUnknown(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.policy()
		r.restart()
		r.trust(false)
		defer r.run()()
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		r.wantFetches(1)
		r.trust(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.wantFetches(2)
	})
}

// TestUnused: after 180 days without a question an entry is refreshed no more,
// and leaves when its policy has ended, from the store too.
func TestUnused(t *testing.T) {
	inBubble(t, func(r *rig) {
		stop := r.run()
		r.want(r.policy(), Enforce, "")
		time.Sleep(179 * 24 * time.Hour)
		synctest.Wait()
		if n := r.host.count(); n < 178 {
			t.Errorf("got %d fetches in 179 days", n)
		}
		stop()
		r.restart() // the use survives a restart
		defer r.run()()
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if len(r.cache.Entries()) != 1 {
			t.Error("a policy in force was dropped")
		}
		n := r.host.count()
		time.Sleep(7 * 24 * time.Hour)
		synctest.Wait()
		if r.host.count() > n {
			t.Errorf("an unused entry was refreshed")
		}
		if len(r.cache.Entries()) != 0 {
			t.Errorf("got %+v, want nothing", r.cache.Entries())
		}
		if _, err := r.store.Load(r.t.Context(), domain); err == nil {
			t.Error("it is in the store still")
		}
		r.wantEvents(PolicyNew, EntryRemoved)
	})
}

// TestEndedLeaves: an ended policy that is asked for leaves after a month.
func TestEndedLeaves(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.run()()
		r.want(r.policy(), Enforce, "")
		r.id()
		r.block(errBlocked)
		for range 36 {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			_ = r.policy()
		}
		if len(r.cache.Entries()) != 1 {
			t.Error("it left too early")
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if len(r.cache.Entries()) != 0 {
			t.Error("it is there still")
		}
	})
}

// TestMemoryBound: when memory is full, a policy in force stays and the new
// one is used without being kept; ended ones and mode none make way.
func TestMemoryBound(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := "other.good.example"
		host := newPolicyHost(t, "mta-sts."+domain, "mta-sts."+other)
		r.host = host
		r.zone.setID(other, "x")
		r.cfg.Fetcher = host.fetcher()
		r.cfg.MaxBytes = 1000
		r.restart()
		r.want(r.policy(), Enforce, "")
		a, err := r.cache.Policy(r.t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		r.want(a, Enforce, "")
		r.wantEvents(PolicyNew, PolicyNew, CacheFull)
		if list := r.cache.Entries(); len(list) != 1 || list[0].Domain != domain {
			t.Errorf("got %+v, want the first alone", list)
		}
		if _, err := r.store.Load(r.t.Context(), other); err == nil {
			t.Error("what is not kept was saved")
		}
		r.id("id2")
		r.serve("version: STSv1\nmode: none\nmax_age: 86400\n")
		time.Sleep(sweepEvery)
		r.want(r.policy(), None, "") // a kept one may always change
		r.serve(goodPolicy)
		r.zone.setID(other, "y")
		if a, err = r.cache.Policy(r.t.Context(), other); err != nil {
			t.Fatal(err)
		}
		r.want(a, Enforce, "")
		if list := r.cache.Entries(); len(list) != 1 || list[0].Domain != other {
			t.Errorf("got %+v, want the second alone", list)
		}
	})
}

// TestIdleBound: failures for many domains do not fill the memory.
func TestIdleBound(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.cfg.Resolver = resolverFunc(func(context.Context, string) ([]string, error) { return []string{"v=STSv1; id=1"}, nil })
		r.block(errBlocked)
		r.restart()
		count := func() (n, idle int) {
			for i := range r.cache.shards {
				s := &r.cache.shards[i]
				s.mu.Lock()
				n += len(s.items)
				idle += s.idle
				s.mu.Unlock()
			}
			return n, idle
		}
		const many = 64*maxIdle + 5000
		for i := range many {
			if _, err := r.cache.Policy(r.t.Context(), fmt.Sprintf("d%d.example", i)); err != nil {
				t.Fatal(err)
			}
		}
		if n, idle := count(); n > 64*maxIdle || n != idle {
			t.Errorf("got %d items, %d idle, want at most %d", n, idle, 64*maxIdle)
		}
		time.Sleep(7 * time.Minute)
		for i := range many {
			_, _ = r.cache.Policy(r.t.Context(), fmt.Sprintf("e%d.example", i))
		}
		defer r.run()()
		time.Sleep(20 * time.Minute)
		if n, idle := count(); n != 0 || idle != 0 {
			t.Errorf("got %d items, %d idle, want none", n, idle)
		}
	})
}

// TestRunEnds: Run returns when nothing that it or others started is left.
func TestRunEnds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.handle(func(w http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
		stop := r.run()
		done := make(chan error)
		go func() {
			_, err := r.cache.Policy(r.t.Context(), domain)
			done <- err
		}()
		synctest.Wait()
		go stop()
		if err := <-done; err == nil {
			t.Error("the question was answered")
		}
	})
}
