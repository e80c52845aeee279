package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// request is one record on its way to the disk.
type request struct {
	kind   byte
	number uint64
	rec    []byte // finished, without tag and synced mark
	done   chan struct{}
	err    error
	at     place // where it is, after done

	env      *Envelope // of a new message
	parts    []place
	outcomes []Outcome
	// copyOf is where the compactor read the record; the zero value says
	// that it is new.
	copyOf place
	part   int // index of a copied part
}

func newRequest(rec []byte, number uint64) *request {
	return &request{kind: rec[4], number: number, rec: rec, done: make(chan struct{})}
}

// needsFlush reports whether somebody waits for the record to be durable. A new
// part counts only when its message record is there.
func (r *request) needsFlush() bool { return r.kind != kindPart || r.copyOf.seg != nil }

// submit hands a record to the committer and waits until it is durable (a new
// part: until it is written and pinned). When ctx ends before the committer
// has taken the record it is withdrawn.
func (l *Log) submit(ctx context.Context, r *request) error {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	nudge(l.wake)
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	if i := slices.Index(l.queue, r); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		l.mu.Unlock()
		return ctx.Err()
	}
	l.mu.Unlock()
	<-r.done
	return r.err
}

// take returns what waits for the committer.
func (l *Log) take() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.queue
	l.queue = nil
	return batch
}

// runCommitter writes and flushes until stop is closed, then takes nothing more
// and ends with a mark.
func (l *Log) runCommitter(stop <-chan struct{}) {
	for {
		select {
		case <-l.wake:
			l.commit(l.take())
		case <-stop:
			l.mu.Lock()
			l.stopped = true
			l.mu.Unlock()
			l.commit(l.take())
			l.writeMark()
			return
		}
	}
}

// commit makes a batch durable and tells everybody who waits.
func (l *Log) commit(batch []*request) {
	for len(batch) > 0 {
		if wait := time.Until(l.retryAt); wait > 0 {
			finish(batch, fmt.Errorf("%w: paused after an error", ErrDamaged))
			return
		}
		n, err := l.commitSome(batch)
		switch {
		case err == nil:
			l.backoff = 0
		case errors.Is(err, syscall.ENOSPC):
			l.fail(err)
			finish(batch[:n], fmt.Errorf("%w: %w", ErrFull, err))
		default:
			l.fail(err)
			finish(batch[:n], fmt.Errorf("%w: %w", ErrDamaged, err))
		}
		batch = batch[n:]
	}
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
// On an error the first n requests are to be ended by the caller, and the
// active segment is not to be used any more.
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
	for n < len(batch) && at+int64(len(batch[n].rec)) <= seg.size {
		r := batch[n]
		n++
		if lostPart(r) {
			r.err = fmt.Errorf("%w: a part of the message was lost", ErrDamaged)
			continue
		}
		stamp(r.rec, seg.tag, seg.synced)
		r.at = place{seg, at, int64(len(r.rec))}
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
	if flush {
		if err := seg.file.Sync(); err != nil {
			return n, fmt.Errorf("flush: %w", err)
		}
	}
	l.mu.Lock()
	seg.end, seg.dirty = at, true
	if flush {
		seg.dirty = false
		seg.synced = at
		// A block that a flush has covered is not written again.
		seg.end = min(roundUp(at, blockSize), seg.size)
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
		return p.seg.failed && p.off+p.size > p.seg.synced
	})
}

// maxWrite is the largest single write and what the committer keeps in memory.
const maxWrite = 1 << 20

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
		x.insert(&message{
			number: r.number, at: r.at, parts: r.parts, env: r.env,
			out: make([]recipient, len(r.env.Rcpts)), open: len(r.env.Rcpts),
		})
	case kindPart:
		if copied {
			x.movedPart(r.number, r.part, r.copyOf, r.at)
			return
		}
		r.at.seg.pins++ // the active segment's file is open
	case kindOutcome:
		rec := &outcomeRecord{seg: r.at.seg, size: r.at.size}
		if copied {
			x.rehome(r.number, r.outcomes, r.copyOf.seg, rec)
		} else if !x.apply(r.number, r.outcomes, rec) {
			r.err = ErrNotFound
		}
	case kindDead:
		x.kill(r.number, &outcomeRecord{seg: r.at.seg, size: r.at.size})
	}
}

// fail gives up the active segment after an error and pauses the committer, so
// that a broken disk is not filled with new segments.
func (l *Log) fail(err error) {
	l.backoff = min(max(2*l.backoff, time.Second), time.Minute)
	l.retryAt = time.Now().Add(l.backoff)
	l.mu.Lock()
	seg := l.active
	if seg != nil {
		seg.failed = true
	}
	l.mu.Unlock()
	l.log.Error("spool: cannot write", "error", err, "pause", l.backoff)
	if seg == nil {
		return
	}
	if err := l.wipeUnflushed(seg); err != nil {
		l.log.Error("spool: cannot wipe what was not flushed", "segment", seg.name(), "error", err)
	}
	l.retire()
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

// retire closes the active segment.
func (l *Log) retire() {
	l.mu.Lock()
	seg := l.active
	seg.closed = true
	l.active = nil
	l.mu.Unlock()
	l.unpin(seg)
}

// writeMark says, after a clean end, how much is durable.
func (l *Log) writeMark() {
	seg := l.active
	if seg == nil || seg.synced <= blockSize || seg.end+headerSize > seg.size {
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
