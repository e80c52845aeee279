package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

func (r *rig) wantDelays(want ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if fmt.Sprint(r.delays) != fmt.Sprint(want) {
		r.t.Errorf("notices of delay: got %q, want %q", r.delays, want)
	}
}

// RFC 3461, Section 4.1: who is told of a delay. Once, and not again after a
// restart.
func TestDelayNotice(t *testing.T) {
	tests := []struct {
		name, from string
		notify     [][]string // of each recipient
		want       string
	}{
		{"default", "anna@office.example", [][]string{nil, nil}, "[u0@a.example greylisted, u1@a.example greylisted]"},
		{"asked", "anna@office.example", [][]string{{"FAILURE", "DELAY"}}, "[u0@a.example greylisted]"},
		{"not asked", "anna@office.example", [][]string{{"FAILURE"}, {"SUCCESS"}, {"NEVER"}}, "[]"},
		{"one of two", "anna@office.example", [][]string{{"NEVER"}, {"DELAY"}}, "[u1@a.example greylisted]"},
		{"null return path", "", [][]string{nil}, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
				env := spool.Envelope{From: tt.from, Received: time.Now()}
				for i, n := range tt.notify {
					env.Rcpts = append(env.Rcpts, spool.Rcpt{Addr: fmt.Sprintf("u%d@a.example", i), Notify: n})
				}
				r.accept(env)
				time.Sleep(4*time.Hour - time.Second)
				r.wantDelays()
				r.restart()
				time.Sleep(5 * time.Minute)
				r.wantDelays() // it is tried first
				time.Sleep(70 * time.Minute)
				check := func() {
					t.Helper()
					r.mu.Lock()
					defer r.mu.Unlock()
					if got := fmt.Sprint(r.delays); got != tt.want {
						t.Errorf("got %s, want %s", got, tt.want)
					}
				}
				check()
				r.restart()
				time.Sleep(4 * time.Hour)
				r.restart()
				time.Sleep(24 * time.Hour)
				check()
				r.wantWaiting(1)
			})
		})
	}
}

// Thousands of messages wait for the probe of a dead domain without an attempt
// of their own; their senders are told all the same, and of why.
func TestDelayNoticeDeadDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(unreachableAfter(time.Minute))
		for range 500 {
			r.send("x@dead.example")
		}
		time.Sleep(4*time.Hour + time.Minute)
		r.mu.Lock()
		if len(r.delays) != 500 || r.delays[499] != "x@dead.example connect-timeout" {
			t.Errorf("got %d notices, want 500", len(r.delays))
		}
		delayed := 0
		for _, e := range r.events {
			if e, ok := e.(event.Delayed); ok && e.Notice == "notice" && e.To == "anna@office.example" {
				delayed++
			}
		}
		r.mu.Unlock()
		if delayed != 500 {
			t.Errorf("got %d events, want 500", delayed)
		}
		// Most of them have had no attempt since: what was recorded of the
		// notices alone says that they were sent.
		r.restart()
		time.Sleep(3 * time.Hour)
		r.mu.Lock()
		if len(r.delays) != 500 {
			t.Errorf("after a restart: got %d notices, want no more than 500", len(r.delays))
		}
		r.mu.Unlock()
		r.fake.setAnswer(nil)
		time.Sleep(time.Hour)
		r.wantWaiting(0)
	})
}

func TestDelayNoticeWaits(t *testing.T) {
	t.Run("while deciding is not allowed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
			r.send("x@a.example")
			synctest.Wait()
			r.setReady(false)
			time.Sleep(10 * time.Hour)
			r.wantDelays()
			r.setReady(true)
			time.Sleep(9 * time.Minute)
			r.wantDelays() // it is tried first
			time.Sleep(2 * time.Minute)
			r.wantDelays("x@a.example greylisted")
		})
	})
	t.Run("while it cannot be kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
			r.send("x@a.example")
			r.mu.Lock()
			r.bounceErr = errors.New("spool full")
			r.mu.Unlock()
			time.Sleep(5 * time.Hour)
			r.mu.Lock()
			r.bounceErr = nil
			r.mu.Unlock()
			time.Sleep(tellAgain + time.Minute)
			r.wantDelays("x@a.example greylisted")
			if got := len(r.fake.to("a.example")); got < 6 {
				t.Errorf("got %d attempts: the notice has held them up", got)
			}
		})
	})
	t.Run("never, when switched off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.stop()
			r.cfg.DelayAfter = -1
			r.start()
			r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
			r.send("x@a.example")
			time.Sleep(24 * time.Hour)
			r.wantDelays()
		})
	})
}

