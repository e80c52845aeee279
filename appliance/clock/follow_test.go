package clock

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/appliance/statefile"
)

// trustedClock is a clock that has just trusted the servers named.
func trustedClock(t *testing.T, w *world, names ...string) *Clock {
	t.Helper()
	truth := map[string]time.Duration{}
	for _, n := range names {
		truth[n] = 0
	}
	w.set(truth)
	c := New(w.config(folder(t), time.Time{}))
	t.Cleanup(start(t, c))
	time.Sleep(5 * time.Second)
	if !c.State().Trusted {
		t.Fatalf("not trusted at the start: %+v", c.State())
	}
	return c
}

func TestAfterTrust(t *testing.T) {
	say := func(offset time.Duration, names ...string) map[string]time.Duration {
		m := map[string]time.Duration{}
		for _, n := range names {
			m[n] = offset
		}
		return m
	}
	for _, tc := range []struct {
		name    string
		say     map[string]time.Duration // what the servers say later
		after   time.Duration            // when it is looked at
		moved   time.Duration            // of the clock by then
		steps   int                      // more than at the start
		trusted bool
		note    string
	}{
		{"no answers", nil, 20 * time.Minute, 0, 0, true, "no time server"},
		{"no answers for a month", nil, 31 * 24 * time.Hour, 0, 0, false, "no time server answers"},
		{"next to nothing", say(2*time.Millisecond, "a", "b", "c"), 20 * time.Minute, 0, 0, true, ""},
		{"a little back", say(-900*time.Millisecond, "a", "b", "c"), 20 * time.Minute, -900 * time.Millisecond, 0, true, ""},
		{"a little forward", say(900*time.Millisecond, "a", "b", "c"), 20 * time.Minute, 900 * time.Millisecond, 0, true, ""},
		{"minutes back", say(-5*time.Minute, "a", "b", "c"), 20 * time.Minute, -5 * time.Minute, 0, true, ""},
		{"years back", say(-1e9*time.Second, "a", "b", "c"), 20 * time.Minute, 0, 0, true, "it is not turned back"},
		{"years back, for hours", say(-1e9*time.Second, "a", "b", "c"), 3 * time.Hour, 0, 0, false, "it is not turned back"},
		{"years forward", say(1e8*time.Second, "a", "b", "c"), 20 * time.Minute, 1e8 * time.Second, 1, true, ""},
		{"one alone, a minute forward", say(time.Minute, "a"), 20 * time.Minute, time.Minute, 1, true, "only one"},
		{"one alone, an hour forward", say(time.Hour, "a"), 20 * time.Minute, 0, 0, true, "too far to follow"},
		// The rules of the start hold again then, where one server is enough.
		{"one alone, an hour forward, for hours", say(time.Hour, "a"), 3 * time.Hour, time.Hour, 1, true, "only one"},
		{"disagreement", map[string]time.Duration{"a": 0, "b": time.Minute}, 20 * time.Minute, 0, 0, true, "do not agree"},
		{"one of four lies", map[string]time.Duration{"a": 0, "b": 0, "c": 0, "d": time.Hour}, 20 * time.Minute, 0, 0, true, "not believed: d +3600.0 s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				c := trustedClock(t, w, "a", "b", "c")
				before := w.steps
				w.set(tc.say)
				if tc.say == nil {
					w.mu.Lock()
					w.servers = named("a") // known, but silent
					w.mu.Unlock()
				}
				time.Sleep(tc.after)
				if st := c.State(); st.Trusted != tc.trusted || !strings.Contains(st.Note, tc.note) || tc.note == "" && st.Note != "" {
					t.Errorf("state: got %+v, want trusted %v with %q", st, tc.trusted, tc.note)
				}
				if moved := time.Until(w.now()); (moved - tc.moved).Abs() > time.Microsecond {
					t.Errorf("clock moved by %v, want %v", moved, tc.moved)
				}
				if n := w.steps - before; n != tc.steps {
					t.Errorf("%d steps, want %d", n, tc.steps)
				}
				if w.back < 0 {
					t.Errorf("the clock was set back by %v", w.back)
				}
			})
		})
	}
}

// A time that only one server has told must not become the floor: if that
// server lied, the box would refuse the truth for ever.
func TestOnlyAQuorumIsSaved(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.set(map[string]time.Duration{"liar": 30 * 365 * 24 * time.Hour})
		stop := start(t, New(w.config(dir, time.Time{})))
		time.Sleep(3 * time.Hour)
		stop()
		if got := saved(t, dir); !strings.Contains(got, "no such file") {
			t.Errorf("saved on the word of one server: %q", got)
		}
		w.set(map[string]time.Duration{"a": 0, "b": 0, "c": 0})
		c := New(w.config(dir, time.Time{}))
		stop = start(t, c)
		time.Sleep(10 * time.Second)
		if st := c.State(); !st.Trusted || time.Until(w.now()).Abs() > time.Second {
			t.Errorf("after a restart: got %+v and %v, want the truth of three servers", st, w.now())
		}
		stop()
		if got := saved(t, dir); !strings.HasPrefix(got, "2000-01-01T03:00:1") {
			t.Errorf("saved: got %q", got)
		}
	})
}

// Nothing is saved of a time that three servers have not confirmed for a day.
func TestAnOldAgreementIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		c := trustedClock(t, w, "a", "b", "c")
		w.set(map[string]time.Duration{"a": 0})
		time.Sleep(26 * time.Hour)
		at, err := time.Parse(time.RFC3339, saved(t, c.Folder))
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(at); age < time.Hour || age > 4*time.Hour {
			t.Errorf("saved %v ago, want it to have ended a day after the quorum", age)
		}
	})
}

// What a start saved is never replaced by an earlier time.
func TestTheFloorOnlyRises(t *testing.T) {
	dir := folder(t)
	if err := statefile.Write(dir, savedName, []byte("2000-01-01T00:00:04Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{skew: -time.Hour}
		w.set(map[string]time.Duration{"a": 3 * time.Second, "b": 3 * time.Second, "c": 3 * time.Second})
		c := New(w.config(dir, time.Time{}))
		stop := start(t, c)
		synctest.Wait()
		if !c.State().Trusted {
			t.Errorf("a second before the floor is within the agreement: got %+v", c.State())
		}
		stop()
		if got := saved(t, dir); got != "2000-01-01T00:00:04Z" {
			t.Errorf("saved: got %q, want it unchanged", got)
		}
	})
}
