package spool

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// BenchmarkAppend measures durable appends of messages of 4 KB on a real
// folder, for several clients at once, with the outcome that ends each.
func BenchmarkAppend(b *testing.B) {
	for _, outcome := range []bool{false, true} {
		for _, clients := range []int{1, 20, 50} {
			name := "clients=" + strconv.Itoa(clients)
			if outcome {
				name = "delivered/" + name
			}
			b.Run(name, func(b *testing.B) { benchmarkAppend(b, clients, outcome) })
		}
	}
}

func benchmarkAppend(b *testing.B, clients int, outcome bool) {
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
	body := pattern(4 << 10)
	env := Envelope{From: "anna@office.example", Rcpts: []Rcpt{{Addr: "x@a.example"}}}
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	var load sync.WaitGroup
	for c := range clients {
		load.Go(func() {
			for range b.N/clients + min(1, max(0, b.N%clients-c)) {
				id, err := l.Append(ctx, env, bytes.NewReader(body))
				if err == nil && outcome {
					err = l.Record(ctx, id, Outcome{State: StateDelivered, Tries: 1})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	load.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	cancel()
	run.Wait()
	l.Close()
}

// BenchmarkOpen measures the start with 20,000 waiting messages of 4 KB, and
// the memory of its index.
func BenchmarkOpen(b *testing.B) {
	const messages = 20_000
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
	var run, load sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	body := pattern(4 << 10)
	for range 50 {
		load.Go(func() {
			for range messages / 50 {
				if _, err := l.Append(ctx, Envelope{From: "anna@office.example", Rcpts: []Rcpt{{Addr: "x@a.example"}}}, bytes.NewReader(body)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	load.Wait()
	cancel()
	run.Wait()
	l.Close()
	l = nil
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for range b.N {
		if l, err = Open(DirDisk(root), Config{}); err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/messages, "heap-bytes/message")
	runtime.KeepAlive(l)
}
