package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

const (
	// scanWindow is how much of a segment a scan reads at once, unless a
	// record is longer. Behind a body of more than skipBody bytes that is not
	// read it is smallWindow: the next such body is probably not far.
	scanWindow  = 256 << 10
	smallWindow = 4 << 10
	skipBody    = 32 << 10
)

// scanned is one record that a scan has found and verified. The slices are
// valid until the scan goes on.
type scanned struct {
	header
	off  int64
	body []byte // nil in the trusted part of a segment
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
	// trusted is how much is known to have been flushed. Bodies that end there
	// cannot be torn; they are verified when somebody reads them, not here.
	trusted int64

	buf    []byte // bytes of the file from base on
	base   int64
	window int64
	// failed is the first error from the disk. What cannot be read is taken
	// for zeros, so that one bad block costs no more than its record.
	failed error
}

// bytesAt returns n bytes at off, or fewer at the end of the file.
func (s *scanner) bytesAt(off int64, n int) []byte {
	if off >= s.size {
		return nil
	}
	n = int(min(int64(n), s.size-off))
	if off < s.base || off+int64(n) > s.base+int64(len(s.buf)) {
		want := int(min(max(int64(n), s.window), s.size-off))
		if cap(s.buf) < want {
			s.buf = make([]byte, want)
		}
		s.buf = s.buf[:want]
		if err := readAround(s.f, s.buf, off); err != nil && s.failed == nil {
			s.failed = err
		}
		s.base = off
	}
	return s.buf[off-s.base:][:n]
}

// readAround fills b from a file. What the disk does not give, block by block,
// is zeros; the first such error is returned.
func readAround(f File, b []byte, off int64) error {
	got, err := f.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) && got == len(b) {
		return nil
	}
	clear(b)
	var first error
	for at := 0; at < len(b); {
		n := min(len(b)-at, int(blockSize-(off+int64(at))%blockSize))
		if got, err := f.ReadAt(b[at:at+n], off+int64(at)); err != nil && !(errors.Is(err, io.EOF) && got == n) {
			clear(b[at : at+n])
			if first == nil {
				first = err
			}
		}
		at += n
	}
	return first
}

// from returns what the buffer holds from off on, at least a header unless
// the file ends before.
func (s *scanner) from(off int64) []byte {
	end := s.base + int64(len(s.buf))
	if off >= s.base && off+headerSize <= end {
		return s.buf[off-s.base:]
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
func (s *scanner) headerAt(off int64) (header, bool) {
	return s.headerIn(s.bytesAt(off, headerSize), off)
}

// follows reports whether nothing was written between end, where a record ends,
// and the block in which the record with header h starts: its mark says how far
// the flush before it went. Otherwise records between them cannot be read.
func (h header) follows(end int64) bool { return int64(h.synced) <= end }

// next returns the offset of the first valid header at or after off; ok is
// false when there is none.
func (s *scanner) next(off int64) (at int64, ok bool) {
	var tag [8]byte
	binary.LittleEndian.PutUint64(tag[:], s.tag)
	off = roundUp(off, recordAlign)
	for off+headerSize <= s.size {
		b := s.from(off)
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
				return at, true
			}
		}
		// On to the first place of which the header was not seen whole.
		off += int64(len(b)-headerSize)/recordAlign*recordAlign + recordAlign
	}
	return 0, false
}

// record returns the record with header h at off; ok is false when its body
// or its meta data is damaged. The meta data is returned if it alone is right.
func (s *scanner) record(off int64, h header) (rec scanned, ok bool) {
	rec = scanned{header: h, off: off}
	if off+h.size() <= s.trusted && h.bodyLen > skipBody {
		s.window = smallWindow
		rec.meta = s.bytesAt(off+headerSize+int64(h.bodyLen), int(h.metaLen))
		if sum(rec.meta) != h.metaSum {
			rec.meta = nil
			return rec, false
		}
		return rec, true
	}
	s.window = scanWindow
	b := s.bytesAt(off, int(h.size()))
	rec.meta = b[headerSize+h.bodyLen:][:h.metaLen]
	if sum(rec.meta) != h.metaSum {
		rec.meta = nil
		return rec, false
	}
	if off+h.size() <= s.trusted {
		return rec, true
	}
	rec.body = b[headerSize:][:h.bodyLen]
	return rec, sum(rec.body) == h.bodySum
}

// run calls yield for each valid record in order. An error comes from yield;
// one of the disk is in s.failed.
func (s *scanner) run(yield func(scanned) error) (res scanResult, err error) {
	res.end = blockSize
	s.window = scanWindow
	off := int64(blockSize)
	var pending []badRange // behind the last valid record
	for {
		h, ok := s.headerAt(off)
		// After a flush the next record starts in a new block.
		if block := roundUp(off, blockSize); !ok && block != off {
			if next, found := s.headerAt(block); found && next.follows(off) {
				h, ok, off = next, true, block
			}
		}
		if !ok {
			at, found := s.next(off)
			if !found {
				break
			}
			pending = append(pending, badRange{from: off, to: at})
			off = at
			continue
		}
		rec, ok := s.record(off, h)
		res.synced = max(res.synced, int64(h.synced))
		if !ok {
			// Its length is not trusted: a shorter, newer record may hide
			// the start of the next.
			if res.junkTo = max(res.junkTo, off+h.size()); res.junkFrom == 0 {
				res.junkFrom = off
			}
			bad := badRange{from: off, to: off + h.size(), headerOK: true, head: h, meta: bytes.Clone(rec.meta)}
			at, found := s.next(off + recordAlign)
			if !found {
				pending = append(pending, bad)
				break
			}
			bad.to = min(bad.to, at)
			pending = append(pending, bad)
			if h, _ := s.headerAt(at); bad.to < at && (roundUp(bad.to, blockSize) != at || !h.follows(bad.to)) {
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
