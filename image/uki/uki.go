// Package uki writes a unified kernel image: one EFI program that holds the
// kernel, the initramfs and the kernel's command line, so that firmware can
// start the box without a boot loader's configuration.
//
// It is made of the systemd project's stub, a small EFI program, and sections
// that the stub looks for by their names and hands on. Nothing of the stub's
// code is altered. The file, with the stub's own alignments (f in the file,
// 512 bytes; m in memory, 4096 bytes):
//
//	0                 the stub's headers, with more section headers behind the
//	                  stub's own; they fit into SizeOfHeaders (the filling
//	                  there, no-op instructions in Debian's stub, has no meaning)
//	(stub's)          the stub's sections; what follows them in the stub's file
//	                  (a symbol table, never loaded) is left out
//	next f            .osrel     os-release(5) text: name and version
//	next f            .cmdline   the kernel's command line, without an end mark
//	next f            .uname     the kernel's release, if given
//	next f            .dtb       a device tree, if given
//	next f            .linux     the kernel image
//	next f            .initrd    the initramfs
//
// In memory each new section begins at the next multiple of m behind the one
// before it. New sections are marked as initialised data that is only read
// (0x40000040). Gaps are zero, and so are all time stamps, the symbol table's
// place and the checksum, which EFI does not look at: the same content gives
// the same bytes.
//
// The package does not sign, and refuses a stub that is signed, since the
// signature would not hold for the result.
package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// MaxCommandLine is the longest command line that an arm64 kernel takes, in
// bytes.
const MaxCommandLine = 2047

// maxFile bounds an image, and every address in it, in bytes.
const maxFile = 1 << 30

// Content is what the stub hands to the kernel. OSRelease, CommandLine, Linux
// and Initrd must be given.
type Content struct {
	// OSRelease is a text in the form of os-release(5).
	OSRelease string
	// CommandLine is the kernel's, printable ASCII on one line.
	CommandLine string
	// Uname is the kernel's release (uname -r), for tools that list images.
	Uname string
	// DTB is a device tree that replaces the firmware's.
	DTB []byte
	// Linux is the kernel image, itself an EFI program.
	Linux []byte
	// Initrd is the initramfs as the kernel takes it.
	Initrd []byte
}

// sections lists what is to be added, in the file's order.
func (c Content) sections() ([]Section, error) {
	for _, r := range c.CommandLine {
		if r < ' ' || r > '~' {
			return nil, fmt.Errorf("uki: the command line has the character %q; only printable ASCII is allowed", r)
		}
	}
	if len(c.CommandLine) > MaxCommandLine {
		return nil, fmt.Errorf("uki: the command line has %d bytes, more than %d", len(c.CommandLine), MaxCommandLine)
	}
	all := []Section{
		{".osrel", []byte(c.OSRelease)},
		{".cmdline", []byte(c.CommandLine)},
		{".uname", []byte(c.Uname)},
		{".dtb", c.DTB},
		{".linux", c.Linux},
		{".initrd", c.Initrd},
	}
	var given []Section
	for _, s := range all {
		switch {
		case len(s.Data) > 0:
			given = append(given, s)
		case s.Name != ".uname" && s.Name != ".dtb":
			return nil, fmt.Errorf("uki: nothing is given for %s", s.Name)
		}
	}
	return given, nil
}

// characteristics of a new section: initialised data, may be read.
const characteristics = 0x40000040

// Build puts the content into the stub. The stub is not changed.
func Build(stub []byte, c Content) ([]byte, error) {
	p, err := parse(stub)
	if err != nil {
		return nil, fmt.Errorf("uki: the stub: %w", err)
	}
	add, err := c.sections()
	if err != nil {
		return nil, err
	}
	if err := p.room(add); err != nil {
		return nil, fmt.Errorf("uki: the stub: %w", err)
	}
	size := p.rawEnd()
	out := slices.Clone(stub[:size])
	memory := p.memoryEnd()
	entry := p.table + sectionHeader*len(p.headers)
	var added uint64
	for _, s := range add {
		at, address := align(uint64(len(out)), p.fileAlign), align(memory, p.memoryAlign)
		raw := align(uint64(len(s.Data)), p.fileAlign)
		if at+raw > maxFile || address+raw > maxFile {
			return nil, fmt.Errorf("uki: with %s the image is larger than %d bytes", s.Name, maxFile)
		}
		h := header{
			virtualSize: uint32(len(s.Data)), address: uint32(address),
			rawSize: uint32(raw), raw: uint32(at), characteristics: characteristics,
		}
		copy(h.name[:], s.Name)
		h.put(out[entry:])
		entry += sectionHeader
		out = slices.Grow(out, int(at+raw)-len(out))
		out = append(out, make([]byte, int(at)-len(out))...)
		out = append(out, s.Data...)
		out = append(out, make([]byte, int(at+raw)-len(out))...)
		memory = address + uint64(len(s.Data))
		added += raw
	}
	le := binary.LittleEndian
	le.PutUint16(out[p.coff+2:], uint16(len(p.headers)+len(add)))
	clear(out[p.coff+4 : p.coff+16]) // time stamp, symbol table, number of symbols
	le.PutUint32(out[p.optional+8:], le.Uint32(out[p.optional+8:])+uint32(added))
	le.PutUint32(out[p.optional+56:], uint32(align(memory, p.memoryAlign)))
	le.PutUint32(out[p.optional+64:], 0)
	return out, nil
}

// room reports what stands in the way of more sections.
func (p program) room(add []Section) error {
	if p.signed {
		return errors.New("it is signed, and the signature would no longer hold")
	}
	end := p.table + sectionHeader*(len(p.headers)+len(add))
	limit := p.headerSize
	for _, h := range p.headers {
		if h.rawSize > 0 {
			limit = min(limit, int(h.raw))
		}
	}
	if end > limit {
		return fmt.Errorf("its headers have no room for %d more sections", len(add))
	}
	for _, s := range add {
		if slices.ContainsFunc(p.headers, func(h header) bool { return h.title() == s.Name }) {
			return fmt.Errorf("it has a section %s already", s.Name)
		}
	}
	return nil
}

func align(n, to uint64) uint64 { return (n + to - 1) / to * to }
