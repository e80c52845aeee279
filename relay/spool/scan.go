package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// scanWindow is how much of a segment a scan holds in memory, unless a record
// is longer.
const scanWindow = 1 << 20

// scanned is one record that a scan has found and verified. The slices are
// valid until the scan goes on.
type scanned struct {
	header
	off  int64
	body []byte
	meta []byte
}

// badRange is a part of a segment, from and to in bytes, between or behind
// valid records. If headerOK, the record that started there was legible enough
// to say whose it was.
type badRange struct {
	from, to int64
	headerOK bool
	head     header
	meta     []byte // of head, when its checksum is right
}

// scanResult says what a scan saw.
type scanResult struct {
	end    int64 // end of the last valid record
	synced int64 // the highest mark of durable bytes in any record
	// bad are the unreadable parts. Those above end were followed by nothing
	// valid.
	bad []badRange
	// junkFrom and junkTo enclose the records above end that have a valid
	// header and damaged contents; both are zero if there are none.
	junkFrom, junkTo int64
}

// scanner reads the records of one segment in order.
type scanner struct {
	f    File
	size int64
	tag  uint64

	buf  []byte // bytes of the file from base on
	base int64
}

// bytesAt returns n bytes at off, or fewer at the end of the file.
func (s *scanner) bytesAt(off int64, n int) ([]byte, error) {
	if off >= s.size {
		return nil, nil
	}
	n = int(min(int64(n), s.size-off))
	if off < s.base || off+int64(n) > s.base+int64(len(s.buf)) {
		want := int(min(int64(max(n, scanWindow)), s.size-off))
		if cap(s.buf) < want {
			s.buf = make([]byte, want)
		}
		s.buf = s.buf[:want]
		got, err := s.f.ReadAt(s.buf, off)
		if err != nil && !(errors.Is(err, io.EOF) && got == want) {
			s.buf = s.buf[:0]
			return nil, err
		}
		s.base = off
	}
	return s.buf[off-s.base:][:n], nil
}

// window returns what the buffer holds from off on, at least a header unless
// the file ends before.
func (s *scanner) window(off int64) ([]byte, error) {
	end := s.base + int64(len(s.buf))
	if off >= s.base && off+headerSize <= end {
		return s.buf[off-s.base:], nil
	}
	return s.bytesAt(off, scanWindow)
}

// headerIn returns the header at the start of b, which is what the file holds
// at off, if it is one of this segment and its record lies within the file.
func (s *scanner) headerIn(b []byte, off int64) (header, bool) {
	h, ok := parseHeader(b)
	return h, ok && h.tag == s.tag && off+h.size() <= s.size
}

// headerAt is headerIn for any place of the file.
func (s *scanner) headerAt(off int64) (header, bool, error) {
	b, err := s.bytesAt(off, headerSize)
	if err != nil {
		return header{}, false, err
	}
	h, ok := s.headerIn(b, off)
	return h, ok, nil
}

// next returns the offset of the first valid header at or after off; ok is
// false when there is none.
func (s *scanner) next(off int64) (at int64, ok bool, err error) {
	var tag [8]byte
	binary.LittleEndian.PutUint64(tag[:], s.tag)
	off = roundUp(off, recordAlign)
	for off+headerSize <= s.size {
		b, err := s.window(off)
		if err != nil {
			return 0, false, err
		}
		// The tag is the rarest part of a header, at its byte 8.
		for pos := 8; pos < len(b); pos++ {
			i := bytes.Index(b[pos:], tag[:])
			if i < 0 {
				break
			}
			pos += i
			if (pos-8)%recordAlign != 0 {
				continue
			}
			at := off + int64(pos) - 8
			if _, ok := s.headerIn(b[pos-8:], at); ok {
				return at, true, nil
			}
		}
		// On to the first place of which the header was not seen whole.
		off += int64(len(b)-headerSize)/recordAlign*recordAlign + recordAlign
	}
	return 0, false, nil
}

// record returns the record with header h at off; ok is false when its body
// or its meta data is damaged. The meta data is returned if it alone is right.
func (s *scanner) record(off int64, h header) (rec scanned, ok bool, err error) {
	b, err := s.bytesAt(off, int(h.size()))
	if err != nil {
		return rec, false, err
	}
	body := b[headerSize:][:h.bodyLen]
	meta := b[headerSize+h.bodyLen:][:h.metaLen]
	if sum(meta) != h.metaSum {
		return scanned{header: h, off: off}, false, nil
	}
	return scanned{header: h, off: off, body: body, meta: meta}, sum(body) == h.bodySum, nil
}

// run calls yield for each valid record in order. An error comes from yield or
// from reading the file.
func (s *scanner) run(yield func(scanned) error) (res scanResult, err error) {
	res.end = blockSize
	off := int64(blockSize)
	var pending []badRange // behind the last valid record
	for {
		h, ok, err := s.headerAt(off)
		if err != nil {
			return res, fmt.Errorf("offset %d: %w", off, err)
		}
		// After a flush the next record starts in a new block.
		if block := roundUp(off, blockSize); !ok && block != off {
			if h, ok, err = s.headerAt(block); err != nil {
				return res, fmt.Errorf("offset %d: %w", block, err)
			}
			if ok {
				off = block
			}
		}
		if !ok {
			at, found, err := s.next(off)
			if err != nil {
				return res, fmt.Errorf("offset %d: %w", off, err)
			}
			if !found {
				break
			}
			pending = append(pending, badRange{from: off, to: at})
			off = at
			continue
		}
		rec, ok, err := s.record(off, h)
		if err != nil {
			return res, fmt.Errorf("offset %d: %w", off, err)
		}
		res.synced = max(res.synced, int64(h.synced))
		if !ok {
			// Its length is not trusted: a shorter, newer record may hide
			// the start of the next.
			if res.junkTo = max(res.junkTo, off+h.size()); res.junkFrom == 0 {
				res.junkFrom = off
			}
			bad := badRange{from: off, to: off + h.size(), headerOK: true, head: h, meta: bytes.Clone(rec.meta)}
			at, found, err := s.next(off + recordAlign)
			if err != nil {
				return res, fmt.Errorf("offset %d: %w", off, err)
			}
			if !found {
				pending = append(pending, bad)
				break
			}
			bad.to = min(bad.to, at)
			pending = append(pending, bad)
			if bad.to < at && roundUp(bad.to, blockSize) != at {
				pending = append(pending, badRange{from: bad.to, to: at})
			}
			off = at
			continue
		}
		if err := yield(rec); err != nil {
			return res, err
		}
		res.bad = append(res.bad, pending...)
		pending, res.junkFrom, res.junkTo = nil, 0, 0
		off += h.size()
		res.end = off
	}
	res.bad = append(res.bad, pending...)
	return res, nil
}
