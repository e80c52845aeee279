package session

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	path := t.TempDir()
	dir, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir, path
}

func TestOwner(t *testing.T) {
	dir, path := newRoot(t)
	if _, err := LoadOwner(dir); !errors.Is(err, ErrNoOwner) {
		t.Fatalf("got %v, want ErrNoOwner", err)
	}
	hash, err := NewHasher().Hash(t.Context(), "four quiet herons")
	if err != nil {
		t.Fatal(err)
	}
	want := Owner{Name: "Anna", Password: hash, Created: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	if err := CreateOwner(dir, want); err != nil {
		t.Fatal(err)
	}
	want.Version = 1
	if got, err := LoadOwner(dir); err != nil || got != want {
		t.Errorf("got %v %v, want %v", got, err, want)
	}
	if info, err := os.Stat(filepath.Join(path, ownerFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v %v, want mode 0600", info.Mode(), err)
	}
	if err := CreateOwner(dir, Owner{Name: "Eve", Password: hash}); !errors.Is(err, ErrOwned) {
		t.Errorf("got %v, want ErrOwned", err)
	}
	if got, _ := LoadOwner(dir); got.Name != "Anna" {
		t.Errorf("got owner %q, want Anna", got.Name)
	}
	entries, _ := os.ReadDir(path)
	if len(entries) != 1 {
		t.Errorf("got %v, want one file", entries)
	}
}

func TestDamagedOwnerIsNotUnclaimed(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "torn": `{"version": 1, "na`, "no hash": `{"version":1,"name":"Anna"}`,
		"newer": `{"version":2,"name":"Anna","password":"x"}`, "null": "null", "zeros": strings.Repeat("\x00", 512),
	} {
		dir, path := newRoot(t)
		if err := os.WriteFile(filepath.Join(path, ownerFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOwner(dir); err == nil || errors.Is(err, ErrNoOwner) {
			t.Errorf("%s: got %v, want an error that is not ErrNoOwner", name, err)
		}
		if err := CreateOwner(dir, Owner{Name: "Eve", Password: "x"}); err == nil {
			t.Errorf("%s: the damaged record was replaced", name)
		}
	}
	dir, path := newRoot(t)
	if err := os.Mkdir(filepath.Join(path, ownerFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOwner(dir); err == nil || errors.Is(err, ErrNoOwner) {
		t.Errorf("a folder in its place: got %v, want an error that is not ErrNoOwner", err)
	}
}

func TestTornOwner(t *testing.T) {
	dir, path := newRoot(t)
	if err := os.WriteFile(filepath.Join(path, ownerFile+".new"), []byte(`{"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOwner(dir); !errors.Is(err, ErrNoOwner) {
		t.Fatalf("got %v, want ErrNoOwner", err)
	}
	hash, _ := NewHasher().Hash(t.Context(), "x")
	if err := CreateOwner(dir, Owner{Name: "Anna", Password: hash}); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadOwner(dir); err != nil || got.Name != "Anna" {
		t.Errorf("got %v %v, want Anna", got, err)
	}
}

func TestBackoffSparesTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackoff(nil)
		home, bad := netip.MustParseAddr("192.168.77.3"), netip.MustParseAddr("192.168.77.66")
		b.Try("anna", home)
		b.Succeeded("Anna", home)
		for range 10 {
			time.Sleep(b.Try("anna", bad))
		}
		if wait := b.Try("anna", home); wait != 0 {
			t.Errorf("the owner waits %v", wait)
		}
		if wait := b.Try("anna", netip.MustParseAddr("192.168.77.4")); wait == 0 {
			t.Error("an unknown address does not wait")
		}
	})
}
