package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/mtasts/storetest"
	"gatepost/relay/event"
	"gatepost/relay/store"
	"gatepost/relay/verdict"
)

const name = "gatepost.db"

func open(t *testing.T, dir string, cfg store.Config) *store.Store {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s, err := store.Open(root, name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The contract of mtasts.Store, with the library's own suite.
func TestPoliciesKeepTheContract(t *testing.T) {
	type opened struct {
		storetest.Store
		s   *store.Store
		dir string
	}
	start := func(t *testing.T, dir string) storetest.Store {
		s := open(t, dir, store.Config{})
		t.Cleanup(func() { s.Close() })
		return opened{s.Policies(), s, dir}
	}
	storetest.Run(t, storetest.Config{
		NotStored: mtasts.ErrNotStored, MaxSize: mtasts.MaxEntrySize,
		Open: func(t *testing.T) storetest.Store { return start(t, t.TempDir()) },
		Reopen: func(t *testing.T, old storetest.Store) storetest.Store {
			o := old.(opened)
			if err := o.s.Close(); err != nil {
				t.Fatal(err)
			}
			return start(t, o.dir)
		},
	})
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Config{Attempts: 5})
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for i := range 8 {
		s.AddAttempt(store.Attempt{
			Time: at.Add(time.Duration(i) * time.Minute), ID: fmt.Sprint("m", i%2), Rcpt: fmt.Sprintf("r%d@a.example", i),
			Verdict: verdict.Verdict{Domain: "a.example", Outcome: verdict.Held},
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Config{Attempts: 5})
	defer s.Close()
	got, err := s.Attempts(store.HistoryOptions{})
	if err != nil || len(got) != 5 || got[0].Rcpt != "r7@a.example" || got[4].Rcpt != "r3@a.example" {
		t.Errorf("got %d attempts, %v: %+v; want the newest five, newest first", len(got), err, got)
	}
	for _, c := range []struct {
		o    store.HistoryOptions
		want int
	}{
		{store.HistoryOptions{ID: "m1"}, 3},
		{store.HistoryOptions{Rcpt: "R5@a.example"}, 1},
		{store.HistoryOptions{Domain: "A.example"}, 5},
		{store.HistoryOptions{Domain: "b.example"}, 0},
		{store.HistoryOptions{Limit: 2}, 2},
	} {
		if got, err := s.Attempts(c.o); err != nil || len(got) != c.want {
			t.Errorf("%+v: got %d, %v; want %d", c.o, len(got), err, c.want)
		}
	}
}

func TestDays(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 24, 23, 59, 0, 0, time.UTC)
	s := open(t, dir, store.Config{Now: func() time.Time { return at }})
	s.Count(at, "delivered", 2)
	s.Count(at, "delivered", 1)
	s.Count(at.Add(2*time.Minute), "delivered", 5)
	s.Count(at.AddDate(-2, 0, 0), "delivered", 9) // too long ago to be kept
	want := map[string]map[string]int64{"2026-11-24": {"delivered": 3}, "2026-11-25": {"delivered": 5}}
	check := func(when string) {
		t.Helper()
		if got, err := s.Days("2026-01-01", "2026-12-31"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v; want %v", when, got, err, want)
		}
	}
	check("before the write")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Config{Now: func() time.Time { return at }})
	defer s.Close()
	check("after a restart")
	if got, _ := s.Days("2000-01-01", "2025-12-31"); len(got) != 0 {
		t.Errorf("old days are kept: %v", got)
	}
}

// A damaged file is set aside and reported, and the relay goes on.
func TestDamagedFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"no database at all", func([]byte) []byte { return []byte("this is no database, but a text of some length") }},
		{"both heads", func(b []byte) []byte { clear(b[:8192]); return b }},
		{"the pages behind the heads", func(b []byte) []byte {
			for i := 8192; i < len(b); i++ {
				b[i] = 0xee
			}
			return b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, store.Config{})
			for i := range 50 {
				if err := s.Policies().Save(t.Context(), fmt.Sprintf("d%d.example", i), make([]byte, 500)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			var told []string
			s = open(t, dir, store.Config{Events: func(e event.Event) {
				if d, ok := e.(event.SpoolDamaged); ok {
					told = append(told, d.Detail)
				}
			}})
			defer s.Close()
			if len(told) != 1 || !strings.Contains(told[0], "set aside") {
				t.Errorf("got the events %q, want one that says what was set aside", told)
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
				t.Errorf("got %v, want the old file beside the new one", aside)
			}
			if err := s.Policies().Save(t.Context(), "a.example", []byte("x")); err != nil {
				t.Errorf("the new database cannot be used: %v", err)
			}
		})
	}
}

// One write a second, however much happens.
func TestRunWritesOnceASecond(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Config{})
	defer s.Close()
	s.AddAttempt(store.Attempt{ID: "m1"})
	if got, _ := s.Attempts(store.HistoryOptions{}); len(got) != 0 {
		t.Error("an attempt was written at once")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got, _ := s.Attempts(store.HistoryOptions{}); len(got) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing was written")
		}
	}
}
