package mtasts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openDir(t *testing.T, dir string) *DirStore {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return NewDirStore(root)
}

// badFile fails at one step, after it has written what it could.
type badFile struct {
	newFile
	step string
}

var errDisk = errors.New("no space left on device")

func (f badFile) Write(b []byte) (int, error) {
	if f.step == "write" {
		n, _ := f.newFile.Write(b[:len(b)/2])
		return n, errDisk
	}
	return f.newFile.Write(b)
}

func (f badFile) Sync() error {
	if f.step == "sync" {
		return errDisk
	}
	return f.newFile.Sync()
}

func (f badFile) Close() error {
	err := f.newFile.Close()
	if f.step == "close" {
		return errDisk
	}
	return err
}

// TestDirStoreBadDisk: whatever step of Save fails, the old entry stays whole
// and no half-written file stays behind.
func TestDirStoreBadDisk(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "close"} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			s := openDir(t, dir)
			if err := s.Save(t.Context(), domain, []byte("old")); err != nil {
				t.Fatal(err)
			}
			create := s.create
			s.create = func(name string) (newFile, error) {
				if step == "create" {
					return nil, errDisk
				}
				f, err := create(name)
				return badFile{f, step}, err
			}
			if err := s.Save(t.Context(), domain, []byte("a new value")); !errors.Is(err, errDisk) {
				t.Errorf("got %v, want the fault of the disk", err)
			}
			if err := s.Save(t.Context(), "other.example", []byte("a new value")); !errors.Is(err, errDisk) {
				t.Errorf("got %v, want the fault of the disk", err)
			}
			if got, err := s.Load(t.Context(), domain); string(got) != "old" {
				t.Errorf("got %q, %v, want the old value", got, err)
			}
			if files, _ := os.ReadDir(dir); len(files) != 1 {
				t.Errorf("got %v, want one file", files)
			}
		})
	}
}

// TestDirStoreForeign: names that are no policy domain are refused, files that
// are not the store's are left alone, leftovers of a crash are removed.
func TestDirStoreForeign(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	for _, bad := range []string{"", "..", "../x", "a/b", "A.example", "a.example.", "/etc/passwd"} {
		_, err1 := s.Load(t.Context(), bad)
		err2 := s.Save(t.Context(), bad, []byte("x"))
		err3 := s.Delete(t.Context(), bad)
		if !errors.Is(err1, ErrDomain) || !errors.Is(err2, ErrDomain) || !errors.Is(err3, ErrDomain) {
			t.Errorf("%q: got %v, %v, %v, want ErrDomain", bad, err1, err2, err3)
		}
	}
	if err := s.Save(t.Context(), domain, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README", "Upper.sts", tempPrefix + "LEFTOVER"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.pending[tempPrefix+"BUSY"] = true
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"BUSY"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := s.List(t.Context(), func(domain string, _ []byte) error { got = append(got, domain); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "["+domain+"]" {
		t.Errorf("List: got %q", got)
	}
	var names []string
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got, want := strings.Join(names, " "), ".new-BUSY README Upper.sts good.example.sts"; got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "good.example.sts")); err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

// TestDirStoreUnreadable: an entry that cannot be read hides no other one, and
// is an error, not an absence.
func TestDirStoreUnreadable(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	if err := s.Save(t.Context(), domain, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.example.sts"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "huge.example.sts"), bytes.Repeat([]byte("x"), MaxEntrySize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir.example", "huge.example"} {
		if _, err := s.Load(t.Context(), name); err == nil || errors.Is(err, ErrNotStored) {
			t.Errorf("%s: got %v, want another error than ErrNotStored", name, err)
		}
	}
	n := 0
	err := s.List(t.Context(), func(string, []byte) error { n++; return nil })
	if n != 1 || err == nil || !strings.Contains(err.Error(), "huge.example") {
		t.Errorf("List: got %d entries, %v", n, err)
	}
	if err := s.Save(t.Context(), "dir.example", []byte("x")); err == nil {
		t.Error("Save over a directory: got nil")
	}
}

// TestDirStoreClosed: a root that is closed gives errors.
func TestDirStoreClosed(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := NewDirStore(root)
	root.Close()
	_, err1 := s.Load(t.Context(), domain)
	err2 := s.Save(t.Context(), domain, []byte("x"))
	err3 := s.Delete(t.Context(), domain)
	err4 := s.List(t.Context(), func(string, []byte) error { return nil })
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrNotStored) {
			t.Errorf("call %d: got %v, want fs.ErrClosed", i, err)
		}
	}
}

// TestDirStoreKilled kills a process that saves without end, many times; each
// read afterwards gives an entry of one of its rounds, whole.
func TestDirStoreKilled(t *testing.T) {
	if dir := os.Getenv("MTASTS_TEST_KILL"); dir != "" {
		s := openDir(t, dir)
		fmt.Println("ready")
		for round := 0; ; round++ {
			body := goodPolicy + strings.Repeat(fmt.Sprintf("x%d: y\n", round), 1+round%300)
			value, err := encodeEntry(domain, &kept{body: body, id: fmt.Sprint(round + 1), fetched: time.Unix(1, 0)}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Save(t.Context(), domain, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	kills := 500
	if testing.Short() {
		kills = 20
	}
	dir := t.TempDir()
	s := openDir(t, dir)
	first, err := encodeEntry(domain, &kept{body: goodPolicy, id: "0", fetched: time.Unix(1, 0)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), domain, first); err != nil {
		t.Fatal(err)
	}
	for i := range kills {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestDirStoreKilled$")
		command.Env = append(os.Environ(), "MTASTS_TEST_KILL="+dir)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i%25) * 200 * time.Microsecond)
		_ = command.Process.Kill()
		_ = command.Wait()
		value, err := s.Load(t.Context(), domain)
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if _, _, err := decodeEntry(domain, value); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
	}
	if err := s.List(t.Context(), func(string, []byte) error { return nil }); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("got %d files after List, want one", len(files))
	}
}

// TestEntryOfStrangeCertificate: whatever names a certificate has, the entry
// can be saved.
func TestEntryOfStrangeCertificate(t *testing.T) {
	k := &kept{body: goodPolicy + "x: " + strings.Repeat("a", MaxPolicySize-len(goodPolicy)-3), id: "1", fetched: time.Unix(1, 0)}
	for range 20 {
		k.host.CertNames = append(k.host.CertNames, strings.Repeat("\x01", 300))
	}
	k.host.Addr = "203.0.113.7:443"
	value, err := encodeEntry(domain, k, 0)
	if err != nil || len(value) > MaxEntrySize {
		t.Fatalf("got %d bytes, %v", len(value), err)
	}
	back, _, err := decodeEntry(domain, value)
	if err != nil || back.body != k.body || back.host.Addr != k.host.Addr {
		t.Errorf("got %v, %v", back, err)
	}
}
