package store_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/store"
	"gatepost/relay/verdict"
)

// BenchmarkStart opens a database with 50,000 saved policies, as the box does
// at its start: every page is checked and every policy read.
func BenchmarkStart(b *testing.B) {
	const n = 50000
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	s, err := store.Open(root, "gatepost.db", store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 600)
	save(b, s.Policies(), n, value)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := store.Open(root, "gatepost.db", store.Config{})
		if err != nil {
			b.Fatal(err)
		}
		got := 0
		err = s.Policies().List(b.Context(), func(string, []byte) error { got++; return nil })
		if err != nil || got != n {
			b.Fatalf("got %d policies, %v; want %d", got, err, n)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSearch looks for a rare address, a message and a domain in a history
// of 50,000 attempts: all of it is searched each time.
func BenchmarkSearch(b *testing.B) {
	const n = 50_000
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	s, err := store.Open(root, "gatepost.db", store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { s.Close() }()
	now := time.Now()
	for i := range n {
		s.AddAttempt(store.Attempt{
			Time: now, ID: fmt.Sprintf("0%010d", i), From: "anna@office.example", Rcpt: fmt.Sprintf("user%d@d%d.example", i, i%5000),
			Verdict: verdict.Verdict{
				Outcome: verdict.Delivered, Domain: fmt.Sprintf("d%d.example", i%5000), Reply: strings.Repeat("queued ", 50),
				Evidence: &verdict.Evidence{Hosts: []verdict.Host{{MX: "mx.example", Reply: strings.Repeat("queued ", 50)}}},
			},
		})
		if i%5000 == 4999 { // no more than wait
			s.Close()
			if s, err = store.Open(root, "gatepost.db", store.Config{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, bb := range []struct {
		name string
		o    store.HistoryOptions
		want int
	}{
		{"address", store.HistoryOptions{Text: "User17@D17.example"}, 1},
		{"domain", store.HistoryOptions{Text: "d4321.example"}, 10},
		{"message", store.HistoryOptions{ID: "00000000003"}, 1},
		{"newest", store.HistoryOptions{}, 100},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if list, err := s.Attempts(bb.o); err != nil || len(list) != bb.want {
					b.Fatalf("got %d attempts, %v, want %d", len(list), err, bb.want)
				}
			}
		})
	}
}

// save fills a store; it is not part of what is measured.
func save(b *testing.B, s mtasts.Store, n int, value []byte) {
	b.Helper()
	for i := range n {
		if err := s.Save(b.Context(), fmt.Sprintf("domain-%d.example", i), value); err != nil {
			b.Fatal(err)
		}
	}
}
