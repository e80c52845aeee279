package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A Disk is a whole disk. Sync returns when all that was written before is on
// the medium, as (*os.File).Sync does for a block device.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// alignment of the end of the enlarged partition, in sectors: 1 MiB.
const alignment = 2048

// Grown returns the table that the disk of size bytes should have: the last
// partition reaches the end, the backup is in the last sector. It writes
// nothing; changed is false when there is nothing to do.
func (t *Table) Grown(d io.ReaderAt, size int64) (grown *Table, changed bool, err error) {
	sectors := uint64(size) / SectorSize
	g := *t
	g.Partitions = append([]Partition(nil), t.Partitions...)
	g.FromBackup = false
	last := g.last()
	if last == nil {
		return nil, false, errors.New("gpt: there is no partition")
	}
	if first := g.first(); first < spareEntries+arraySectors {
		return nil, false, fmt.Errorf("gpt: the first partition begins at sector %d, too near to the table", first)
	}
	room := sectors - 1 - arraySectors // the first sector of the backup
	if last.Last >= room {
		return nil, false, fmt.Errorf("gpt: a disk of %d sectors has no room for the table behind the last partition", sectors)
	}
	g.lastUsable, g.backupAt, g.entriesAt = room-1, sectors-1, primaryEntries
	if t.entriesAt == spareEntries { // a Write was cut off
		g.firstUsable = primaryEntries + arraySectors
	}
	if end := room / alignment * alignment; end > last.Last+1 {
		last.Last = end - 1
		changed = true
	}
	if changed || t.FromBackup || t.entriesAt != primaryEntries || t.backupAt != g.backupAt {
		return &g, true, nil
	}
	// A backup that does not say the same is of no use.
	backup, err := readAt(d, g.backupAt, sectors)
	var bad *damage
	if err != nil && !errors.As(err, &bad) {
		return nil, false, err
	}
	same := err == nil && backup.Disk == g.Disk && string(backup.entries()) == string(g.entries())
	return &g, !same, nil
}

func (t *Table) first() uint64 {
	first := t.lastUsable
	for _, p := range t.Partitions {
		first = min(first, p.First)
	}
	return first
}

// Write puts the table g, which Grown made of t, on the disk, through whatever
// power cut: a later Read finds t or g whole, and Grown and Write then go on
// from there. A single sector is written whole or not at all.
//
// The order: the protective MBR, which nothing depends on; a primary table of the backup's content when there is none;
// the new backup; the new entries in a spare place; the primary header, now
// pointing there; the entries in their own place; the header again. Each step
// is on the medium before the next one begins.
func (g *Table) Write(d Disk, t *Table) error {
	w := writer{d: d}
	w.protect(g.backupAt)
	if t.FromBackup {
		w.put(primaryEntries, t.entries())
		w.put(primaryHeader, t.header(primaryHeader, primaryEntries, t.backupAt, t.firstUsable))
	}
	entries := g.entries()
	w.put(g.backupAt-arraySectors, entries)
	w.put(g.backupAt, g.header(g.backupAt, g.backupAt-arraySectors, primaryHeader, g.firstUsable))
	if t.entriesAt != spareEntries {
		w.put(spareEntries, entries)
		w.put(primaryHeader, g.header(primaryHeader, spareEntries, g.backupAt, max(g.firstUsable, spareEntries+arraySectors)))
	}
	w.put(primaryEntries, entries)
	w.put(primaryHeader, g.header(primaryHeader, primaryEntries, g.backupAt, g.firstUsable))
	return w.err
}

// header is the sector of a header that stands at sector mine.
func (t *Table) header(mine, entries, other, firstUsable uint64) []byte {
	h := make([]byte, SectorSize)
	le := binary.LittleEndian
	copy(h, signature)
	le.PutUint32(h[atRevision:], revision)
	le.PutUint32(h[atSize:], headerSize)
	le.PutUint32(h[atReserved:], 0)
	le.PutUint64(h[atMine:], mine)
	le.PutUint64(h[atOther:], other)
	le.PutUint64(h[atFirst:], firstUsable)
	le.PutUint64(h[atLast:], t.lastUsable)
	copy(h[atDisk:], t.Disk[:])
	le.PutUint64(h[atEntries:], entries)
	le.PutUint32(h[atCount:], entryCount)
	le.PutUint32(h[atEntrySize:], entrySize)
	le.PutUint32(h[atArrayCRC:], crc32.ChecksumIEEE(t.entries()))
	le.PutUint32(h[atCRC:], headerCRC(h))
	return h
}

// writer writes one piece after the other and stops at the first error.
type writer struct {
	d   Disk
	err error
}

// put writes data at a sector and waits until it is on the medium.
func (w *writer) put(sector uint64, data []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.d.WriteAt(data, int64(sector)*SectorSize); err != nil {
		w.err = fmt.Errorf("gpt: write at sector %d: %w", sector, err)
	} else if err := w.d.Sync(); err != nil {
		w.err = fmt.Errorf("gpt: flush: %w", err)
	}
}

// protect makes the one partition of the protective MBR as large as the disk,
// for tools that look at nothing else. An MBR of another form is left alone.
func (w *writer) protect(lastSector uint64) {
	const (
		table      = 446
		entry      = 16
		kind       = 4
		size       = 12
		protective = 0xEE
	)
	if w.err != nil {
		return
	}
	mbr := make([]byte, SectorSize)
	if w.err = readFull(w.d, mbr, 0); w.err != nil {
		return
	}
	if mbr[510] != 0x55 || mbr[511] != 0xAA || mbr[table+kind] != protective {
		return
	}
	for _, b := range mbr[table+entry : table+4*entry] {
		if b != 0 {
			return
		}
	}
	want := uint32(min(lastSector, 0xFFFFFFFF))
	if binary.LittleEndian.Uint32(mbr[table+size:]) == want {
		return
	}
	binary.LittleEndian.PutUint32(mbr[table+size:], want)
	w.put(0, mbr)
}
