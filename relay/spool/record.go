package spool

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	recordMagic = "GPR1"
	headerSize  = 48
	recordAlign = 8
	blockSize   = 4096

	// Lengths beyond these are refused by Append and Record and taken for
	// damage by the scan.
	maxBody = 1 << 20
	maxMeta = 2 << 20
	// maxVersion is the highest version that a header can hold.
	maxVersion = 1<<24 - 1
)

// The kinds of records.
const (
	kindMessage = 1
	kindOutcome = 2
	kindPart    = 3
	kindDead    = 4
	kindMark    = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// header is the fixed part of a record.
type header struct {
	kind byte
	// version orders the outcome records of one message; 0 in other kinds.
	version uint32
	tag     uint64
	number  uint64
	synced  uint32
	bodyLen uint32
	metaLen uint32
	bodySum uint32
	metaSum uint32
}

// size is the length of the whole record in bytes, padding included.
func (h header) size() int64 {
	return roundUp(headerSize+int64(h.bodyLen)+int64(h.metaLen), recordAlign)
}

// put writes the header to b[:headerSize].
func (h header) put(b []byte) {
	le := binary.LittleEndian
	copy(b, recordMagic)
	le.PutUint32(b[4:], uint32(h.kind)|h.version<<8)
	le.PutUint64(b[8:], h.tag)
	le.PutUint64(b[16:], h.number)
	le.PutUint32(b[24:], h.synced)
	le.PutUint32(b[28:], h.bodyLen)
	le.PutUint32(b[32:], h.metaLen)
	le.PutUint32(b[36:], h.bodySum)
	le.PutUint32(b[40:], h.metaSum)
	le.PutUint32(b[44:], sum(b[:44]))
}

// parseHeader reads a header from the start of b; ok is false when there is
// none.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:4]) != recordMagic {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(b[44:]) != sum(b[:44]) {
		return h, false
	}
	h = header{
		kind:    b[4],
		version: le.Uint32(b[4:]) >> 8,
		tag:     le.Uint64(b[8:]),
		number:  le.Uint64(b[16:]),
		synced:  le.Uint32(b[24:]),
		bodyLen: le.Uint32(b[28:]),
		metaLen: le.Uint32(b[32:]),
		bodySum: le.Uint32(b[36:]),
		metaSum: le.Uint32(b[40:]),
	}
	return h, h.kind >= kindMessage && h.kind <= kindMark &&
		h.bodyLen <= maxBody && h.metaLen <= maxMeta && h.number <= maxNumber
}

// finishRecord turns buf, which holds headerSize free bytes followed by the
// body, into a record without tag, version and synced mark: meta is appended,
// then the padding. The committer fills in the rest.
func finishRecord(buf []byte, kind byte, number uint64, meta []byte) []byte {
	body := buf[headerSize:]
	h := header{
		kind:    kind,
		number:  number,
		bodyLen: uint32(len(body)),
		metaLen: uint32(len(meta)),
		bodySum: sum(body),
		metaSum: sum(meta),
	}
	buf = append(buf, meta...)
	for len(buf)%recordAlign != 0 {
		buf = append(buf, 0)
	}
	h.put(buf)
	return buf
}

// setVersion gives a finished record a version.
func setVersion(rec []byte, version uint32) {
	binary.LittleEndian.PutUint32(rec[4:], uint32(rec[4])|version<<8)
}

// stamp completes the header of a finished record, which may be one that was
// read from another segment. The checksums of body and meta data stay what they
// were: a copy is as right, or as wrong, as what was copied.
func stamp(rec []byte, tag uint64, synced int64) {
	le := binary.LittleEndian
	le.PutUint64(rec[8:], tag)
	le.PutUint32(rec[24:], uint32(synced))
	le.PutUint32(rec[44:], sum(rec[:44]))
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
