package spool

import (
	"errors"
	"fmt"
	"io"
)

// Open returns the bytes of a live message, exactly as Append read them. Each
// record is verified before the first byte of it is given out; when it is not
// what was written, Open or a later Read fails with [ErrDamaged], and what was
// read so far must not be completed as a message: it will not get better, so
// tell the sender. The caller closes the reader; until then the space of the
// message is not used again. The reader is for one goroutine.
func (l *Log) Open(id ID) (io.ReadCloser, error) {
	number, ok := parseID(id)
	if !ok {
		return nil, ErrNotFound
	}
	r := &bodyReader{log: l, number: number}
	if err := r.pinAll(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	// The first record at once, so that damage shows before anything is said
	// to a peer.
	if err := r.load(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// bodyReader reads the records of one message.
type bodyReader struct {
	log    *Log
	number uint64
	left   []place // not yet read
	pinned []*segment
	kind   byte
	buf    []byte
	cur    []byte // of buf
	err    error
}

func (r *bodyReader) pinAll() error {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.index.live[r.number]
	if m == nil {
		return ErrNotFound
	}
	r.kind, r.left = kindPart, append(r.left, m.parts...)
	if len(m.parts) == 0 {
		r.kind, r.left = kindMessage, []place{m.at}
	}
	for _, p := range r.left {
		if p.seg == nil || len(r.pinned) > 0 && r.pinned[len(r.pinned)-1] == p.seg {
			continue
		}
		if err := l.pinLocked(p.seg); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		r.pinned = append(r.pinned, p.seg)
	}
	return nil
}

// load reads and verifies the next record.
func (r *bodyReader) load() error {
	p := r.left[0]
	if p.seg == nil {
		return r.broken(p, errors.New("it was lost"))
	}
	if cap(r.buf) < int(p.size) {
		r.buf = make([]byte, p.size)
	}
	b := r.buf[:p.size]
	if _, err := p.seg.file.ReadAt(b, int64(p.off)); err != nil {
		return r.broken(p, err)
	}
	h, err := p.header(b, r.kind, r.number)
	if err != nil {
		return r.broken(p, err)
	}
	body := b[headerSize:][:h.bodyLen]
	if sum(body) != h.bodySum {
		return r.broken(p, errChecksum)
	}
	r.cur, r.left = body, r.left[1:]
	return nil
}

var (
	errChecksum    = errors.New("wrong checksum")
	errOtherRecord = errors.New("another record")
)

// header reads the header at the start of b, which must be that of the record
// at p.
func (p place) header(b []byte, kind byte, number uint64) (header, error) {
	h, ok := parseHeader(b)
	if !ok || h.kind != kind || h.number != number || h.tag != p.seg.tag || h.size() != int64(p.size) {
		return h, errOtherRecord
	}
	return h, nil
}

// broken reports a message that cannot be read back, once, and keeps what there
// is of the record.
func (r *bodyReader) broken(p place, err error) error {
	id := formatID(r.number)
	l := r.log
	l.mu.Lock()
	known := l.told[r.number]
	l.told[r.number] = true
	l.mu.Unlock()
	if !known {
		where, fill := "", func(File) error { return nil }
		if p.seg != nil {
			where = p.seg.name()
			fill = func(f File) error { return copyOut(p.seg, int64(p.off), p.end(), f) }
		}
		l.reportOnce(quarantineName(id), fill, "a message cannot be read back", "message", id, "segment", where, "offset", p.off, "reason", err)
	}
	return fmt.Errorf("%w: message %s: %w", ErrDamaged, id, err)
}

func (r *bodyReader) Read(b []byte) (int, error) {
	for len(r.cur) == 0 {
		if r.err == nil && len(r.left) == 0 {
			r.err = io.EOF
		}
		if r.err == nil {
			r.err = r.load()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(b, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *bodyReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(r.cur) == 0 {
			if _, err := r.Read(nil); err != nil {
				if err == io.EOF {
					return n, nil
				}
				return n, err
			}
			continue
		}
		m, err := w.Write(r.cur)
		n += int64(m)
		r.cur = r.cur[m:]
		if err != nil {
			return n, err
		}
	}
}

// Close lets the segments go. Further calls do nothing.
func (r *bodyReader) Close() error {
	for _, s := range r.pinned {
		r.log.unpin(s)
	}
	r.pinned, r.left, r.cur, r.buf = nil, nil, nil, nil
	if r.err == nil {
		r.err = errClosedReader
	}
	return nil
}

var errClosedReader = errors.New("spool: reader is closed")
