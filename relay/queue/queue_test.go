package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// fakeDeliverer is a Deliverer whose answers are set by the test.
type fakeDeliverer struct {
	mu sync.Mutex
	// answer decides about one recipient; nil delivers everything. It is
	// called without mu and may sleep.
	answer    func(m Message, addr string) verdict.Verdict
	unsettled bool // of every result
	attempts  []attempt
	active    map[string]int
	most      map[string]int // most attempts at one time by domain
}

type attempt struct {
	at    time.Time
	id    spool.ID
	addrs string
	final bool
	tries int
}

func (f *fakeDeliverer) Deliver(_ context.Context, m Message) []Result {
	var addrs []string
	for _, i := range m.Rcpts {
		addrs = append(addrs, m.Envelope.Rcpts[i].Addr)
	}
	f.mu.Lock()
	f.attempts = append(f.attempts, attempt{time.Now(), m.ID, strings.Join(addrs, " "), m.Final, m.Tries})
	if f.active == nil {
		f.active, f.most = make(map[string]int), make(map[string]int)
	}
	f.active[m.Domain]++
	f.most[m.Domain] = max(f.most[m.Domain], f.active[m.Domain])
	answer, unsettled := f.answer, f.unsettled
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.active[m.Domain]--
		f.mu.Unlock()
	}()
	var results []Result
	for _, i := range m.Rcpts {
		v := verdict.Verdict{Outcome: verdict.Delivered}
		if answer != nil {
			v = answer(m, m.Envelope.Rcpts[i].Addr)
		}
		results = append(results, Result{Rcpt: i, Verdict: v, Unsettled: unsettled})
	}
	return results
}

func (f *fakeDeliverer) setUnsettled(u bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsettled = u
}

func (f *fakeDeliverer) setAnswer(answer func(m Message, addr string) verdict.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// to lists the attempts to one domain.
func (f *fakeDeliverer) to(domain string) []attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []attempt
	for _, a := range f.attempts {
		if strings.Contains(a.addrs, "@"+domain) {
			list = append(list, a)
		}
	}
	return list
}

func always(o verdict.Outcome, r verdict.Reason) func(Message, string) verdict.Verdict {
	return func(Message, string) verdict.Verdict { return verdict.Verdict{Outcome: o, Reason: r} }
}

// rig is a queue on a spool on a disk in memory. Use it inside a bubble.
type rig struct {
	t     *testing.T
	disk  *memDisk
	fake  *fakeDeliverer
	cfg   Config // for the next start
	spool *spool.Log
	queue *Queue
	stop  func()

	mu        sync.Mutex
	events    []event.Event
	bounces   []string
	delays    []string
	successes []string
	bounceErr error // of every notice
	saved     []Pause
	saveErr   error
	notReady  bool
}

// notify notes what a sender would be told.
func (r *rig) notify(_ context.Context, kind Notice, m Message, rs []Result) (spool.ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bounceErr != nil {
		return "", r.bounceErr
	}
	var addrs []string
	for _, f := range rs {
		addrs = append(addrs, fmt.Sprintf("%s %s", m.Envelope.Rcpts[f.Rcpt].Addr, f.Verdict.Reason))
	}
	list := map[Notice]*[]string{Failure: &r.bounces, Delay: &r.delays, Success: &r.successes}[kind]
	*list = append(*list, strings.TrimSpace(strings.Join(addrs, ", ")))
	return "notice", nil
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, disk: newMemDisk(), fake: &fakeDeliverer{}}
	r.cfg.Schedule = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}
	r.cfg.Ready = func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !r.notReady
	}
	r.cfg.Events = func(e event.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	r.cfg.Notify = r.notify
	r.cfg.Pauses = nil
	r.cfg.SavePauses = func(p []Pause) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.saveErr != nil {
			return r.saveErr
		}
		r.saved = p
		return nil
	}
	r.start()
	return r
}

// start opens the spool and runs a new queue.
func (r *rig) start() {
	r.t.Helper()
	r.startWith(r.fake)
}

