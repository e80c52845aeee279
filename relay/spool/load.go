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
	want  map[uint64]streamed
	// early holds outcomes whose message has not been seen.
	early map[uint64][]earlyOutcome
	// dead holds dead records whose message has not been seen.
	dead map[uint64]*outcomeRecord
	// lost are damaged records whose header is legible.
	lost []badRange
	// promised is, for each segment, how much of it was durable.
	promised map[uint64]int64
}

type loadedPart struct {
	place
	body int64
}

// streamed is what the record of a message says about its parts.
type streamed struct {
	parts    int
	size     int64
	from, to string
}

type earlyOutcome struct {
	marks   []mark
	version uint32
	rec     *outcomeRecord
}

// scan reads one segment into the index. What its closing mark or its successor
// says about it was durable: bodies in that part are not read. The last segment
// has neither and is read whole.
func (ld *loader) scan(seg *segment, last bool) error {
	l := ld.log
	closed, limit := seg.closing()
	ld.promised[seg.seq] = max(ld.promised[seg.seq], closed)
	sc := scanner{f: seg.file, size: limit, tag: seg.tag, trusted: ld.promised[seg.seq]}
	res, err := sc.run(func(rec scanned) error {
		l.lastNo = max(l.lastNo, rec.number)
		ld.add(seg, rec)
		return nil
	})
	if err != nil {
		return err
	}
	if sc.failed != nil {
		l.log.Error("spool: part of a segment cannot be read", "segment", seg.name(), "error", sc.failed)
	}
	promised := max(ld.promised[seg.seq], res.synced)
	ld.promised[seg.seq] = promised
	seg.end, seg.synced = res.end, promised
	for _, b := range res.bad {
		switch {
		case b.from >= promised:
			l.log.Info("spool: cut off what no flush had covered", "segment", seg.name(), "offset", b.from, "bytes", b.to-b.from)
			// Later marks would make a hole look like damage, so nothing
			// may follow it here.
			seg.failed = seg.failed || b.from < res.end
		case b.bodyOnly():
			// The message stays in the log, so that its sender can be told:
			// who opens it gets ErrDamaged.
			ld.add(seg, scanned{header: b.head, off: b.from, meta: b.meta})
		default:
			ld.quarantine(seg, b)
		}
	}
	if res.end < promised && !slices.ContainsFunc(res.bad, func(b badRange) bool { return b.to >= promised }) {
		ld.quarantine(seg, badRange{from: res.end, to: promised})
	}
	// Where nothing may follow, nothing need be wiped: what is valid there
	// stays as safe as it is.
	if last && res.junkTo > 0 && !seg.failed && !seg.damaged {
		// A torn record must not meet the records that will be written over
		// its beginning.
		return wipe(seg.file, res.junkFrom, min(res.junkTo, seg.size))
	}
	return nil
}

// bodyOnly reports whether a damaged record is right but for its body.
func (b badRange) bodyOnly() bool {
	return b.headerOK && b.meta != nil && b.to == b.from+b.head.size() &&
		(b.head.kind == kindMessage || b.head.kind == kindPart)
}

// quarantine sets a damaged part of a segment aside.
func (ld *loader) quarantine(seg *segment, b badRange) {
	if ld.log.quarantine(seg, b) && b.headerOK {
		ld.lost = append(ld.lost, b)
	}
}

// wipe overwrites a range with zeros.
func wipe(f File, from, to int64) error {
	zeros := make([]byte, min(64<<10, max(to-from, 0)))
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
	at := placeOf(seg, rec.off, rec.header)
	illegible := func() {
		ld.log.quarantine(seg, badRange{from: rec.off, to: at.end(), headerOK: true, head: rec.header})
	}
	switch rec.kind {
	case kindMessage:
		seg.numbers = append(seg.numbers, rec.number)
		var meta messageMeta
		if err := json.Unmarshal(rec.meta, &meta); err != nil || len(meta.Rcpts) == 0 || meta.Parts < 0 || meta.Parts > maxParts {
			illegible()
			return
		}
		n := len(meta.Rcpts)
		x.insert(&message{number: rec.number, at: at, out: make([]recipient, n), open: int32(n)})
		if meta.Parts > 0 {
			ld.want[rec.number] = streamed{meta.Parts, meta.Size, meta.From, rcptList(&meta.Envelope)}
		}
		for _, e := range ld.early[rec.number] {
			x.apply(rec.number, e.marks, e.version, e.rec)
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
		marks, err := parseMarks(rec.meta)
		if err != nil {
			illegible()
			return
		}
		r := &outcomeRecord{place: at}
		if !x.apply(rec.number, marks, rec.version, r) && x.done[rec.number] == nil {
			ld.early[rec.number] = append(ld.early[rec.number], earlyOutcome{marks, rec.version, r})
		}
	case kindDead:
		r := &outcomeRecord{place: at}
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
	for number, w := range ld.want {
		m := x.live[number]
		if m == nil {
			continue
		}
		m.parts = make([]place, w.parts)
		missing := false
		var size int64
		for i := range m.parts {
			p, ok := ld.parts[number][i]
			if !ok {
				missing = true
				continue
			}
			m.parts[i] = p.place
			p.seg.live += int64(p.size)
			size += p.body
		}
		if !missing && size == w.size {
			continue
		}
		// Not promised: the cut came between its parts and its flush. The
		// missing part has then left a hole, see scan.
		if int64(m.at.off) >= ld.promised[m.at.seg.seq] {
			ld.forget(m)
			continue
		}
		// It stays, as with a damaged body; its reader comes to the gap.
		if last := &m.parts[w.parts-1]; !missing {
			last.seg.live -= int64(last.size)
			*last = place{}
		}
		id := formatID(number)
		l.reportOnce(quarantineName(id), nil, "a part of a message is lost", "message", id, "from", w.from, "to", w.to)
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

// forget takes a message that was never promised out of the index.
func (ld *loader) forget(m *message) {
	m.at.seg.live -= int64(m.at.size)
	for _, p := range m.parts {
		if p.seg != nil {
			p.seg.live -= int64(p.size)
		}
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
		for _, o := range e.marks {
			if o.done {
				seen[o.rcpt] = true
			}
		}
	}
	return n > 0 && len(seen) >= n
}

// parseMarks reads what the index needs of the meta data of an outcome record.
func parseMarks(meta []byte) ([]mark, error) {
	var list []struct {
		Rcpt  int
		State string
	}
	if err := json.Unmarshal(meta, &list); err != nil {
		return nil, err
	}
	marks := make([]mark, len(list))
	for i, o := range list {
		marks[i] = mark{o.Rcpt, Outcome{State: o.State}.Done()}
	}
	return marks, nil
}
