package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// SectorSize is the only size of logical blocks that is understood, in bytes.
const SectorSize = 512

// The form of the table, in sectors and bytes.
const (
	entryCount   = 128
	entrySize    = 128
	arraySectors = entryCount * entrySize / SectorSize
	nameUnits    = 36 // UTF-16 units of a name

	primaryHeader  = 1
	primaryEntries = 2
	// spareEntries is where the entries are while those at primaryEntries are
	// being written. It is in front of the first partition, which begins at
	// 1 MiB on every disk of ours.
	spareEntries = primaryEntries + arraySectors
)

// A GUID as it is on the disk: the first three fields are little-endian.
type GUID [16]byte

// ParseGUID reads the usual form, 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != len(g) || len(s) != 36 {
		return g, fmt.Errorf("gpt: %q is not a GUID", s)
	}
	copy(g[:], raw)
	g.swap()
	return g, nil
}

func (g *GUID) swap() {
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
}

// String gives the usual form, in capitals.
func (g GUID) String() string {
	g.swap()
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16]))
}

// A Partition is one entry of the table.
type Partition struct {
	Number      int // from 1, as the kernel counts
	Type, ID    GUID
	First, Last uint64 // sectors, both belong to the partition
	Attributes  uint64
	Name        string
}

// Size is in bytes.
func (p Partition) Size() int64 { return int64(p.Last-p.First+1) * SectorSize }

// A Table is a partition table that has been read and checked.
type Table struct {
	Disk       GUID
	Partitions []Partition // those in use, by number
	// FromBackup says that the primary table is damaged and this is what the
	// backup at the end of the disk says. Linux does not look there.
	FromBackup bool

	firstUsable, lastUsable uint64
	entriesAt               uint64 // of the primary table
	backupAt                uint64 // where the header says that the backup is
}

// ErrNone means that the disk has no GPT at all.
var ErrNone = errors.New("no partition table (GPT)")

// last is the partition at the end of the disk, nil if there is none.
func (t *Table) last() *Partition {
	var end *Partition
	for i := range t.Partitions {
		if end == nil || t.Partitions[i].First > end.First {
			end = &t.Partitions[i]
		}
	}
	return end
}

// check finds what no table of a whole disk has.
func (t *Table) check(sectors uint64) error {
	if t.lastUsable >= sectors {
		return fmt.Errorf("the disk has %d sectors and the table is for at least %d: the image was cut off, or the disk is too small for it", sectors, t.lastUsable+1)
	}
	if t.firstUsable < spareEntries || t.lastUsable < t.firstUsable {
		return fmt.Errorf("the room for partitions, sectors %d to %d, cannot be", t.firstUsable, t.lastUsable)
	}
	for i, p := range t.Partitions {
		if p.First < t.firstUsable || p.Last < p.First || p.Last > t.lastUsable {
			return fmt.Errorf("partition %d, sectors %d to %d, is outside of the room", p.Number, p.First, p.Last)
		}
		for _, o := range t.Partitions[:i] {
			if p.First <= o.Last && o.First <= p.Last {
				return fmt.Errorf("partitions %d and %d overlap", o.Number, p.Number)
			}
		}
	}
	return nil
}

// entries is the array of entries as it is on the disk.
func (t *Table) entries() []byte {
	b := make([]byte, entryCount*entrySize)
	for _, p := range t.Partitions {
		e := b[(p.Number-1)*entrySize : p.Number*entrySize]
		copy(e, p.Type[:])
		copy(e[16:], p.ID[:])
		binary.LittleEndian.PutUint64(e[32:], p.First)
		binary.LittleEndian.PutUint64(e[40:], p.Last)
		binary.LittleEndian.PutUint64(e[48:], p.Attributes)
		for i, u := range utf16.Encode([]rune(p.Name)) {
			binary.LittleEndian.PutUint16(e[56+2*i:], u)
		}
	}
	return b
}

// parseEntries is the reverse of entries.
func parseEntries(b []byte) []Partition {
	var list []Partition
	for i := range entryCount {
		e := b[i*entrySize : (i+1)*entrySize]
		p := Partition{
			Number: i + 1, Type: GUID(e[:16]), ID: GUID(e[16:32]),
			First: binary.LittleEndian.Uint64(e[32:]), Last: binary.LittleEndian.Uint64(e[40:]),
			Attributes: binary.LittleEndian.Uint64(e[48:]),
		}
		if p.Type == (GUID{}) {
			continue
		}
		var name []uint16
		for k := range nameUnits {
			u := binary.LittleEndian.Uint16(e[56+2*k:])
			if u == 0 {
				break
			}
			name = append(name, u)
		}
		p.Name = string(utf16.Decode(name))
		list = append(list, p)
	}
	return list
}
