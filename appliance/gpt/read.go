package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Offsets in the header.
const (
	headerSize  = 92
	revision    = 0x00010000
	atRevision  = 8
	atSize      = 12
	atCRC       = 16
	atReserved  = 20
	atMine      = 24
	atOther     = 32
	atFirst     = 40
	atLast      = 48
	atDisk      = 56
	atEntries   = 72
	atCount     = 80
	atEntrySize = 84
	atArrayCRC  = 88
)

var signature = []byte("EFI PART")

// Read reads and checks the table of a disk of size bytes: the primary one, or
// the backup in the last sector when that is damaged. The error wraps ErrNone
// when neither is there, and is that of r when the disk cannot be read.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	sectors := uint64(max(size, 0)) / SectorSize
	if sectors < 2*(spareEntries+1) {
		return nil, fmt.Errorf("gpt: %w: the disk has %d bytes", ErrNone, size)
	}
	t, err := readAt(r, primaryHeader, sectors)
	if err == nil {
		return t, nil
	}
	var bad *damage
	if !errors.As(err, &bad) {
		return nil, err
	}
	t, backupErr := readAt(r, sectors-1, sectors)
	if backupErr == nil {
		t.FromBackup = true
		return t, nil
	}
	var worse *damage
	if !errors.As(backupErr, &worse) {
		return nil, backupErr
	}
	if bad.none && worse.none {
		return nil, fmt.Errorf("gpt: %w", ErrNone)
	}
	return nil, fmt.Errorf("gpt: the primary table: %w; the backup: %w", err, backupErr)
}

// damage is a fault of what is on the disk, not of the disk.
type damage struct {
	text string
	none bool // not even the signature is there
}

func (d *damage) Error() string { return d.text }

func damaged(format string, args ...any) error { return &damage{text: fmt.Sprintf(format, args...)} }

// readAt reads the table whose header is in sector at.
func readAt(r io.ReaderAt, at, sectors uint64) (*Table, error) {
	h := make([]byte, SectorSize)
	if err := readFull(r, h, at); err != nil {
		return nil, err
	}
	if !bytes.Equal(h[:8], signature) {
		return nil, &damage{text: fmt.Sprintf("no header in sector %d", at), none: true}
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(h[atSize:]) != headerSize || le.Uint32(h[atRevision:]) != revision:
		return nil, damaged("a header of a form that is not known")
	case le.Uint32(h[atCRC:]) != headerCRC(h):
		return nil, damaged("wrong checksum of the header")
	case le.Uint64(h[atMine:]) != at:
		return nil, damaged("the header in sector %d belongs to sector %d", at, le.Uint64(h[atMine:]))
	case le.Uint32(h[atCount:]) != entryCount || le.Uint32(h[atEntrySize:]) != entrySize:
		return nil, damaged("%d entries of %d bytes", le.Uint32(h[atCount:]), le.Uint32(h[atEntrySize:]))
	}
	t := &Table{
		Disk:        GUID(h[atDisk : atDisk+16]),
		firstUsable: le.Uint64(h[atFirst:]), lastUsable: le.Uint64(h[atLast:]),
		entriesAt: le.Uint64(h[atEntries:]), backupAt: le.Uint64(h[atOther:]),
	}
	own := t.entriesAt == at-arraySectors // of a backup
	if at == primaryHeader {
		own = t.entriesAt == primaryEntries || t.entriesAt == spareEntries
	}
	if !own {
		return nil, damaged("the entries are at sector %d of %d", t.entriesAt, sectors)
	}
	array := make([]byte, entryCount*entrySize)
	if err := readFull(r, array, t.entriesAt); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(array) != le.Uint32(h[atArrayCRC:]) {
		return nil, damaged("wrong checksum of the entries")
	}
	t.Partitions = parseEntries(array)
	if err := t.check(sectors); err != nil {
		return nil, &damage{text: err.Error()}
	}
	// What we do not understand we would not write back.
	if !bytes.Equal(t.entries(), array) {
		return nil, damaged("entries of a form that is not known")
	}
	if at != primaryHeader {
		t.backupAt, t.entriesAt = at, primaryEntries
	}
	return t, nil
}

func readFull(r io.ReaderAt, b []byte, sector uint64) error {
	n, err := r.ReadAt(b, int64(sector)*SectorSize)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("gpt: sector %d: %w", sector, err)
}

// headerCRC is the checksum of a header, its own field taken as zero.
func headerCRC(h []byte) uint32 {
	var b [headerSize]byte
	copy(b[:], h)
	clear(b[atCRC : atCRC+4])
	return crc32.ChecksumIEEE(b[:])
}
