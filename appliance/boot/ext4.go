package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNotExt4 means that there is no ext2, ext3 or ext4 superblock.
var ErrNotExt4 = errors.New("not an ext4 file system")

// Where the superblock is and what we read of it (Linux
// Documentation/filesystems/ext4/super.rst).
const (
	superblockOffset = 1024
	superblockSize   = 1024
	magicOffset      = 0x38
	ext4Magic        = 0xEF53
	labelOffset      = 0x78
	labelSize        = 16
)

// Ext4Label reads the label from the superblock of the file system on r. The
// error is ErrNotExt4, or that of r.
func Ext4Label(r io.ReaderAt) (string, error) {
	var sb [superblockSize]byte
	if n, err := r.ReadAt(sb[:], superblockOffset); err != nil && (n < len(sb) || !errors.Is(err, io.EOF)) {
		if errors.Is(err, io.EOF) {
			return "", ErrNotExt4
		}
		return "", err
	}
	if binary.LittleEndian.Uint16(sb[magicOffset:]) != ext4Magic {
		return "", ErrNotExt4
	}
	label := sb[labelOffset : labelOffset+labelSize]
	if end := bytes.IndexByte(label, 0); end >= 0 {
		label = label[:end]
	}
	return string(label), nil
}

// ext4LabelOf opens a device only for reading and never waits for a medium.
func ext4LabelOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	label, err := Ext4Label(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return label, nil
}
