package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	oldName, oldVersion = "linux-image-6.1.0-1-arm64", "6.1.1-1"
	newName, newVersion = "linux-image-6.1.0-2-arm64", "6.1.2-1"
)

// site is a mirror, a lock file for its first kernel, and our settings.
type site struct {
	*mirror
	Config
	locked Package
	said   *bytes.Buffer
	clock  time.Time
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{mirror: newMirror(t), said: &bytes.Buffer{}, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.Config = Config{
		Lock: filepath.Join(s.dir, "lock.json"), Cache: filepath.Join(s.dir, "cache"),
		Progress: s.said, Now: func() time.Time { return s.clock },
	}
	s.locked = s.offer(oldName, oldVersion, smallKernel(t, "6.1.0-1-arm64"))
	if err := (Lock{Kernel: s.locked}).Write(s.Lock); err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch fetches and checks that the result is what stands on the disk.
func (s *site) fetch(t *testing.T) Fetched {
	t.Helper()
	s.said.Reset()
	f, _, err := Fetch(t.Context(), s.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, sum, err := digest(f.Path); err != nil || sum != f.Package.SHA256 {
		t.Fatalf("the file has sha256 %s, %v, want %s", sum, err, f.Package.SHA256)
	}
	return f
}

func TestFetchTheLockedPackage(t *testing.T) {
	s := newSite(t)
	f := s.fetch(t)
	if f.Differs() || f.Package != s.locked {
		t.Errorf("got %v, want the locked %v", f.Package, s.locked)
	}
	if got, want := s.log(), "update; download "+oldName+"="+oldVersion; got != want {
		t.Errorf("apt was asked for %q, want %q", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Cache, ".apt-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if strings.Contains(s.said.String(), "DIFFERS") {
		t.Errorf("said %q of a locked package", s.said)
	}
	s.fetch(t)
	if got := s.log(); got != "" {
		t.Errorf("the second time apt was asked for %q, want nothing", got)
	}
	// A damaged file in the cache is fetched again.
	if err := os.WriteFile(s.deb(s.locked), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fetch(t)
	if got := s.log(); !strings.Contains(got, "download") {
		t.Errorf("with a damaged cache apt was asked for %q, want a download", got)
	}
}

func TestAThirdPartysFailingSourceDoesNotMatter(t *testing.T) {
	s := newSite(t)
	s.write("complaint", "E: The repository 'x' is not signed.\n")
	if f := s.fetch(t); f.Differs() {
		t.Error("the image differs, want the locked package")
	}
}

func TestThePoolStillHasIt(t *testing.T) {
	s := newSite(t)
	deb, err := os.ReadFile(filepath.Join(s.dir, "index", oldName+"="+oldVersion))
	if err != nil {
		t.Fatal(err)
	}
	s.offer(newName, newVersion, smallKernel(t, "6.1.0-2-arm64"))
	s.write("pool/"+filepath.Base(s.locked.Filename), string(deb))
	if f := s.fetch(t); f.Differs() {
		t.Error("the image differs, want the locked package from the pool")
	}
	if got := s.log(); !strings.Contains(got, "pool fake://two/"+s.locked.Filename) {
		t.Errorf("apt was asked for %q, want the second mirror's pool", got)
	}
}

func TestANewerKernelStandsIn(t *testing.T) {
	s := newSite(t)
	newer := s.offer(newName, newVersion, smallKernel(t, "6.1.0-2-arm64"))
	// What the pool holds under the old name is not what was locked.
	s.write("pool/"+filepath.Base(s.locked.Filename), "something else")
	f := s.fetch(t)
	if !f.Differs() || f.Package != newer || f.Locked != s.locked {
		t.Errorf("got %+v, want %v in place of %v", f, newer, s.locked)
	}
	for _, want := range []string{"DIFFERS FROM THE LOCK FILE", oldVersion, newVersion, "make lock"} {
		if !strings.Contains(s.said.String(), want) {
			t.Errorf("said %q, want it to contain %q", s.said, want)
		}
	}
	s.log()

	s.clock = s.clock.Add(time.Hour)
	if f := s.fetch(t); !f.Differs() || !strings.Contains(s.said.String(), "DIFFERS") {
		t.Error("the second time: want the stand-in, as loudly")
	}
	if got := s.log(); got != "" {
		t.Errorf("an hour later apt was asked for %q, want nothing", got)
	}
	s.clock = s.clock.Add(48 * time.Hour)
	s.fetch(t)
	if got := s.log(); !strings.Contains(got, "update") {
		t.Errorf("two days later apt was asked for %q, want an update", got)
	}
	// Without a network the stand-in goes on serving.
	s.clock = s.clock.Add(48 * time.Hour)
	s.remove("show")
	s.remove("index")
	s.write("complaint", "W: Failed to fetch\n")
	if f := s.fetch(t); f.Package != newer {
		t.Errorf("offline: got %v, want %v from the cache", f.Package, newer)
	}
}

func TestFetchFails(t *testing.T) {
	t.Run("no kernel at all", func(t *testing.T) {
		s := newSite(t)
		s.remove("show")
		s.write("complaint", "E: the complaint of apt\n")
		_, _, err := Fetch(t.Context(), s.Config)
		if err == nil || !strings.Contains(err.Error(), "the complaint of apt") {
			t.Errorf("got %v, want apt's complaint", err)
		}
	})
	t.Run("another file of the same version", func(t *testing.T) {
		s := newSite(t)
		s.offer(oldName, oldVersion, smallKernel(t, "6.1.0-666-arm64"))
		_, _, err := Fetch(t.Context(), s.Config)
		if err == nil || !strings.Contains(err.Error(), "must not have two") {
			t.Errorf("got %v, want a refusal", err)
		}
	})
	t.Run("a file that is not what the lists say", func(t *testing.T) {
		s := newSite(t)
		s.write("index/"+oldName+"="+oldVersion, "something else")
		_, _, err := Fetch(t.Context(), s.Config)
		if err == nil || !strings.Contains(err.Error(), s.locked.SHA256) {
			t.Errorf("got %v, want both digests", err)
		}
		if s.have(s.locked) {
			t.Error("the wrong file is in the cache")
		}
		left, _ := filepath.Glob(filepath.Join(s.debs(), ".fetch-*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("no apt", func(t *testing.T) {
		s := newSite(t)
		t.Setenv("PATH", filepath.Join(s.dir, "empty"))
		if _, _, err := Fetch(t.Context(), s.Config); err == nil || !strings.Contains(err.Error(), "apt-get was not found") {
			t.Errorf("got %v, want a word about apt", err)
		}
	})
	t.Run("no lock file", func(t *testing.T) {
		s := newSite(t)
		s.remove("lock.json")
		if _, _, err := Fetch(t.Context(), s.Config); !os.IsNotExist(unwrapAll(err)) {
			t.Errorf("got %v, want the missing file", err)
		}
	})
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		if _, isPath := err.(*os.PathError); isPath {
			return err
		}
		err = u.Unwrap()
	}
}

func TestRelock(t *testing.T) {
	s := newSite(t)
	newer := s.offer(newName, newVersion, smallKernel(t, "6.1.0-2-arm64"))
	want := Lock{Kernel: newer, Stub: s.offerStub("252.1-1", "stub")}
	before, now, err := Relock(t.Context(), s.Config)
	if err != nil || before != (Lock{Kernel: s.locked}) || now != want {
		t.Fatalf("got %v to %v, %v, want %v to %v", before, now, err, s.locked, want)
	}
	if got := s.log(); strings.Count(got, "update") != 1 {
		t.Errorf("apt was asked for %q, want one update for both packages", got)
	}
	if f := s.fetch(t); f.Differs() || f.Package != newer {
		t.Errorf("after Relock got %v, want %v as locked", f.Package, newer)
	}
	// A lock file that is broken is replaced.
	s.write("lock.json", "{broken")
	if _, now, err = Relock(t.Context(), s.Config); err != nil || now != want {
		t.Errorf("with a broken lock got %v, %v", now, err)
	}
}

func TestGet(t *testing.T) {
	s := newSite(t)
	roots := []string{"gpio_keys", "ext4", "?no-such-watchdog"}
	k, err := Get(t.Context(), s.Config, roots)
	if err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		for _, m := range k.Modules {
			all = append(all, m.Name)
		}
		return all
	}
	want := []string{"gpio_keys.ko", "crc32c_generic.ko", "mbcache.ko", "jbd2.ko", "ext4.ko"}
	if !slices.Equal(names(), want) {
		t.Errorf("got modules %v, want %v", names(), want)
	}
	if k.Release != "6.1.0-1-arm64" {
		t.Errorf("got release %q", k.Release)
	}
	got, err := os.ReadFile(k.Modules[1].Path)
	if err != nil || !bytes.Equal(got, module(t, "crc32c_generic", "depends=")) {
		t.Errorf("the module's bytes have changed (%v)", err)
	}
	if data, err := os.ReadFile(k.Image.Path); err != nil || string(data) != "kernel 6.1.0-1-arm64" {
		t.Errorf("got kernel %q, %v", data, err)
	}
	if data, err := os.ReadFile(k.Copyright.Path); err != nil || string(data) != "rights of 6.1.0-1-arm64" {
		t.Errorf("got copyright %q, %v", data, err)
	}
	if k.Stub != nil {
		t.Error("got a boot stub that nobody asked for")
	}
	if k.DeviceTree.Name != "" {
		t.Errorf("got device tree %v, want none", k.DeviceTree)
	}
	withTree := s.Config
	withTree.DeviceTree = "maker/board.dtb"
	if k, err := Get(t.Context(), withTree, roots); err != nil {
		t.Error(err)
	} else if data, err := os.ReadFile(k.DeviceTree.Path); err != nil || string(data) != "tree" || len(k.Modules) != len(want) {
		t.Errorf("got device tree %q, %v, and %d modules", data, err, len(k.Modules))
	}
	withTree.DeviceTree = "maker/other.dtb"
	if _, err := Get(t.Context(), withTree, roots); err == nil || !strings.Contains(err.Error(), "no device tree maker/other.dtb") {
		t.Errorf("got %v, want the device tree that is missing", err)
	}
	if k.ModulesSize() <= 0 {
		t.Error("the modules have no size")
	}

	// The second time nothing is unpacked.
	s.remove("bin/dpkg-deb")
	s.write("bin/dpkg-deb", "#!/bin/sh\nexit 3\n")
	if err := os.Chmod(filepath.Join(s.dir, "bin/dpkg-deb"), 0o755); err != nil {
		t.Fatal(err)
	}
	if k, err = Get(t.Context(), s.Config, roots); err != nil || !slices.Equal(names(), want) {
		t.Errorf("from the cache: got %v, %v", names(), err)
	}
	// Damage is noticed, and mended once the tool works again.
	if err := os.WriteFile(k.Modules[0].Path, []byte("damage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Get(t.Context(), s.Config, roots); err == nil || !strings.Contains(err.Error(), "dpkg-deb") {
		t.Errorf("with damage and no tool: got %v, want dpkg-deb's failure", err)
	}
	s.write("bin/dpkg-deb", scriptDeb)
	if k, err = Get(t.Context(), s.Config, roots); err != nil || !slices.Equal(names(), want) {
		t.Errorf("after damage: got %v, %v", names(), err)
	}
	left, _ := filepath.Glob(filepath.Join(s.Cache, "kernels", ".unpack-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGetSaysWhichModuleIsMissing(t *testing.T) {
	s := newSite(t)
	if _, err := Get(t.Context(), s.Config, []string{"zfs"}); err == nil || !strings.Contains(err.Error(), "no module zfs") {
		t.Errorf("got %v, want the module's name", err)
	}
}

func TestGetWithStub(t *testing.T) {
	s := newSite(t)
	s.WithStub = true
	roots := []string{"ext4"}
	if _, err := Get(t.Context(), s.Config, roots); !errors.Is(err, ErrNoStub) {
		t.Errorf("a lock file of the first form: got %v, want %v", err, ErrNoStub)
	}
	stub := s.offerStub("252.1-1", "the stub")
	if err := (Lock{Kernel: s.locked, Stub: stub}).Write(s.Lock); err != nil {
		t.Fatal(err)
	}
	s.log()
	k, err := Get(t.Context(), s.Config, roots)
	if err != nil {
		t.Fatal(err)
	}
	if string(k.Stub.Program) != "the stub" || string(k.Stub.Copyright) != "rights of the stub" || k.Stub.Package != stub {
		t.Errorf("got stub %+v", k.Stub)
	}
	if got := s.log(); strings.Count(got, "update") != 1 || strings.Count(got, "download") != 2 {
		t.Errorf("apt was asked for %q, want one update and two packages", got)
	}

	// Debian goes on: both packages leave the lists and the pool. An old lock
	// file is still good, by the cache and without a network.
	s.offer(newName, newVersion, smallKernel(t, "6.1.0-2-arm64"))
	s.offerStub("252.2-1", "a newer stub")
	s.write("complaint", "W: Failed to fetch\n")
	if err := os.RemoveAll(filepath.Join(s.Cache, "kernels")); err != nil {
		t.Fatal(err)
	}
	s.said.Reset()
	k, err = Get(t.Context(), s.Config, roots)
	if err != nil {
		t.Fatal(err)
	}
	if k.Differs() || k.Stub.Differs() || k.Release != "6.1.0-1-arm64" || string(k.Stub.Program) != "the stub" {
		t.Errorf("got %v and %v, want what was locked", k.Package, k.Stub.Package)
	}
	if got := s.log(); got != "" {
		t.Errorf("apt was asked for %q, want nothing", got)
	}

	// With an empty cache the newer packages stand in, and it is said loudly.
	if err := os.RemoveAll(s.Cache); err != nil {
		t.Fatal(err)
	}
	if k, err = Get(t.Context(), s.Config, roots); err != nil || !k.Stub.Differs() || string(k.Stub.Program) != "a newer stub" {
		t.Errorf("got %+v, %v, want the newer stub", k.Stub, err)
	}
	if got := s.said.String(); strings.Count(got, "DIFFERS") != 2 || !strings.Contains(got, "252.2-1") {
		t.Errorf("said %q, want a word about each package", got)
	}
}

func TestBadStubPackages(t *testing.T) {
	s := newSite(t)
	s.WithStub = true
	other := fakeDeb(t, "x", nil)
	p := describe(StubPackage, "252.1-1", other)
	s.write("index/"+p.Name+"="+p.Version, string(other))
	s.show(p)
	if err := (Lock{Kernel: s.locked, Stub: p}).Write(s.Lock); err != nil {
		t.Fatal(err)
	}
	if _, err := Get(t.Context(), s.Config, nil); err == nil || !strings.Contains(err.Error(), stubFile) {
		t.Errorf("got %v, want the name of the file that is missing", err)
	}
}
