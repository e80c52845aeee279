package spool

import "slices"

// place is where a record is.
type place struct {
	seg  *segment
	off  int64
	size int64 // of the whole record
}

// message is a live message: at least one recipient is not done.
type message struct {
	number uint64
	at     place
	parts  []place // in order; nil when the body is in the record itself
	env    *Envelope
	out    []recipient
	open   int // recipients that are not done
	// copies lists the segments that hold a message record of it: more than
	// one between copying forward and freeing.
	copies []*segment
}

// recipient is the latest outcome of one recipient and the record it came
// from, nil before the first.
type recipient struct {
	Outcome
	rec *outcomeRecord
}

// outcomeRecord is an outcome or dead record on disk that is still needed.
type outcomeRecord struct {
	seg  *segment
	size int64
	refs int // recipients for which it is the latest; counted in seg.live while > 0
}

// tombstone is what is remembered of a message that is done: as long as a copy
// of it is on disk, records that say that it is done must stay there too, or a
// restart would revive it.
type tombstone struct {
	copies []*segment
	recs   []*outcomeRecord
}

// use counts one more reader of the record.
func (r *outcomeRecord) use() {
	if r.refs++; r.refs == 1 {
		r.seg.live += r.size
	}
}

// drop counts one less.
func (r *outcomeRecord) drop() {
	if r.refs--; r.refs == 0 {
		r.seg.live -= r.size
	}
}

// index says what is where. The caller holds the lock of the log.
type index struct {
	live map[uint64]*message
	done map[uint64]*tombstone
	// keepDone keeps a tombstone for every message that is done, needed or
	// not. It is set while segments are scanned.
	keepDone bool
}

func newIndex() index {
	return index{live: make(map[uint64]*message), done: make(map[uint64]*tombstone)}
}

// insert makes m live, or gives a live message of that number a newer place,
// or notes one more copy of a message that is done.
func (x *index) insert(m *message) {
	seg := m.at.seg
	if t := x.done[m.number]; t != nil {
		t.copies = addSegment(t.copies, seg)
		x.recount(t)
		x.settle(m.number, t)
		return
	}
	if old := x.live[m.number]; old != nil {
		x.move(old, m.at)
		return
	}
	m.copies = []*segment{seg}
	seg.live += m.at.size
	for _, p := range m.parts {
		p.seg.live += p.size
	}
	x.live[m.number] = m
}

// move notes that the record of m was copied to a new place.
func (x *index) move(m *message, to place) {
	m.at.seg.live -= m.at.size
	to.seg.live += to.size
	m.at = to
	m.copies = addSegment(m.copies, to.seg)
}

// copied notes a copy at to of the message record at from; the message may
// have moved or died meanwhile.
func (x *index) copied(number uint64, from, to place) {
	if m := x.live[number]; m != nil {
		if m.at == from {
			x.move(m, to)
		} else {
			m.copies = addSegment(m.copies, to.seg)
		}
		return
	}
	t := x.done[number]
	if t == nil {
		// Its last word was in the segment of from, which is not freed
		// before the second pass of the compactor has seen this.
		t = &tombstone{copies: []*segment{from.seg}}
		x.done[number] = t
	}
	t.copies = addSegment(t.copies, to.seg)
	x.recount(t)
}

// movedPart notes a copy of one part of a message.
func (x *index) movedPart(number uint64, part int, from, to place) {
	m := x.live[number]
	if m == nil || part >= len(m.parts) || m.parts[part] != from {
		return
	}
	from.seg.live -= from.size
	to.seg.live += to.size
	m.parts[part] = to
}

// rehome notes that what the records in segment from said about some
// recipients was written again in rec.
func (x *index) rehome(number uint64, outcomes []Outcome, from *segment, rec *outcomeRecord) {
	if m := x.live[number]; m != nil {
		for _, o := range outcomes {
			r := &m.out[o.Rcpt]
			if r.rec != nil && r.rec.seg == from {
				r.rec.drop()
				r.rec = rec
				rec.use()
			}
		}
		return
	}
	t := x.done[number]
	if t == nil {
		return
	}
	for i, old := range t.recs {
		if old.seg == from {
			if old.refs > 0 {
				old.drop()
			}
			t.recs[i] = rec
		}
	}
	slices.SortFunc(t.recs, func(a, b *outcomeRecord) int { return int(a.seg.seq) - int(b.seg.seq) })
	t.recs = slices.Compact(t.recs)
	x.recount(t)
	x.settle(number, t)
}

