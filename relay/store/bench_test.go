package store_test

import (
	"fmt"
	"os"
	"testing"

	"gatepost/mtasts"
	"gatepost/relay/store"
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

// save fills a store; it is not part of what is measured.
func save(b *testing.B, s mtasts.Store, n int, value []byte) {
	b.Helper()
	for i := range n {
		if err := s.Save(b.Context(), fmt.Sprintf("domain-%d.example", i), value); err != nil {
			b.Fatal(err)
		}
	}
}
