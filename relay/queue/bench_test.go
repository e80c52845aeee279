package queue

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// waiting returns a queue that nobody runs, with n messages of 50 senders to
// n/10 domains, that wait for their next attempt.
func waiting(b *testing.B, n int) *Queue {
	b.Helper()
	log, err := spool.Open(newMemDisk(), spool.Config{SegmentSize: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	q := New(Config{Spool: log})
	q.sleep = time.Now() // Run is awake
	for i := range n {
		q.insert(stored(i, n))
	}
	return q
}

func stored(i, n int) spool.Stored {
	return spool.Stored{
		ID: fmt.Sprintf("%011d", i),
		Envelope: spool.Envelope{
			From: fmt.Sprintf("u%d@office.example", i%50), Received: time.Now(),
			Rcpts: []spool.Rcpt{{Addr: fmt.Sprintf("x@d%d.example", i%(1+n/10))}},
		},
		Outcomes: []spool.Outcome{{State: spool.StateWaiting, Tries: 1, Next: time.Now().Add(time.Hour)}},
	}
}

var sizes = []int{1000, 100_000}

// BenchmarkPick chooses the next job among ready ones, and gives it back.
func BenchmarkPick(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := waiting(b, n)
			now := time.Now()
			for _, m := range q.order {
				q.takeOut(m.jobs[0])
				q.enqueue(m.jobs[0], now)
			}
			for b.Loop() {
				q.enqueue(q.nextJob(now), now)
			}
		})
	}
}

// BenchmarkAdd adds a message and drops one, so that n are waiting.
func BenchmarkAdd(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := waiting(b, n)
			env := stored(7, n).Envelope
			for i := n; b.Loop(); i++ {
				q.Add(fmt.Sprintf("%011d", i), env)
				q.mu.Lock()
				q.drop(q.find(fmt.Sprintf("%011d", i-n/2)).jobs[0])
				q.mu.Unlock()
			}
		})
	}
}

// BenchmarkList lists a page of 50 from the middle.
func BenchmarkList(b *testing.B) {
	for _, n := range sizes {
		for _, newest := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/newest=%v", n, newest), func(b *testing.B) {
				q := waiting(b, n)
				for b.Loop() {
					if len(q.List(ListOptions{After: fmt.Sprintf("%011d", n/2), Newest: newest, Limit: 50})) != 50 {
						b.Fatal("not a page")
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%d/domain", n), func(b *testing.B) {
			q := waiting(b, n)
			for b.Loop() {
				if len(q.List(ListOptions{Domain: "d7.example", Limit: 5})) != 5 {
					b.Fatal("not a page")
				}
			}
		})
	}
}

func BenchmarkCounts(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := waiting(b, n)
			for b.Loop() {
				q.Counts()
			}
		})
	}
}

// fill accepts n messages of 4 KB from 64 clients at a time.
func fill(b *testing.B, log *spool.Log, n, size int, added func(spool.ID, spool.Envelope)) {
	b.Helper()
	var wg sync.WaitGroup
	for c := range 64 {
		wg.Go(func() {
			body := strings.Repeat("x", size-2) + "\r\n"
			for i := c; i < n; i += 64 {
				env := spool.Envelope{
					From: fmt.Sprintf("u%d@office.example", i%50), Received: time.Now(), Client: "192.168.1.20",
					HelloName: "mail.office.example", TLS: "TLS 1.3", Subject: fmt.Sprint("Invoice ", i), TraceID: fmt.Sprint(i),
					Rcpts: []spool.Rcpt{{Addr: fmt.Sprintf("someone%d@domain%d.example", i, i%500)}},
				}
				id, err := log.Append(context.Background(), env, strings.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				added(id, env)
			}
		})
	}
	wg.Wait()
}

// BenchmarkDispatch delivers messages from the spool to a fake that takes them
// at once, and records it, on a disk in memory: everything but network and
// flushes.
func BenchmarkDispatch(b *testing.B) {
	log, err := spool.Open(newMemDisk(), spool.Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { log.Run(ctx) })
	done := make(chan struct{})
	left := b.N
	var mu sync.Mutex
	q := New(Config{Spool: log, Deliver: fakeSuccess(func() {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			close(done)
		}
	})})
	fill(b, log, b.N, 1000, q.Add)
	b.ReportAllocs()
	runtime.GC()
	before := cpu()
	b.ResetTimer()
	qctx, stopQueue := context.WithCancel(context.Background())
	var queue sync.WaitGroup
	queue.Go(func() { q.Run(qctx) })
	<-done
	stopQueue()
	queue.Wait() // all of them are recorded
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(b.N)/(cpu()-before), "messages/cpu-s")
	if n := len(log.Messages()); n != 0 {
		b.Errorf("%d messages are not recorded", n)
	}
	stop()
	running.Wait()
	log.Close()
}

