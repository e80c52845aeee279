package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// stub is a small EFI program in the form of systemd's: two sections, and a
// symbol table behind them.
func stub(edit func(b []byte)) []byte {
	b := make([]byte, 0x1000+0x400+0x200+77)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[60:], 120)
	copy(b[120:], "PE\x00\x00")
	coff := b[124:]
	le.PutUint16(coff, machineARM64)
	le.PutUint16(coff[2:], 2)
	le.PutUint32(coff[4:], 1234567890) // time stamp
	le.PutUint32(coff[8:], 0x1600)     // symbol table
	le.PutUint16(coff[16:], 160)
	o := coff[20:]
	le.PutUint16(o, magicPE32Plus)
	le.PutUint32(o[8:], 0x200)
	le.PutUint32(o[16:], 0x1000)
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], 512)
	le.PutUint32(o[56:], 0x2e00)
	le.PutUint32(o[60:], 0x1000)
	le.PutUint32(o[64:], 99) // checksum
	le.PutUint16(o[68:], subsystemEFI)
	le.PutUint32(o[108:], 6)
	header{[8]byte{'.', 't', 'e', 'x', 't'}, 0x3f0, 0x1000, 0x400, 0x1000, 0x60000020}.put(o[160:])
	header{[8]byte{'.', 'd', 'a', 't', 'a'}, 0xe00, 0x2000, 0x200, 0x1400, 0xc0000040}.put(o[200:])
	for i := tableAt + 2*sectionHeader; i < len(b); i++ {
		b[i] = byte(i) | 1 // filling and content
	}
	if edit != nil {
		edit(b)
	}
	return b
}

// Places in the stub, for the tests that spoil it.
const (
	coffAt     = 124
	optionalAt = 144
	tableAt    = 304
)

func content() Content {
	return Content{
		OSRelease: "ID=gatepost\n", CommandLine: "quiet panic=10", Uname: "6.1.0-1-arm64",
		Linux: bytes.Repeat([]byte("kernel "), 1000), Initrd: bytes.Repeat([]byte("files "), 100),
	}
}

// The result is read by Go's own reader of the format, which knows nothing of
// this package's.
func TestBuild(t *testing.T) {
	before := stub(nil)
	c := content()
	out, err := Build(before, c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, stub(nil)) {
		t.Error("the stub has changed")
	}
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if f.TimeDateStamp != 0 || f.PointerToSymbolTable != 0 {
		t.Errorf("got time stamp %d and symbol table at %d, want none", f.TimeDateStamp, f.PointerToSymbolTable)
	}
	o := f.OptionalHeader.(*pe.OptionalHeader64)
	if o.CheckSum != 0 || o.AddressOfEntryPoint != 0x1000 {
		t.Errorf("got checksum %d, entry %#x", o.CheckSum, o.AddressOfEntryPoint)
	}
	want := []Section{
		{".text", before[0x1000:0x13f0]},
		{".data", before[0x1400:0x1600]},
		{".osrel", []byte(c.OSRelease)},
		{".cmdline", []byte(c.CommandLine)},
		{".uname", []byte(c.Uname)},
		{".linux", c.Linux},
		{".initrd", c.Initrd},
	}
	if len(f.Sections) != len(want) {
		t.Fatalf("got %d sections, want %d", len(f.Sections), len(want))
	}
	own, err := Sections(out)
	if err != nil {
		t.Fatal(err)
	}
	end, memory := uint32(0), uint32(0)
	for i, s := range f.Sections {
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		data = data[:min(len(data), int(s.VirtualSize))]
		if s.Name != want[i].Name || !bytes.Equal(data, want[i].Data) {
			t.Errorf("got section %s with %d bytes, want %s with %d", s.Name, len(data), want[i].Name, len(want[i].Data))
		}
		if own[i].Name != s.Name || !bytes.Equal(own[i].Data, data) {
			t.Errorf("Sections gives %s with %d bytes, debug/pe %s with %d", own[i].Name, len(own[i].Data), s.Name, len(data))
		}
		if s.Offset%512 != 0 || s.Size%512 != 0 || s.VirtualAddress%4096 != 0 || s.Offset < end || s.VirtualAddress < memory {
			t.Errorf("section %s: got %+v, want it aligned and behind the last", s.Name, s.SectionHeader)
		}
		if s.PointerToRelocations != 0 || s.NumberOfLineNumbers != 0 {
			t.Errorf("section %s: got %+v, want no relocations", s.Name, s.SectionHeader)
		}
		end, memory = s.Offset+s.Size, s.VirtualAddress+s.VirtualSize
		if i >= 2 && s.Characteristics != 0x40000040 {
			t.Errorf("section %s: got %#x, want data that is only read", s.Name, s.Characteristics)
		}
	}
	if int(end) != len(out) || o.SizeOfImage < memory || o.SizeOfImage%4096 != 0 {
		t.Errorf("got %d bytes, image size %d; want %d and at least %d", len(out), o.SizeOfImage, end, memory)
	}
	if o.SizeOfInitializedData != 0x200+uint32(len(out)-0x1600) {
		t.Errorf("got %d bytes of initialised data", o.SizeOfInitializedData)
	}

	again, err := Build(stub(nil), content())
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("a second build differs (%v)", err)
	}
	c.DTB = []byte("tree")
	if out, err = Build(before, c); err != nil || !bytes.Contains(out, []byte(".dtb\x00")) {
		t.Errorf("with a device tree: %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name string
		stub func(b []byte)
		edit func(c *Content)
		want string
	}{
		{"a signed stub", func(b []byte) { le.PutUint32(b[optionalAt+optionalFixed+8*certificates+4:], 8) }, nil, "signed"},
		{"no room", func(b []byte) { le.PutUint32(b[tableAt+20:], 512); le.PutUint32(b[optionalAt+60:], 512) }, nil, "no room"},
		{"a section that is there", func(b []byte) { copy(b[tableAt:], ".linux") }, nil, "already"},
		{"another machine", func(b []byte) { le.PutUint16(b[coffAt:], 0x8664) }, nil, "machine 0x8664"},
		{"no kernel", nil, func(c *Content) { c.Linux = nil }, ".linux"},
		{"no initramfs", nil, func(c *Content) { c.Initrd = nil }, ".initrd"},
		{"no command line", nil, func(c *Content) { c.CommandLine = "" }, ".cmdline"},
		{"two lines", nil, func(c *Content) { c.CommandLine = "a\nb" }, "character"},
		{"a long line", nil, func(c *Content) { c.CommandLine = strings.Repeat("a", MaxCommandLine+1) }, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := content()
			if tt.edit != nil {
				tt.edit(&c)
			}
			if _, err := Build(stub(tt.stub), c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
		})
	}
}

