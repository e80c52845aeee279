package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// 10,000 messages of one sender to one domain do not delay the single message
// of another sender there, nor do those to 10,000 domains delay it anywhere.
func TestSendersTakeTurns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		domain func(i int) string
		single string // to where the other sender writes
		// A place is free after 4 s, and the attempt takes 4 s.
		within time.Duration
	}{
		{"one domain", func(int) string { return "big.example" }, "big.example", 13 * time.Second},
		{"many domains", func(i int) string { return fmt.Sprintf("d%d.example", i) }, "other.example", 9 * time.Second},
		{"many domains, the same one", func(i int) string { return fmt.Sprintf("d%d.example", i) }, "d9999.example", 9 * time.Second},
		{"its domain first", func(i int) string { return fmt.Sprintf("d%d.example", i/100) }, "d0.example", 13 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				sent := make(map[string]time.Time)
				r.fake.setAnswer(func(m Message, _ string) verdict.Verdict {
					time.Sleep(4 * time.Second)
					r.mu.Lock()
					sent[m.Envelope.From] = time.Now()
					r.mu.Unlock()
					return verdict.Verdict{Outcome: verdict.Delivered}
				})
				// So that all of them are there before the first goes.
				r.setReady(false)
				for i := range 10_000 {
					r.sendFrom("bulk@office.example", "x@"+tt.domain(i))
				}
				r.setReady(true)
				time.Sleep(time.Minute)
				begin := time.Now()
				r.sendFrom("anna@office.example", "x@"+tt.single)
				time.Sleep(2 * time.Minute)
				r.mu.Lock()
				defer r.mu.Unlock()
				at, ok := sent["anna@office.example"]
				if took := at.Sub(begin); !ok || took > tt.within {
					t.Errorf("the single message took %v (sent: %v), want at most %v", took, ok, tt.within)
				}
			})
		})
	}
}

// In one domain every sender gets one job in turn, also when all of them came
// at once.
func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.Parallel, r.cfg.PerDomain = 1, 1
		r.start()
		var order []string
		r.fake.setAnswer(func(m Message, _ string) verdict.Verdict {
			time.Sleep(time.Second)
			r.mu.Lock()
			order = append(order, senderOf(&m.Envelope))
			r.mu.Unlock()
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		r.setReady(false)
		for i := range 12 {
			for range 3 {
				env := spool.Envelope{Received: time.Now(), Rcpts: []spool.Rcpt{{Addr: "x@a.example"}}}
				switch i % 3 {
				case 0:
					env.User, env.From = fmt.Sprint("user", i), "anna@office.example"
				case 1:
					env.From = fmt.Sprintf("from%d@office.example", i)
				default:
					env.Client = fmt.Sprint("192.0.2.", i)
				}
				r.accept(env)
			}
		}
		r.setReady(true)
		time.Sleep(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(order) != 36 {
			t.Fatalf("got %d attempts, want 36", len(order))
		}
		for i := range 12 {
			if order[i] != order[i+12] || order[i] != order[i+24] || i > 0 && order[i] == order[0] {
				t.Fatalf("got the order %v", order)
			}
		}
	})
}

func TestRatePerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.RatePerMinute = 6
		r.start()
		start := time.Now()
		for range 3 {
			r.send("x@a.example")
		}
		r.send("x@b.example")
		time.Sleep(time.Minute)
		wantTimes(t, r.fake.to("a.example"), start, 0, 10*time.Second, 20*time.Second)
		wantTimes(t, r.fake.to("b.example"), start, 0)
		if c := r.queue.Counts(); c.Domains != 0 {
			t.Errorf("got %d domains, want none", c.Domains)
		}
		// The rate outlives the last message of the domain.
		start = time.Now()
		r.send("x@a.example")
		synctest.Wait()
		r.send("x@a.example")
		time.Sleep(time.Minute)
		wantTimes(t, r.fake.to("a.example")[3:], start, 0, 10*time.Second)
		r.queue.mu.Lock()
		if n := len(r.queue.domains); n != 0 {
			t.Errorf("%d domains are remembered for ever", n)
		}
		r.queue.mu.Unlock()
	})
}

