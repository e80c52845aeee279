package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Whatever happens in whatever order (answers, restarts, a broken disk, notices
// that fail, people who pause, retry, return, delete and undo): each recipient
// comes to exactly one end, and nothing is left in memory.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomLife(t, seed) })
		})
	}
}

func randomLife(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	r.stop()
	r.cfg.Parallel, r.cfg.PerDomain = 1+rnd.IntN(6), 1+rnd.IntN(4)
	r.cfg.RatePerMinute = []int{0, 0, 30}[rnd.IntN(3)]
	r.start()
	answers := rand.New(rand.NewPCG(seed, 2))
	r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
		r.mu.Lock()
		n, took := answers.IntN(12), time.Duration(answers.IntN(40))*time.Second
		r.mu.Unlock()
		if m.Domain == "d0.example" && time.Since(m.Envelope.Received) < 6*time.Hour {
			time.Sleep(took)
			return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout}
		}
		switch {
		case n < 5:
			time.Sleep(took)
			return verdict.Verdict{Outcome: verdict.Delivered}
		case n < 6:
			return verdict.Verdict{Outcome: verdict.Returned, Reason: verdict.NoSuchUser}
		case n < 7:
			return verdict.Verdict{Outcome: verdict.Held, Reason: verdict.CertificateExpired}
		case n < 8:
			panic("oops")
		}
		return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Greylisted}
	})
	recipients := 0
	var ids []spool.ID
	var actions []string
	some := func() []spool.ID {
		if len(ids) == 0 {
			return nil
		}
		i := rnd.IntN(len(ids))
		return ids[i:min(i+1+rnd.IntN(5), len(ids))]
	}
	act := func(a Action, err error) {
		if err == nil {
			actions = append(actions, a.ID)
		} else if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	domain := func() string { return fmt.Sprintf("d%d.example", rnd.IntN(6)) }
	for range 300 {
		switch rnd.IntN(16) {
		case 0, 1, 2, 3, 4, 5:
			env := spool.Envelope{From: fmt.Sprintf("u%d@office.example", rnd.IntN(4)), Received: time.Now()}
			if rnd.IntN(8) == 0 {
				env.From, env.Client = "", "192.0.2.1"
			}
			for i := range 1 + rnd.IntN(4) {
				env.Rcpts = append(env.Rcpts, spool.Rcpt{Addr: fmt.Sprintf("x%d@%s", i, domain()), Notify: [][]string{nil, {"SUCCESS", "DELAY"}, {"NEVER"}}[rnd.IntN(3)]})
				recipients++
			}
			if id := r.tryAccept(env); id != "" {
				ids = append(ids, id)
			} else {
				recipients -= len(env.Rcpts)
			}
		case 6:
			r.queue.RetryNow(some()...)
		case 7:
			r.queue.RetryDomain(domain())
		case 8:
			p := []Pause{{All: true}, {Domain: domain()}, {Domain: domain()}}[rnd.IntN(3)]
			if s := some(); len(s) > 0 && rnd.IntN(2) == 0 {
				p = Pause{ID: s[0]}
			}
			if err := r.queue.Pause(p); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		case 9, 10:
			for _, p := range r.queue.Pauses() {
				if err := r.queue.Resume(p); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		case 11:
			act(r.queue.Return(some(), "anna", "sorry"))
		case 12:
			act(r.queue.Delete(some(), "anna"))
		case 13:
			if len(actions) > 0 {
				if _, err := r.queue.Undo(actions[rnd.IntN(len(actions))]); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		case 14:
			switch rnd.IntN(6) {
			case 0:
				r.disk.setBroken(false)
				synctest.Wait()
				time.Sleep(2 * time.Minute)
				r.restart()
			case 1, 2:
				r.disk.setBroken(rnd.IntN(2) == 0)
			default:
				r.mu.Lock()
				r.bounceErr = nil
				if rnd.IntN(2) == 0 {
					r.bounceErr = errors.New("spool full")
				}
				r.mu.Unlock()
			}
		case 15:
			r.setReady(rnd.IntN(3) > 0)
		}
		time.Sleep(time.Duration(rnd.IntN(400)) * time.Second / 4)
		if n := len(r.queue.List(ListOptions{})); n != r.queue.Counts().Waiting {
			t.Fatalf("listed %d of %d", n, r.queue.Counts().Waiting)
		}
	}
	r.disk.setBroken(false)
	r.mu.Lock()
	r.bounceErr, r.notReady = nil, false
	r.mu.Unlock()
	for _, p := range r.queue.Pauses() {
		if err := r.queue.Resume(p); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	time.Sleep(8 * 24 * time.Hour)
	r.wantWaiting(0)
	r.wantEmpty()
	r.wantOneEndEach(recipients)
}

// wantEmpty checks that the queue holds no trace of what was.
func (r *rig) wantEmpty() {
	r.t.Helper()
	q := r.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, n := range map[string]int{
		"order": len(q.order), "gone": q.gone, "domains": len(q.domains), "alarms": len(q.alarms.list), "reminders": len(q.reminders.list),
		"wakes": len(q.wakes.list), "fates": len(q.fates.list), "tried": len(q.tried.list), "actions": len(q.actions),
		"paused messages": len(q.pausedMessages), "unfinished": len(q.unfinished), "active": q.active,
		"suspect active": q.suspectActive, "unrecorded": q.unrecorded, "finishing": q.finishing, "telling": q.telling,
		"held": q.counts.Held, "deferred": q.counts.Deferred, "untried": q.counts.Untried, "with mail": q.counts.Domains,
	} {
		if n != 0 {
			r.t.Errorf("%s: %d left", name, n)
		}
	}
}

// wantOneEndEach checks the ends of all recipients by the events.
func (r *rig) wantOneEndEach(recipients int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := make(map[string][]verdict.Outcome)
	deleted := make(map[string]bool)
	for _, e := range r.events {
		switch e := e.(type) {
		case event.Attempted:
			if !e.Verdict.Outcome.Kept() && e.Next.IsZero() {
				key := e.ID + " " + e.Rcpt
				ends[key] = append(ends[key], e.Verdict.Outcome)
			}
		case event.Removed:
			deleted[e.ID] = true
		}
	}
	for key, list := range ends {
		if len(list) != 1 {
			r.t.Errorf("%s came to the ends %v", key, list)
		}
	}
	missing := recipients - len(ends)
	if missing < 0 || missing > 0 && len(deleted) == 0 {
		r.t.Errorf("%d of %d recipients came to an end, %d messages deleted", len(ends), recipients, len(deleted))
	}
	if slices.Contains(r.bounces, "") {
		r.t.Error("an empty notice")
	}
}
