package statefile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestWriteReplaces(t *testing.T) {
	root, dir := open(t)
	// What a power cut may leave behind.
	if err := os.WriteFile(filepath.Join(dir, "time.new"), []byte("half"), 0o444); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second, which is longer", "3"} {
		if err := Write(root, "time", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Read(root, "time", 100)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files: got %v, %v; want only one", entries, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "time")); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode: got %v, %v", st.Mode(), err)
	}
}

func TestFailedWriteKeepsTheOldFile(t *testing.T) {
	root, dir := open(t)
	if err := Write(root, "a", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A folder in the way makes the rename fail.
	if err := os.MkdirAll(filepath.Join(dir, "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(root, "b", []byte("new"), 0o600); err == nil {
		t.Error("no error for a name that is a folder")
	}
	if _, err := os.Stat(filepath.Join(dir, "b.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a rest was left behind: %v", err)
	}
	if err := Write(root, "../outside", nil, 0o600); err == nil {
		t.Error("a file outside the folder was written")
	}
}

func TestReadLimits(t *testing.T) {
	root, dir := open(t)
	if _, err := Read(root, "none", 10); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(root, "big", 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(root, "d", 10); err == nil {
		t.Error("a folder was read")
	}
}
