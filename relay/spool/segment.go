package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	segmentMagic  = "GPSPOOL1"
	segmentSuffix = ".seg"
	spareSuffix   = ".spare"
	badSuffix     = ".bad"

	minSegment = 1 << 20
	maxSegment = 64 << 20
	// hardMaxSegment keeps every offset within 32 bits.
	hardMaxSegment = 1 << 30
)

// segment is one file of the log. The committer alone writes to the active
// segment; every field but the constant ones is guarded by Log.mu.
type segment struct {
	seq  uint64
	tag  uint64
	size int64 // of the file
	// floor, prevSeq and prevSynced are as in the header on disk.
	floor      uint64
	prevSeq    uint64
	prevSynced int64

	end    int64 // where the next record goes
	synced int64 // how much is durable
	dirty  bool  // something was written after the last flush
	// flushes counts those of records since this segment was begun.
	flushes int64
	live    int64 // bytes of records that are needed
	// numbers lists the messages whose message record is here, dead or not.
	numbers []uint64

	closed  bool // takes no more records
	failed  bool // a write or a flush failed: nothing beyond synced counts
	stuck   bool // something here cannot be copied; it is left alone
	damaged bool // something here cannot be read: copy the rest forward and free it
	drained bool // nothing live; waits for the last pin

	pins int // users of file
	file File
}

// limit is where records end: the last block is for the closing mark.
func (s *segment) limit() int64 { return s.size - blockSize }

// close writes, for a segment that takes no more records, a mark of what is
// durable in it to its last block. The header of the next segment says the same,
// but the next segment may be freed first. The mark counts once it is flushed.
func (s *segment) close() error {
	if s.end > s.limit() {
		return nil
	}
	rec := finishRecord(make([]byte, headerSize), kindMark, 0, nil)
	stamp(rec, s.tag, s.synced)
	if _, err := s.file.WriteAt(rec, s.limit()); err != nil {
		return err
	}
	return s.file.Sync()
}

// closing returns what close has written, if it has, and where records end.
func (s *segment) closing() (synced, limit int64) {
	b := make([]byte, headerSize)
	_ = readAround(s.file, b, s.limit()) // then there is none
	if h, ok := parseHeader(b); ok && h.kind == kindMark && h.tag == s.tag && int64(h.synced) <= s.limit() {
		return int64(h.synced), s.limit()
	}
	return 0, s.size
}

func (s *segment) name() string { return segmentName(s.seq) }

func segmentName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, segmentSuffix) }

func spareName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, spareSuffix) }

// parseName returns the number in the name of a segment or a spare.
func parseName(name, suffix string) (seq uint64, ok bool) {
	digits, found := strings.CutSuffix(name, suffix)
	if !found || len(digits) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 16, 64)
	return seq, err == nil
}

// putHeader returns the first block of the segment.
func (s *segment) putHeader() []byte {
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint64(b[8:], s.seq)
	le.PutUint64(b[16:], s.tag)
	le.PutUint64(b[24:], uint64(s.size))
	le.PutUint64(b[32:], s.floor)
	le.PutUint64(b[40:], s.prevSeq)
	le.PutUint64(b[48:], uint64(s.prevSynced))
	le.PutUint32(b[56:], sum(b[:56]))
	return b
}

var errNoHeader = errors.New("no valid segment header")

// readHeader fills in a segment from its first block. When the block is
// damaged but the first record is not, the tag is taken from there, and
// damaged is true.
func (s *segment) readHeader(f File) (damaged bool, err error) {
	b := make([]byte, blockSize+headerSize)
	unread := readAround(f, b, 0)
	le := binary.LittleEndian
	if bytes.HasPrefix(b, []byte(segmentMagic)) && le.Uint32(b[56:]) == sum(b[:56]) && le.Uint64(b[8:]) == s.seq {
		s.tag = le.Uint64(b[16:])
		s.floor = le.Uint64(b[32:])
		s.prevSeq = le.Uint64(b[40:])
		s.prevSynced = int64(le.Uint64(b[48:]))
		return false, nil
	}
	h, ok := parseHeader(b[blockSize:])
	if !ok {
		return true, errors.Join(errNoHeader, unread)
	}
	s.tag = h.tag
	return true, nil
}
