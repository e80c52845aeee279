package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFormat says that a file is not an EFI program for arm64 of the form that
// this package knows. The text beside it says where it differs.
var ErrFormat = errors.New("not an arm64 EFI program")

// A Section is a named part of an EFI program.
type Section struct {
	Name string
	Data []byte
}

// Sections lists the sections of an EFI program as they are in the file,
// without the zeros that fill them up. Data shares its memory with file. The
// error wraps ErrFormat.
func Sections(file []byte) ([]Section, error) {
	p, err := parse(file)
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	var all []Section
	for _, h := range p.headers {
		// What memory has more than the file is zero at the start.
		n := min(h.rawSize, h.virtualSize)
		all = append(all, Section{h.title(), file[h.raw : h.raw+n : h.raw+n]})
	}
	return all, nil
}

// program is what parse learned of a file. Places are offsets in the file.
type program struct {
	coff, optional, table int
	headerSize            int
	fileAlign             uint64
	memoryAlign           uint64
	signed                bool
	headers               []header
}

// rawEnd is the end of the last section in the file, or of the headers.
func (p program) rawEnd() int {
	end := p.headerSize
	for _, h := range p.headers {
		end = max(end, int(h.raw)+int(h.rawSize))
	}
	return end
}

// memoryEnd is the end of the last section in memory, or of the headers.
func (p program) memoryEnd() uint64 {
	end := uint64(p.headerSize)
	for _, h := range p.headers {
		end = max(end, uint64(h.address)+uint64(max(h.virtualSize, h.rawSize)))
	}
	return end
}

// sectionHeader is the size of a section's header.
const sectionHeader = 40

// header is a section's header.
type header struct {
	name            [8]byte
	virtualSize     uint32 // bytes in memory
	address         uint32 // in memory, from the image's start
	rawSize, raw    uint32 // bytes and place in the file
	characteristics uint32
}

func (h header) title() string { return string(bytes.TrimRight(h.name[:], "\x00")) }

// put writes the header; relocations and line numbers, which an EFI program
// does not have, are zero.
func (h header) put(to []byte) {
	clear(to[:sectionHeader])
	copy(to, h.name[:])
	le := binary.LittleEndian
	le.PutUint32(to[8:], h.virtualSize)
	le.PutUint32(to[12:], h.address)
	le.PutUint32(to[16:], h.rawSize)
	le.PutUint32(to[20:], h.raw)
	le.PutUint32(to[36:], h.characteristics)
}

func readHeader(from []byte) header {
	le := binary.LittleEndian
	return header{
		name:        [8]byte(from),
		virtualSize: le.Uint32(from[8:]), address: le.Uint32(from[12:]),
		rawSize: le.Uint32(from[16:]), raw: le.Uint32(from[20:]),
		characteristics: le.Uint32(from[36:]),
	}
}

// Numbers of the format (Microsoft PE/COFF; UEFI specification, Section 2.1.1).
const (
	machineARM64   = 0xaa64
	magicPE32Plus  = 0x20b
	subsystemEFI   = 10
	optionalFixed  = 112 // of the optional header, before the data directories
	directories    = 16
	certificates   = 4 // the data directory of signatures
	maxSections    = 96
	maxAlign       = 1 << 20
	dosHeader      = 64
	coffHeader     = 20
	smallestFAlign = 512
)

// parse reads an EFI program's headers and makes sure that every place that
// they name is inside the file.
func parse(file []byte) (program, error) {
	var p program
	if len(file) > maxFile {
		return p, fmt.Errorf("%w: %d bytes", ErrFormat, len(file))
	}
	le := binary.LittleEndian
	if len(file) < dosHeader || string(file[:2]) != "MZ" {
		return p, fmt.Errorf("%w: it does not begin with MZ", ErrFormat)
	}
	at := uint64(le.Uint32(file[60:]))
	if at+4+coffHeader+optionalFixed > uint64(len(file)) || string(file[at:at+4]) != "PE\x00\x00" {
		return p, fmt.Errorf("%w: no PE header", ErrFormat)
	}
	p.coff = int(at) + 4
	p.optional = p.coff + coffHeader
	if m := le.Uint16(file[p.coff:]); m != machineARM64 {
		return p, fmt.Errorf("%w: it is for machine %#x", ErrFormat, m)
	}
	count := int(le.Uint16(file[p.coff+2:]))
	optionalSize := int(le.Uint16(file[p.coff+16:]))
	p.table = p.optional + optionalSize
	if optionalSize < optionalFixed || count == 0 || count > maxSections || p.table+count*sectionHeader > len(file) {
		return p, fmt.Errorf("%w: %d sections and an optional header of %d bytes", ErrFormat, count, optionalSize)
	}
	if err := p.parseOptional(file, optionalSize); err != nil {
		return p, err
	}
	if p.table+count*sectionHeader > p.headerSize {
		return p, fmt.Errorf("%w: the headers are larger than they say", ErrFormat)
	}
	for i := range count {
		h := readHeader(file[p.table+i*sectionHeader:])
		if err := p.check(h, len(file)); err != nil {
			return p, err
		}
		p.headers = append(p.headers, h)
	}
	return p, nil
}

// parseOptional reads the header that EFI, despite its name, asks for.
func (p *program) parseOptional(file []byte, size int) error {
	le := binary.LittleEndian
	o := file[p.optional : p.optional+size]
	if magic, sub := le.Uint16(o), le.Uint16(o[68:]); magic != magicPE32Plus || sub != subsystemEFI {
		return fmt.Errorf("%w: form %#x, subsystem %d", ErrFormat, magic, sub)
	}
	p.memoryAlign, p.fileAlign = uint64(le.Uint32(o[32:])), uint64(le.Uint32(o[36:]))
	for _, a := range []uint64{p.memoryAlign, p.fileAlign} {
		if a < smallestFAlign || a > maxAlign || a&(a-1) != 0 {
			return fmt.Errorf("%w: aligned to %d bytes", ErrFormat, a)
		}
	}
	headerSize := le.Uint32(o[60:])
	if uint64(headerSize) > uint64(len(file)) {
		return fmt.Errorf("%w: headers of %d bytes", ErrFormat, headerSize)
	}
	p.headerSize = int(headerSize)
	n := int64(le.Uint32(o[108:]))
	if n > directories || optionalFixed+8*n > int64(size) {
		return fmt.Errorf("%w: %d data directories", ErrFormat, n)
	}
	p.signed = n > certificates && le.Uint32(o[optionalFixed+8*certificates+4:]) != 0
	return nil
}

// check looks at one section: inside the file, behind all before it in memory.
func (p program) check(h header, size int) error {
	raw, end := uint64(h.raw), uint64(h.raw)+uint64(h.rawSize)
	if h.rawSize > 0 && (raw < uint64(p.headerSize) || raw < uint64(p.table)) || end > uint64(size) {
		return fmt.Errorf("%w: section %q is at %d to %d of %d bytes", ErrFormat, h.title(), raw, end, size)
	}
	if uint64(h.address) < p.memoryEnd() || uint64(h.address)+uint64(max(h.virtualSize, h.rawSize)) > maxFile {
		return fmt.Errorf("%w: section %q overlaps another in memory, or is too large", ErrFormat, h.title())
	}
	return nil
}
