package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

// A File is what an archive says of one of its files that is no folder and no
// device; a link counts as one.
type File struct {
	Name       string // without a leading slash
	Size       int64  // bytes
	Executable bool   // by anybody
	Head       []byte // its first bytes, at most headSize
}

const headSize = 16

// maxArchive bounds an archive that is read, in bytes before compression.
const maxArchive = 512 << 20

// List reads a compressed archive and names its files in its order.
func List(compressed []byte) ([]File, error) {
	z, err := zstd.NewReader(bytes.NewReader(compressed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	defer z.Close()
	raw, err := io.ReadAll(io.LimitReader(z, maxArchive))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var files []File
	for r := cpio.Newc.Reader(bytes.NewReader(raw)); ; {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) || err == nil && rec.Name == cpio.Trailer {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		kind := rec.Mode & cpio.S_IFMT
		if kind != cpio.S_IFREG && kind != cpio.S_IFLNK {
			continue
		}
		head := make([]byte, min(headSize, rec.FileSize))
		if _, err := rec.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("initramfs: %s: %w", rec.Name, err)
		}
		files = append(files, File{Name: rec.Name, Size: int64(rec.FileSize), Executable: rec.Mode&0o111 != 0, Head: head})
	}
}