// When it cannot be recorded that a sender was told, they are told once all the
// same, and the next record says it.
func TestDelayToldNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		id := r.send("x@a.example")
		time.Sleep(4*time.Hour - time.Minute)
		r.disk.setBroken(true)
		time.Sleep(2 * time.Minute)
		r.disk.setBroken(false)
		time.Sleep(2 * time.Hour)
		if s, _ := r.spool.Get(id); !s.Outcomes[0].Told {
			t.Error("it is not recorded that the sender was told")
		}
		r.restart()
		time.Sleep(24 * time.Hour)
		r.wantDelays("x@a.example greylisted")
	})
}

// RFC 3461, Section 5.2.1: a notice of success is due where it was asked for and
// the next hop does not see to it.
func TestSuccessNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(_ Message, addr string) verdict.Verdict {
			return verdict.Verdict{Outcome: verdict.Delivered, NoticePassed: addr[:6] == "passed"}
		})
		rcpts := []spool.Rcpt{
			{Addr: "asked@a.example", Notify: []string{"SUCCESS", "FAILURE"}},
			{Addr: "passed@a.example", Notify: []string{"SUCCESS"}},
			{Addr: "quiet@a.example"},
		}
		r.accept(spool.Envelope{From: "anna@office.example", Received: time.Now(), Rcpts: rcpts})
		r.accept(spool.Envelope{Received: time.Now(), Rcpts: rcpts})
		synctest.Wait()
		r.mu.Lock()
		if got := fmt.Sprint(r.successes); got != "[asked@a.example]" {
			t.Errorf("got %s", got)
		}
		r.mu.Unlock()
		r.wantWaiting(0)
	})
}

// The delivery is recorded after the notice; when that cannot be written for
// long, without it.
func TestSuccessNoticeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bounceErr = errors.New("spool full")
		r.accept(spool.Envelope{From: "anna@office.example", Received: time.Now(), Rcpts: []spool.Rcpt{
			{Addr: "asked@a.example", Notify: []string{"SUCCESS"}}, {Addr: "quiet@a.example"},
		}})
		time.Sleep(time.Minute)
		r.wantWaiting(1)
		time.Sleep(10 * time.Minute)
		r.wantWaiting(0)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("got %d attempts, want 1", got)
		}
	})
}

// The spool and the memory hold verdicts without the evidence; the event has it.
func TestEvidenceGoesIntoTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		evidence := &verdict.Evidence{Route: verdict.RouteMX}
		r.fake.setAnswer(func(Message, string) verdict.Verdict {
			return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout, Evidence: evidence}
		})
		id := r.send("x@a.example", "y@a.example")
		synctest.Wait()
		r.mu.Lock()
		n := 0
		for _, e := range r.events {
			if e, ok := e.(event.Attempted); ok && e.Verdict.Evidence == evidence {
				n++
			}
		}
		r.mu.Unlock()
		if n != 2 {
			t.Errorf("got %d events with the evidence, want 2", n)
		}
		e, _ := r.queue.Lookup(id)
		s, _ := r.spool.Get(id)
		for i := range 2 {
			if e.Rcpts[i].Verdict.Evidence != nil || s.Outcomes[i].Verdict.Evidence != nil {
				t.Errorf("recipient %d: evidence was kept", i)
			}
		}
		if e.Rcpts[0].Verdict != e.Rcpts[1].Verdict {
			t.Error("two recipients with one verdict have a copy each")
		}
	})
}

// A panic of the part that writes notices costs no message.
func TestNoticePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		var panics atomic.Bool
		panics.Store(true)
		r.cfg.Notify = func(context.Context, Notice, Message, []Result) (spool.ID, error) {
			if panics.Load() {
				panic("oops")
			}
			return "", nil
		}
		r.start()
		r.fake.setAnswer(always(verdict.Returned, verdict.Refused))
		r.send("x@a.example")
		time.Sleep(time.Hour)
		r.wantWaiting(1)
		panics.Store(false)
		time.Sleep(time.Minute)
		r.wantWaiting(0)
	})
}

// An error of the notice that happens to speak of a message that is not found
// does not make the queue forget the one that failed.
func TestNoticeErrorIsNotAboutTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bounceErr = fmt.Errorf("the original: %w", spool.ErrNotFound)
		r.fake.setAnswer(always(verdict.Returned, verdict.Refused))
		r.send("x@a.example")
		time.Sleep(time.Hour)
		r.wantWaiting(1)
	})
}

// What was finished elsewhere is forgotten.
func TestFinishedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.setReady(false)
		id := r.send("x@a.example")
		if err := r.spool.Record(t.Context(), id, spool.Outcome{State: spool.StateDelivered}); err != nil {
			t.Fatal(err)
		}
		r.setReady(true)
		time.Sleep(time.Minute)
		r.wantWaiting(0)
		r.wantEmpty()
	})
}
