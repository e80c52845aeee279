package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// commit makes a batch durable and tells everybody who waits. The caller leads.
func (l *Log) commit(batch []*request) {
	if len(batch) == 0 {
		return
	}
	now := time.Now()
	l.began.Store(&now)
	defer l.began.Store(nil)
	if !l.retryAt.IsZero() && time.Until(l.retryAt) > 0 {
		finish(batch, l.pauseErr)
		return
	}
	batch = l.admit(batch)
	for len(batch) > 0 {
		n, err := l.commitSome(batch)
		if err == nil {
			l.backoff, l.retryAt = 0, time.Time{}
			batch = batch[n:]
			continue
		}
		kind := ErrDamaged
		if isFull(err) {
			kind = ErrFull
		}
		if errors.Is(err, errRoom) {
			finish(batch[:n], fmt.Errorf("%w: %w", kind, err))
			batch = batch[n:]
			continue
		}
		l.fail(err)
		l.pauseErr = fmt.Errorf("%w: paused after an error: %w", kind, err)
		finish(batch[:n], fmt.Errorf("%w: %w", kind, err))
		finish(batch[n:], l.pauseErr)
		return
	}
}

// admit gives new outcomes their versions and refuses those of messages that
// are not live, so that they are not written.
func (l *Log) admit(batch []*request) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(batch, func(r *request) bool {
		if !r.patient() {
			return false
		}
		m := l.index.live[r.number]
		if m == nil {
			r.err = ErrNotFound
			close(r.done)
			return true
		}
		if r.kind == kindOutcome {
			m.version = min(m.version+1, maxVersion)
			r.version = m.version
			setVersion(r.rec, r.version)
		}
		return false
	})
}

// finish ends requests that failed.
func finish(batch []*request, err error) {
	for _, r := range batch {
		r.err = err
		close(r.done)
	}
}

// commitSome writes as many records of the batch as fit into one segment, at
// least one, flushes them, applies them to the index and ends their requests.
// On an error the first n requests are to be ended by the caller, and, unless
// it is errRoom, the active segment is not to be used any more.
func (l *Log) commitSome(batch []*request) (n int, err error) {
	if err := l.makeRoom(int64(len(batch[0].rec))); err != nil {
		return 1, err
	}
	seg := l.active
	start := seg.end
	at := start
	flush := false
	defer func() { l.tried = at }()
	l.wbuf = l.wbuf[:0]
	written := start // file offset of wbuf[0]
	spill := func() error {
		if len(l.wbuf) == 0 {
			return nil
		}
		_, err := seg.file.WriteAt(l.wbuf, written)
		written += int64(len(l.wbuf))
		l.wbuf = l.wbuf[:0]
		return err
	}
	for n < len(batch) && at+int64(len(batch[n].rec)) <= seg.limit() {
		r := batch[n]
		n++
		if lostPart(r) {
			r.err = fmt.Errorf("%w: a part of the message was lost", ErrDamaged)
			continue
		}
		stamp(r.rec, seg.tag, seg.synced)
		r.at = place{seg, uint32(at), uint32(len(r.rec))}
		at += int64(len(r.rec))
		flush = flush || r.needsFlush()
		if len(l.wbuf)+len(r.rec) > maxWrite {
			if err := spill(); err != nil {
				return n, fmt.Errorf("write: %w", err)
			}
		}
		l.wbuf = append(l.wbuf, r.rec...)
	}
	if err := spill(); err != nil {
		return n, fmt.Errorf("write: %w", err)
	}
	patience := time.Duration(0)
	if flush {
		begin := time.Now()
		if err := seg.file.Sync(); err != nil {
			return n, fmt.Errorf("flush: %w", err)
		}
		patience = min(time.Since(begin), maxPatience)
	}
	l.mu.Lock()
	seg.end, seg.dirty = at, true
	if flush {
		seg.dirty = false
		seg.flushes++
		seg.synced = at
		// A block that a flush has covered is not written again.
		seg.end = roundUp(at, blockSize)
		l.patience = (7*l.patience + patience) / 8
	}
	for _, r := range batch[:n] {
		if r.err == nil {
			l.apply(r)
		}
	}
	l.mu.Unlock()
	for _, r := range batch[:n] {
		close(r.done)
	}
	return n, nil
}

// lostPart reports whether r is the record of a message of which a part was
// written to a segment that failed before it was flushed.
func lostPart(r *request) bool {
	return slices.ContainsFunc(r.parts, func(p place) bool {
		return p.seg.failed && p.end() > p.seg.synced
	})
}

const (
	// maxWrite is the largest single write and what is kept in memory for it.
	maxWrite = 1 << 20
	// maxPatience bounds how long an outcome waits for company.
	maxPatience = 10 * time.Millisecond
)

// apply enters a written record into the index. The caller holds the lock.
func (l *Log) apply(r *request) {
	x := &l.index
	copied := r.copyOf.seg != nil
	switch r.kind {
	case kindMessage:
		r.at.seg.numbers = append(r.at.seg.numbers, r.number)
		if copied {
			x.copied(r.number, r.copyOf, r.at)
			return
		}
		x.insert(&message{number: r.number, at: r.at, parts: r.parts, out: make([]recipient, r.rcpts), open: int32(r.rcpts)})
	case kindPart:
		if copied {
			x.movedPart(r.number, r.part, r.copyOf, r.at)
			return
		}
		r.at.seg.pins++ // the active segment's file is open
	case kindOutcome:
		rec := &outcomeRecord{place: r.at}
		if copied {
			x.rehome(r.number, r.original, rec)
		} else if !x.apply(r.number, r.marks, r.version, rec) {
			r.err = ErrNotFound
		}
	case kindDead:
		if !x.kill(r.number, &outcomeRecord{place: r.at}) && !copied {
			r.err = ErrNotFound
		}
	}
}

// fail gives up the active segment after an error and pauses the committer, so
// that a broken disk is not filled with new segments.
func (l *Log) fail(err error) {
	l.backoff = min(max(2*l.backoff, time.Second), time.Minute)
	l.retryAt = time.Now().Add(l.backoff)
	l.mu.Lock()
	seg := l.active
	seg.failed = true
	l.mu.Unlock()
	l.log.Error("spool: cannot write", "error", err, "pause", l.backoff)
	if err := l.wipeUnflushed(seg); err != nil {
		l.log.Error("spool: cannot wipe what was not flushed", "segment", seg.name(), "error", err)
	}
	l.retire(seg)
}

// wipeUnflushed overwrites what a failed flush has not made durable. The kernel
// may still show what will never be on the disk, and what is on it may show
// again after a cut: the next process must see neither.
func (l *Log) wipeUnflushed(seg *segment) (err error) {
	for range 3 {
		err = wipe(seg.file, roundUp(seg.synced, blockSize), min(max(l.tried, seg.end), seg.size))
		if err == nil {
			err = seg.file.Sync()
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// writeMark says, after a clean end, how much is durable.
func (l *Log) writeMark() {
	seg := l.active
	if seg == nil || seg.synced <= blockSize || seg.end+headerSize > seg.limit() {
		return
	}
	rec := finishRecord(make([]byte, headerSize), kindMark, 0, nil)
	stamp(rec, seg.tag, seg.synced)
	if _, err := seg.file.WriteAt(rec, seg.end); err != nil {
		l.log.Warn("spool: mark", "error", err)
		return
	}
	if err := seg.file.Sync(); err != nil {
		l.log.Warn("spool: mark", "error", err)
	}
}
