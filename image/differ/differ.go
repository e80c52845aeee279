// Package differ compares two images and says in words where they begin to
// differ: not only which artefact, but which file inside it, through
// compression, archive, EFI program and disk.
//
// It reads what this project writes. For anything else it names the first byte.
package differ

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"gatepost/image/disk"
	"gatepost/image/layout"
	"gatepost/image/uki"
)

// maxUnpacked bounds what a compressed file may become, in bytes.
const maxUnpacked = 1 << 30

// Explain says where b begins to differ from a, both the content of a file with
// this name; "" means that they are equal. It never fails: what cannot be taken
// apart is compared by bytes.
func Explain(name string, a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	lower := strings.ToLower(name)
	both := func(magic string) bool {
		return bytes.HasPrefix(a, []byte(magic)) && bytes.HasPrefix(b, []byte(magic))
	}
	var inside string
	switch {
	case strings.HasSuffix(lower, ".zst"):
		inside = compressed(name[:len(name)-len(".zst")], a, b)
	case both("070701"):
		inside = archive(a, b)
	case strings.HasSuffix(lower, ".efi"):
		inside = program(a, b)
	case strings.HasSuffix(lower, ".img"):
		inside = card(a, b)
	case both(elf.ELFMAG):
		inside = executable(a, b)
	case text(a) && text(b):
		inside = lines(a, b)
	}
	if inside == "" {
		inside = firstByte(a, b)
	}
	return inside
}

// in puts the name of a part before what differs in it.
func in(part, what string) string { return part + ": " + what }

// firstByte is the last resort.
func firstByte(a, b []byte) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d and %d bytes; the first difference is at byte %d", len(a), len(b), n)
	}
	return fmt.Sprintf("byte %d is %#02x and %#02x", n, a[n], b[n])
}

func compressed(inner string, a, b []byte) string {
	plainA, errA := unpack(a)
	plainB, errB := unpack(b)
	if errors.Join(errA, errB) != nil {
		return ""
	}
	if what := Explain(inner, plainA, plainB); what != "" {
		return in("inside", what)
	}
	return "the same content, compressed in another way: " + firstByte(a, b)
}

func unpack(data []byte) ([]byte, error) {
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	plain, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err == nil && len(plain) > maxUnpacked {
		err = fmt.Errorf("larger than %d bytes", maxUnpacked)
	}
	return plain, err
}

// archive compares the records of two cpio archives, in their order.
func archive(a, b []byte) string {
	recordsA, errA := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(a)))
	recordsB, errB := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(b)))
	if errors.Join(errA, errB) != nil {
		return ""
	}
	for i := range min(len(recordsA), len(recordsB)) {
		x, y := recordsA[i], recordsB[i]
		if x.Name != y.Name {
			return fmt.Sprintf("entry %d is %s and %s", i+1, x.Name, y.Name)
		}
		for _, f := range []struct {
			what string
			a, b uint64
		}{
			{"mode (octal)", x.Mode, y.Mode},
			{"owner", x.UID, y.UID},
			{"group", x.GID, y.GID},
			{"time stamp", x.MTime, y.MTime},
			{"inode number", x.Ino, y.Ino},
			{"number of links", x.NLink, y.NLink},
		} {
			if f.a != f.b {
				form := "%s is %d and %d"
				if strings.HasPrefix(f.what, "mode") {
					form = "%s is %o and %o"
				}
				return in(x.Name, fmt.Sprintf(form, f.what, f.a, f.b))
			}
		}
		if what := Explain(x.Name, content(x), content(y)); what != "" {
			return in(x.Name, what)
		}
	}
	if len(recordsA) != len(recordsB) {
		return fmt.Sprintf("%d and %d entries", len(recordsA), len(recordsB))
	}
	return ""
}

func content(r cpio.Record) []byte {
	if r.ReaderAt == nil {
		return nil
	}
	data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

// program compares two EFI programs by section.
func program(a, b []byte) string {
	sectionsA, errA := uki.Sections(a)
	sectionsB, errB := uki.Sections(b)
	if errors.Join(errA, errB) != nil {
		return ""
	}
	for i := range min(len(sectionsA), len(sectionsB)) {
		x, y := sectionsA[i], sectionsB[i]
		if x.Name != y.Name {
			return fmt.Sprintf("section %d is %s and %s", i+1, x.Name, y.Name)
		}
		name := x.Name
		if name == ".initrd" {
			name += ".zst"
		}
		if what := Explain(name, x.Data, y.Data); what != "" {
			return in("section "+x.Name, what)
		}
	}
	if len(sectionsA) != len(sectionsB) {
		return fmt.Sprintf("%d and %d sections", len(sectionsA), len(sectionsB))
	}
	return in("headers", firstByte(a, b))
}

// card compares two disks by partition, and the boot partition by file.
func card(a, b []byte) string {
	if len(a) != len(b) || len(a) < layout.DataStart+layout.DataSize {
		return ""
	}
	for _, p := range []struct {
		name     string
		from, to int
	}{
		{"boot partition", layout.BootStart, layout.BootStart + layout.BootSize},
		{"data partition", layout.DataStart, layout.DataStart + layout.DataSize},
		{"partition table", 0, layout.BootStart},
		{"behind the partitions", layout.DataStart + layout.DataSize, len(a)},
	} {
		x, y := a[p.from:p.to], b[p.from:p.to]
		if bytes.Equal(x, y) {
			continue
		}
		if p.from == layout.BootStart {
			filesA, errA := disk.BootFiles(a)
			filesB, errB := disk.BootFiles(b)
			if errors.Join(errA, errB) == nil {
				if what := files(filesA, filesB); what != "" {
					return in(p.name, what)
				}
			}
			return in(p.name, "all files are the same, their entries or times are not: "+firstByte(x, y))
		}
		return in(p.name, firstByte(x, y))
	}
	return ""
}

func files(a, b []disk.BootFile) string {
	for i := range min(len(a), len(b)) {
		if a[i].Name != b[i].Name {
			return fmt.Sprintf("file %d is %s and %s", i+1, a[i].Name, b[i].Name)
		}
		if what := Explain(a[i].Name, a[i].Data, b[i].Data); what != "" {
			return in(a[i].Name, what)
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d and %d files", len(a), len(b))
	}
	return ""
}

// executable compares two ELF files by section.
func executable(a, b []byte) string {
	fileA, errA := elf.NewFile(bytes.NewReader(a))
	fileB, errB := elf.NewFile(bytes.NewReader(b))
	if errors.Join(errA, errB) != nil || len(fileA.Sections) != len(fileB.Sections) {
		return ""
	}
	for i, s := range fileA.Sections {
		dataA, errA := s.Data()
		dataB, errB := fileB.Sections[i].Data()
		if errors.Join(errA, errB) == nil && !bytes.Equal(dataA, dataB) {
			return in("section "+s.Name, firstByte(dataA, dataB))
		}
	}
	return ""
}

// text tells whether data is lines for people.
func text(data []byte) bool {
	const enough = 4096
	return !slices.Contains(data[:min(len(data), enough)], 0)
}

func lines(a, b []byte) string {
	linesA, linesB := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(linesA), len(linesB)) {
		if linesA[i] != linesB[i] {
			return fmt.Sprintf("line %d is %.80q and %.80q", i+1, linesA[i], linesB[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(linesA)-1, len(linesB)-1)
}
