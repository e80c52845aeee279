package clock

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func ask(t *testing.T, w *world, names ...string) *Clock {
	t.Helper()
	w.mu.Lock()
	w.servers = named(names...)
	w.mu.Unlock()
	c := New(w.config(nil, time.Time{}))
	t.Cleanup(start(t, c))
	return c
}

// asked returns how often a server was asked since the last call.
func (w *world) askedOf(server string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.count[server]
	delete(w.count, server)
	return n
}

func TestServersTogetherAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{skew: -time.Hour, truth: map[string]time.Duration{"office": time.Hour, "p1": 0, "p2": 0, "p3": 0}}
		c := ask(t, w, "office", "+p1", "+p2", "+p3")
		time.Sleep(10 * time.Second)
		if st := c.State(); !st.Trusted || st.Source != "p1, p2, p3" || !strings.Contains(st.Note, "not believed: office") {
			t.Errorf("got %+v, want the office's wrong server outvoted and named", st)
		}
	})
}

func TestPublicServersAreAskedSparingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{truth: map[string]time.Duration{"a": 0, "b": 0, "c": 0, "p": 0}}
		c := ask(t, w, "a", "b", "c", "+p")
		time.Sleep(10 * time.Second)
		if !c.State().Trusted {
			t.Fatalf("got %+v", c.State())
		}
		if n := w.askedOf("p"); n > burst {
			t.Errorf("the public server was asked %d times for the first trust", n)
		}
		w.askedOf("a")
		time.Sleep(24 * time.Hour)
		if n := w.askedOf("p"); n != 0 {
			t.Errorf("the public server was asked %d times although three of the office agree", n)
		}
		if n := w.askedOf("a"); n < 60 || n > 120 {
			t.Errorf("a server of the office was asked %d times in a day", n)
		}
		// The office's clocks jump: then the public one is heard too.
		w.mu.Lock()
		w.truth = map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Hour, "p": 0}
		w.mu.Unlock()
		time.Sleep(20 * time.Minute)
		if n := w.askedOf("p"); n == 0 {
			t.Error("the public server was not asked about a step of an hour")
		}
	})
}

func TestSilenceAndKissesAreHeeded(t *testing.T) {
	for _, tc := range []struct {
		name, server, kiss string
		most               int // questions within two hours
	}{
		{"a public server is silent", "+p", "", 15},
		{"RATE", "s", "RATE", 10},
		{"DENY", "s", "DENY", 1},
		{"RSTR", "+p", "RSTR", 1},
		{"an unknown kiss", "s", "XFUN", 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				name := strings.TrimPrefix(tc.server, "+")
				w := &world{kiss: map[string]string{name: tc.kiss}}
				c := ask(t, w, tc.server)
				time.Sleep(2 * time.Hour)
				if n := w.askedOf(name); n == 0 || n > tc.most {
					t.Errorf("asked %d times, want at most %d", n, tc.most)
				}
				if c.State().Trusted {
					t.Errorf("got %+v", c.State())
				}
			})
		})
	}
}

// Mail waits for the time: whenever the office's servers begin to answer, the
// time is trusted within fifteen seconds.
func TestTrustComesSoonAfterTheFirstAnswers(t *testing.T) {
	for _, silence := range []time.Duration{time.Second, 7 * time.Second, time.Minute, time.Hour, 100 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := ask(t, w, "a", "b", "c", "+p")
			time.Sleep(silence)
			w.mu.Lock()
			w.truth = map[string]time.Duration{"a": 0, "b": 0, "c": 0}
			w.mu.Unlock()
			time.Sleep(15 * time.Second)
			if !c.State().Trusted {
				t.Errorf("after %v of silence: got %+v, want trusted", silence, c.State())
			}
		})
	}
}

func TestPausesOfSteadyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{truth: map[string]time.Duration{"a": 0}}
		ask(t, w, "a")
		time.Sleep(time.Minute)
		w.askedOf("a")
		time.Sleep(24 * time.Hour)
		if n := w.askedOf("a"); n < 300 || n > 400 {
			t.Errorf("a server that is alone was asked %d times in a day, want once in four minutes", n)
		}
	})
}
