package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// errRoom marks an error that has left the active segment as it was: only the
// records that do not fit into it are concerned.
var errRoom = errors.New("no new segment")

// makeRoom sees to it that a record of n bytes fits into the active segment.
// On errRoom the active segment, if there is one, still takes what fits: on a
// disk that somebody else has filled outcomes can be recorded. The caller leads.
func (l *Log) makeRoom(n int64) error {
	old := l.active
	if old != nil && old.end+n <= old.limit() {
		return nil
	}
	if !l.roomAt.IsZero() && time.Until(l.roomAt) > 0 {
		return l.roomErr
	}
	name, size, err := l.takeSpare(2*blockSize + n)
	if err == nil && old != nil && old.dirty {
		// What the next segment says about this one must be true.
		if err := old.file.Sync(); err != nil {
			l.mu.Lock()
			l.spares[name] = size
			l.mu.Unlock()
			return fmt.Errorf("flush: %w", err)
		}
		l.mu.Lock()
		old.synced, old.dirty = old.end, false
		l.mu.Unlock()
	}
	if err == nil {
		err = l.activate(name, size)
	}
	if err != nil {
		l.roomWait = min(max(2*l.roomWait, time.Second), time.Minute)
		if isFull(err) {
			l.roomWait = time.Second // cheap to try, and soon over
		}
		l.roomAt = time.Now().Add(l.roomWait)
		l.roomErr = fmt.Errorf("%w: %w", errRoom, err)
		l.log.Error("spool: no new segment", "error", err, "pause", l.roomWait)
		return l.roomErr
	}
	l.roomWait, l.roomAt = 0, time.Time{}
	if old != nil {
		if err := old.close(); err != nil {
			l.log.Warn("spool: closing mark", "segment", old.name(), "error", err)
		}
		l.retire(old)
	}
	nudge(l.compact)
	return nil
}

// activate makes a segment of a spare.
func (l *Log) activate(name string, size int64) error {
	f, err := l.disk.Open(name)
	if err != nil {
		return err
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
		if err = l.disk.Rename(name, seg.name()); err == nil {
			name = seg.name()
			err = l.disk.SyncDir()
		}
	}
	if err != nil {
		// An empty segment that stays all the same does no harm.
		return errors.Join(err, f.Close(), l.disk.Remove(name))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs[seg.seq], l.active, l.last = seg, seg, seg
	l.space.forget()
	return nil
}

// retire closes a segment that takes no more records.
func (l *Log) retire(seg *segment) {
	l.mu.Lock()
	seg.closed = true
	if seg.flushes > 0 {
		l.perFlush = seg.synced / seg.flushes
	}
	if l.active == seg {
		l.active = nil
	}
	l.mu.Unlock()
	l.unpin(seg)
}

// isFull reports whether an error says that the disk, or our share of it, is
// full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
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
	name, err = l.createSpare(size, false)
	l.mu.Lock()
	// The compactor may have got one meanwhile: then there is room.
	l.noSpare = isFull(err) && len(l.spares) == 0
	l.mu.Unlock()
	return name, size, err
}

// zeroStep is how much of a new spare is written between two flushes, so that
// nobody else's flush waits long.
const zeroStep = 1 << 20

// createSpare makes an allocated file that is not yet in l.spares. With written
// set it is filled with zeros, which takes a while and saves each later flush
// the change of the file system's journal that says that a block was written.
func (l *Log) createSpare(size int64, written bool) (string, error) {
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
	if written {
		for off := int64(0); off < size && err == nil; off += zeroStep {
			if err = wipe(f, off, min(off+zeroStep, size)); err == nil {
				err = f.Sync()
			}
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, l.disk.Remove(name))
	}
	return name, nil
}
