package spool

import (
	"context"
	"encoding/binary"
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

// sparsest returns a closed segment in which something is damaged, or the one
// with the smallest live share, if that is below one half, or, when the disk
// gets full, below nine tenths.
func (l *Log) sparsest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := int64(50)
	if u, err := l.usage(); err == nil && u.Percent >= WarnPercent {
		limit = 90
	}
	var best *segment
	for _, s := range l.segs {
		if !s.closed || s.stuck || s.pins > 0 {
			continue
		}
		if s.damaged {
			return s
		}
		if s.live*100 >= (s.size-blockSize)*limit {
			continue
		}
		if best == nil || s.live*best.size < best.live*s.size {
			best = s
		}
	}
	return best
}

// copyForward writes everything that is needed in seg again, word for word, at
// the end of the log. When it returns nil all copies are durable.
func (l *Log) copyForward(ctx context.Context, seg *segment) error {
	if err := l.pin(seg); err != nil {
		return err
	}
	defer l.unpin(seg)
	// First the messages: which records must say that one is done depends on
	// where its copies are.
	for _, pick := range []func(*segment, scanned) *request{l.pickMessage, l.pickOutcome} {
		c := copier{log: l, ctx: ctx}
		_, limit := seg.closing()
		sc := scanner{f: seg.file, size: limit, tag: seg.tag, trusted: limit}
		_, err := sc.run(func(rec scanned) error {
			if r := pick(seg, rec); r != nil {
				return c.add(r)
			}
			return ctx.Err()
		})
		if err = errors.Join(err, c.wait()); err != nil {
			return err
		}
	}
	l.mu.Lock()
	live := seg.live
	seg.stuck = live != 0
	l.mu.Unlock()
	if live != 0 {
		// The next start will find out whose it is.
		l.report("part of a segment cannot be read any more, it is left as it is", "segment", seg.name(), "bytes", live)
		return errors.New("damaged")
	}
	return nil
}

// copier hands copies to the committer, a bounded number of bytes ahead.
type copier struct {
	log   *Log
	ctx   context.Context
	ahead int
	sent  []*request
}

func (c *copier) add(r *request) error {
	if err := c.log.enqueue(r); err != nil {
		return err
	}
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
	from := placeOf(seg, rec.off, rec.header)
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
	r := from.copy(rec.header)
	if r != nil {
		r.part = part
	}
	return r
}

// pickOutcome returns a record that makes an outcome or dead record in seg
// needless, or nil when it is so already. While the message lives that is the
// same record again: what is in it but not the latest word stays so, because
// its version says so. One record never stands for several, which may be more
// than fits into one, and of which some may be picked after the message has
// died.
func (l *Log) pickOutcome(seg *segment, rec scanned) *request {
	if rec.kind != kindOutcome && rec.kind != kindDead {
		return nil
	}
	from := placeOf(seg, rec.off, rec.header)
	l.mu.Lock()
	original := l.index.find(rec.number, from)
	t := l.index.done[rec.number]
	dead := t != nil && t.dependsOn(seg)
	l.mu.Unlock()
	switch {
	case original != nil:
		r := from.copy(rec.header)
		if r != nil {
			r.original = original
		}
		return r
	case dead:
		r := newRequest(finishRecord(make([]byte, headerSize), kindDead, rec.number, nil), rec.number)
		r.copyOf = from
		return r
	}
	return nil
}

// copy returns a request that writes the record at p, of which the header is
// known, again. What cannot be read of its body is zeros then, and still does
// not fit its checksum.
func (p place) copy(h header) *request {
	b := make([]byte, p.size)
	_ = readAround(p.seg.file, b, int64(p.off))
	if again, ok := parseHeader(b); !ok || again != h {
		return nil // it stays where it is, see copyForward
	}
	r := newRequest(b, h.number)
	r.copyOf = p
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
	recycle := len(l.spares) < maxSpares && !seg.failed && !seg.damaged && seg.size >= l.segSize
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

// worthZeros is how many bytes a flush may cover, on the average of the last
// segment, for a new spare to be filled with zeros. Zeros double the bytes of
// the first use of a file; without them each flush costs 12 to 20 KB of the file
// system's journal, and twice the time. Large messages are better off without.
const worthZeros = 32 << 10

// keepSpare allocates a spare while the disk has room, so that the committer
// need not, and so that outcomes find room when the disk is full.
func (l *Log) keepSpare() {
	l.mu.Lock()
	u, err := l.usage()
	// After a failure one more is tried for, to learn that there is room again.
	want := err == nil && (len(l.spares) == 0 || l.noSpare && len(l.spares) < maxSpares) &&
		u.percent(l.segSize) < FullPercent
	zeros := l.perFlush < worthZeros
	l.mu.Unlock()
	if !want {
		return
	}
	name, err := l.createSpare(l.segSize, zeros)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noSpare = isFull(err); err != nil {
		l.log.Warn("spool: spare", "error", err)
		return
	}
	l.spares[name] = l.segSize
}
