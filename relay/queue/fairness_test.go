package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// unreachableAfter answers like a host that is not there.
func unreachableAfter(d time.Duration) func(Message, string) verdict.Verdict {
	return func(Message, string) verdict.Verdict {
		time.Sleep(d)
		return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout}
	}
}

func TestPerDomainLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.Parallel, r.cfg.PerDomain = 10, 3
		r.start()
		r.fake.setAnswer(func(Message, string) verdict.Verdict {
			time.Sleep(10 * time.Second)
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		start := time.Now()
		for range 20 {
			r.send("x@a.example")
		}
		time.Sleep(5 * time.Second)
		if got := r.queue.Counts().Active; got != 2 {
			t.Errorf("got %d attempts at a domain that has not answered yet, want 2", got)
		}
		for r.queue.Counts().Waiting > 0 {
			time.Sleep(time.Second)
		}
		if got := r.fake.most["a.example"]; got != 3 {
			t.Errorf("got at most %d attempts at one time, want 3", got)
		}
		// 2 in the first ten seconds, 3 in each of the next.
		if got := time.Since(start).Round(10 * time.Second); got != 70*time.Second {
			t.Errorf("took %v, want 70s", got)
		}
	})
}

// A dead domain with thousands of messages costs the others nothing, is probed
// by one message at a time, and gets everything when it is back.
func TestDeadDomain(t *testing.T) {
	const dead, alive = 2000, 500
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		timeout := unreachableAfter(time.Minute)
		r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
			if m.Domain == "dead.example" {
				return timeout(m, addr)
			}
			time.Sleep(100 * time.Millisecond)
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		start := time.Now()
		for range dead {
			r.send("x@dead.example")
		}
		time.Sleep(10 * time.Minute)
		if got := len(r.fake.to("dead.example")); got > 4 {
			t.Errorf("got %d attempts at the dead domain in ten minutes", got)
		}
		begin := time.Now()
		for i := range alive {
			r.send(fmt.Sprintf("x%d@alive.example", i))
		}
		for len(r.fake.to("alive.example")) < alive {
			time.Sleep(100 * time.Millisecond)
		}
		// 4 at a time, 10 a second each.
		if got := time.Since(begin); got > 14*time.Second {
			t.Errorf("%d messages to a live domain took %v beside the dead one, want 12.5s", alive, got)
		}
		e := r.queue.List(ListOptions{Domain: "dead.example", Limit: 1000})[999]
		if v := e.Rcpts[0].Verdict; v == nil || v.Reason != verdict.ConnectTimeout {
			t.Errorf("a message that was never tried says %+v, want why its domain is not tried", v)
		}
		if e.Rcpts[0].Next.Before(time.Now()) {
			t.Errorf("its next attempt is in the past: %v", e.Rcpts[0].Next)
		}

		time.Sleep(24 * time.Hour)
		if got := len(r.fake.to("dead.example")); got > 60 {
			t.Errorf("got %d attempts at the dead domain in a day, want about 50", got)
		}
		if got := r.fake.most["dead.example"]; got > 2 {
			t.Errorf("got %d attempts at once at the dead domain", got)
		}
		r.fake.setAnswer(nil)
		time.Sleep(maxProbe + 2*time.Minute)
		r.wantWaiting(0)
		_ = start
	})
}

// When their time is over, thousands of messages to a dead domain are returned
// on the word of the last probe, without a time-out each.
func TestDeadDomainExpiry(t *testing.T) {
	const dead = 500
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(unreachableAfter(5 * time.Minute))
		for range dead {
			r.send("x@dead.example")
		}
		time.Sleep(DefaultLifetime - time.Minute)
		r.wantWaiting(dead)
		before := len(r.fake.to("dead.example"))
		time.Sleep(2 * time.Hour)
		r.wantWaiting(0)
		if got := len(r.bounces); got != dead {
			t.Errorf("got %d notices, want %d", got, dead)
		}
		if got := len(r.fake.to("dead.example")) - before; got > 10 {
			t.Errorf("got %d attempts to return them", got)
		}
	})
}

