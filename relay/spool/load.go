package spool

import (
	"encoding/binary"
	"encoding/json"
	"slices"
)

// loader is what is known only while segments are scanned.
type loader struct {
	log *Log
	// parts holds part records by message and index.
	parts map[uint64]map[int]loadedPart
	want  map[uint64]int // number of parts of a streamed message
	// early holds outcomes whose message has not been seen.
	early map[uint64][]earlyOutcome
	// dead holds dead records whose message has not been seen.
	dead map[uint64]*outcomeRecord
	// lost are damaged records whose header is legible.
	lost []lostRecord
	// promised is, for each segment, how much of it was durable.
	promised map[uint64]int64
}

type loadedPart struct {
	place
	body int64
}

type earlyOutcome struct {
	outcomes []Outcome
	rec      *outcomeRecord
}

type lostRecord struct {
	seg *segment
	badRange
}

// scan reads one segment into the index.
func (ld *loader) scan(seg *segment, last bool) error {
	l := ld.log
	sc := scanner{f: seg.file, size: seg.size, tag: seg.tag}
	res, err := sc.run(func(rec scanned) error {
		l.lastNo = max(l.lastNo, rec.number)
		ld.add(seg, rec)
		return nil
	})
	if err != nil {
		l.report("a segment cannot be read to its end", "segment", seg.name(), "error", err)
		seg.stuck = true
	}
	promised := max(ld.promised[seg.seq], res.synced)
	ld.promised[seg.seq] = promised
	seg.end, seg.synced = res.end, promised
	if err != nil {
		return nil
	}
	for _, b := range res.bad {
		if b.from < promised {
			l.quarantine(seg, b)
			if b.headerOK {
				ld.lost = append(ld.lost, lostRecord{seg, b})
			}
		} else {
			l.log.Info("spool: cut off what no flush had covered", "segment", seg.name(), "offset", b.from, "bytes", b.to-b.from)
			// Later marks would make a hole look like damage, so nothing
			// may follow it here.
			seg.failed = seg.failed || b.from < res.end
		}
	}
	if res.end < promised && !slices.ContainsFunc(res.bad, func(b badRange) bool { return b.to >= promised }) {
		l.quarantine(seg, badRange{from: res.end, to: promised})
	}
	// Where nothing may follow, nothing need be wiped: what is valid there
	// stays as safe as it is.
	if last && res.junkTo > 0 && !seg.failed && !seg.stuck {
		// A torn record must not meet the records that will be written over
		// its beginning.
		return wipe(seg.file, res.junkFrom, min(res.junkTo, seg.size))
	}
	return nil
}

// wipe overwrites a range with zeros.
func wipe(f File, from, to int64) error {
	zeros := make([]byte, 64<<10)
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// add enters one record.
func (ld *loader) add(seg *segment, rec scanned) {
	x := &ld.log.index
	at := place{seg, rec.off, rec.size()}
	switch rec.kind {
	case kindMessage:
		seg.numbers = append(seg.numbers, rec.number)
		var meta messageMeta
		if err := json.Unmarshal(rec.meta, &meta); err != nil || len(meta.Rcpts) == 0 {
			ld.log.report("the envelope of a message cannot be read", "message", formatID(rec.number), "segment", seg.name(), "offset", rec.off)
			seg.stuck = true
			return
		}
		env := meta.Envelope
		x.insert(&message{number: rec.number, at: at, env: &env, out: make([]recipient, len(env.Rcpts)), open: len(env.Rcpts)})
		if meta.Parts > 0 {
			ld.want[rec.number] = meta.Parts
		}
		for _, e := range ld.early[rec.number] {
			x.apply(rec.number, e.outcomes, e.rec)
		}
		delete(ld.early, rec.number)
		if dead := ld.dead[rec.number]; dead != nil {
			x.kill(rec.number, dead)
			delete(ld.dead, rec.number)
		}
	case kindPart:
		if len(rec.meta) != 4 {
			return
		}
		if ld.parts[rec.number] == nil {
			ld.parts[rec.number] = make(map[int]loadedPart)
		}
		ld.parts[rec.number][int(binary.LittleEndian.Uint32(rec.meta))] = loadedPart{at, int64(rec.bodyLen)}
	case kindOutcome:
		outcomes, err := parseOutcomes(rec.meta)
		if err != nil {
			ld.log.report("an outcome cannot be read", "message", formatID(rec.number), "segment", seg.name(), "offset", rec.off)
			seg.stuck = true
			return
		}
		r := &outcomeRecord{seg: seg, size: at.size}
		if !x.apply(rec.number, outcomes, r) && x.done[rec.number] == nil {
			ld.early[rec.number] = append(ld.early[rec.number], earlyOutcome{outcomes, r})
		}
	case kindDead:
		r := &outcomeRecord{seg: seg, size: at.size}
		if x.live[rec.number] == nil && x.done[rec.number] == nil {
			ld.dead[rec.number] = r
			return
		}
		x.kill(rec.number, r)
	}
}

// finish gives streamed messages their parts and says what was lost.
func (ld *loader) finish() {
	l := ld.log
	x := &l.index
	for number, n := range ld.want {
		m := x.live[number]
		if m == nil {
			continue
		}
		var size int64
		for i := range n {
			p, ok := ld.parts[number][i]
			if !ok {
				break
			}
			m.parts = append(m.parts, p.place)
			p.seg.live += p.size
			size += p.body
		}
		if len(m.parts) == n && size == m.env.Size {
			continue
		}
		// Not promised: the cut came between its parts and its flush. The
		// missing part has then left a hole, see scan.
		if m.at.off < ld.promised[m.at.seg.seq] {
			l.report("a part of a message is lost", "message", formatID(number), "from", m.env.From, "to", rcptList(m.env))
			m.at.seg.stuck = true
		}
		ld.forget(m)
	}
	for _, lost := range ld.lost {
		number := lost.head.number
		if lost.head.kind != kindMessage || x.live[number] != nil || x.done[number] != nil {
			continue
		}
		var meta messageMeta
		if json.Unmarshal(lost.meta, &meta) == nil && !ld.done(number, len(meta.Rcpts)) {
			l.report("a message is lost", "message", formatID(number), "from", meta.From, "to", rcptList(&meta.Envelope))
		}
	}
	x.keepDone = false
	for number, t := range x.done {
		x.recount(t)
		x.settle(number, t)
	}
}

// forget takes a message without a complete body out of the index.
func (ld *loader) forget(m *message) {
	m.at.seg.live -= m.at.size
	for _, p := range m.parts {
		p.seg.live -= p.size
	}
	for i := range m.out {
		if r := m.out[i].rec; r != nil {
			r.drop()
		}
	}
	delete(ld.log.index.live, m.number)
}

// done reports whether the outcomes of a message without a message record say
// that all of its n recipients are done.
func (ld *loader) done(number uint64, n int) bool {
	if ld.dead[number] != nil {
		return true
	}
	seen := make(map[int]bool)
	for _, e := range ld.early[number] {
		for _, o := range e.outcomes {
			if o.Done() {
				seen[o.Rcpt] = true
			}
		}
	}
	return n > 0 && len(seen) >= n
}
