package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

func content() Content {
	return Content{
		Init: bytes.Repeat([]byte("program "), 10000),
		Modules: []Module{
			{"virtio.ko", []byte("first")},
			{"ext4.ko", []byte("second")},
			{"b.ko.xz", []byte("third")},
		},
		DataTemplate: []byte("a file system"),
	}
}

// unpack reads a compressed archive with the library's reader.
func unpack(t *testing.T, data []byte) []cpio.Record {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var records []cpio.Record
	for r := cpio.Newc.Reader(bytes.NewReader(raw)); ; {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) || err == nil && rec.Name == cpio.Trailer {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rec)
	}
}

func TestWhatIsInTheArchive(t *testing.T) {
	c := content()
	var b bytes.Buffer
	raw, err := c.Write(&b)
	if err != nil {
		t.Fatal(err)
	}
	if raw < int64(len(c.Init)) || int64(b.Len()) > raw/10 {
		t.Errorf("got %d bytes from %d, want far fewer", b.Len(), raw)
	}
	var executables, files []string
	seen := map[string]bool{"": true}
	for _, r := range unpack(t, b.Bytes()) {
		dir, _, _ := cutLast(r.Name)
		if !seen[dir] {
			t.Errorf("%s comes before its folder", r.Name)
		}
		seen[r.Name] = true
		if r.UID != 0 || r.GID != 0 || r.MTime != 0 || r.NLink > 1 {
			t.Errorf("%s: got owner %d:%d, time %d, links %d", r.Name, r.UID, r.GID, r.MTime, r.NLink)
		}
		if r.Mode&0o7022 != 0 {
			t.Errorf("%s: mode %o lets others write or is special", r.Name, r.Mode)
		}
		if r.Mode&cpio.S_IFMT != cpio.S_IFREG {
			continue
		}
		files = append(files, r.Name)
		if r.Mode&0o111 != 0 {
			executables = append(executables, r.Name)
		}
	}
	if !slices.Equal(executables, []string{"init"}) {
		t.Errorf("got executables %v, want init alone", executables)
	}
	want := []string{"init", "etc/gatepost/data.ext4.zst", "lib/modules/virtio.ko", "lib/modules/ext4.ko", "lib/modules/b.ko.xz", "lib/modules.list"}
	if !slices.Equal(files, want) {
		t.Errorf("got files %v, want %v", files, want)
	}
	for _, r := range unpack(t, b.Bytes()) {
		data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		if err != nil {
			t.Fatal(err)
		}
		switch r.Name {
		case "lib/modules.list":
			if string(data) != "virtio.ko\next4.ko\nb.ko.xz\n" {
				t.Errorf("got list %q, want the modules in the order of loading", data)
			}
		case "init":
			if !bytes.Equal(data, c.Init) || r.Mode != cpio.S_IFREG|0o755 {
				t.Errorf("init has changed, or its mode is %o", r.Mode)
			}
		case "dev/console":
			if r.Mode != cpio.S_IFCHR|0o600 || r.Rmajor != 5 || r.Rminor != 1 {
				t.Errorf("console: got mode %o, device %d:%d", r.Mode, r.Rmajor, r.Rminor)
			}
		}
	}
	if !seen["dev/console"] {
		t.Error("no dev/console")
	}
}

func TestList(t *testing.T) {
	c := content()
	var b bytes.Buffer
	if _, err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	files, err := List(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 6 || files[0].Name != "init" || !files[0].Executable || files[0].Size != int64(len(c.Init)) ||
		string(files[0].Head) != "program program " {
		t.Errorf("got %+v, want init and its head first", files)
	}
	for _, f := range files[1:] {
		if f.Executable {
			t.Errorf("%s is executable", f.Name)
		}
	}
	if _, err := List(b.Bytes()[:b.Len()/2]); err == nil {
		t.Error("half an archive is listed without an error")
	}
}

func cutLast(name string) (dir, base string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func TestSameContentGivesSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []io.Writer{&a, &b} {
		if _, err := content().Write(w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two archives of the same content differ")
	}
}

func TestBadContent(t *testing.T) {
	for _, tt := range []struct {
		edit func(*Content)
		want string
	}{
		{func(c *Content) { c.Init = nil }, "no init"},
		{func(c *Content) { c.DataTemplate = nil }, "no data file system"},
		{func(c *Content) { c.Modules[1].Name = "virtio.ko" }, "twice"},
		{func(c *Content) { c.Modules[1].Name = "../init" }, "name of a module"},
		{func(c *Content) { c.Modules[1].Name = "a\nb.ko" }, "name of a module"},
		{func(c *Content) { c.Modules[1].Name = "" }, "name of a module"},
	} {
		c := content()
		tt.edit(&c)
		if _, err := c.Write(io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want it to contain %q", err, tt.want)
		}
	}
}

type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestAFullDiskIsAnError(t *testing.T) {
	for _, room := range []int{0, 10} {
		if _, err := content().Write(&full{room}); err == nil || !strings.Contains(fmt.Sprint(err), "no space left") {
			t.Errorf("room for %d bytes: got %v", room, err)
		}
	}
}