// A single message to a dead domain ends on the word of its last attempt when
// that is fresh, else on that of one more.
func TestSingleDeadExpiry(t *testing.T) {
	for _, tt := range []struct {
		wait  time.Duration
		final bool // the last attempt was made as such
	}{{time.Hour, false}, {3 * time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.stop()
			r.cfg.Schedule = []time.Duration{tt.wait}
			r.cfg.Lifetime = 11*time.Hour + 30*time.Minute
			r.start()
			r.fake.setAnswer(unreachableAfter(time.Second))
			r.send("x@dead.example")
			time.Sleep(12 * time.Hour)
			r.wantBounces("x@dead.example connect-timeout")
			attempts := r.fake.to("dead.example")
			if got := attempts[len(attempts)-1].final; got != tt.final {
				t.Errorf("every %v: the last attempt was final: %v, want %v", tt.wait, got, tt.final)
			}
		})
	}
}

// Many dead domains together leave most of the attempts to the others.
func TestManyDeadDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.Parallel = 8
		r.start()
		timeout := unreachableAfter(2 * time.Minute)
		r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
			if m.Domain != "alive.example" {
				return timeout(m, addr)
			}
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		// Probes of 2 minutes every 30 minutes: three times what there is.
		for i := range 360 {
			r.send(fmt.Sprintf("x@dead%d.example", i))
		}
		time.Sleep(4 * time.Hour) // all of them are known to be dead
		for range 50 {
			begin := time.Now()
			r.send("x@alive.example")
			synctest.Wait()
			if n := len(r.fake.to("alive.example")); n == 0 || r.fake.to("alive.example")[n-1].at.Sub(begin) > time.Second {
				t.Fatal("a message to a live domain had to wait for dead ones")
			}
			time.Sleep(7 * time.Minute)
		}
	})
}

func TestRetryNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(unreachableAfter(time.Second))
		first := r.send("x@dead.example")
		time.Sleep(30 * time.Second)
		second := r.send("y@dead.example") // waits for the probe at 1m1s
		time.Sleep(10 * time.Second)
		start := time.Now()
		if got := r.queue.RetryNow(second, "nonsense"); got != 1 {
			t.Errorf("got %d, want 1", got)
		}
		synctest.Wait()
		r.queue.RetryNow(first)
		time.Sleep(10 * time.Second)
		got := r.fake.to("dead.example")
		wantTimes(t, got[1:], start, 0, time.Second)
		if got[1].id != second || got[2].id != first {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRetryDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(unreachableAfter(time.Second))
		for range 10 {
			r.send("x@dead.example")
		}
		r.send("x@other.example")
		time.Sleep(5 * time.Hour)
		r.fake.setAnswer(nil)
		if got := r.queue.RetryDomain("DEAD.example"); got != 10 {
			t.Errorf("got %d, want 10", got)
		}
		if got := r.queue.RetryDomain("nobody.example"); got != 0 {
			t.Errorf("got %d, want 0", got)
		}
		time.Sleep(time.Second)
		r.wantWaiting(1)
	})
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(m Message, _ string) verdict.Verdict {
			if m.Domain == "held.example" {
				return verdict.Verdict{Outcome: verdict.Held, Reason: verdict.MXNotListed}
			}
			return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Greylisted}
		})
		var ids []spool.ID
		for i := range 10 {
			ids = append(ids, r.send([]string{"x@held.example", "x@grey.example"}[i%2]))
		}
		synctest.Wait()
		tests := []struct {
			name string
			o    ListOptions
			want []int // indexes into ids
		}{
			{"all", ListOptions{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{"domain", ListOptions{Domain: "grey.example"}, []int{1, 3, 5, 7, 9}},
			{"state", ListOptions{State: verdict.Held}, []int{0, 2, 4, 6, 8}},
			{"page", ListOptions{After: ids[3], Limit: 2}, []int{4, 5}},
			{"page of a domain", ListOptions{After: ids[3], Limit: 2, Domain: "grey.example"}, []int{5, 7}},
			{"newest first", ListOptions{Newest: true, Limit: 3}, []int{9, 8, 7}},
			{"older page", ListOptions{Newest: true, After: ids[7], Limit: 2}, []int{6, 5}},
			{"older page of a domain", ListOptions{Newest: true, After: ids[7], Limit: 2, Domain: "GREY.example"}, []int{5, 3}},
			{"the last page", ListOptions{Newest: true, After: ids[1]}, []int{0}},
			{"beyond", ListOptions{After: ids[9]}, nil},
			{"before the first", ListOptions{Newest: true, After: ids[0]}, nil},
			{"sender", ListOptions{From: "ANNA@office"}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{"another sender", ListOptions{From: "bob@"}, nil},
			{"recipient", ListOptions{Rcpt: "x@GREY", Limit: 2}, []int{1, 3}},
			{"unknown domain", ListOptions{Domain: "nobody.example"}, nil},
			{"nothing", ListOptions{Domain: "grey.example", State: verdict.Held}, nil},
		}
		check := func() {
			t.Helper()
			for _, tt := range tests {
				var want, got []spool.ID
				for _, i := range tt.want {
					want = append(want, ids[i])
				}
				for _, e := range r.queue.List(tt.o) {
					got = append(got, e.ID)
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: got %v, want %v", tt.name, got, want)
				}
			}
		}
		check()
		if _, err := r.queue.Delete([]spool.ID{ids[6], ids[7]}, "anna"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(16 * time.Minute)
		for i := range tests {
			switch tests[i].name {
			case "newest first":
				tests[i].want = []int{9, 8, 5}
			case "older page", "older page of a domain":
				tests[i].o.After = ids[6] // one that is gone
				tests[i].want = map[string][]int{"older page": {5, 4}, "older page of a domain": {5, 3}}[tests[i].name]
			case "page of a domain":
				tests[i].want = []int{5, 9}
			default:
				tests[i].want = slices.DeleteFunc(tests[i].want, func(i int) bool { return i == 6 || i == 7 })
			}
		}
		check()
		r.restart()
		check()
	})
}

// Pages join without a gap in both directions, also where few of many messages
// are asked for, and the oldest is known all the time.
func TestListManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.setReady(false)
		const n = 3 * listChunk
		domain := func(i int) string {
			if i%700 == 0 {
				return "rare.example"
			}
			return "often.example"
		}
		for i := range n {
			r.send("x@" + domain(i))
		}
		all := r.queue.List(ListOptions{})
		for _, o := range []ListOptions{{Limit: 999}, {Limit: 999, Newest: true}, {Rcpt: "@rare", Limit: 3}, {Domain: "often.example", Newest: true, Limit: 1500}} {
			var want, got []spool.ID
			for _, e := range all {
				if (o.Rcpt == "" || e.Rcpts[0].Domain == "rare.example") && (o.Domain == "" || e.Rcpts[0].Domain == o.Domain) {
					want = append(want, e.ID)
				}
			}
			if o.Newest {
				slices.Reverse(want)
			}
			for page := r.queue.List(o); len(page) > 0; page = r.queue.List(o) {
				if len(page) > o.Limit {
					t.Fatalf("%+v: a page of %d", o, len(page))
				}
				for _, e := range page {
					got = append(got, e.ID)
				}
				o.After = got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: got %d ids, want %d in order", o, len(got), len(want))
			}
		}
		r.setReady(true)
		for r.queue.Counts().Waiting > 0 {
			time.Sleep(time.Millisecond)
			if c, list := r.queue.Counts(), r.queue.List(ListOptions{Limit: 1}); len(list) > 0 && c.Oldest.After(list[0].Received) {
				t.Fatalf("the oldest is of %v, listed first is one of %v", c.Oldest, list[0].Received)
			}
		}
		r.wantEmpty()
	})
}

// Times that a wrong clock has put into the future are drawn near.
func TestTimesInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		offset := 10 * 365 * 24 * time.Hour
		r.cfg.Now = func() time.Time { return time.Now().Add(offset) }
		r.start()
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		env := spool.Envelope{Received: r.cfg.Now(), Rcpts: []spool.Rcpt{{Addr: "x@a.example"}}}
		id, err := r.spool.Append(t.Context(), env, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.queue.Add(id, env)
		synctest.Wait()
		r.stop()
		offset = 0
		r.start()
		start := time.Now()
		time.Sleep(65 * time.Minute)
		if got := len(r.fake.to("a.example")); got != 2 {
			t.Errorf("got %d attempts, want another one within the longest wait", got)
		}
		if e, _ := r.queue.Lookup(id); !e.Expires.Equal(start.Add(DefaultLifetime + time.Hour)) {
			t.Errorf("expires %v, want five days after the first attempt by the right clock", e.Expires)
		}
	})
}