// apply gives recipients of a message new outcomes that are in rec. It reports
// false when the message is not live.
func (x *index) apply(number uint64, outcomes []Outcome, rec *outcomeRecord) bool {
	m := x.live[number]
	if m == nil {
		return false
	}
	for _, o := range outcomes {
		if o.Rcpt < 0 || o.Rcpt >= len(m.out) {
			continue
		}
		r := &m.out[o.Rcpt]
		if !supersedes(o, r.Outcome) {
			continue
		}
		if r.rec != nil {
			r.rec.drop()
		}
		r.Outcome, r.rec = o, rec
		rec.use()
		if o.Done() {
			m.open--
		}
	}
	if m.open == 0 {
		x.die(m)
	}
	return true
}

// supersedes reports whether next replaces cur. Records of one recipient may
// be found in any order after copying forward, so the answer must not depend
// on it: the first last word stays, and before that more tries win.
func supersedes(next, cur Outcome) bool {
	if cur.Done() {
		return false
	}
	return next.Done() || next.Tries >= cur.Tries
}

// die ends the life of a message of which every recipient is done.
func (x *index) die(m *message) {
	m.at.seg.live -= m.at.size
	for _, p := range m.parts {
		p.seg.live -= p.size
	}
	t := &tombstone{copies: m.copies}
	for i := range m.out {
		rec := m.out[i].rec
		if rec == nil {
			continue
		}
		rec.drop()
		if !slices.Contains(t.recs, rec) {
			t.recs = append(t.recs, rec)
		}
	}
	delete(x.live, m.number)
	x.done[m.number] = t
	x.recount(t)
	x.settle(m.number, t)
}

// kill notes a dead record: whatever else is known, the message is done.
func (x *index) kill(number uint64, rec *outcomeRecord) {
	if m := x.live[number]; m != nil {
		x.die(m)
	}
	t := x.done[number]
	if t == nil {
		if !x.keepDone {
			return
		}
		t = &tombstone{}
		x.done[number] = t
	}
	// It alone is enough.
	for _, old := range t.recs {
		if old.refs > 0 {
			old.drop()
		}
	}
	t.recs = []*outcomeRecord{rec}
	x.recount(t)
	x.settle(number, t)
}

// recount counts a record of a tombstone as live exactly when a copy of the
// message is in another segment: a copy in the same segment goes when the
// record goes.
func (x *index) recount(t *tombstone) {
	for _, rec := range t.recs {
		needed := slices.ContainsFunc(t.copies, func(s *segment) bool { return s != rec.seg })
		if needed && rec.refs == 0 {
			rec.use()
		} else if !needed && rec.refs > 0 {
			rec.drop()
		}
	}
}

// settle forgets a tombstone that nothing depends on.
func (x *index) settle(number uint64, t *tombstone) {
	if x.keepDone {
		return
	}
	if !slices.ContainsFunc(t.recs, func(r *outcomeRecord) bool { return r.refs > 0 }) {
		delete(x.done, number)
	}
}

// freed notes that a segment is gone from the disk.
func (x *index) freed(s *segment) {
	without := func(list []*segment) []*segment {
		return slices.DeleteFunc(list, func(c *segment) bool { return c == s })
	}
	for _, number := range s.numbers {
		if m := x.live[number]; m != nil {
			m.copies = without(m.copies)
		}
		if t := x.done[number]; t != nil {
			t.copies = without(t.copies)
			t.recs = slices.DeleteFunc(t.recs, func(r *outcomeRecord) bool { return r.seg == s })
			x.recount(t)
			x.settle(number, t)
		}
	}
}

func addSegment(list []*segment, s *segment) []*segment {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
