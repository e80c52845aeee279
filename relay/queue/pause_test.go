package queue

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/verdict"
)

// Whatever is paused is not tried, does not expire, and its sender is told
// nothing; that outlives a restart. When it goes on it has a day at least.
func TestPause(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause func(id string) Pause
		other bool // mail to b.example goes on
	}{
		{"all", func(string) Pause { return Pause{All: true, By: "anna"} }, false},
		{"domain", func(string) Pause { return Pause{Domain: "A.example", By: "anna"} }, true},
		{"message", func(id string) Pause { return Pause{ID: id, By: "anna"} }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
				id := r.send("x@a.example")
				synctest.Wait()
				p := tt.pause(id)
				for range 2 {
					if err := r.queue.Pause(p); err != nil {
						t.Fatal(err)
					}
				}
				e, _ := r.queue.Lookup(id)
				if e.Paused == nil || e.Paused.By != "anna" || e.Paused.Since.IsZero() || len(r.queue.Pauses()) != 1 {
					t.Errorf("got %+v and %+v", e.Paused, r.queue.Pauses())
				}
				if n := r.queue.RetryNow(id); n != 0 {
					t.Errorf("RetryNow: got %d, want 0", n)
				}
				time.Sleep(3 * 24 * time.Hour)
				r.restart()
				r.send("y@b.example")
				time.Sleep(3 * 24 * time.Hour)
				if got := len(r.fake.to("a.example")); got != 1 {
					t.Errorf("got %d attempts, want no more after the first", got)
				}
				if got := len(r.fake.to("b.example")); (got > 0) != tt.other {
					t.Errorf("got %d attempts at another domain", got)
				}
				r.mu.Lock()
				if got := fmt.Sprint(r.bounces, r.delays); tt.other != (got == "[] [y@b.example greylisted]") {
					t.Errorf("notices %s", got)
				}
				r.mu.Unlock()
				for range 2 {
					if err := r.queue.Resume(p); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(23 * time.Hour)
				if got := len(r.fake.to("a.example")); got < 20 {
					t.Errorf("got %d attempts in the day after, want more", got)
				}
				r.wantBounces()
				time.Sleep(2 * time.Hour)
				r.wantBounces("x@a.example greylisted")
				if len(r.saved) != 0 {
					t.Errorf("saved %+v", r.saved)
				}
			})
		})
	}
}

// Mail to a dead domain whose time is over while it is paused stays too.
func TestPausedDeadDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(unreachableAfter(time.Second))
		for range 10 {
			r.send("x@dead.example")
		}
		time.Sleep(DefaultLifetime - time.Hour)
		if err := r.queue.Pause(Pause{Domain: "dead.example"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		r.wantBounces()
		r.wantWaiting(10)
	})
}

func TestPauseErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		id := r.send("x@a.example")
		synctest.Wait()
		for _, p := range []Pause{{}, {All: true, Domain: "a.example"}, {ID: id, Domain: "a.example"}} {
			if r.queue.Pause(p) == nil || r.queue.Resume(p) == nil {
				t.Errorf("%+v: got no error", p)
			}
		}
		if err := r.queue.Pause(Pause{ID: "nonsense"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		r.mu.Lock()
		r.saveErr = errors.New("disk full")
		r.mu.Unlock()
		if err := r.queue.Pause(Pause{All: true}); !errors.Is(err, r.saveErr) || len(r.queue.Pauses()) != 0 {
			t.Errorf("got %v and %v, want the error and nothing paused", err, r.queue.Pauses())
		}
		time.Sleep(time.Hour)
		if got := len(r.fake.to("a.example")); got < 2 {
			t.Errorf("got %d attempts, want it to go on", got)
		}
	})
}

// A message of two domains is shown as paused when both are.
func TestPausedEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		id := r.send("x@a.example", "x@b.example")
		synctest.Wait()
		for i, domain := range []string{"a.example", "b.example"} {
			if err := r.queue.Pause(Pause{Domain: domain}); err != nil {
				t.Fatal(err)
			}
			if e, _ := r.queue.Lookup(id); (e.Paused != nil) != (i == 1) {
				t.Errorf("after %s: got %+v", domain, e.Paused)
			}
			if n := r.queue.RetryNow(id); n != 1-i {
				t.Errorf("after %s: RetryNow got %d", domain, n)
			}
		}
		if n := r.queue.RetryDomain("a.example"); n != 0 {
			t.Errorf("RetryDomain: got %d, want 0", n)
		}
	})
}
