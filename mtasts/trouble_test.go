package mtasts

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestNeverDowngraded: with an unexpired policy in the cache, nothing but a
// fetched policy changes the answer (Sections 3.1, 3.3 and 5.1).
func TestNeverDowngraded(t *testing.T) {
	faults := []struct {
		name    string
		change  func(r *rig)
		trouble Reason
		event   EventKind
	}{
		{"record vanished", func(r *rig) { r.id() }, ReasonRecordGone, RecordVanished},
		{"record doubled", func(r *rig) { r.id("id1", "id2") }, ReasonRecord, RecordBroken},
		{"record malformed", func(r *rig) { r.id("!") }, ReasonRecord, RecordBroken},
		{"SERVFAIL", func(r *rig) { r.servfail(true) }, ReasonDNS, ""},
		{"new id, host blocked", func(r *rig) { r.id("id2"); r.block(errBlocked) }, ReasonFetch, RefreshFailed},
		{"new id, status 404", func(r *rig) { r.id("id2"); r.handle(http.NotFound) }, ReasonFetch, RefreshFailed},
		{"new id, malformed policy", func(r *rig) { r.id("id2"); r.serve("mode: none\n") }, ReasonInvalid, RefreshFailed},
		{"new id, another certificate", func(r *rig) { r.id("id2"); r.host.tls = newPolicyHost(r.t).tls }, ReasonWebPKI, RefreshFailed},
		{"store cannot load", func(r *rig) { r.store.set(errBlocked, nil, nil) }, "", ""},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.want(r.policy(), Enforce, "")
				r.wantEvents(PolicyNew)
				fetched := time.Now()
				fault.change(r)
				for range 5 { // for most of its week
					time.Sleep(30 * time.Hour)
					a := r.policy()
					r.want(a, Enforce, fault.trouble)
					if !a.FetchedAt.Equal(fetched) || a.RecordID != "id1" {
						t.Errorf("the policy is from %s, id %s", a.FetchedAt, a.RecordID)
					}
				}
				r.mu.Lock()
				told := false
				for _, e := range r.events {
					told = told || e.Kind == fault.event
				}
				r.mu.Unlock()
				if fault.event != "" && !told {
					t.Errorf("no %s among %v", fault.event, r.events)
				}
			})
		})
		t.Run(fault.name+", after a restart", func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.want(r.policy(), Enforce, "")
				fault.change(r)
				if fault.name == "store cannot load" {
					return // see TestStoreUnreadable
				}
				r.restart()
				r.want(r.policy(), Enforce, fault.trouble)
				r.restart()
				defer r.run()()
				r.want(r.policy(), Enforce, fault.trouble)
			})
		})
	}
}

// TestStoreFull: using the fresh policy is more important than saving it.
func TestStoreFull(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.run()()
		full := errors.New("no space left on device")
		r.store.set(nil, full, nil)
		r.want(r.policy(), Enforce, "")
		r.wantEvents(PolicyNew, StoreFailed)
		r.block(errBlocked)
		time.Sleep(time.Hour)
		r.want(r.policy(), Enforce, "")

		r.store.set(nil, nil, nil) // there is room again: it is saved without a fetch
		time.Sleep(sweepEvery + time.Second)
		r.restart()
		r.want(r.policy(), Enforce, "")
		r.wantEvents()
	})
}

// TestStoreUnreadable: a store that cannot tell is not a store without an
// entry: the answer is an error and never "no policy".
func TestStoreUnreadable(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.wantEvents(PolicyNew)
		r.store.set(errors.New("input/output error"), nil, errors.New("input/output error"))
		r.block(errBlocked)
		r.restart()
		defer r.run()()
		r.cache.drop(domain) // as if List had not seen it
		if a, err := r.cache.Policy(r.t.Context(), domain); !errors.Is(err, ErrStore) {
			t.Errorf("got %+v, %v, want ErrStore", a, err)
		}
		r.id()
		if a, err := r.cache.Policy(r.t.Context(), domain); !errors.Is(err, ErrStore) {
			t.Errorf("got %+v, %v, want ErrStore", a, err)
		}
		r.id("id2")
		r.block(nil)
		r.want(r.policy(), Enforce, "") // a fresh policy needs no store
		r.wantEvents(StoreFailed, FetchFailed, PolicyNew)
	})
}

// TestDamagedEntry: a torn or foreign entry is told of, dropped, and replaced.
func TestDamagedEntry(t *testing.T) {
	good := func(r *rig) []byte {
		r.policy()
		value, err := r.store.Load(r.t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for _, test := range []struct {
		name   string
		change func(value []byte) string
	}{
		{"empty", func([]byte) string { return "" }},
		{"cut", func(v []byte) string { return string(v[:len(v)-1]) }},
		{"cut early", func(v []byte) string { return string(v[:10]) }},
		{"zeros", func(v []byte) string { return string(v[:60]) + strings.Repeat("\x00", len(v)-60) }},
		{"one bit", func(v []byte) string { v[len(v)/2] ^= 1; return string(v) }},
		{"another format", func(v []byte) string { return "mtasts9" + string(v[7:]) }},
		{"another domain", func(v []byte) string {
			k, used, err := decodeEntry(domain, v)
			if err != nil {
				t.Fatal(err)
			}
			other, err := encodeEntry("other.example", k, used)
			if err != nil {
				t.Fatal(err)
			}
			return string(other)
		}},
		{"malformed policy", func([]byte) string {
			v, err := encodeEntry(domain, &kept{body: "mode: none\n", id: "x", fetched: time.Now()}, 0)
			if err != nil {
				t.Fatal(err)
			}
			return string(v)
		}},
		{"no fetch time", func([]byte) string {
			v, err := encodeEntry(domain, &kept{body: goodPolicy, id: "x"}, 0)
			if err != nil {
				t.Fatal(err)
			}
			return string(v)
		}},
	} {
		for _, listed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, listed %v", test.name, listed), func(t *testing.T) {
				inBubble(t, func(r *rig) {
					if err := r.store.Save(r.t.Context(), domain, []byte(test.change(good(r)))); err != nil {
						t.Fatal(err)
					}
					r.wantEvents(PolicyNew)
					r.restart()
					if listed {
						defer r.run()()
					}
					r.want(r.policy(), Enforce, "")
					r.wantEvents(EntryDamaged, PolicyNew)
					r.wantFetches(2)
					r.restart()
					r.want(r.policy(), Enforce, "")
					r.wantFetches(2)
				})
			})
		}
	}
}