// cpu is the time of all cores that this process has used, in seconds: other
// work on the machine does not change it.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// fakeSuccess is a Deliverer that takes everything at once.
type fakeSuccess func()

func (f fakeSuccess) Deliver(_ context.Context, m Message) []Result {
	f()
	rs := make([]Result, len(m.Rcpts))
	for i, r := range m.Rcpts {
		rs[i] = Result{Rcpt: r, Verdict: verdict.Verdict{Outcome: verdict.Delivered, Domain: m.Domain, MX: "mx.example", Reply: "2.0.0 queued"}}
	}
	return rs
}

// BenchmarkNew restores 100,000 messages of 4 KB from a real disk: none of them
// tried yet, or all of them deferred.
func BenchmarkNew(b *testing.B) {
	b.Run("untried", func(b *testing.B) { benchNew(b, false) })
	b.Run("deferred", func(b *testing.B) { benchNew(b, true) })
}

func benchNew(b *testing.B, deferred bool) {
	const n = 100_000
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	open := func() *spool.Log {
		log, err := spool.Open(spool.DirDisk(root), spool.Config{})
		if err != nil {
			b.Fatal(err)
		}
		return log
	}
	log := open()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { log.Run(ctx) })
	fill(b, log, n, 4096, func(id spool.ID, env spool.Envelope) {
		if !deferred {
			return
		}
		v := verdict.Verdict{
			Time: time.Now(), Outcome: verdict.Deferred, Reason: verdict.Greylisted, Rule: "RFC 5321, Section 4.2.1",
			Domain: domainOf(env.Rcpts[0].Addr), MX: "mx." + domainOf(env.Rcpts[0].Addr), Addr: "192.0.2.25", Protection: verdict.Verified,
			TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", CertNames: []string{"mx." + domainOf(env.Rcpts[0].Addr)},
			Code: 451, Enhanced: "4.7.1", Reply: "Greylisting in action, please come back later",
		}
		if err := log.Record(context.Background(), id, spool.Outcome{State: spool.StateWaiting, Tries: 1, Next: time.Now(), Verdict: &v}); err != nil {
			b.Error(err)
		}
	})
	stop()
	running.Wait()
	log.Close()
	log = nil
	b.ResetTimer()
	for range b.N {
		before, began := heap(), cpu()
		start := time.Now()
		log := open()
		scanned, middle := time.Since(start), heap()
		start = time.Now()
		q := New(Config{Spool: log})
		b.ReportMetric(time.Since(start).Seconds(), "s-New")
		b.ReportMetric(cpu()-began, "cpu-s")
		b.ReportMetric(scanned.Seconds(), "s-scan")
		b.ReportMetric(float64(middle-before)/n, "B/message-spool")
		b.ReportMetric(float64(heap()-middle)/n, "B/message-queue")
		if q.Counts().Waiting != n {
			b.Fatalf("got %d messages", q.Counts().Waiting)
		}
		log.Close()
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkLiveBesideDead measures from Add to the attempt, one message at a
// time, with an empty queue and beside 10,000 messages to a dead domain.
func BenchmarkLiveBesideDead(b *testing.B) {
	for _, dead := range []int{0, 10_000} {
		b.Run(fmt.Sprint(dead), func(b *testing.B) {
			log, err := spool.Open(newMemDisk(), spool.Config{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { log.Run(ctx) })
			tried := make(chan struct{})
			q := New(Config{Spool: log, Deliver: fakeHalf(tried)})
			var ids []spool.ID
			var mu sync.Mutex
			add := func(to string, n int) {
				fill(b, log, n, 1000, func(id spool.ID, env spool.Envelope) {
					env.Rcpts[0].Addr = to
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
					q.Add(id, env)
				})
			}
			add("x@dead.example", dead)
			ids = nil
			qctx, stopQueue := context.WithCancel(context.Background())
			running.Go(func() { q.Run(qctx) })
			env := spool.Envelope{From: "u@office.example", Received: time.Now(), Rcpts: []spool.Rcpt{{Addr: "x@live.example"}}}
			for b.Loop() {
				b.StopTimer()
				id, err := log.Append(context.Background(), env, strings.NewReader("x"))
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				q.Add(id, env)
				<-tried
			}
			stopQueue()
			time.Sleep(10 * time.Millisecond)
			stop()
			running.Wait()
			log.Close()
		})
	}
}

// fakeHalf is a Deliverer that takes mail to live.example, telling so, and
// reaches nobody else.
type fakeHalf chan struct{}

func (f fakeHalf) Deliver(_ context.Context, m Message) []Result {
	v := verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout}
	if m.Domain == "live.example" {
		f <- struct{}{}
		v = verdict.Verdict{Outcome: verdict.Delivered}
	}
	return []Result{{Rcpt: m.Rcpts[0], Verdict: v}}
}
