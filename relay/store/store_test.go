package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/mtasts"
	"gatepost/mtasts/storetest"
	"gatepost/relay/event"
	"gatepost/relay/verdict"
)

const testName = "gatepost.db"

func testRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func openStore(t *testing.T, root *os.Root, cfg Config) *Store {
	t.Helper()
	s, err := Open(root, testName, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// closing is a policy store that knows its database.
type closing struct {
	mtasts.Store
	s    *Store
	root *os.Root
}

func TestPolicies(t *testing.T) {
	open := func(t *testing.T, root *os.Root) storetest.Store {
		s := openStore(t, root, Config{})
		t.Cleanup(func() { s.Close() })
		return closing{s.Policies(), s, root}
	}
	storetest.Run(t, storetest.Config{
		NotStored: mtasts.ErrNotStored,
		MaxSize:   mtasts.MaxEntrySize,
		Open:      func(t *testing.T) storetest.Store { return open(t, testRoot(t)) },
		Reopen: func(t *testing.T, s storetest.Store) storetest.Store {
			c := s.(closing)
			c.s.Close()
			return open(t, c.root)
		},
	})
}

func attemptNo(i int) Attempt {
	return Attempt{
		Time: time.Unix(int64(i), 0).UTC(), ID: fmt.Sprintf("id%d", i/2), Rcpt: fmt.Sprintf("User%d@example.com", i%3),
		Verdict: verdict.Verdict{Outcome: verdict.Held, Domain: []string{"a.example", "b.example"}[i%2]},
	}
}

func TestHistory(t *testing.T) {
	root := testRoot(t)
	now := func() time.Time { return time.Unix(100, 0) }
	s := openStore(t, root, Config{Attempts: 10, Now: now})
	for i := range 25 {
		s.AddAttempt(attemptNo(i))
		if i%4 == 3 {
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		o    HistoryOptions
		want []int // seconds
	}{
		// The last one is not written yet, ten are.
		{"all", HistoryOptions{}, []int{24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14}},
		{"limit", HistoryOptions{Limit: 2}, []int{24, 23}},
		{"message", HistoryOptions{ID: "id10"}, []int{21, 20}},
		{"recipient", HistoryOptions{Rcpt: "user0@EXAMPLE.com"}, []int{24, 21, 18, 15}},
		{"domain", HistoryOptions{Domain: "b.example", Limit: 3}, []int{23, 21, 19}},
		{"nothing", HistoryOptions{ID: "id1"}, nil},
	}
	check := func() {
		t.Helper()
		for _, tt := range tests {
			list, err := s.Attempts(tt.o)
			var got []int
			for _, a := range list {
				got = append(got, int(a.Time.Unix()))
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
			}
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, root, Config{Attempts: 10, Now: now})
	defer s.Close()
	tests[0].want = tests[0].want[:10]
	check()
	if got, _ := s.Attempts(HistoryOptions{Limit: 1}); got[0].Verdict.Outcome != verdict.Held {
		t.Errorf("got %+v", got[0])
	}
}

func TestDays(t *testing.T) {
	root := testRoot(t)
	s := openStore(t, root, Config{})
	day := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	s.Count(day, "delivered", 2)
	s.Count(day.Add(2*time.Minute), "delivered", 3)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	s.Count(day, "delivered", 5)
	s.Count(day, "held", 1)
	check := func() {
		t.Helper()
		days, err := s.Days("2026-11-23", "2026-11-24")
		want := map[string]map[string]int64{"2026-11-23": {"delivered": 7, "held": 1}, "2026-11-24": {"delivered": 3}}
		if err != nil || fmt.Sprint(days) != fmt.Sprint(want) {
			t.Errorf("got %v, %v, want %v", days, err, want)
		}
		if days, _ := s.Days("2026-11-24", "2026-12-31"); len(days) != 1 {
			t.Errorf("got %v, want one day", days)
		}
	}
	check()
	s.Close()
	s = openStore(t, root, Config{})
	defer s.Close()
	check()
	s.Count(day.AddDate(2, 0, 0), "delivered", 1)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if days, _ := s.Days("", "9999"); len(days) != 1 {
		t.Errorf("got %v, want the old days gone", days)
	}
}

func TestRunWritesEverySecond(t *testing.T) {
	root := testRoot(t)
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, root, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		s.AddAttempt(attemptNo(1))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		s.mu.Lock()
		if len(s.pending) != 0 {
			t.Error("not written after a second")
		}
		s.mu.Unlock()
		s.AddAttempt(attemptNo(2))
		cancel()
		<-done
		if len(s.pending) != 0 {
			t.Error("not written at the end of Run")
		}
		s.Close()
	})
}

// testNow is a clock on which no attempt of attemptNo is old.
func testNow() time.Time { return time.Unix(1000, 0) }

// fill makes a database with a few hundred pages and returns its bytes.
func fill(t *testing.T) []byte {
	t.Helper()
	root := testRoot(t)
	s := openStore(t, root, Config{Now: testNow})
	e := &verdict.Evidence{Hosts: []verdict.Host{{MX: "mx.a.example", Reply: strings.Repeat("busy ", 100)}}}
	for i := range 300 {
		a := attemptNo(i)
		a.Verdict.Evidence = e
		s.AddAttempt(a)
		if i%10 == 0 {
			e = &verdict.Evidence{Hosts: []verdict.Host{{MX: "mx.b.example", Code: i}}}
			s.AddNote(Note{Time: a.Time, Kind: "removed", Text: "x"})
		}
		s.Count(time.Unix(int64(i)*86400, 0), "delivered", 1)
	}
	for i := range 20 {
		if err := s.Policies().Save(t.Context(), fmt.Sprintf("d%d.example", i), bytes.Repeat([]byte{byte(i)}, 1+i*700)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := root.ReadFile(testName)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// use reads and writes everything once.
func use(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.Attempts(HistoryOptions{Limit: 1 << 20}); err != nil {
		t.Error(err)
	}
	if _, err := s.Days("", "9999"); err != nil {
		t.Error(err)
	}
	if _, err := s.Notes(1 << 20); err != nil {
		t.Error(err)
	}
	if _, err := s.Setting("pauses"); err != nil {
		t.Error(err)
	}
	err := s.Policies().List(t.Context(), func(string, []byte) error { return nil })
	if err != nil {
		t.Error(err)
	}
	s.AddAttempt(attemptNo(1))
	if err := s.flush(); err != nil {
		t.Error(err)
	}
	if err := s.SaveSetting("pauses", []byte("x")); err != nil {
		t.Error(err)
	}
	if err := s.Policies().Save(t.Context(), "new.example", bytes.Repeat([]byte("x"), 50000)); err != nil {
		t.Error(err)
	}
}

func TestDamaged(t *testing.T) {
	good := fill(t)
	tests := []struct {
		name   string
		damage func([]byte) []byte
		aside  bool
	}{
		{"intact", func(b []byte) []byte { return b }, false},
		{"empty", func([]byte) []byte { return nil }, false},
		{"text", func([]byte) []byte { return []byte(strings.Repeat("not a database\n", 1000)) }, true},
		{"short", func(b []byte) []byte { return b[:100] }, true},
		{"cut in half", func(b []byte) []byte { return b[:len(b)/2/pageSize*pageSize] }, true},
		{"cut after the meta pages", func(b []byte) []byte { return b[:2*pageSize] }, true},
		{"one meta page", func(b []byte) []byte { clear(b[:pageSize]); return b }, false},
		{"no meta page", func(b []byte) []byte { clear(b[:2*pageSize]); return b }, true},
		{"zeros", func(b []byte) []byte { clear(b[2*pageSize:]); return b }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := testRoot(t)
			if err := root.WriteFile(testName, tt.damage(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			reported := 0
			s := openStore(t, root, Config{Now: testNow, Events: func(event.Event) { reported++ }})
			defer s.Close()
			use(t, s)
			if got := s.SetAside(); (got != "") != tt.aside || (reported == 1) != tt.aside {
				t.Errorf("set aside as %q, reported %d times", got, reported)
			}
			if tt.aside {
				if _, err := root.Stat("gatepost.db.damaged-19700101-001640"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSetAsideTwice(t *testing.T) {
	root := testRoot(t)
	now := func() time.Time { return time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC) }
	for _, want := range []string{"gatepost.db.damaged-20261123-010203", "gatepost.db.damaged-20261123-010203-2"} {
		if err := root.WriteFile(testName, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, root, Config{Now: now})
		if got := s.SetAside(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		s.Close()
	}
}

// Another process that has the database open is not damage.
func TestLocked(t *testing.T) {
	if testing.Short() {
		t.Skip("waits five seconds for the lock")
	}
	root := testRoot(t)
	s := openStore(t, root, Config{})
	defer s.Close()
	if _, err := Open(root, testName, Config{}); err == nil {
		t.Fatal("opened twice")
	}
	if _, err := root.Stat(testName); err != nil {
		t.Error(err)
	}
}

// Whatever is wrong with the file, Open ends with a database that works, and
// nothing ends the process.
func TestRandomDamage(t *testing.T) {
	good := fill(t)
	rng := rand.New(rand.NewPCG(1, 1))
	asides := 0
	for i := range 300 {
		data := bytes.Clone(good)
		for range 1 + rng.IntN(20) {
			at := rng.IntN(len(data))
			if rng.IntN(2) == 0 { // where the structure is
				at = at/pageSize*pageSize + rng.IntN(200)
			}
			data[at] = byte(rng.Uint32())
		}
		if rng.IntN(5) == 0 {
			data = data[:rng.IntN(len(data))]
		}
		root := testRoot(t)
		if err := root.WriteFile(testName, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, root, Config{Now: testNow})
		use(t, s)
		if s.SetAside() != "" {
			asides++
		}
		s.Close()
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
	t.Logf("%d of 300 damaged files were set aside", asides)
}
