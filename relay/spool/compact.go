package spool

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// maxSpares is how many allocated files are kept for later segments.
	maxSpares = 2
	// copyAhead bounds the bytes of copies that are on their way to the
	// committer.
	copyAhead = 1 << 20
	// compactEvery is how often sparse segments are looked for at the least.
	compactEvery = 5 * time.Second
)

// runCompactor frees segments until ctx ends.
func (l *Log) runCompactor(ctx context.Context) {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	for {
		again, err := true, error(nil)
		for again && err == nil && ctx.Err() == nil {
			again, err = l.compactOne(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		nudged := l.compact
		if err != nil {
			// Not at once again: the disk may be the trouble, and the end of
			// the attempt is itself a nudge.
			l.log.Warn("spool: free a segment", "error", err)
			nudged = nil
		} else {
			l.keepSpare()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudged:
		}
	}
}

// compactOne frees the sparsest segment if it is worth it, and reports whether
// it may be worth trying again at once.
func (l *Log) compactOne(ctx context.Context) (again bool, err error) {
	seg := l.sparsest()
	if seg == nil {
		return false, nil
	}
	l.mu.Lock()
	live := seg.live
	l.mu.Unlock()
	if live > 0 {
		if err := l.copyForward(ctx, seg); err != nil {
			return false, fmt.Errorf("copy %s forward: %w", seg.name(), err)
		}
	}
	if err := l.free(seg); err != nil {
		return false, fmt.Errorf("free %s: %w", seg.name(), err)
	}
	return true, nil
}

// sparsest returns the closed segment with the smallest live share, if that is
// below one half, or, when the disk gets full, below nine tenths.
func (l *Log) sparsest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := int64(50)
	if u, err := l.usage(); err == nil && u.Percent >= WarnPercent {
		limit = 90
	}
	var best *segment
	for _, s := range l.segs {
		if !s.closed || s.stuck || s.pins > 0 || s.live*100 >= (s.size-blockSize)*limit {
			continue
		}
		if best == nil || s.live*best.size < best.live*s.size {
			best = s
		}
	}
	return best
}

// copyForward writes everything that is needed in seg again, at the end of the
// log. When it returns nil all copies are durable.
func (l *Log) copyForward(ctx context.Context, seg *segment) error {
	if err := l.pin(seg); err != nil {
		return err
	}
	defer l.unpin(seg)
	// First the messages: which records must say that one is done depends on
	// where its copies are.
	for _, pick := range []func(*segment, scanned) *request{l.pickMessage, l.pickOutcome} {
		c := copier{log: l, ctx: ctx}
		sc := scanner{f: seg.file, size: seg.size, tag: seg.tag}
		res, err := sc.run(func(rec scanned) error {
			if r := pick(seg, rec); r != nil {
				return c.add(r)
			}
			return ctx.Err()
		})
		if err = errors.Join(err, c.wait()); err != nil {
			return err
		}
		if l.lost(seg, res) {
			l.mu.Lock()
			seg.stuck = true
			l.mu.Unlock()
			l.report("part of a segment cannot be read any more, it is left as it is", "segment", seg.name())
			return errors.New("damaged")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seg.live != 0 {
		seg.stuck = true
		return fmt.Errorf("%d bytes are still needed", seg.live)
	}
	return nil
}

// lost reports whether a scan missed something that was durable.
func (l *Log) lost(seg *segment, res scanResult) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if res.end < seg.synced {
		return true
	}
	for _, b := range res.bad {
		if b.from < seg.synced {
			return true
		}
	}
	return false
}

// copier hands copies to the committer, a bounded number of bytes ahead.
type copier struct {
	log   *Log
	ctx   context.Context
	ahead int
	sent  []*request
}

func (c *copier) add(r *request) error {
	l := c.log
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	nudge(l.wake)
	c.sent = append(c.sent, r)
	if c.ahead += len(r.rec); c.ahead < copyAhead {
		return nil
	}
	return c.wait()
}

// wait returns when all copies are durable, or with the first error.
func (c *copier) wait() error {
	var first error
	for _, r := range c.sent {
		<-r.done
		if r.err != nil && first == nil {
			first = r.err
		}
	}
	c.sent, c.ahead = c.sent[:0], 0
	return first
}

// pickMessage returns a copy of a message or part record that is needed.
func (l *Log) pickMessage(seg *segment, rec scanned) *request {
	if rec.kind != kindMessage && rec.kind != kindPart {
		return nil
	}
	from := place{seg, rec.off, rec.size()}
	part := 0
	l.mu.Lock()
	m := l.index.live[rec.number]
	needed := m != nil && m.at == from
	if rec.kind == kindPart && len(rec.meta) == 4 {
		part = int(binary.LittleEndian.Uint32(rec.meta))
		needed = m != nil && part < len(m.parts) && m.parts[part] == from
	}
	l.mu.Unlock()
	if !needed {
		return nil
	}
	buf := make([]byte, headerSize, rec.size())
	buf = append(buf, rec.body...)
	r := newRequest(finishRecord(buf, rec.kind, rec.number, rec.meta), rec.number)
	r.copyOf, r.part = from, part
	return r
}

// pickOutcome returns a record that makes an outcome or dead record in seg
// needless, or nil when it is so already.
func (l *Log) pickOutcome(seg *segment, rec scanned) *request {
	if rec.kind != kindOutcome && rec.kind != kindDead {
		return nil
	}
	var outcomes []Outcome
	dead := false
	l.mu.Lock()
	if m := l.index.live[rec.number]; m != nil {
		for i := range m.out {
			if r := m.out[i].rec; r != nil && r.seg == seg {
				outcomes = append(outcomes, m.out[i].Outcome)
			}
		}
	} else if t := l.index.done[rec.number]; t != nil {
		dead = t.dependsOn(seg)
	}
	l.mu.Unlock()
	var r *request
	switch {
	case dead:
		r = newRequest(finishRecord(make([]byte, headerSize), kindDead, rec.number, nil), rec.number)
	case len(outcomes) > 0:
		var err error
		if r, err = outcomeRequest(rec.number, outcomes); err != nil {
			return nil // the segment stays, see copyForward
		}
	default:
		return nil
	}
	r.copyOf = place{seg, rec.off, rec.size()}
	return r
}

// dependsOn reports whether a copy of the message outside seg would come back
// to life without the records in seg.
func (t *tombstone) dependsOn(seg *segment) bool {
	outside := false
	for _, c := range t.copies {
		outside = outside || c != seg
	}
	if !outside {
		return false
	}
	for _, r := range t.recs {
		if r.seg == seg {
			return true
		}
	}
	return len(t.recs) == 0
}

// free turns a segment without anything live into a spare, or removes it. The
// index forgets it only when that is durable.
func (l *Log) free(seg *segment) error {
	l.mu.Lock()
	if seg.pins > 0 || seg.live != 0 {
		l.mu.Unlock()
		return nil
	}
	seg.drained = true
	recycle := len(l.spares) < maxSpares && !seg.failed && seg.size >= l.segSize
	l.lastSeq++
	spare := spareName(l.lastSeq)
	l.mu.Unlock()

	var err error
	if recycle {
		err = l.disk.Rename(seg.name(), spare)
	} else {
		err = l.disk.Remove(seg.name())
	}
	if err == nil {
		err = l.disk.SyncDir()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		seg.stuck = true
		return err
	}
	delete(l.segs, seg.seq)
	l.index.freed(seg)
	if recycle {
		l.spares[spare] = seg.size
	}
	l.space.forget()
	return nil
}

// keepSpare allocates a spare while the disk has room, so that the committer
// need not, and so that outcomes find room when the disk is full.
func (l *Log) keepSpare() {
	l.mu.Lock()
	u, err := l.usage()
	want := err == nil && l.active != nil && len(l.spares) == 0 &&
		u.percent(l.segSize) < FullPercent
	l.mu.Unlock()
	if !want {
		return
	}
	name, err := l.createSpare(l.segSize)
	if err != nil {
		l.log.Warn("spool: spare", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spares[name] = l.segSize
}

// parseOutcomes reads the meta data of an outcome record.
func parseOutcomes(meta []byte) ([]Outcome, error) {
	var outcomes []Outcome
	err := json.Unmarshal(meta, &outcomes)
	return outcomes, err
}
