package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// makeRoom sees to it that a record of n bytes fits into the active segment.
// Only the committer calls it.
func (l *Log) makeRoom(n int64) error {
	if seg := l.active; seg != nil {
		if seg.end+n <= seg.size {
			return nil
		}
		// What the next segment says about this one must be true.
		if seg.dirty {
			if err := seg.file.Sync(); err != nil {
				return fmt.Errorf("flush: %w", err)
			}
			l.mu.Lock()
			seg.synced, seg.dirty = seg.end, false
			l.mu.Unlock()
		}
		l.retire()
	}
	defer nudge(l.compact)
	return l.activate(blockSize + n)
}

// activate begins a segment of at least n bytes.
func (l *Log) activate(n int64) error {
	name, size, err := l.takeSpare(n)
	if err != nil {
		return fmt.Errorf("new segment: %w", err)
	}
	f, err := l.disk.Open(name)
	if err != nil {
		return fmt.Errorf("new segment: %w", err)
	}
	l.mu.Lock()
	l.lastSeq++
	seg := &segment{seq: l.lastSeq, tag: newTag(), size: size, floor: l.lastNo, end: blockSize, synced: blockSize, file: f, pins: 1}
	if l.last != nil {
		seg.prevSeq, seg.prevSynced = l.last.seq, l.last.synced
	}
	l.mu.Unlock()
	// A spare with a new header is still a spare; the name decides.
	_, err = f.WriteAt(seg.putHeader(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.disk.Rename(name, seg.name())
	}
	if err == nil {
		err = l.disk.SyncDir()
	}
	if err != nil {
		return fmt.Errorf("new segment: %w", errors.Join(err, f.Close()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs[seg.seq], l.active, l.last = seg, seg, seg
	l.space.forget()
	return nil
}

// newTag returns the secret of a segment.
func newTag() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// takeSpare returns an allocated file of at least n bytes, and forgets it.
func (l *Log) takeSpare(n int64) (name string, size int64, err error) {
	l.mu.Lock()
	for candidate, s := range l.spares {
		if s >= n {
			name, size = candidate, s
			delete(l.spares, candidate)
			break
		}
	}
	l.mu.Unlock()
	if name != "" {
		return name, size, nil
	}
	size = max(l.segSize, roundUp(n, blockSize))
	name, err = l.createSpare(size)
	return name, size, err
}

// createSpare makes an allocated file that is not yet in l.spares.
func (l *Log) createSpare(size int64) (string, error) {
	if size > hardMaxSegment {
		return "", ErrTooBig
	}
	l.mu.Lock()
	l.lastSeq++
	name := spareName(l.lastSeq)
	l.mu.Unlock()
	f, err := l.disk.Create(name)
	if err != nil {
		return "", err
	}
	err = f.Allocate(size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, l.disk.Remove(name))
	}
	return name, nil
}