func TestBadPrograms(t *testing.T) {
	le := binary.LittleEndian
	put16 := func(at int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	put32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	for name, edit := range map[string]func([]byte){
		"no MZ":                      put16(0, 0),
		"PE header outside":          put32(60, 0xfffffff0),
		"PE header at the end":       put32(60, 0x1600),
		"no PE":                      put16(120, 0),
		"no section":                 put16(coffAt+2, 0),
		"too many sections":          put16(coffAt+2, 97),
		"a small optional header":    put16(coffAt+16, 100),
		"a huge optional header":     put16(coffAt+16, 0xffff),
		"32 bits":                    put16(optionalAt, 0x10b),
		"no EFI program":             put16(optionalAt+68, 3),
		"alignment of no power of 2": put32(optionalAt+32, 4097),
		"alignment of zero":          put32(optionalAt+36, 0),
		"headers outside":            put32(optionalAt+60, 0xffffffff),
		"headers smaller than it":    put32(optionalAt+60, 300),
		"too many directories":       put32(optionalAt+108, 0x20000001),
		"directories outside":        put32(optionalAt+108, 7),
		"a section outside":          put32(tableAt+20, 0xffffff00),
		"a section that is too long": put32(tableAt+40+16, 0x10000),
		"a section over the headers": put32(tableAt+20, 0x200),
		"sections over each other":   put32(tableAt+40+12, 0x1200),
		"a section beyond all":       put32(tableAt+40+8, 0xffffffff),
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Sections(stub(edit)); !errors.Is(err, ErrFormat) {
				t.Errorf("got %d sections, %v, want %v", len(s), err, ErrFormat)
			}
		})
	}
	whole := stub(nil)
	for n := range 0x1600 {
		if _, err := Sections(whole[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("the first %d bytes: got %v, want %v", n, err, ErrFormat)
		}
	}
}

func FuzzSections(f *testing.F) {
	// Small, so that most of what is tried is headers.
	small := append(stub(func(b []byte) {
		binary.LittleEndian.PutUint32(b[optionalAt+60:], 512)
		binary.LittleEndian.PutUint32(b[tableAt+20:], 512)
		binary.LittleEndian.PutUint32(b[tableAt+16:], 0)
		binary.LittleEndian.PutUint32(b[tableAt+40+20:], 512)
		binary.LittleEndian.PutUint32(b[tableAt+40+16:], 16)
	})[:512], make([]byte, 16)...)
	f.Add(small)
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, file []byte) {
		before, err := Sections(file)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want it to wrap %v", err, ErrFormat)
			}
			return
		}
		// What can be read can be a stub, or is refused; never is the
		// result unreadable, or another in its first sections.
		out, err := Build(file, Content{OSRelease: "o", CommandLine: "c", Linux: []byte("l"), Initrd: []byte("i")})
		if err != nil {
			return
		}
		after, err := Sections(out)
		if err != nil {
			t.Fatalf("the result cannot be read: %v", err)
		}
		if len(after) != len(before)+4 || string(after[len(after)-1].Data) != "i" {
			t.Fatalf("got %d sections from %d", len(after), len(before))
		}
		for i, s := range before {
			if after[i].Name != s.Name {
				t.Errorf("section %d: got %s, want %s", i, after[i].Name, s.Name)
			}
		}
	})
}
