// Package storetest checks an implementation of the mtasts.Store contract. The
// memory and directory stores of mtasts pass it, and so must every other.
//
// It imports the standard library only: the interface is written out here, and
// the sentinel for "not stored" is handed in.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Store is mtasts.Store.
type Store interface {
	Load(ctx context.Context, domain string) ([]byte, error)
	Save(ctx context.Context, domain string, value []byte) error
	Delete(ctx context.Context, domain string) error
	List(ctx context.Context, yield func(domain string, value []byte) error) error
}

// Config says how to get the store that is checked.
type Config struct {
	// NotStored is mtasts.ErrNotStored.
	NotStored error
	// Open gives an empty store. It registers what closes it with t.Cleanup.
	Open func(t *testing.T) Store
	// Reopen gives a store with the content of s, as after a restart: it may
	// close s. nil skips the tests of durability.
	Reopen func(t *testing.T, s Store) Store
	// MaxSize is mtasts.MaxEntrySize; 0 means 96 KiB.
	MaxSize int
}

// Run checks the contract; each rule is a subtest.
func Run(t *testing.T, cfg Config) {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 96 << 10
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, cfg Config)
	}{
		{"Absent", absent},
		{"SaveLoad", saveLoad},
		{"Replace", replace},
		{"Delete", deletes},
		{"Names", names},
		{"Largest", largest},
		{"OwnBytes", ownBytes},
		{"List", list},
		{"ListStops", listStops},
		{"Cancelled", cancelled},
		{"Durable", durable},
		{"Concurrent", concurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, cfg) })
	}
}

func absent(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	if _, err := s.Load(t.Context(), "example.com"); !errors.Is(err, cfg.NotStored) {
		t.Errorf("Load of an empty store: got %v, want the sentinel for not stored", err)
	}
	if got := content(t, s); len(got) != 0 {
		t.Errorf("List of an empty store: got %q, want nothing", got)
	}
}

func saveLoad(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	save(t, s, "example.com", "one\r\n\x00\xff")
	save(t, s, "example.org", "two")
	wantLoad(t, s, "example.com", "one\r\n\x00\xff")
	wantLoad(t, s, "example.org", "two")
	if _, err := s.Load(t.Context(), "mail.example.com"); !errors.Is(err, cfg.NotStored) {
		t.Errorf("Load of a child: got %v, want the sentinel for not stored", err)
	}
}

func replace(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	save(t, s, "example.com", "a long first value")
	save(t, s, "example.com", "short")
	wantLoad(t, s, "example.com", "short")
	if got := content(t, s); len(got) != 1 || got["example.com"] != "short" {
		t.Errorf("List: got %q, want one entry with the new value", got)
	}
}

func deletes(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	save(t, s, "example.com", "one")
	for range 2 { // the second one finds nothing, which is no error
		if err := s.Delete(t.Context(), "example.com"); err != nil {
			t.Errorf("Delete: got %v, want nil", err)
		}
	}
	if _, err := s.Load(t.Context(), "example.com"); !errors.Is(err, cfg.NotStored) {
		t.Errorf("Load after Delete: got %v, want the sentinel for not stored", err)
	}
	save(t, s, "example.com", "again")
	wantLoad(t, s, "example.com", "again")
}

func names(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	label := string(bytes.Repeat([]byte("a"), 63))
	long := label + "." + label + "." + label + "." + string(bytes.Repeat([]byte("b"), 52))
	for _, domain := range []string{"com", "xn--bcher-kva.example", "_tls.example", "1.example", "con.nul.aux", long} {
		save(t, s, domain, "value of "+domain)
	}
	for _, domain := range []string{"com", "xn--bcher-kva.example", "_tls.example", "1.example", "con.nul.aux", long} {
		wantLoad(t, s, domain, "value of "+domain)
	}
}

func largest(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	value := string(bytes.Repeat([]byte("0123456789abcdef"), cfg.MaxSize/16))
	save(t, s, "example.com", value)
	wantLoad(t, s, "example.com", value)
}

