package queue

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// removals lists the ids of the Removed events.
func (r *rig) removals() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, e := range r.events {
		if e, ok := e.(event.Removed); ok {
			ids = append(ids, e.ID+" by "+e.By)
		}
	}
	return ids
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
			if m.Tries > 3 {
				time.Sleep(time.Minute)
			}
			return verdict.Verdict{Outcome: verdict.Held, Reason: verdict.CertificateExpired}
		})
		waiting, active, kept := r.send("x@a.example", "y@b.example"), r.send("x@c.example"), r.send("x@d.example")
		synctest.Wait()
		a, err := r.queue.Delete([]spool.ID{waiting, active, waiting, "nonsense"}, "anna")
		if err != nil || len(a.Messages) != 2 || a.Until.Sub(a.At) != 15*time.Minute {
			t.Fatalf("got %+v, %v, want both messages in 15 minutes", a, err)
		}
		if e, _ := r.queue.Lookup(waiting); e.Action == nil || e.Action.ID != a.ID {
			t.Errorf("the entry says %+v, want the action", e.Action)
		}
		if _, err := r.queue.Return([]spool.ID{waiting}, "bob", ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("a second action: got %v, want ErrNotFound", err)
		}
		if n := r.queue.RetryNow(waiting, kept); n != 1 {
			t.Errorf("RetryNow: got %d, want 1: the other is about to be deleted", n)
		}
		time.Sleep(14 * time.Minute)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("got %d attempts, want none while it is about to be deleted", got)
		}
		r.wantWaiting(3)
		time.Sleep(2 * time.Minute)
		r.wantWaiting(1)
		r.wantBounces()
		if got := r.removals(); len(got) != 2 || got[0] != waiting+" by anna" && got[1] != waiting+" by anna" {
			t.Errorf("got removals %v", got)
		}
		if c := r.queue.Counts(); c.Held != 1 || c.Domains != 1 {
			t.Errorf("got %+v", c)
		}
		if _, err := r.queue.Undo(a.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("undo after the effect: got %v, want ErrNotFound", err)
		}
		if len(r.queue.Actions()) != 0 {
			t.Errorf("got %v, want no action left", r.queue.Actions())
		}
	})
}

// An attempt that is going on when the action takes effect ends as it ends:
// what it delivers is delivered, what it does not is gone.
func TestDeleteDuringAttempt(t *testing.T) {
	for _, delivers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
				time.Sleep(20 * time.Minute)
				if delivers {
					return verdict.Verdict{Outcome: verdict.Delivered}
				}
				return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Greylisted}
			})
			id := r.send("x@a.example")
			synctest.Wait()
			if _, err := r.queue.Delete([]spool.ID{id}, "anna"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(16 * time.Minute)
			r.wantWaiting(1)
			time.Sleep(5 * time.Minute)
			r.wantWaiting(0)
			if got := len(r.removals()); (got == 0) != delivers {
				t.Errorf("delivers %v: got %d removals", delivers, got)
			}
			if got := len(r.fake.to("a.example")); got != 1 {
				t.Errorf("got %d attempts, want 1", got)
			}
		})
	}
}

func TestDeleteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Held, verdict.CertificateExpired))
		id := r.send("x@a.example")
		synctest.Wait()
		if _, err := r.queue.Delete([]spool.ID{id}, "anna"); err != nil {
			t.Fatal(err)
		}
		r.disk.setBroken(true)
		time.Sleep(20 * time.Minute)
		r.wantWaiting(1)
		r.disk.setBroken(false)
		time.Sleep(5 * time.Minute)
		r.wantWaiting(0)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("got %d attempts, want no more of them", got)
		}
	})
}

// A returned message makes one notice for all its recipients, with the words of
// the person, and not before a minute has passed.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Held, verdict.CertificateExpired))
		var detail string
		notify := r.cfg.Notify
		r.stop()
		r.cfg.Notify = func(ctx context.Context, kind Notice, m Message, rs []Result) (spool.ID, error) {
			r.mu.Lock()
			detail = rs[0].Verdict.Detail
			r.mu.Unlock()
			return notify(ctx, kind, m, rs)
		}
		r.start()
		id := r.send("x@a.example", "y@b.example")
		paused := r.send("z@c.example")
		synctest.Wait()
		if err := r.queue.Pause(Pause{ID: paused, By: "anna"}); err != nil {
			t.Fatal(err)
		}
		a, err := r.queue.Return([]spool.ID{id, paused}, "anna", "Sorry.\nAnna"+strings.Repeat("ü", 2000))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if got := r.queue.Actions(); len(got) != 1 || got[0].ID != a.ID || got[0].Kind != ActionReturn {
			t.Errorf("got actions %+v", got)
		}
		r.wantBounces()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.mu.Lock()
		got, detail := strings.Join(r.bounces, "; "), detail
		r.mu.Unlock()
		for _, want := range []string{"x@a.example returned-by-person, y@b.example returned-by-person", "z@c.example returned-by-person"} {
			if !strings.Contains(got, want) {
				t.Errorf("notices %q, want %q", got, want)
			}
		}
		if !strings.HasPrefix(detail, "Sorry.\nAnna") || len(detail) > maxText {
			t.Errorf("the notice says %.40q (%d bytes)", detail, len(detail))
		}
		r.wantWaiting(0)
		if got := r.queue.Pauses(); len(got) != 0 {
			t.Errorf("got pauses %+v of a message that is gone", got)
		}
	})
}

func TestReturnNoticeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Held, verdict.CertificateExpired))
		id := r.send("x@a.example")
		synctest.Wait()
		if _, err := r.queue.Return([]spool.ID{id}, "anna", ""); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.bounceErr = errors.New("spool full")
		r.mu.Unlock()
		time.Sleep(10 * time.Minute)
		r.wantWaiting(1)
		r.mu.Lock()
		r.bounceErr = nil
		r.mu.Unlock()
		time.Sleep(time.Minute)
		r.wantBounces("x@a.example returned-by-person")
		r.wantWaiting(0)
	})
}

// What is undone, and what a restart finds, goes on as before.
func TestUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		start := time.Now()
		id, other := r.send("x@a.example"), r.send("x@b.example")
		synctest.Wait()
		a, err := r.queue.Delete([]spool.ID{id}, "anna")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.queue.Return([]spool.ID{other}, "anna", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if n, err := r.queue.Undo(a.ID); n != 1 || err != nil {
			t.Errorf("got %d, %v, want 1", n, err)
		}
		r.restart()
		if len(r.queue.Actions()) != 0 {
			t.Error("an action has outlived a restart")
		}
		time.Sleep(20 * time.Minute)
		wantTimes(t, r.fake.to("a.example"), start, 0, time.Minute, 11*time.Minute)
		wantTimes(t, r.fake.to("b.example"), start, 0, time.Minute, 11*time.Minute)
		r.wantBounces()
	})
}
