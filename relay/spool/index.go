package spool

import "slices"

// place is where a record is.
type place struct {
	seg  *segment
	off  uint32
	size uint32 // of the whole record
}

func placeOf(seg *segment, off int64, h header) place {
	return place{seg, uint32(off), uint32(h.size())}
}

func (p place) end() int64 { return int64(p.off) + int64(p.size) }

// message is a live message: at least one recipient is not done. Its envelope
// and its outcomes are on the disk only, see Log.stored.
type message struct {
	number uint64
	at     place
	parts  []place // in order; nil when the body is in the record itself
	out    []recipient
	open   int32 // recipients that are not done
	// version is that of the newest outcome record, see header.version.
	version uint32
	// older lists the segments besides at.seg that hold a message record of
	// it, between copying forward and freeing.
	older []*segment
}

// ends reports whether all recipients are done with these outcomes.
func (m *message) ends(outcomes []Outcome) bool {
	if len(outcomes) < int(m.open) {
		return false
	}
	left := m.open
	seen := make([]bool, len(m.out))
	for _, o := range outcomes {
		if o.Rcpt >= 0 && o.Rcpt < len(seen) && o.Done() && !seen[o.Rcpt] && !m.out[o.Rcpt].done {
			seen[o.Rcpt] = true
			left--
		}
	}
	return left == 0
}

// recipient says which record holds the latest outcome of one recipient.
type recipient struct {
	rec     *outcomeRecord // nil before the first
	version uint32         // of rec
	done    bool
}

// outcomeRecord is an outcome or dead record on disk that is still needed.
type outcomeRecord struct {
	place
	refs int32 // recipients for which it is the latest; counted in seg.live while > 0
}

// mark is what the index needs to know of an Outcome.
type mark struct {
	rcpt int
	done bool
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
		r.seg.live += int64(r.size)
	}
}

// drop counts one less.
func (r *outcomeRecord) drop() {
	if r.refs--; r.refs == 0 {
		r.seg.live -= int64(r.size)
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
	seg.live += int64(m.at.size)
	for _, p := range m.parts {
		p.seg.live += int64(p.size)
	}
	x.live[m.number] = m
}

// move notes that the record of m was copied to a new place.
func (x *index) move(m *message, to place) {
	from := m.at.seg
	from.live -= int64(m.at.size)
	to.seg.live += int64(to.size)
	m.older = slices.DeleteFunc(m.older, func(s *segment) bool { return s == to.seg })
	if from != to.seg {
		m.older = addSegment(m.older, from)
	}
	m.at = to
}

// copied notes a copy at to of the message record at from; the message may
// have moved or died meanwhile.
func (x *index) copied(number uint64, from, to place) {
	if m := x.live[number]; m != nil {
		if m.at == from {
			x.move(m, to)
		} else if m.at.seg != to.seg {
			m.older = addSegment(m.older, to.seg)
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
	from.seg.live -= int64(from.size)
	to.seg.live += int64(to.size)
	m.parts[part] = to
}

// find returns the record at a place that a recipient of the message, or its
// end, depends on.
func (x *index) find(number uint64, at place) *outcomeRecord {
	if m := x.live[number]; m != nil {
		for i := range m.out {
			if r := m.out[i].rec; r != nil && r.place == at {
				return r
			}
		}
	}
	return nil
}

// rehome notes that the outcome record old was written again, word for word, as
// rec. Whatever depended on old depends on rec, and nothing else does: a
// message that has died meanwhile still needs its other records.
func (x *index) rehome(number uint64, old, rec *outcomeRecord) {
	if m := x.live[number]; m != nil {
		for i := range m.out {
			if r := &m.out[i]; r.rec == old {
				old.drop()
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
	i := slices.Index(t.recs, old)
	if i < 0 {
		return
	}
	if old.refs > 0 {
		old.drop()
	}
	t.recs[i] = rec
	x.recount(t)
	x.settle(number, t)
}

// apply gives recipients of a message new outcomes that are in rec. It reports
// false when the message is not live.
//
// Records of one recipient may be found in any order after copying forward, so
// what counts must not depend on it: a last word stays, and before that the
// higher version wins.
func (x *index) apply(number uint64, marks []mark, version uint32, rec *outcomeRecord) bool {
	m := x.live[number]
	if m == nil {
		return false
	}
	m.version = max(m.version, version)
	for _, o := range marks {
		if o.rcpt < 0 || o.rcpt >= len(m.out) {
			continue
		}
		r := &m.out[o.rcpt]
		if r.done || !o.done && version < r.version {
			continue
		}
		if r.rec != nil {
			r.rec.drop()
		}
		*r = recipient{rec: rec, version: version, done: o.done}
		rec.use()
		if o.done {
			m.open--
		}
	}
	if m.open == 0 {
		x.die(m)
	}
	return true
}

// die ends the life of a message of which every recipient is done.
func (x *index) die(m *message) {
	m.at.seg.live -= int64(m.at.size)
	for _, p := range m.parts {
		if p.seg != nil {
			p.seg.live -= int64(p.size)
		}
	}
	t := &tombstone{copies: addSegment(m.older, m.at.seg)}
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

// kill notes a dead record: whatever else is known, the message is done. It
// reports false when nothing is known of the message.
func (x *index) kill(number uint64, rec *outcomeRecord) bool {
	m, t := x.live[number], x.done[number]
	if m == nil && t == nil && !x.keepDone {
		return false
	}
	if m != nil {
		// Its other records are dropped at once: this one alone is enough.
		for i := range m.out {
			if r := m.out[i].rec; r != nil {
				r.drop()
				m.out[i].rec = nil
			}
		}
		m.out[0].rec = rec
		rec.use()
		x.die(m)
		return true
	}
	if t == nil {
		t = &tombstone{}
		x.done[number] = t
	}
	for _, old := range t.recs {
		if old.refs > 0 {
			old.drop()
		}
	}
	t.recs = []*outcomeRecord{rec}
	x.recount(t)
	x.settle(number, t)
	return true
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
			m.older = without(m.older)
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