// live sends n messages to a live domain, each accepted 10 ms after the one
// before, and returns the mean and the longest time until they were delivered.
func (r *rig) live(n int) (mean, longest time.Duration) {
	begun := make(map[spool.ID]time.Time)
	before := len(r.fake.to("live.example"))
	for range n {
		begun[r.send("x@live.example")] = time.Now()
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(5 * time.Minute)
	for _, a := range r.fake.to("live.example")[before:] {
		// A delivery takes as long beside the dead domain as without it:
		// what differs is when it begins.
		took := a.at.Sub(begun[a.id])
		mean += took / time.Duration(n)
		longest = max(longest, took)
		delete(begun, a.id)
	}
	if len(begun) > 0 {
		r.t.Errorf("%d live messages were not delivered", len(begun))
	}
	return mean, longest
}

// 10,000 messages to a dead domain wait while 1,000 go to a live one: those are
// delivered as soon as with an empty queue.
func TestLiveBesideDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		timeout := unreachableAfter(30 * time.Second)
		r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
			if m.Domain == "dead.example" {
				return timeout(m, addr)
			}
			time.Sleep(30 * time.Millisecond)
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		mean, longest := r.live(1000)
		for range 10_000 {
			r.send("x@dead.example")
		}
		// While it is found out that the domain is dead, and after.
		mean1, longest1 := r.live(1000)
		mean2, longest2 := r.live(1000)
		t.Logf("1,000 messages to a live domain, wait before the attempt: empty queue mean %v longest %v; "+
			"beside 10,000 to a domain that turns out dead mean %v longest %v; beside 10,000 to a dead domain mean %v longest %v",
			mean, longest, mean1, longest1, mean2, longest2)
		if mean1 > mean+20*time.Millisecond || mean2 > mean+20*time.Millisecond || longest2 > longest+100*time.Millisecond {
			t.Error("mail to a live domain waits for a dead one")
		}
		if n := len(r.fake.to("dead.example")); n > 8 {
			t.Errorf("%d attempts at the dead domain", n)
		}
		r.wantWaiting(10_000)
	})
}

// A place is free as soon as the end of an attempt is known: with 20 of them and
// flushes of 5 ms, far more than 20 messages per flush are delivered.
func TestPlacesAreNotHeldWhileFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(Message, string) verdict.Verdict {
			time.Sleep(time.Millisecond)
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		const n = 5000
		r.setReady(false)
		for i := range n {
			r.send(fmt.Sprintf("x@d%d.example", i%50))
		}
		time.Sleep(2 * time.Second)
		r.disk.setFlush(5 * time.Millisecond)
		r.setReady(true)
		for end := time.Now().Add(time.Minute); r.queue.Counts().Waiting > 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		r.wantWaiting(0)
		took := time.Since(r.fake.to("d0.example")[0].at)
		t.Logf("%d deliveries of 1 ms, 20 at a time, flushes of 5 ms: %v, %.0f a second", n, took, n/took.Seconds())
		if took > n/10*time.Millisecond {
			t.Errorf("took %v: the places were held during the flush", took)
		}
	})
}

// While the spool cannot record, no more is delivered than may be delivered
// twice; what could not be recorded is recorded when it can again, or at the
// end.
func TestSpoolBroken(t *testing.T) {
	for _, mended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.setReady(false)
			const n = 1000
			for i := range n {
				r.send(fmt.Sprintf("x%d@a.example", i))
			}
			r.disk.setBroken(true)
			r.setReady(true)
			time.Sleep(5 * time.Minute)
			delivered := len(r.fake.to("a.example"))
			if delivered < 20 || delivered > maxUnrecorded+20 {
				t.Errorf("delivered %d messages that cannot be recorded", delivered)
			}
			r.wantWaiting(n)
			r.setReady(mended)
			r.disk.setBroken(false)
			time.Sleep(2 * time.Minute)
			if mended {
				r.wantWaiting(0)
			}
			r.restart()
			r.setReady(true)
			time.Sleep(2 * time.Minute)
			r.wantWaiting(0)
			if got := len(r.fake.to("a.example")); got != n {
				t.Errorf("mended %v: got %d attempts for %d messages", mended, got, n)
			}
		})
	}
}
