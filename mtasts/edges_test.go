package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestAnswerUnderUnknownClock: an answer that is reused says that the clock
// would have ended the policy.
func TestAnswerUnderUnknownClock(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.trust(false)
		r.leap(10 * 365 * 24 * time.Hour)
		r.want(r.policy(), Enforce, ReasonClock)
		r.wantFetches(1)
	})
}

// TestRunAfterUse: what was asked for before Run is newer than the store.
func TestRunAfterUse(t *testing.T) {
	inBubble(t, func(r *rig) {
		fetched := r.policy().FetchedAt
		old, err := encodeEntry(domain, &kept{body: policyText("none", "86400"), id: "old", fetched: fetched.Add(-time.Hour)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.store.Save(r.t.Context(), domain, old); err != nil {
			t.Fatal(err)
		}
		stop := r.run()
		defer stop()
		a := r.policy()
		r.want(a, Enforce, "")
		if a.RecordID != "id1" {
			t.Errorf("got id %s, want id1", a.RecordID)
		}
	})
}

// TestEntryWithoutUse: an entry that does not say when it was used was used
// when it was fetched; and a name that nobody can ask for is passed over.
func TestEntryWithoutUse(t *testing.T) {
	inBubble(t, func(r *rig) {
		fetched := time.Now().Add(-time.Hour).Round(time.Second).UTC()
		for _, name := range []string{domain, "Upper.Example", "a..b"} {
			value, err := encodeEntry(name, &kept{body: goodPolicy, id: "1", fetched: fetched}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.store.Save(r.t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
		stop := r.run()
		defer stop()
		list := r.cache.Entries()
		if len(list) != 1 || list[0].Domain != domain || !list[0].UsedAt.Equal(fetched) {
			t.Errorf("got %+v, want one entry, used at %s", list, fetched)
		}
		r.wantEvents()
	})
}

// TestForgottenIsNotRefreshed: a planned refresh of a forgotten domain is none.
func TestForgottenIsNotRefreshed(t *testing.T) {
	inBubble(t, func(r *rig) {
		stop := r.run()
		defer stop()
		r.want(r.policy(), Enforce, "")
		if err := r.cache.Forget(r.t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		r.wantFetches(1)
		if list := r.cache.Entries(); len(list) != 0 {
			t.Errorf("got %+v, want none", list)
		}
	})
}

// TestFullLooksSeldom: while memory is full, room is looked for once in a
// while only, whatever number of newcomers there is.
func TestFullLooksSeldom(t *testing.T) {
	inBubble(t, func(r *rig) {
		names := []string{"mta-sts." + domain}
		for i := range 5 {
			name := fmt.Sprintf("n%d.example", i)
			names = append(names, "mta-sts."+name)
			r.zone.setID(name, "x")
		}
		r.host = newPolicyHost(t, names...)
		r.cfg.Fetcher, r.cfg.MaxBytes = r.host.fetcher(), 1000
		r.restart()
		r.want(r.policy(), Enforce, "")
		for i := range 5 {
			a, err := r.cache.Policy(r.t.Context(), fmt.Sprintf("n%d.example", i))
			if err != nil || !a.Held {
				t.Errorf("newcomer %d: got %+v, %v, want a policy", i, a, err)
			}
		}
		if list := r.cache.Entries(); len(list) != 1 || list[0].Domain != domain {
			t.Errorf("got %+v, want the first alone", list)
		}
	})
}

// TestShutdownWhileBusy: Run ends although every worker waits for a host and
// more refreshes are due.
func TestShutdownWhileBusy(t *testing.T) {
	inBubble(t, func(r *rig) {
		fetched := time.Now().Add(-48 * time.Hour)
		for i := range 20 {
			name := fmt.Sprintf("n%d.example", i)
			r.zone.setID(name, "1")
			value, err := encodeEntry(name, &kept{body: goodPolicy, id: "1", fetched: fetched}, fetched.Unix())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.store.Save(r.t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
		r.cfg.RefreshParallel = 1
		r.cfg.Fetcher = &Fetcher{LookupNetIP: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		r.restart()
		stop := r.run()
		time.Sleep(restartSpread) // one is at work, all others are due
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Run took %s to end", took)
		}
	})
}

// TestStoreCancelled: all methods honour ctx; List also when it ends meanwhile.
func TestStoreCancelled(t *testing.T) {
	for name, s := range map[string]Store{"memory": new(MemoryStore), "dir": openDir(t, t.TempDir())} {
		for _, domain := range []string{"a.example", "b.example"} {
			if err := s.Save(t.Context(), domain, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		err1 := s.List(ctx, func(string, []byte) error { cancel(); return nil })
		_, err2 := s.Load(ctx, domain)
		err3 := s.Save(ctx, domain, []byte("y"))
		err4 := s.Delete(ctx, domain)
		for i, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, call %d: got %v, want context.Canceled", name, i, err)
			}
		}
	}
}

// TestFetchOwnDialer: without DialContext the fetcher dials itself; on port 443
// of this machine is nothing that is trusted for the name.
func TestFetchOwnDialer(t *testing.T) {
	f := &Fetcher{
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Allow:   func(netip.Addr) bool { return true },
		Timeout: 5 * time.Second,
	}
	if _, err := f.Fetch(t.Context(), domain); !errors.Is(err, ErrFetch) {
		t.Errorf("got %v, want ErrFetch", err)
	}
}