func ownBytes(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	value := []byte("value")
	if err := s.Save(t.Context(), "example.com", value); err != nil {
		t.Fatalf("Save: %v", err)
	}
	copy(value, "XXXXX")
	got, err := s.Load(t.Context(), "example.com")
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	copy(got, "YYYYY")
	err = s.List(t.Context(), func(_ string, value []byte) error {
		copy(value, "ZZZZZ")
		return nil
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	wantLoad(t, s, "example.com", "value")
}

func list(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	want := make(map[string]string)
	for i := range 50 {
		domain := fmt.Sprintf("d%d.example", i)
		want[domain] = "value of " + domain
		save(t, s, domain, want[domain])
	}
	got := content(t, s)
	if len(got) != len(want) {
		t.Fatalf("List: got %d entries, want %d", len(got), len(want))
	}
	for domain, value := range want {
		if got[domain] != value {
			t.Errorf("List: %s: got %q, want %q", domain, got[domain], value)
		}
	}
}

func listStops(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	save(t, s, "a.example", "1")
	save(t, s, "b.example", "2")
	stop := errors.New("stop")
	calls := 0
	err := s.List(t.Context(), func(string, []byte) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("List with a yield that fails: got %v after %d calls, want its error after 1", err, calls)
	}
}

func cancelled(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	save(t, s, "example.com", "old")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A store may ignore ctx where it does not wait; it must not lie.
	if _, err := s.Load(ctx, "example.com"); errors.Is(err, cfg.NotStored) {
		t.Error("Load with a cancelled context says that there is no entry")
	}
	if err := s.Save(ctx, "example.com", []byte("new")); err == nil {
		wantLoad(t, s, "example.com", "new")
	} else {
		wantLoad(t, s, "example.com", "old")
	}
}

func durable(t *testing.T, cfg Config) {
	if cfg.Reopen == nil {
		t.Skip("this store does not outlive its process")
	}
	s := cfg.Open(t)
	save(t, s, "a.example", "first")
	save(t, s, "a.example", "second")
	save(t, s, "b.example", "gone")
	if err := s.Delete(t.Context(), "b.example"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	s = cfg.Reopen(t, s)
	wantLoad(t, s, "a.example", "second")
	if _, err := s.Load(t.Context(), "b.example"); !errors.Is(err, cfg.NotStored) {
		t.Errorf("Load of a deleted entry after a restart: got %v, want the sentinel for not stored", err)
	}
}

func concurrent(t *testing.T, cfg Config) {
	s := cfg.Open(t)
	values := []string{
		string(bytes.Repeat([]byte("a"), 5000)),
		string(bytes.Repeat([]byte("b"), 10)),
		string(bytes.Repeat([]byte("c"), 20000)),
	}
	whole := func(value []byte) bool {
		for _, v := range values {
			if string(value) == v {
				return true
			}
		}
		return false
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 10 {
				if err := s.Save(t.Context(), "shared.example", []byte(values[(g+i)%len(values)])); err != nil {
					t.Errorf("Save: %v", err)
				}
				value, err := s.Load(t.Context(), "shared.example")
				if err != nil {
					t.Errorf("Load: %v", err)
				} else if !whole(value) {
					t.Errorf("Load: got a mixture of %d bytes", len(value))
				}
				own := fmt.Sprintf("own%d.example", g)
				if err := s.Save(t.Context(), own, []byte(own)); err != nil {
					t.Errorf("Save: %v", err)
				}
				err = s.List(t.Context(), func(domain string, value []byte) error {
					if domain == "shared.example" && !whole(value) {
						t.Errorf("List: got a mixture of %d bytes", len(value))
					}
					return nil
				})
				if err != nil {
					t.Errorf("List: %v", err)
				}
				if err := s.Delete(t.Context(), own); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func save(t *testing.T, s Store, domain, value string) {
	t.Helper()
	if err := s.Save(t.Context(), domain, []byte(value)); err != nil {
		t.Fatalf("Save of %s: %v", domain, err)
	}
}

func wantLoad(t *testing.T, s Store, domain, want string) {
	t.Helper()
	got, err := s.Load(t.Context(), domain)
	if err != nil {
		t.Errorf("Load of %s: %v", domain, err)
	} else if string(got) != want {
		t.Errorf("Load of %s: got %d bytes %.40q, want %d bytes %.40q", domain, len(got), got, len(want), want)
	}
}

func content(t *testing.T, s Store) map[string]string {
	t.Helper()
	kept := make(map[string][]byte) // looked into only afterwards: yield may keep what it is given
	err := s.List(t.Context(), func(domain string, value []byte) error {
		if _, twice := kept[domain]; twice {
			t.Errorf("List gives %s twice", domain)
		}
		kept[domain] = value
		return nil
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	got := make(map[string]string)
	for domain, value := range kept {
		got[domain] = string(value)
	}
	return got
}
