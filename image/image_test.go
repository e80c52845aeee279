package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/board"
	"gatepost/image/kernel"
)

// program is the smallest file that passes for a program of the guest.
func program(t *testing.T, machine elf.Machine, types ...elf.ProgType) []byte {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1,
		Ehsize: 64, Phentsize: 56, Phnum: uint16(len(types)), Phoff: 64,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	for _, typ := range types {
		if err := binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(typ)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// deb makes a package and puts it into the cache.
func deb(t *testing.T, cache, name string, files map[string]string) kernel.Package {
	t.Helper()
	dir := t.TempDir()
	tree, file := filepath.Join(dir, "tree"), filepath.Join(dir, "x.deb")
	write(t, tree+"/DEBIAN/control", []byte("Package: "+name+"\nVersion: 1\nArchitecture: arm64\nMaintainer: x <x@example.org>\nDescription: x\n"))
	for path, text := range files {
		write(t, filepath.Join(tree, path), []byte(text))
	}
	cmd := exec.CommandContext(t.Context(), "dpkg-deb", "--build", "--root-owner-group", tree, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	p := kernel.Package{Name: name, Version: "1", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	write(t, filepath.Join(cache, "debs", p.SHA256+".deb"), data)
	return p
}

// spec describes an image of a small kernel package that is in the cache
// already, so that nothing is downloaded.
func spec(t *testing.T) Spec {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("dpkg-deb is not installed") // make test installs it: here a skip would hide the check
		}
		t.Skip("dpkg-deb is not installed")
	}
	dir := t.TempDir()
	const release = "6.1.0-1-arm64"
	s := Spec{
		Source: dir, Out: filepath.Join(dir, "out"), Version: "1.2.3",
		BuildTime:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Profile:    board.Profile{Name: "test"},
		DirectOnly: true,
		Init:       filepath.Join(dir, "init"),
		Kernel:     kernel.Config{Lock: filepath.Join(dir, "lock.json"), Cache: filepath.Join(dir, "cache")},
	}
	p := deb(t, s.Kernel.Cache, "small", map[string]string{
		"boot/vmlinuz-" + release:                             "the kernel",
		"lib/modules/" + release + "/kernel/unwanted.ko":      "never read",
		"lib/modules/" + release + "/modules.builtin":         strings.Join(board.Common(), ".ko\n") + ".ko\n",
		"usr/share/doc/linux-image-" + release + "/copyright": "rights of the kernel",
	})
	write(t, s.Init, program(t, elf.EM_AARCH64, elf.PT_LOAD))
	if err := (kernel.Lock{Kernel: p}).Write(s.Kernel.Lock); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBuild(t *testing.T) {
	s := spec(t)
	m, err := Build(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != "1.2.3" || m.Kernel.Release != "6.1.0-1-arm64" || m.Kernel.Locked != nil || len(m.Artefacts) != 2 {
		t.Errorf("got manifest %+v", m)
	}
	if data, err := os.ReadFile(filepath.Join(s.Out, KernelName)); err != nil || string(data) != "the kernel" {
		t.Errorf("got kernel %q, %v, want it unaltered", data, err)
	}
	read, err := ReadManifest(s.Out)
	if err != nil || fmt.Sprint(read) != fmt.Sprint(m) {
		t.Errorf("got manifest %+v, %v, want what Build returned", read, err)
	}
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--strict", "-c", SumsName)
	cmd.Dir = s.Out
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), ": OK") != 3 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if text := Summary(m); !strings.Contains(text, "gatepost 1.2.3 for test") || !strings.Contains(text, InitrdName) {
		t.Errorf("got summary %s", text)
	}
	entries, err := os.ReadDir(s.Out)
	if err != nil || len(entries) != 4 {
		t.Errorf("got files %v, %v, want four", entries, err)
	}

	// Elsewhere, under another umask and at another time: the same bytes.
	sums, err := os.ReadFile(filepath.Join(s.Out, SumsName))
	if err != nil {
		t.Fatal(err)
	}
	s.Out = filepath.Join(t.TempDir(), "a", "longer", "name")
	t.Setenv("TZ", "Asia/Tokyo")
	if _, err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(s.Out, SumsName)); err != nil || !bytes.Equal(again, sums) {
		t.Errorf("the second build differs:\n%s\n%s", sums, again)
	}
}

// TestReuse looks at when an initramfs is compressed again.
func TestReuse(t *testing.T) {
	s := spec(t)
	s.Reuse = true
	initrd := filepath.Join(s.Out, InitrdName)
	build := func() (sums []byte, packed bool) {
		var told bytes.Buffer
		s.Progress = &told
		if _, err := Build(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		sums, err := os.ReadFile(filepath.Join(s.Out, SumsName))
		if err != nil {
			t.Fatal(err)
		}
		return sums, strings.Contains(told.String(), "packing")
	}
	first, packed := build()
	if !packed {
		t.Error("nothing was packed the first time")
	}
	if again, packed := build(); packed || !bytes.Equal(again, first) {
		t.Errorf("the same content: packed again %v, sums\n%swant\n%s", packed, again, first)
	}
	whole, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"short": whole[:len(whole)/2], "empty": nil, "longer": append(whole[:len(whole):len(whole)], whole...)} {
		write(t, initrd, damaged)
		if again, packed := build(); !packed || !bytes.Equal(again, first) {
			t.Errorf("%s: packed again %v, sums\n%swant\n%s", name, packed, again, first)
		}
	}
	write(t, s.Init, program(t, elf.EM_AARCH64, elf.PT_LOAD, elf.PT_NOTE))
	if other, packed := build(); !packed || bytes.Equal(other, first) {
		t.Errorf("another program: packed again %v, sums\n%s", packed, other)
	}
}

func TestBuildRefuses(t *testing.T) {
	good := spec(t)
	for _, tt := range []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"another processor", func(s *Spec) { write(t, s.Init, program(t, elf.EM_X86_64)) }, "EM_X86_64"},
		{"a dynamic program", func(s *Spec) { write(t, s.Init, program(t, elf.EM_AARCH64, elf.PT_INTERP)) }, "not static"},
		{"no program", func(s *Spec) { write(t, s.Init, []byte("#!/bin/sh\nexec something longer than a header\n")) }, "bad magic"},
		{"a huge program", func(s *Spec) {
			write(t, s.Init, append(program(t, elf.EM_AARCH64), make([]byte, maxProgram)...))
		}, "more than"},
		{"options in the version", func(s *Spec) { s.Version = "1 -X main.evil=1" }, "version"},
		{"a module that is not there", func(s *Spec) { s.Profile.Modules = []string{"zfs"} }, "zfs"},
		{"no lock", func(s *Spec) { s.Kernel.Lock += ".gone" }, "lock.json.gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			s.Init = filepath.Join(t.TempDir(), "init")
			write(t, s.Init, program(t, elf.EM_AARCH64))
			s.Out = filepath.Join(t.TempDir(), "out")
			tt.edit(&s)
			_, err := Build(t.Context(), s)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
			if _, err := ReadManifest(s.Out); err == nil {
				t.Error("there is a manifest of an image that was not built")
			}
		})
	}
}

