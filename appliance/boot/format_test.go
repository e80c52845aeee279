package boot

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"gatepost/image/layout"
)

// realFS makes a data file system with mke2fs in a file of size bytes.
func realFS(t *testing.T, size int64) string {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mke2fs is not installed (Debian package e2fsprogs)") // make test installs it
		}
		t.Skip("mke2fs is not installed (Debian package e2fsprogs)")
	}
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit", "-L", DataLabel, path).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return path
}

// template is a data file system as the image carries it.
func template(t *testing.T) []byte {
	t.Helper()
	fs, err := os.ReadFile(realFS(t, layout.DataSize))
	if err != nil {
		t.Fatal(err)
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(fs, nil)
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func lookAtHead(t *testing.T, path string) head {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := headOf(f)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// What cannot be mounted is told apart, and only what is empty or given up is
// ever formatted unasked.
func TestHeadsAndDiagnoses(t *testing.T) {
	const large = 300 << 20 // three groups: there are copies of the superblock
	zeros := make([]byte, headBytes)
	for _, tc := range []struct {
		name   string
		size   int64
		change func(path string)
		head   head
		says   string
	}{
		{"whole, but the kernel refuses", large, func(string) {}, headUsed, "its file system is damaged: "},
		{"empty", layout.DataSize, func(p string) { overwrite(t, p, 0, make([]byte, layout.DataSize)) }, headEmpty, "it is empty"},
		{"formatting cut off", layout.DataSize, func(p string) { overwrite(t, p, 0, append(bytes.Clone(begun), zeros[:4096]...)) }, headBegun, "no file system"},
		{"beginning wiped, a copy is left", large, func(p string) { overwrite(t, p, 0, zeros) }, headUsed, "a copy of what is lost there is whole (block 32768, for e2fsck -b)"},
		{"superblock torn, a copy is left", large, func(p string) { overwrite(t, p, superblockOffset+512, []byte("torn")) }, headUsed, "block 32768"},
		{"superblock torn, no copy", layout.DataSize, func(p string) { overwrite(t, p, superblockOffset+512, []byte("torn")) }, headUsed, "the description of the file system is damaged"},
		{"wrong magic, no copy", layout.DataSize, func(p string) { overwrite(t, p, superblockOffset+atMagic, []byte{1, 2}) }, headUsed, "no file system that the box knows"},
		{"partition too small", large, func(p string) {
			if err := os.Truncate(p, large/2); err != nil {
				t.Fatal(err)
			}
		}, headUsed, "its file system has 300 MB and the disk only 150"},
		{"one byte that is not zero", layout.DataSize, func(p string) {
			overwrite(t, p, 0, make([]byte, layout.DataSize))
			overwrite(t, p, headBytes-1, []byte{1})
		}, headUsed, "no file system"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := realFS(t, tc.size)
			tc.change(p)
			if got := lookAtHead(t, p); got != tc.head {
				t.Errorf("head: got %d, want %d", got, tc.head)
			}
			if err := diagnose(p, syscall.EUCLEAN); !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %q, want %q", err, tc.says)
			}
		})
	}
}

func TestFormatData(t *testing.T) {
	tmpl := template(t)
	p := realFS(t, 300<<20)
	if err := FormatData(p, tmpl); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", p).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sb, err := readSuperblock(f, superblockOffset)
	if err != nil || sb.label != DataLabel || sb.bytes() != layout.DataSize {
		t.Errorf("got %+v, %v", sb, err)
	}
	if block := superblockCopy(f, 300<<20); block != 0 {
		t.Errorf("a copy of the old superblock is left in block %d", block)
	}
	// What is refused is left as it is.
	for _, bad := range [][]byte{nil, []byte("no zstd"), tmpl[:len(tmpl)/2]} {
		if err := FormatData(p, bad); err == nil {
			t.Errorf("a template of %d bytes was taken", len(bad))
		}
	}
	small := realFS(t, layout.DataSize)
	if err := os.Truncate(small, layout.DataSize/2); err != nil {
		t.Fatal(err)
	}
	if err := FormatData(small, tmpl); err == nil || !strings.Contains(err.Error(), "at least 32 are needed") {
		t.Errorf("a partition that is too small: got %v", err)
	}
	if lookAtHead(t, p) != headUsed || lookAtHead(t, small) != headUsed {
		t.Error("a refused format has changed the device")
	}
}

// An empty partition is filled, one whose formatting was cut off too; one with
// anything in it never is.
func TestFillEmpty(t *testing.T) {
	tmpl := template(t)
	for _, tc := range []struct {
		name, begins, said string
	}{
		{"empty", "", "was empty and is formatted"},
		{"cut off", string(begun), "cut off is done"},
		{"something", "mail", ""},
	} {
		p := filepath.Join(t.TempDir(), "part")
		if err := os.WriteFile(p, []byte(tc.begins), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, layout.DataSize); err != nil {
			t.Fatal(err)
		}
		said, err := fillEmpty(p, tmpl)
		if err != nil || (said == "") != (tc.said == "") || !strings.Contains(said, tc.said) {
			t.Errorf("%s: got %q, %v; want %q", tc.name, said, err, tc.said)
		}
		if label, _ := labelOf(p); (label == DataLabel) != (tc.said != "") {
			t.Errorf("%s: the label is %q", tc.name, label)
		}
	}
}
