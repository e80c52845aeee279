package spool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gatepost/relay/event"
)

// Open reads the log in disk, or begins one in an empty folder. It cuts off
// what no flush had covered, sets aside and reports what a flush had covered
// and cannot be read any more, and starts nothing: see [Log.Run]. An error
// means that the folder itself does not work.
func Open(disk Disk, cfg Config) (*Log, error) {
	l := &Log{
		disk: disk, log: cfg.Log, events: cfg.Events, now: cfg.Now, capacity: cfg.Capacity,
		index: newIndex(), segs: make(map[uint64]*segment), spares: make(map[string]int64),
		wake: make(chan struct{}, 1), compact: make(chan struct{}, 1), told: make(map[uint64]bool),
	}
	l.buffers.New = func() any {
		b := make([]byte, firstBuffer)
		return &b
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.events == nil {
		l.events = event.Discard
	}
	if l.now == nil {
		l.now = time.Now
	}
	total, _, err := disk.Space()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if cfg.Capacity > 0 {
		total = min(total, cfg.Capacity)
	}
	l.segSize = cfg.SegmentSize
	if l.segSize <= 0 {
		l.segSize = min(max(total/64, minSegment), maxSegment)
	}
	l.segSize = min(roundUp(max(l.segSize, 4*blockSize), blockSize), hardMaxSegment)
	l.chunk = int(min(max(l.segSize/16, blockSize), 256<<10))
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return l, nil
}

// load fills the log from disk.
func (l *Log) load() error {
	names, err := l.disk.List()
	if err != nil {
		return err
	}
	slices.Sort(names)
	ld := &loader{
		log: l, parts: make(map[uint64]map[int]loadedPart), want: make(map[uint64]streamed),
		early: make(map[uint64][]earlyOutcome), dead: make(map[uint64]*outcomeRecord),
		promised: make(map[uint64]int64),
	}
	var segs []*segment
	for _, name := range names {
		if seq, ok := parseName(strings.TrimSuffix(name, badSuffix), segmentSuffix); ok {
			l.lastSeq = max(l.lastSeq, seq)
			if strings.HasSuffix(name, badSuffix) {
				continue
			}
			seg, err := l.openSegment(seq)
			if err != nil {
				return err
			}
			if seg != nil {
				l.segs[seq] = seg
				segs = append(segs, seg)
			}
		} else if seq, ok := parseName(name, spareSuffix); ok {
			l.lastSeq = max(l.lastSeq, seq)
			if err := l.openSpare(name); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.seq, b.seq) })
	l.index.keepDone = true
	for _, seg := range segs {
		l.lastNo = max(l.lastNo, seg.floor)
		if seg.prevSeq != 0 {
			ld.promised[seg.prevSeq] = max(ld.promised[seg.prevSeq], seg.prevSynced)
		}
	}
	for i, seg := range segs {
		if err := l.pin(seg); err != nil {
			return err
		}
		err := ld.scan(seg, i == len(segs)-1)
		// What was read, and is relied on from now on, may be in memory only:
		// a flush makes it true.
		if err == nil && (i == len(segs)-1 || seg.end > seg.synced) {
			err = seg.file.Sync()
		}
		l.unpin(seg)
		if err != nil {
			return fmt.Errorf("%s: %w", seg.name(), err)
		}
	}
	ld.finish()
	if len(segs) > 0 {
		l.last = segs[len(segs)-1]
		if err := l.adopt(l.last); err != nil {
			return err
		}
	}
	return l.disk.SyncDir()
}

// openSegment opens a segment file and reads its header. It returns nil when
// the file is not a segment of any kind; it was then set aside.
func (l *Log) openSegment(seq uint64) (*segment, error) {
	name := segmentName(seq)
	f, err := l.disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	seg := &segment{seq: seq, closed: true}
	if seg.size, err = f.Size(); err != nil {
		return nil, err
	}
	damaged, err := seg.readHeader(f)
	if err != nil {
		l.report("a segment has no legible header and was set aside", "file", name+badSuffix, "error", err)
		return nil, l.disk.Rename(name, name+badSuffix)
	}
	if damaged {
		l.report("the header of a segment is damaged; its records were read all the same", "segment", name)
		seg.damaged = true
	}
	return seg, nil
}

// openSpare keeps a spare that can be used, and removes one too many.
func (l *Log) openSpare(name string) error {
	f, err := l.disk.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if size < l.segSize || len(l.spares) >= maxSpares {
		return l.disk.Remove(name)
	}
	l.spares[name] = size
	return nil
}

// adopt goes on with the newest segment if it takes more records.
func (l *Log) adopt(newest *segment) error {
	if newest.failed || newest.stuck || newest.damaged {
		return nil
	}
	newest.synced = newest.end
	newest.end = min(roundUp(newest.end, blockSize), newest.size)
	newest.closed = false
	l.active = newest
	return l.pin(newest)
}
