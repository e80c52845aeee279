package clock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/appliance/statefile"
)

func TestJudge(t *testing.T) {
	s := time.Second
	silent := errors.New("no answer")
	a := func(name string, off time.Duration) Answer { return Answer{Server: name, Offset: off} }
	no := func(name string) Answer { return Answer{Server: name, Err: silent} }
	for _, tc := range []struct {
		name    string
		answers []Answer
		patient bool
		ok      bool
		offset  time.Duration
		agree   string
		note    string
	}{
		{"none known", nil, true, false, 0, "", "no time server is known"},
		{"none answers", []Answer{no("a"), no("b")}, true, false, 0, "", "no time server answers (a: no answer; b: no answer)"},
		{"three agree", []Answer{a("c", 5*s), a("a", 6*s), a("b", 4*s)}, false, true, 5 * s, "a b c", ""},
		{"three, one far off", []Answer{a("a", 0), a("b", 0), a("c", 9*s)}, true, false, 0, "", "do not agree"},
		{"four, one lies", []Answer{a("a", 0), a("b", s), a("c", s), a("liar", -999*s)}, false, true, s, "a b c", "3 of 4 time servers agree; not believed: liar -999.0 s"},
		{"five, liars on both sides", []Answer{a("x", 99*s), a("a", 0), a("b", s), a("c", s), a("y", -99*s)}, false, true, s, "a b c", "not believed: x +99.0 s, y -99.0 s"},
		{"six, split in halves", []Answer{a("a", 0), a("b", 0), a("c", 0), a("d", 60*s), a("e", 60*s), a("f", 60*s)}, true, false, 0, "", "do not agree"},
		{"exactly two seconds", []Answer{a("a", 0), a("b", s), a("c", 2*s)}, false, true, s, "a b c", ""},
		{"just over two seconds", []Answer{a("a", 0), a("b", s), a("c", 2*s+1)}, true, false, 0, "", "do not agree"},
		{"one known", []Answer{a("a", 7*s)}, false, true, 7 * s, "a", "only one time server answers"},
		{"two agree", []Answer{a("a", 0), a("b", s)}, false, true, s, "a b", "only 2 time servers answer"},
		{"two disagree", []Answer{a("a", 0), a("b", 3*s)}, true, false, 0, "", "do not agree"},
		{"one of three, first round", []Answer{a("a", 0), no("b"), no("c")}, false, false, 0, "", "only 1 of 3"},
		{"one of three, later", []Answer{a("a", 0), no("b"), no("c")}, true, true, 0, "a", "only one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Judge(tc.answers, tc.patient)
			if v.OK != tc.ok || v.Offset != tc.offset || strings.Join(v.Agree, " ") != tc.agree {
				t.Errorf("got %+v; want ok %v, offset %v, agree %q", v, tc.ok, tc.offset, tc.agree)
			}
			if v.Strong != (v.OK && len(v.Agree) >= 3) {
				t.Errorf("strong: got %v with %v", v.Strong, v.Agree)
			}
			if !strings.Contains(v.Note, tc.note) || tc.note == "" && v.Note != "" {
				t.Errorf("note: got %q, want %q", v.Note, tc.note)
			}
		})
	}
}

// world is a machine with a wrong clock and servers with their own idea of the
// truth.
type world struct {
	mu      sync.Mutex
	skew    time.Duration // of the machine's clock to the time of the bubble
	slewed  time.Duration // done at once here, unlike in a kernel
	truth   map[string]time.Duration
	kiss    map[string]string // codes of the servers that do not want to be asked
	servers []Server
	steps   int
	back    time.Duration // the farthest step back
	count   map[string]int
	fail    error
	asked   int
	states  []State
}

func (w *world) now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.skew) }

func (w *world) step(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.steps++
	w.back = min(w.back, time.Until(t)-w.skew)
	w.skew = time.Until(t)
	return nil
}

func (w *world) slew(by time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if by.Abs() > tolerable {
		panic("that takes weeks")
	}
	w.slewed += by
	w.skew += by
	return nil
}

func (w *world) query(_ context.Context, server string) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.count == nil {
		w.count = map[string]int{}
	}
	w.count[server]++
	if code := w.kiss[server]; code != "" {
		return 0, &Kiss{code}
	}
	off, ok := w.truth[server]
	if !ok {
		return 0, errors.New("no answer")
	}
	return off - w.skew, nil
}

func (w *world) set(truth map[string]time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.truth = truth
	w.servers = named(slices.Sorted(maps.Keys(truth))...)
}

// named makes servers of names; one with a leading "+" is public.
func named(names ...string) []Server {
	var out []Server
	for _, n := range names {
		name, public := strings.CutPrefix(n, "+")
		out = append(out, Server{name, public})
	}
	return out
}