// TestClockUnknown: no expiry, no fetch, nothing removed.
func TestClockUnknown(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.trust(false)
		if _, err := r.cache.Policy(r.t.Context(), domain); !errors.Is(err, ErrClock) {
			t.Errorf("nothing cached: got %v, want ErrClock", err)
		}
		r.id()
		r.want(r.policy(), "", "") // that there is no record needs no clock
		r.id("id1")
		r.trust(true)
		r.want(r.policy(), Enforce, "")
		r.wantEvents(PolicyNew)

		r.trust(false)
		for _, leap := range []time.Duration{10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
			r.leap(leap)
			r.restart()
			stop := r.run()
			time.Sleep(48 * time.Hour)
			a := r.policy()
			if !a.Held || a.Policy.Mode != Enforce {
				t.Errorf("the clock leapt by %s while unknown: got %+v", leap, a)
			}
			stop()
		}
		r.id("id2")
		r.want(r.policy(), Enforce, ReasonClock)
		r.wantFetches(1)
		r.wantEvents()
	})
}

// TestClockLeap: a trusted clock that leaps ends no policy for a day; and a
// leap that lasts is believed.
func TestClockLeap(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.block(errBlocked)
		r.leap(365 * 24 * time.Hour)
		time.Sleep(time.Hour)
		r.want(r.policy(), Enforce, ReasonFetch) // it tried to fetch
		r.wantEvents(PolicyNew, ClockJumped, RefreshFailed)
		r.leap(-365 * 24 * time.Hour)
		time.Sleep(time.Hour)
		r.want(r.policy(), Enforce, ReasonFetch) // of the attempt before
		r.wantEvents()
	})
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.block(errBlocked)
		r.leap(30 * 24 * time.Hour)
		time.Sleep(time.Hour)
		r.policy()
		time.Sleep(23 * time.Hour)
		r.want(r.policy(), Enforce, ReasonFetch)
		time.Sleep(time.Hour)
		r.want(r.policy(), "", ReasonFetch)
	})
	inBubble(t, func(r *rig) { // back, and then right again
		r.want(r.policy(), Enforce, "")
		r.leap(-365 * 24 * time.Hour)
		r.host.tls = newPolicyHost(t).tls // certificates fail under the wrong clock
		time.Sleep(time.Hour)
		r.want(r.policy(), Enforce, ReasonWebPKI)
		r.leap(365 * 24 * time.Hour)
		time.Sleep(time.Hour)
		r.want(r.policy(), Enforce, ReasonWebPKI) // of the attempt before
	})
}

// TestFetchUnderDoubt: a policy that is fetched while the clock is wrong has
// its life when the clock is right again.
func TestFetchUnderDoubt(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.want(r.policy(), Enforce, "")
		r.leap(-30 * 24 * time.Hour)
		r.id("id2")
		time.Sleep(time.Hour)
		a := r.policy()
		r.want(a, Enforce, "")
		if a.RecordID != "id2" {
			t.Errorf("got id %s, want id2", a.RecordID)
		}
		r.leap(30 * 24 * time.Hour)
		r.block(errBlocked)
		time.Sleep(6 * 24 * time.Hour)
		r.want(r.policy(), Enforce, "")
		time.Sleep(24 * time.Hour)
		r.want(r.policy(), "", ReasonFetch)
	})
}

// TestFallback: a second resolver and a second way to the policy host.
func TestFallback(t *testing.T) {
	inBubble(t, func(r *rig) {
		second, way := newZone(domain, "id1"), newPolicyHost(t)
		r.cfg.FallbackResolver, r.cfg.FallbackFetcher = second, way.fetcher()
		r.restart()
		r.servfail(true)
		r.block(errBlocked)
		a := r.policy()
		r.want(a, Enforce, "")
		if way.count() != 1 || second.asked != 1 {
			t.Errorf("second resolver asked %d times, second way %d times, want once each", second.asked, way.count())
		}
		r.servfail(false)
		r.id() // the first one says that there is none
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, "")
		second.setID(domain)
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, ReasonRecordGone)
		asked := second.asked
		if _, err := r.cache.Policy(r.t.Context(), "other.example"); err != nil {
			t.Error(err)
		}
		if second.asked != asked {
			t.Error("the second resolver is asked for domains without a policy")
		}
		way.set(func(h *policyHost) { h.dialErr = errBlocked })
		r.id("id2")
		time.Sleep(2 * time.Minute)
		r.want(r.policy(), Enforce, ReasonFetch)
	})
}
