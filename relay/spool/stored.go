package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// All yields the live messages, the oldest first, and reads each from the disk
// when its turn comes: nothing of them is in memory before. Messages that come
// or go meanwhile may be among them or not. One whose envelope cannot be read
// any more is reported and left out.
func (l *Log) All() iter.Seq[Stored] {
	return func(yield func(Stored) bool) {
		l.mu.Lock()
		numbers := make([]uint64, 0, len(l.index.live))
		for number := range l.index.live {
			numbers = append(numbers, number)
		}
		l.mu.Unlock()
		slices.Sort(numbers)
		var held []*segment // of the message before: its file stays open
		defer func() { l.unpinAll(held) }()
		for _, number := range numbers {
			s, pinned, err := l.stored(number)
			l.unpinAll(held)
			held = pinned
			if err == nil && !yield(s) {
				return
			}
		}
	}
}

// Messages returns the live messages, the oldest first: all that All yields.
func (l *Log) Messages() []Stored { return slices.Collect(l.All()) }

// Get returns one live message. Like Messages it reads the disk.
func (l *Log) Get(id ID) (Stored, bool) {
	n, ok := parseID(id)
	if !ok {
		return Stored{}, false
	}
	s, pinned, err := l.stored(n)
	l.unpinAll(pinned)
	return s, err == nil
}

// stored reads the envelope and the outcomes of a live message. It returns the
// segments that it has pinned, which the caller lets go.
func (l *Log) stored(number uint64) (s Stored, pinned []*segment, err error) {
	l.mu.Lock()
	m := l.index.live[number]
	if m == nil {
		l.mu.Unlock()
		return s, nil, ErrNotFound
	}
	at, out := m.at, slices.Clone(m.out)
	pin := func(seg *segment) {
		if err == nil && !slices.Contains(pinned, seg) {
			if err = l.pinLocked(seg); err == nil {
				pinned = append(pinned, seg)
			}
		}
	}
	pin(at.seg)
	for i := range out {
		if r := out[i].rec; r != nil {
			pin(r.seg)
		}
	}
	l.mu.Unlock()
	scratch := l.buffers.Get().(*[]byte)
	defer l.buffers.Put(scratch)
	var meta messageMeta
	if err == nil {
		err = at.readMeta(kindMessage, number, &meta, *scratch)
	}
	if err == nil && len(meta.Rcpts) != len(out) {
		err = errOtherRecord
	}
	s = Stored{ID: formatID(number), Envelope: meta.Envelope, Outcomes: make([]Outcome, len(out))}
	if err != nil {
		l.report("the envelope of a message cannot be read back", "message", s.ID, "segment", at.seg.name(), "offset", at.off, "reason", err)
		return s, pinned, fmt.Errorf("%w: message %s: %w", ErrDamaged, s.ID, err)
	}
	l.readOutcomes(number, out, s.Outcomes, *scratch)
	return s, pinned, nil
}

// readOutcomes fills in the latest outcome of each recipient. One that cannot
// be read any more is reported; only whether it was the last is known then.
func (l *Log) readOutcomes(number uint64, out []recipient, outcomes []Outcome, scratch []byte) {
	records := make(map[*outcomeRecord][]Outcome)
	for i, r := range out {
		outcomes[i].Rcpt = i
		if r.rec == nil {
			continue
		}
		list, known := records[r.rec]
		if !known {
			if err := r.rec.readMeta(kindOutcome, number, &list, scratch); err != nil {
				l.report("an outcome cannot be read back", "message", formatID(number), "segment", r.rec.seg.name(), "offset", r.rec.off, "reason", err)
			}
			records[r.rec] = list
		}
		if r.done {
			outcomes[i].State = StateRemoved
		}
		for _, o := range list {
			if o.Rcpt == i {
				outcomes[i] = o
			}
		}
	}
}

// readMeta reads the record at p and fills in v from its meta data; what fits
// into scratch goes through it. The segment is pinned.
func (p place) readMeta(kind byte, number uint64, v any, scratch []byte) error {
	b := scratch[:min(len(scratch), int(p.size))]
	if _, err := p.seg.file.ReadAt(b, int64(p.off)); err != nil {
		return err
	}
	h, err := p.header(b, kind, number)
	if err != nil {
		return err
	}
	from, to := headerSize+int64(h.bodyLen), headerSize+int64(h.bodyLen)+int64(h.metaLen)
	if to <= int64(len(b)) {
		b = b[from:to]
	} else {
		b = make([]byte, to-from)
		if _, err := p.seg.file.ReadAt(b, int64(p.off)+from); err != nil {
			return err
		}
	}
	if sum(b) != h.metaSum {
		return errChecksum
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.Join(errOtherRecord, err)
	}
	return nil
}

func (l *Log) unpinAll(segs []*segment) {
	for _, s := range segs {
		l.unpin(s)
	}
}
