package disk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatepost/image/layout"
)

func spec() Spec {
	return Spec{
		Size: 32 << 20,
		Files: map[string]File{
			"config.toml":   {Data: []byte("version = 1\n")},
			"relay/spool/a": {Data: bytes.Repeat([]byte("x"), 5000), UID: 101, GID: 102, Mode: 0o640},
		},
	}
}

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := find(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err) // make test installs it: here a skip would hide the check
			}
			t.Skip(err)
		}
	}
}

// ask lets one of e2fsprogs' programs look at a disk.
func ask(t *testing.T, name string, args ...string) string {
	t.Helper()
	program, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestDisk(t *testing.T) {
	needTools(t, "mke2fs", "debugfs", "e2fsck")
	img := filepath.Join(t.TempDir(), "disk.img")
	if err := Create(t.Context(), img, spec()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(img)
	if err != nil || info.Size() != 32<<20 {
		t.Fatalf("got %v, %v, want a file of 32 MB", info, err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 16<<20 {
		t.Errorf("the file takes %d bytes, want it sparse", used)
	}
	ask(t, "e2fsck", "-fn", img) // ends with an error unless the disk is clean
	if got := ask(t, "debugfs", "-R", "show_super_stats -h", img); !strings.Contains(got, "volume name:   "+layout.DataLabel) ||
		!strings.Contains(got, "metadata_csum") || !strings.Contains(got, "has_journal") {
		t.Errorf("got %s, want the label, checksums and a journal", got)
	}
	for name, want := range map[string][]string{
		"/config.toml":   {"Mode:  0600", "User:     0   Group:     0", "Size: 12", "Type: regular"},
		"/relay/spool/a": {"Mode:  0640", "User:   101   Group:   102", "Size: 5000"},
		"/relay":         {"Mode:  0755", "User:     0   Group:     0", "Type: directory"},
		"/":              {"Mode:  0755", "User:     0   Group:     0"},
		"/lost+found":    {"Mode:  0700", "User:     0   Group:     0"},
	} {
		got := ask(t, "debugfs", "-R", "stat "+name, img)
		for _, w := range append(want, "2001") {
			if !strings.Contains(got, w) {
				t.Errorf("%s: got %s, want %q", name, got, w)
			}
		}
	}
	if got := ask(t, "debugfs", "-R", "cat /config.toml", img); !strings.HasSuffix(got, "version = 1\n") {
		t.Errorf("got config %q", got)
	}
}

func TestSameSpecGivesSameBytes(t *testing.T) {
	needTools(t, "mke2fs", "debugfs", "e2fsck")
	var images [][]byte
	for range 2 {
		img := filepath.Join(t.TempDir(), "disk.img")
		if err := Create(t.Context(), img, spec()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, data)
		time.Sleep(1100 * time.Millisecond) // the clock's second shall differ
		old := syscall.Umask(0o077)
		defer syscall.Umask(old)
		t.Setenv("TZ", "Asia/Tokyo")
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two disks of the same spec differ")
	}
}

func TestMistakes(t *testing.T) {
	needTools(t, "mke2fs", "debugfs", "e2fsck")
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"small", Spec{Size: 1 << 20}, "at least"},
		{"path", Spec{Files: map[string]File{"../x": {}}}, "bad file name"},
		{"blank", Spec{Files: map[string]File{"a b": {}}}, "bad file name"},
		{"line", Spec{Files: map[string]File{"a\nrm x": {}}}, "bad file name"},
		{"full", Spec{Size: 16 << 20, Files: map[string]File{"a": {Data: bytes.Repeat([]byte("x"), 16<<20)}}}, "mke2fs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "disk.img")
			err := Create(t.Context(), img, tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
			left, err := os.ReadDir(filepath.Dir(img))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