func (r *rig) startWith(d Deliverer) {
	r.t.Helper()
	log, err := spool.Open(r.disk, spool.Config{SegmentSize: 1 << 20, Events: func(e event.Event) { r.t.Errorf("spool: %+v", e) }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.spool, r.cfg.Spool, r.cfg.Deliver = log, log, d
	r.queue = New(r.cfg)
	spoolCtx, stopSpool := context.WithCancel(context.Background())
	queueCtx, stopQueue := context.WithCancel(context.Background())
	var spoolDone, queueDone sync.WaitGroup
	queue := r.queue
	spoolDone.Go(func() { log.Run(spoolCtx) })
	queueDone.Go(func() { queue.Run(queueCtx) })
	r.stop = sync.OnceFunc(func() {
		stopQueue()
		queueDone.Wait()
		stopSpool()
		spoolDone.Wait()
		log.Close()
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.cfg.Pauses = r.saved
	r.start()
}

// send accepts a message to addrs.
func (r *rig) send(addrs ...string) spool.ID {
	r.t.Helper()
	return r.sendFrom("anna@office.example", addrs...)
}

func (r *rig) sendFrom(from string, addrs ...string) spool.ID {
	r.t.Helper()
	env := spool.Envelope{From: from, Received: time.Now()}
	for _, a := range addrs {
		env.Rcpts = append(env.Rcpts, spool.Rcpt{Addr: a})
	}
	return r.accept(env)
}

// accept makes a message of an envelope durable and adds it.
func (r *rig) accept(env spool.Envelope) spool.ID {
	r.t.Helper()
	id := r.tryAccept(env)
	if id == "" {
		r.t.Fatal("the spool does not take a message")
	}
	return id
}

// tryAccept is accept where the spool may refuse; the id is "" then.
func (r *rig) tryAccept(env spool.Envelope) spool.ID {
	id, err := r.spool.Append(r.t.Context(), env, strings.NewReader("Subject: x\r\n\r\nbody of "+env.Rcpts[0].Addr+"\r\n"))
	if err != nil {
		return ""
	}
	r.queue.Add(id, env)
	return id
}

func (r *rig) setReady(ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notReady = !ready
}

func (r *rig) wantBounces(want ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.bounces, want) {
		r.t.Errorf("notices: got %q, want %q", r.bounces, want)
	}
}

func (r *rig) wantWaiting(want int) {
	r.t.Helper()
	if got := r.queue.Counts().Waiting; got != want {
		r.t.Errorf("got %d messages waiting, want %d", got, want)
	}
	if got := len(r.spool.Messages()); got != want {
		r.t.Errorf("got %d messages in the spool, want %d", got, want)
	}
}

// wantTimes checks when a domain was tried, counted from start.
func wantTimes(t *testing.T, attempts []attempt, start time.Time, want ...time.Duration) {
	t.Helper()
	var got []time.Duration
	for _, a := range attempts {
		got = append(got, a.at.Sub(start).Round(time.Second))
	}
	if !slices.Equal(got, want) {
		t.Errorf("attempts at %v, want %v", got, want)
	}
}

func TestDeliverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(m Message, addr string) verdict.Verdict {
			body, err := m.Body()
			if err != nil {
				t.Error(err)
				return verdict.Verdict{}
			}
			defer body.Close()
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Contains(got, []byte("body of one@a.example\r\n")) {
				t.Errorf("body %q, %v", got, err)
			}
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		r.send("one@a.example", "Two@B.example", "three@a.example")
		synctest.Wait()
		r.wantWaiting(0)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("a.example: got %d attempts, want 1 for both recipients", got)
		}
		if got := r.fake.attempts[0].addrs + r.fake.attempts[1].addrs; len(got) != len("one@a.example three@a.exampleTwo@B.example") {
			t.Errorf("attempts for %q", got)
		}
		if c := r.queue.Counts(); c.Held+c.Deferred+c.Untried+c.Domains != 0 || !c.Oldest.IsZero() {
			t.Errorf("got %+v, want an empty queue", c)
		}
	})
}

func TestScheduleAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.Lifetime = 3 * time.Hour
		r.start()
		r.fake.setAnswer(always(verdict.Held, verdict.CertificateExpired))
		start := time.Now()
		id := r.send("x@held.example")
		time.Sleep(2 * time.Minute)
		e, _ := r.queue.Lookup(id)
		if got := e.Rcpts[0]; got.Verdict.Reason != verdict.CertificateExpired || got.Tries != 2 || !got.Next.Equal(start.Add(11*time.Minute)) {
			t.Errorf("got %+v", got)
		}
		if c := r.queue.Counts(); c.Waiting != 1 || c.Held != 1 || c.Deferred != 0 || c.Untried != 0 || !c.OldestDeferred.Equal(start) {
			t.Errorf("got %+v", c)
		}
		if !e.Expires.Equal(start.Add(3 * time.Hour)) {
			t.Errorf("expires %v", e.Expires)
		}
		time.Sleep(4 * time.Hour)
		wantTimes(t, r.fake.to("held.example"), start, 0, time.Minute, 11*time.Minute, 71*time.Minute, 131*time.Minute, 3*time.Hour)
		for i, a := range r.fake.to("held.example") {
			if a.tries != i || a.final != (i == 5) {
				t.Errorf("attempt %d: tries %d, final %v", i, a.tries, a.final)
			}
		}
		r.wantBounces("x@held.example certificate-expired")
		r.wantWaiting(0)
	})
}