func (w *world) config(folder *os.Root, built time.Time) Config {
	return Config{
		Built: built, Folder: folder, Query: w.query, Step: w.step, Slew: w.slew, Now: w.now,
		Servers: func() []Server { w.mu.Lock(); defer w.mu.Unlock(); return w.servers },
		Publish: func(s State) { w.mu.Lock(); defer w.mu.Unlock(); w.states = append(w.states, s) },
	}
}

func start(t *testing.T, c *Clock) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	return func() { cancel(); <-done }
}

func folder(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func saved(t *testing.T, root *os.Root) string {
	t.Helper()
	text, err := statefile.Read(root, savedName, 100)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// The bubble begins at midnight UTC of 2000-01-01: that is the true time.
func TestWrongClocks(t *testing.T) {
	built := time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, begin := range []time.Time{
		time.Unix(0, 0),
		time.Date(1985, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2073, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(fmt.Sprint(begin.Year()), func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				w := &world{skew: time.Until(begin)}
				c := New(w.config(dir, built))
				stop := start(t, c)
				time.Sleep(10 * time.Second)
				if st := c.State(); st.Trusted || st.Note != "no time server is known yet" {
					t.Errorf("without servers: got %+v", st)
				}
				if begin.Before(built) && w.now().Before(built) {
					t.Errorf("the clock was left before the floor: %v", w.now())
				}
				w.set(map[string]time.Duration{"a": 0, "b": 100 * time.Millisecond, "c": 0})
				c.Kick()
				synctest.Wait()
				if st := c.State(); !st.Trusted || st.Source != "a, b, c" || st.Note != "" {
					t.Errorf("with servers: got %+v, want trusted", st)
				}
				if off := time.Until(w.now()); off.Abs() > time.Second {
					t.Errorf("clock is off by %v", off)
				}
				if got, want := saved(t, dir), "2000-01-01T00:00:10Z"; got != want {
					t.Errorf("saved at trust: got %q, want %q", got, want)
				}
				time.Sleep(61 * time.Minute)
				if got := saved(t, dir); !strings.HasPrefix(got, "2000-01-01T01:00:0") {
					t.Errorf("saved after an hour: got %q", got)
				}
				stop()
				if got, want := saved(t, dir), "2000-01-01T01:01:10Z"; got != want {
					t.Errorf("saved at the end: got %q, want %q", got, want)
				}
			})
		})
	}
}

func TestServersBeforeTheFloorAreRefused(t *testing.T) {
	dir := folder(t)
	if err := statefile.Write(dir, savedName, []byte("2000-02-01T00:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{skew: -time.Hour}
		w.set(map[string]time.Duration{"a": 0, "b": 0, "c": 0}) // 2000-01-01, a month before
		c := New(w.config(dir, time.Time{}))
		stop := start(t, c)
		time.Sleep(5 * time.Minute)
		if st := c.State(); st.Trusted || !strings.Contains(st.Note, "before 2000-02-01 00:00:00") {
			t.Errorf("got %+v, want not trusted because of the floor", st)
		}
		if got := w.now(); got.Before(time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("clock: got %v, want it at the floor", got)
		}
		stop()
		if n := w.asked; n > 120 {
			t.Errorf("asked %d times in five minutes", n)
		}
		if got, want := saved(t, dir), "2000-02-01T00:00:00Z"; got != want {
			t.Errorf("saved: got %q, want it unchanged", got)
		}
	})
}

func TestClockThatCannotBeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{skew: -time.Hour, fail: errors.New("not permitted")}
		w.set(map[string]time.Duration{"a": 0})
		c := New(w.config(nil, time.Time{}))
		defer start(t, c)()
		time.Sleep(time.Minute)
		if st := c.State(); st.Trusted || !strings.Contains(st.Note, "cannot be set: not permitted") {
			t.Errorf("got %+v, want not trusted", st)
		}
	})
}

func TestBadSavedTimeIsPassedOver(t *testing.T) {
	dir := folder(t)
	if err := statefile.Write(dir, savedName, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.set(map[string]time.Duration{"a": 0})
		c := New(w.config(dir, time.Time{}))
		defer start(t, c)()
		synctest.Wait()
		if !c.State().Trusted {
			t.Errorf("got %+v, want trusted", c.State())
		}
	})
}

func TestPanicInAnAnswerIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{servers: named("a")}
		cfg := w.config(nil, time.Time{})
		cfg.Query = func(context.Context, string) (time.Duration, error) { panic("short packet") }
		c := New(cfg)
		defer start(t, c)()
		time.Sleep(time.Minute)
		if st := c.State(); st.Trusted || !strings.Contains(st.Note, "short packet") {
			t.Errorf("got %+v, want not trusted", st)
		}
	})
}
