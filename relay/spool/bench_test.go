package spool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/relay/verdict"
)

// BenchmarkAppend measures durable appends on a real folder, for several
// clients at once, alone and with the outcome that ends each message, which
// somebody else records meanwhile.
func BenchmarkAppend(b *testing.B) {
	for _, outcome := range []bool{false, true} {
		for _, size := range []int{4 << 10, 100 << 10} {
			for _, clients := range []int{1, 20, 50} {
				name := fmt.Sprintf("clients=%d/size=%dK", clients, size>>10)
				if outcome {
					name = "delivered/" + name
				}
				b.Run(name, func(b *testing.B) { benchmarkAppend(b, clients, size, outcome) })
			}
		}
	}
}

func benchmarkAppend(b *testing.B, clients, size int, outcome bool) {
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	l, err := Open(DirDisk(root), Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	body := pattern(size)
	env := Envelope{From: "anna@office.example", Rcpts: []Rcpt{{Addr: "x@a.example"}}}
	for spare := 0; spare == 0; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		spare = len(l.spares) // the first one takes a while
		l.mu.Unlock()
	}
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	var load, delivery sync.WaitGroup
	accepted := make(chan ID, 1000)
	for range 20 {
		delivery.Go(func() {
			for id := range accepted {
				if !outcome {
					continue
				}
				if err := l.Record(ctx, id, Outcome{State: StateDelivered, Tries: 1}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for c := range clients {
		load.Go(func() {
			for range b.N/clients + min(1, max(0, b.N%clients-c)) {
				id, err := l.Append(ctx, env, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				accepted <- id
			}
		})
	}
	load.Wait()
	close(accepted)
	delivery.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	cancel()
	run.Wait()
	l.Close()
}

// BenchmarkOpen measures the start with 100,000 waiting messages of 4 KB, of
// which each has been tried once, the list that the queue is built from, and
// the memory of the index: with the files in the memory of the system, and
// without.
func BenchmarkOpen(b *testing.B) {
	for _, cold := range []bool{false, true} {
		b.Run(map[bool]string{false: "warm", true: "cold"}[cold], func(b *testing.B) { benchmarkOpen(b, cold) })
	}
}

func benchmarkOpen(b *testing.B, cold bool) {
	const messages = 100_000
	dir := b.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	fillSpool(b, root, messages, 4<<10)
	var l *Log
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // pools and timers let go one by one
			runtime.GC()
			time.Sleep(50 * time.Millisecond)
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var open, list time.Duration
	b.ResetTimer()
	for range b.N {
		if cold {
			forgetPages(b, root)
		}
		begin := time.Now()
		if l, err = Open(DirDisk(root), Config{}); err != nil {
			b.Fatal(err)
		}
		open += time.Since(begin)
		begin = time.Now()
		n := 0
		for s := range l.All() {
			if n++; len(s.Outcomes) != 1 || s.Outcomes[0].Verdict == nil {
				b.Fatalf("%+v", s)
			}
		}
		if list += time.Since(begin); n != messages {
			b.Fatalf("got %d messages", n)
		}
		l.Close()
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/messages, "heap-bytes/message")
	b.ReportMetric(open.Seconds()/float64(b.N), "open-s")
	b.ReportMetric(list.Seconds()/float64(b.N), "list-s")
	runtime.KeepAlive(l)
}

// forgetPages takes the files of a folder out of the memory of the system.
func forgetPages(b *testing.B, root *os.Root) {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	names, err := DirDisk(root).List()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		f, err := root.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func fillSpool(b *testing.B, root *os.Root, messages, size int) {
	b.Helper()
	l, err := Open(DirDisk(root), Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run, load sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	body := pattern(size)
	v := &verdict.Verdict{Outcome: verdict.Deferred, Domain: "a.example", MX: "mx.a.example", Code: 451, Reply: strings.Repeat("try later ", 20)}
	for range 200 {
		load.Go(func() {
			for range messages / 200 {
				id, err := l.Append(ctx, Envelope{
					From: "anna@office.example", Received: time.Now(), Client: "192.0.2.1", HelloName: "pc.office.example",
					Subject: "About the invoice", Rcpts: []Rcpt{{Addr: "x@a.example"}},
				}, bytes.NewReader(body))
				if err == nil {
					err = l.Record(ctx, id, Outcome{State: StateWaiting, Tries: 1, Next: time.Now(), Verdict: v})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	load.Wait()
	cancel()
	run.Wait()
	l.Close()
}