// tree writes the sources of a program that tells its stamps.
func tree(t *testing.T, dir string) {
	t.Helper()
	write(t, dir+"/go.mod", []byte("module gatepost\n\ngo 1.26\n"))
	write(t, dir+"/cmd/gatepost/main.go", []byte(`package main

var version, buildTime = "none", "none"

func main() { println(version, buildTime) }
`))
}

func TestProgramHoldsNothingOfThisMachine(t *testing.T) {
	var programs [][]byte
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "another", "place")} {
		tree(t, dir)
		t.Setenv("GOFLAGS", "-race")
		t.Setenv("GOARM64", "v9.0")
		s, err := Spec{Source: dir, Version: "7.8.9-stamp", BuildTime: time.Unix(1234567890, 0)}.withDefaults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.program(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"7.8.9-stamp", "1234567890"} {
			if !bytes.Contains(data, []byte(want)) {
				t.Errorf("the program lacks the stamp %q", want)
			}
		}
		if bytes.Contains(data, []byte(dir)) {
			t.Errorf("the program holds the folder %q", dir)
		}
		if v := goVersion(data); !strings.HasPrefix(v, "go1.") {
			t.Errorf("got Go version %q", v)
		}
		programs = append(programs, data)
	}
	if !bytes.Equal(programs[0], programs[1]) {
		t.Error("the same sources in two folders give two programs")
	}
}

func TestProgramThatDoesNotCompile(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir)
	write(t, dir+"/cmd/gatepost/main.go", []byte("package main\nfunc main() { mistake }\n"))
	s := Spec{Source: dir, Version: "1", BuildTime: time.Unix(1, 0), Out: t.TempDir()}
	s, err := s.withDefaults(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.program(t.Context()); err == nil || !strings.Contains(err.Error(), "undefined: mistake") {
		t.Errorf("got %v, want the compiler's words", err)
	}
}

func TestStampsFromGit(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir)
	ctx := t.Context()
	stamp := time.Unix(1700000000, 0)
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
			"GIT_AUTHOR_DATE=1700000000 +0900", "GIT_COMMITTER_DATE=1700000000 +0900")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("git %v: %v\n%s", args, err, out)
		}
	}
	defaults := func() Spec {
		t.Helper()
		s, err := Spec{Source: dir}.withDefaults(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	if s := defaults(); s.Version != unreleased || time.Since(s.BuildTime) > time.Hour {
		t.Errorf("outside git: got %s of %v, want %s and the time of go.mod", s.Version, s.BuildTime, unreleased)
	}
	run("init", "-q")
	run("add", ".")
	run("commit", "-qm", "first")
	if s := defaults(); !strings.HasPrefix(s.Version, "0.0.0-") || s.Version == unreleased || !s.BuildTime.Equal(stamp) {
		t.Errorf("a commit: got %s of %v, want 0.0.0-HASH of %v", s.Version, s.BuildTime, stamp)
	}
	run("tag", "v1.4.0")
	if s := defaults(); s.Version != "1.4.0" {
		t.Errorf("a tag: got %s, want 1.4.0", s.Version)
	}
	write(t, dir+"/go.mod", []byte("module gatepost\n\ngo 1.25\n"))
	if s := defaults(); s.Version != "1.4.0-dirty" {
		t.Errorf("a change: got %s, want 1.4.0-dirty", s.Version)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1500000000")
	if s := defaults(); s.BuildTime.Unix() != 1500000000 {
		t.Errorf("SOURCE_DATE_EPOCH: got %v", s.BuildTime)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := (Spec{Source: dir}).withDefaults(ctx); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("a bad SOURCE_DATE_EPOCH: got %v", err)
	}
}

func TestProfile(t *testing.T) {
	if p, err := Profile("qemu-virt"); err != nil || p.Name != "qemu-virt" {
		t.Errorf("got %v, %v", p.Name, err)
	}
	if _, err := Profile("toaster"); err == nil || !strings.Contains(err.Error(), "qemu-virt") {
		t.Errorf("got %v, want the names that there are", err)
	}
}

// A build that is stopped says so and leaves no half of an image.
func TestBuildStops(t *testing.T) {
	s := spec(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, s); err == nil {
		t.Error("got no error")
	}
	if _, err := ReadManifest(s.Out); err == nil {
		t.Error("there is a manifest of an image that was not built")
	}
}