// RFC 8461, Section 5.1: what may not be made permanent goes on after its time,
// until it may.
func TestUnsettledIsNotReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.cfg.Lifetime = time.Hour
		r.start()
		r.fake.setAnswer(always(verdict.Held, verdict.CertificateExpired))
		r.fake.setUnsettled(true)
		r.send("x@held.example")
		time.Sleep(5 * time.Hour)
		r.wantBounces()
		r.wantWaiting(1)
		if n := len(r.fake.to("held.example")); n < 6 {
			t.Errorf("got %d attempts in five hours, want one an hour at least", n)
		}
		r.fake.setUnsettled(false)
		time.Sleep(2 * time.Hour)
		r.wantBounces("x@held.example certificate-expired")
		r.wantWaiting(0)
	})
}

func TestMixedResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(_ Message, addr string) verdict.Verdict {
			switch addr[:2] {
			case "ok":
				return verdict.Verdict{Outcome: verdict.Delivered}
			case "no":
				return verdict.Verdict{Outcome: verdict.Returned, Reason: verdict.NoSuchUser}
			}
			return verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Greylisted}
		})
		r.send("ok@a.example", "no1@a.example", "later@a.example", "no2@a.example")
		synctest.Wait()
		r.wantBounces("no1@a.example no-such-user, no2@a.example no-such-user")
		// Neither a restart nor the next attempt touches those that are done.
		r.restart()
		r.fake.setAnswer(nil)
		time.Sleep(time.Hour)
		got := r.fake.to("a.example")
		if len(got) != 2 || got[1].addrs != "later@a.example" || got[1].tries != 1 {
			t.Errorf("got %+v, want a second attempt for later@ only", got)
		}
		r.wantBounces("no1@a.example no-such-user, no2@a.example no-such-user")
		r.wantWaiting(0)
	})
}

func TestRestartKeepsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		start := time.Now()
		id := r.send("x@a.example")
		time.Sleep(5 * time.Minute) // tried at 0 and 1m, next at 11m
		r.restart()
		if e, ok := r.queue.Lookup(id); !ok || e.Rcpts[0].Tries != 2 || e.Rcpts[0].Verdict == nil {
			t.Errorf("after the restart: %+v", e)
		}
		time.Sleep(10 * time.Minute)
		wantTimes(t, r.fake.to("a.example"), start, 0, time.Minute, 11*time.Minute)
	})
}

func TestNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.setReady(false)
		start := time.Now()
		id := r.send("x@a.example")
		time.Sleep(6 * 24 * time.Hour)
		r.wantBounces()
		wantTimes(t, r.fake.to("a.example"), start)
		if e, _ := r.queue.Lookup(id); !e.Expires.IsZero() {
			t.Errorf("expires %v while the clock is unknown", e.Expires)
		}
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		r.setReady(true)
		time.Sleep(10 * time.Second)
		if got := r.fake.to("a.example"); len(got) != 1 || got[0].final {
			t.Errorf("got %+v, want one attempt that is not the last", got)
		}
		r.wantWaiting(1)
		r.wantBounces()
	})
}

// The clock is wrong at start and jumps by years when it becomes known: that
// must not end the life of anything.
func TestClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		var offset time.Duration
		r.cfg.Now = func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Now().Add(offset)
		}
		r.setReady(false)
		r.start()
		r.fake.setAnswer(always(verdict.Deferred, verdict.Greylisted))
		r.send("x@a.example")
		time.Sleep(time.Hour)
		r.mu.Lock()
		offset, r.notReady = 26*365*24*time.Hour, false
		r.mu.Unlock()
		time.Sleep(time.Hour)
		r.wantBounces()
		r.wantWaiting(1)
		if got := len(r.fake.to("a.example")); got < 2 {
			t.Errorf("got %d attempts in the hour after the jump", got)
		}
	})
}

func TestBounceFailsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(always(verdict.Returned, verdict.Refused))
		r.mu.Lock()
		r.bounceErr = errors.New("spool full")
		r.mu.Unlock()
		id := r.send("x@a.example", "y@a.example")
		time.Sleep(5 * time.Minute)
		r.wantWaiting(1)
		if s, _ := r.spool.Get(id); s.Outcomes[0].Done() {
			t.Error("recorded as returned before the notice was kept")
		}
		r.mu.Lock()
		r.bounceErr = nil
		r.mu.Unlock()
		time.Sleep(time.Minute)
		r.wantBounces("x@a.example refused, y@a.example refused")
		r.wantWaiting(0)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("got %d attempts, want 1", got)
		}
	})
}

// While the spool cannot record, what was delivered is not delivered again.
func TestRecordFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(Message, string) verdict.Verdict {
			r.disk.setBroken(true)
			return verdict.Verdict{Outcome: verdict.Delivered}
		})
		r.send("x@a.example")
		time.Sleep(time.Hour)
		r.wantWaiting(1)
		r.disk.setBroken(false)
		time.Sleep(5 * time.Minute)
		r.wantWaiting(0)
		if got := len(r.fake.to("a.example")); got != 1 {
			t.Errorf("got %d attempts, want 1", got)
		}
	})
}

func TestPanicKeepsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(Message, string) verdict.Verdict { panic("oops") })
		id := r.send("x@a.example")
		synctest.Wait()
		e, ok := r.queue.Lookup(id)
		if !ok || e.Rcpts[0].Verdict == nil || e.Rcpts[0].Verdict.Outcome != verdict.Deferred || !strings.Contains(e.Rcpts[0].Verdict.Detail, "oops") {
			t.Fatalf("got %+v, want it deferred with the panic as detail", e)
		}
		r.fake.setAnswer(nil)
		time.Sleep(2 * time.Minute)
		r.wantWaiting(0)
	})
}

func TestWrongResults(t *testing.T) {
	tests := []struct {
		name    string
		results []Result
	}{
		{"none", nil},
		{"another recipient", []Result{{Rcpt: 7, Verdict: verdict.Verdict{Outcome: verdict.Delivered}}}},
		{"unknown outcome", []Result{{Rcpt: 0, Verdict: verdict.Verdict{Outcome: "fine"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := &Queue{cfg: Config{Deliver: fixedDeliverer(tt.results), Now: time.Now}}
			got := q.deliver(t.Context(), Message{Rcpts: []int{0}, Domain: "a.example"})
			if len(got) != 1 || got[0].Rcpt != 0 || got[0].Verdict.Outcome != verdict.Deferred || got[0].Verdict.Domain != "a.example" || got[0].Verdict.Time.IsZero() {
				t.Errorf("got %+v, want recipient 0 deferred", got)
			}
		})
	}
}

// fixedDeliverer is a Deliverer that always returns the same.
type fixedDeliverer []Result

func (f fixedDeliverer) Deliver(context.Context, Message) []Result { return f }

// Run waits for an attempt that is going on; one that does not end in time is
// cancelled, and is then no attempt.
func TestShutdown(t *testing.T) {
	tests := []struct {
		name  string
		takes time.Duration
		want  int // messages left
	}{
		{"ends in time", 5 * time.Second, 0},
		{"is cancelled", time.Minute, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.stop()
				slow := slowDeliverer{tt.takes}
				r.startWith(slow)
				r.send("x@a.example")
				synctest.Wait()
				r.stop()
				// What the spool says now is what a restart finds.
				messages := r.spool.Messages()
				if len(messages) != tt.want {
					t.Fatalf("got %d messages left, want %d", len(messages), tt.want)
				}
				if tt.want == 1 && messages[0].Outcomes[0].Tries != 0 {
					t.Errorf("a cancelled attempt was counted: %+v", messages[0].Outcomes[0])
				}
			})
		})
	}
}

// slowDeliverer is a Deliverer that takes its time and obeys its context.
type slowDeliverer struct{ takes time.Duration }

func (s slowDeliverer) Deliver(ctx context.Context, m Message) []Result {
	select {
	case <-ctx.Done():
		return []Result{{Rcpt: m.Rcpts[0], Verdict: verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Unknown}}}
	case <-time.After(s.takes):
		return []Result{{Rcpt: m.Rcpts[0], Verdict: verdict.Verdict{Outcome: verdict.Delivered}}}
	}
}
