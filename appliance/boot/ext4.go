package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
)

// Faults of a superblock.
var (
	// ErrNotExt4 means that there is no ext2, ext3 or ext4 superblock.
	ErrNotExt4 = errors.New("not an ext4 file system")
	// ErrSuperblock means that there is one and its checksum is wrong.
	ErrSuperblock = errors.New("the description of the file system is damaged")
)

// Where the superblock is and what we read of it (Linux
// Documentation/filesystems/ext4/super.rst).
const (
	superblockOffset = 1024
	superblockSize   = 1024
	atBlocksLow      = 0x04
	atBlockSize      = 0x18
	atMagic          = 0x38
	atGroup          = 0x5A
	atROFeatures     = 0x64
	atLabel          = 0x78
	labelSize        = 16
	atBlocksHigh     = 0x150
	atChecksum       = 0x3FC

	ext4Magic    = 0xEF53
	metadataCsum = 0x400 // of the features
	maxBlockLog  = 6     // 64 KiB
)

// castagnoli is the polynomial of the checksums of ext4.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// superblock is what the superblock says.
type superblock struct {
	label     string
	group     int   // 0 for the first, else that of a copy
	blockSize int64 // bytes
	blocks    int64
}

// bytes is the size of the file system.
func (s superblock) bytes() int64 { return s.blocks * s.blockSize }

// readSuperblock reads the superblock at offset. The error is ErrNotExt4,
// ErrSuperblock, or that of r.
func readSuperblock(r io.ReaderAt, offset int64) (superblock, error) {
	var b [superblockSize]byte
	if n, err := r.ReadAt(b[:], offset); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrNotExt4
		}
		return superblock{}, err
	}
	le := binary.LittleEndian
	if le.Uint16(b[atMagic:]) != ext4Magic {
		return superblock{}, ErrNotExt4
	}
	// ext4 leaves out the inversion at the end.
	if le.Uint32(b[atROFeatures:])&metadataCsum != 0 && le.Uint32(b[atChecksum:]) != ^crc32.Checksum(b[:atChecksum], castagnoli) {
		return superblock{}, ErrSuperblock
	}
	log := le.Uint32(b[atBlockSize:])
	blocks := uint64(le.Uint32(b[atBlocksHigh:]))<<32 | uint64(le.Uint32(b[atBlocksLow:]))
	if log > maxBlockLog || blocks > math.MaxInt64>>(10+maxBlockLog) {
		return superblock{}, ErrSuperblock
	}
	label := b[atLabel : atLabel+labelSize]
	if end := bytes.IndexByte(label, 0); end >= 0 {
		label = label[:end]
	}
	return superblock{
		label: string(label), group: int(le.Uint16(b[atGroup:])),
		blockSize: 1024 << log, blocks: int64(blocks),
	}, nil
}

// A data file system of ours has blocks of 4 KiB in groups of 128 MiB. The
// groups 1 and powers of 3, 5 and 7 begin with a copy of the superblock.
const (
	dataBlockSize = 4096
	groupBytes    = 32768 * dataBlockSize
)

// copyOffsets are the places of the copies on a device of size bytes.
func copyOffsets(size int64) []int64 {
	var list []int64
	add := func(group int64) {
		if at := group * groupBytes; at+superblockSize <= size {
			list = append(list, at)
		}
	}
	add(1)
	for _, base := range []int64{3, 5, 7} {
		for group := base; group <= size/groupBytes; group *= base {
			add(group)
		}
	}
	return list
}

// superblockCopy returns the block number of a copy of the superblock of a data
// file system that is whole, 0 when there is none.
func superblockCopy(r io.ReaderAt, size int64) int64 {
	for _, at := range copyOffsets(size) {
		sb, err := readSuperblock(r, at)
		if err == nil && sb.label == DataLabel && sb.group > 0 {
			return at / dataBlockSize
		}
	}
	return 0
}

// labelOf is the label of the file system on a device, "" when it has none
// that we can read.
func labelOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sb, err := readSuperblock(f, superblockOffset)
	return sb.label, err
}
