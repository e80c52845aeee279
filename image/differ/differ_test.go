package differ

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"gatepost/image/disk"
	"gatepost/image/layout"
	"gatepost/image/uki"
)

// parts are what an image is made of here; each test changes one.
type parts struct {
	stamp   uint64 // of a file in the initramfs
	init    string
	extra   bool // one more file in the initramfs
	line    string
	level   zstd.EncoderLevel
	time    time.Time
	version string
}

func plain() parts {
	return parts{
		init: "\x00program", line: "quiet", level: zstd.SpeedDefault,
		time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), version: "1.2.3",
	}
}

func (p parts) initrd(t *testing.T) []byte {
	t.Helper()
	records := []cpio.Record{
		cpio.Directory("etc", 0o755), cpio.StaticFile("init", p.init, 0o755), cpio.StaticFile("etc/list", "a\nb\n", 0o444),
	}
	if p.extra {
		records = append(records, cpio.StaticFile("etc/more", "more", 0o444))
	}
	cpio.MakeAllReproducible(records)
	records[1].MTime = p.stamp
	var raw, packed bytes.Buffer
	w := cpio.Newc.Writer(&raw)
	if err := cpio.WriteRecords(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(p.level), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(raw.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// stub is the smallest EFI program that uki takes.
func stub() []byte {
	b := make([]byte, 0x1200)
	le := binary.LittleEndian
	copy(b, "MZ")
	b[60] = 64
	copy(b[64:], "PE\x00\x00\x64\xaa\x01\x00")
	le.PutUint16(b[84:], 112)
	o := b[88:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], 512)
	le.PutUint32(o[60:], 0x1000)
	le.PutUint16(o[68:], 10)
	copy(o[112:], ".text")
	for i, v := range []uint32{0x200, 0x1000, 0x200, 0x1000} {
		le.PutUint32(o[120+4*i:], v)
	}
	return b
}

func (p parts) efi(t *testing.T) []byte {
	t.Helper()
	out, err := uki.Build(stub(), uki.Content{
		OSRelease: "VERSION_ID=" + p.version + "\n", CommandLine: p.line, Linux: []byte("kernel"), Initrd: p.initrd(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p parts) card(t *testing.T) []byte {
	t.Helper()
	data := make([]byte, layout.DataSize)
	name := filepath.Join(t.TempDir(), "x.img")
	if err := (disk.Card{UKI: p.efi(t), Data: data, Time: p.time}).Write(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A time stamp that somebody lets in is named, however deep it is.
func TestAPlantedTimeStampIsNamed(t *testing.T) {
	a, b := plain(), plain()
	b.stamp = 1800000000
	want := "init: time stamp is 0 and 1800000000"
	for name, build := range map[string]func(parts) []byte{
		"initrd.zst":   func(p parts) []byte { return p.initrd(t) },
		"gatepost.efi": func(p parts) []byte { return p.efi(t) },
		"gatepost.img": func(p parts) []byte { return p.card(t) },
	} {
		first := build(a)
		if got := Explain(name, first, bytes.Clone(first)); got != "" {
			t.Errorf("%s: got %q for equal content", name, got)
		}
		got := Explain(name, first, build(b))
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want it to end with %q", name, got, want)
		}
		t.Logf("%s: %s", name, got)
		if way := "boot partition: " + layout.SlotA + ": section .initrd: inside: init"; name == "gatepost.img" && !strings.HasPrefix(got, way) {
			t.Errorf("got %q, want it to begin with %q", got, way)
		}
	}
	// The stub's own time stamp, and that of the boot partition's entries.
	stamped := a.efi(t)
	stamped[64+8] = 1
	if got := Explain("gatepost.efi", a.efi(t), stamped); !strings.HasPrefix(got, "headers: byte 72 ") {
		t.Errorf("got %q, want the headers", got)
	}
}

func TestExplainDisks(t *testing.T) {
	a, b := plain().card(t), plain()
	b.time = b.time.Add(time.Hour)
	later := b.card(t)
	if got := Explain("gatepost.img", a, later); !strings.HasPrefix(got, "boot partition: all files are the same, their entries or times") {
		t.Errorf("got %q, want the boot partition's times", got)
	}
	copy(later, a)
	for _, tt := range []struct {
		at   int
		want string
	}{
		{layout.DataStart + 5000, "data partition: byte 5000 is 0x00 and 0x55"},
		{700, "partition table: byte 700 is 0x00 and 0x55"},
		{layout.DataStart + layout.DataSize + 7, "behind the partitions: byte 7 is 0x00 and 0x55"},
	} {
		later[tt.at] = 0x55
		if got := Explain("gatepost.img", a, later); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		later[tt.at] = 0
	}
	later[512] = 0x55 // the table's signature
	if got := Explain("gatepost.img", a, later); got != "partition table: byte 512 is 0x45 and 0x55" {
		t.Errorf("got %q, want the partition table", got)
	}
}

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		file string
		edit func(*parts)
		want string
	}{
		{"initrd.zst", func(p *parts) { p.init = "\x00progrem" }, "inside: init: byte 6 is 0x61 and 0x65"},
		{"initrd.zst", func(p *parts) { p.init = "\x00program." }, "inside: init: 8 and 9 bytes; the first difference is at byte 8"},
		{"initrd.zst", func(p *parts) { p.extra = true }, "inside: 3 and 4 entries"},
		{"initrd.zst", func(p *parts) { p.level = zstd.SpeedFastest }, "the same content, compressed in another way"},
		{"gatepost.efi", func(p *parts) { p.line = "loud" }, "section .cmdline: line 1 is \"quiet\" and \"loud\""},
		{"gatepost.efi", func(p *parts) { p.version = "1.2.4" }, "section .osrel: line 1 is"},
	} {
		b := plain()
		tt.edit(&b)
		build := parts.initrd
		if tt.file == "gatepost.efi" {
			build = parts.efi
		}
		if got := Explain(tt.file, build(plain(), t), build(b, t)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %q, want it to begin with %q", tt.file, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, a, b, want string }{
		{"x.json", "{\n1\n}\n", "{\n2\n}\n", `line 2 is "1" and "2"`},
		{"x.txt", "a\n", "a\nb\n", `line 2 is "" and "b"`},
		{"x", "\x00a", "\x00b", "byte 1 is 0x61 and 0x62"},
		{"x.zst", "no zstd", "nor this", "bytes"},
		{"x.efi", "\x00no", "\x00program", "bytes"},
		{"x.img", "\x00short", "\x00shorter", "bytes"},
		{"x", "\x7fELF\x00", "\x7fELF\x00\x01", "bytes"},
	} {
		if got := Explain(tt.name, []byte(tt.a), []byte(tt.b)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want it to contain %q", tt.name, got, tt.want)
		}
	}
}
