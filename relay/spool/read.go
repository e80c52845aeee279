package spool

import (
	"errors"
	"fmt"
	"io"
)

// Open returns the bytes of a live message, exactly as Append read them. Each
// record is verified before the first byte of it is given out; when it is not
// what was written, Open or a later Read fails with [ErrDamaged], and what was
// read so far must not be completed as a message. The caller closes the
// reader; until then the space of the message is not used again. The reader
// is for one goroutine.
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
	cur    []byte
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
	b := make([]byte, p.size)
	if _, err := p.seg.file.ReadAt(b, p.off); err != nil {
		return r.broken(p, err)
	}
	h, ok := parseHeader(b)
	if !ok || h.kind != r.kind || h.number != r.number || h.tag != p.seg.tag || h.size() != p.size {
		return r.broken(p, errors.New("another record"))
	}
	body := b[headerSize:][:h.bodyLen]
	if sum(body) != h.bodySum {
		return r.broken(p, errors.New("wrong checksum"))
	}
	r.cur, r.left = body, r.left[1:]
	return nil
}

func (r *bodyReader) broken(p place, err error) error {
	id := formatID(r.number)
	r.log.report("a message cannot be read back", "message", id, "segment", p.seg.name(), "offset", p.off, "error", err)
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

// Close lets the segments go. Further calls do nothing.
func (r *bodyReader) Close() error {
	for _, s := range r.pinned {
		r.log.unpin(s)
	}
	r.pinned, r.left, r.cur = nil, nil, nil
	if r.err == nil {
		r.err = errClosedReader
	}
	return nil
}

var errClosedReader = errors.New("spool: reader is closed")
