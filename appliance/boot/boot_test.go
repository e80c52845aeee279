package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk returns the first bytes of a file system with the given label and magic.
func disk(label string, magic uint16) []byte {
	b := make([]byte, superblockOffset+superblockSize)
	binary.LittleEndian.PutUint16(b[superblockOffset+atMagic:], magic)
	copy(b[superblockOffset+atLabel:superblockOffset+atLabel+labelSize], label)
	return b
}

func TestSuperblock(t *testing.T) {
	for _, tc := range []struct {
		name  string
		data  []byte
		label string
		err   error
	}{
		{"ours", disk("gpdata", ext4Magic), "gpdata", nil},
		{"sixteen bytes", disk("0123456789abcdef", ext4Magic), "0123456789abcdef", nil},
		{"no label", disk("", ext4Magic), "", nil},
		{"another file system", disk("gpdata", 0x1234), "", ErrNotExt4},
		{"too short", make([]byte, 1500), "", ErrNotExt4},
		{"empty", nil, "", ErrNotExt4},
	} {
		sb, err := readSuperblock(bytes.NewReader(tc.data), superblockOffset)
		if sb.label != tc.label || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", tc.name, sb.label, err, tc.label, tc.err)
		}
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(disk("gpdata", ext4Magic))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sb, err := readSuperblock(bytes.NewReader(data), superblockOffset)
		if err != nil && sb != (superblock{}) || len(sb.label) > labelSize || strings.Contains(sb.label, "\x00") || sb.bytes() < 0 {
			t.Errorf("got %+v, %v", sb, err)
		}
	})
}

// machine is a folder that looks like /sys/class/block and /dev.
func machine(t *testing.T, disks map[string][]byte) DiskFinder {
	t.Helper()
	d := DiskFinder{SysBlock: t.TempDir(), Dev: t.TempDir(), Label: DataLabel, Wait: 50 * time.Millisecond, Poll: 5 * time.Millisecond}
	for name, data := range disks {
		addDisk(t, d, name, data)
	}
	return d
}

func addDisk(t *testing.T, d DiskFinder, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.Dev, name), data, 0o600); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(d.SysBlock, name), nil, 0o600); err != nil {
		t.Error(err)
	}
}

func TestFindDisk(t *testing.T) {
	ours, other, empty := disk(DataLabel, ext4Magic), disk("else", ext4Magic), make([]byte, 4096)
	for _, tc := range []struct {
		name   string
		disks  map[string][]byte
		want   string
		others int
		err    string
	}{
		{"whole disk", map[string][]byte{"vda": ours}, "vda", 0, ""},
		{"partition among others", map[string][]byte{"vda": empty, "vda1": other, "vda2": ours}, "vda2", 0, ""},
		{"two of ours", map[string][]byte{"vdb": ours, "vda": ours}, "vda", 1, ""},
		{"never a memory disk", map[string][]byte{"ram0": ours, "loop0": ours, "mmcblk0boot0": ours}, "", 0, "no disk at all"},
		{"none", map[string][]byte{"vda": empty, "vdb": other}, "", 0, `none of vda, vdb holds a file system with the label "gpdata"`},
		{"no disk", nil, "", 0, "no disk at all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := machine(t, tc.disks)
			found, err := d.Find(context.Background())
			if tc.err != "" {
				if !errors.Is(err, ErrNoDataDisk) || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error: got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || found.Device != filepath.Join(d.Dev, tc.want) || len(found.Others) != tc.others {
				t.Errorf("got %+v, %v; want %q and %d others", found, err, tc.want, tc.others)
			}
		})
	}
}

func TestFindDiskWaitsForTheNode(t *testing.T) {
	d := machine(t, map[string][]byte{"vda": make([]byte, 10)})
	d.Wait = 20 * time.Second
	time.AfterFunc(30*time.Millisecond, func() { addDisk(t, d, "vdb", disk(DataLabel, ext4Magic)) })
	found, err := d.Find(context.Background())
	if err != nil || filepath.Base(found.Device) != "vdb" {
		t.Errorf("got %+v, %v; want vdb", found, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d = machine(t, nil)
	d.Wait = time.Hour
	if _, err := d.Find(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: got %v, want %v", err, context.Canceled)
	}
}

func TestOpenStorageWithoutADisk(t *testing.T) {
	s := Opener{Find: machine(t, nil), Target: t.TempDir()}.Open(context.Background())
	if s.OK || !s.Missing || s.Message == "" {
		t.Errorf("got %+v, want missing with a message", s)
	}
}

func TestPrepareFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o777); err != nil {
		t.Fatal(err)
	}
	me, group := os.Getuid(), os.Getgid()
	folders := []Folder{{"relay", me, group, 0o700}, {"old", me, group, 0o750}}
	for range 2 { // a second start finds them
		if err := PrepareFolders(dir, folders); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range folders {
		st, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil || st.Mode().Perm() != f.Mode {
			t.Errorf("%s: got %v, %v; want mode %v", f.Name, st, err, f.Mode)
		}
	}
	if err := PrepareFolders(filepath.Join(dir, "missing"), folders); err == nil {
		t.Error("a disk that cannot be written was taken as good")
	}
}

func TestDiskSpace(t *testing.T) {
	total, free, err := DiskSpace(t.TempDir())
	if err != nil || total <= 0 || free < 0 || free > total {
		t.Errorf("got %d, %d, %v", total, free, err)
	}
	if _, _, err := DiskSpace("/does/not/exist"); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "modules.list")
	write := func(text string) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# order matters\nvirtio.ko\n\nvirtio_net.ko\nbroken.ko\ngone.ko\nthere.ko\n")
	names, err := ReadModuleList(list)
	want := []string{"virtio.ko", "virtio_net.ko", "broken.ko", "gone.ko", "there.ko"}
	if err != nil || !slices.Equal(names, want) {
		t.Fatalf("list: got %v, %v; want %v", names, err, want)
	}
	for _, n := range names {
		if n != "gone.ko" {
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var order []string
	n, err := LoadModules(dir, names, func(f *os.File) error {
		name := filepath.Base(f.Name())
		order = append(order, name)
		switch name {
		case "broken.ko":
			return syscall.ENODEV
		case "there.ko":
			return syscall.EEXIST
		}
		return nil
	})
	if n != 3 || !errors.Is(err, syscall.ENODEV) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %d loaded, %v; want 3 with two errors", n, err)
	}
	if want := []string{"virtio.ko", "virtio_net.ko", "broken.ko", "there.ko"}; !slices.Equal(order, want) {
		t.Errorf("order: got %v, want %v", order, want)
	}
	write("ok.ko\n../etc/evil.ko\n")
	if _, err := ReadModuleList(list); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a path: got %v, want an error in line 2", err)
	}
	if _, err := ReadModuleList(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no list: got %v", err)
	}
}
