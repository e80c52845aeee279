package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"gatepost/image/layout"
)

// head is what the first part of a data partition looks like.
type head int

const (
	headUsed  head = iota // there is something: never formatted unasked
	headEmpty             // nothing but zeros, and no copy of a superblock
	headBegun             // FormatData was cut off
)

// headBytes is how much must be zero in a partition that counts as empty.
const headBytes = 1 << 20

// begun is in the first sector, which ext4 does not use, while FormatData is at
// work. A partition that begins with it has lost its old content already.
var begun = []byte("Gatepost is formatting this partition. What was on it is gone.\n")

// headOf looks at the first part of the device.
func headOf(f *os.File) (head, error) {
	b := make([]byte, headBytes)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return headUsed, err
	}
	if bytes.HasPrefix(b, begun) {
		return headBegun, nil
	}
	for _, c := range b {
		if c != 0 {
			return headUsed, nil
		}
	}
	size, err := sizeOf(f)
	if err != nil {
		return headUsed, err
	}
	if superblockCopy(f, size) != 0 {
		return headUsed, nil
	}
	return headEmpty, nil
}

// Template reads the empty data file system that the image carries, as
// FormatData takes it.
func Template() ([]byte, error) {
	b, err := os.ReadFile(layout.DataTemplate)
	if err != nil {
		return nil, fmt.Errorf("template of the data disk: %w", err)
	}
	return b, nil
}

// FormatData makes an empty data file system of the device: everything that was
// on it, mail that waits, settings and history, can no longer be found (it is
// not overwritten, and somebody who has the disk may still dig some of it out).
// template is the file system of layout.DataSize bytes, compressed with zstd;
// the next OpenStorage makes it as large as the device.
//
// The device must be of ours and not be mounted: EBUSY otherwise. After a power
// cut in the middle the next OpenStorage begins again.
func FormatData(device string, template []byte) error {
	if err := formatData(device, template); err != nil {
		return fmt.Errorf("format %s: %w", device, err)
	}
	return nil
}

func formatData(device string, template []byte) error {
	first, length, err := checkTemplate(template)
	if err != nil {
		return err
	}
	// For a block device O_EXCL means: not while it is mounted.
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return err
	}
	if size < length {
		return fmt.Errorf("it has %d MB, at least %d are needed", size>>20, length>>20)
	}
	// From here on the old content is gone, whatever comes.
	mark := make([]byte, dataBlockSize)
	copy(mark, begun)
	if _, err := f.WriteAt(mark, 0); err != nil {
		return err
	}
	for _, at := range copyOffsets(size) {
		if _, err := f.WriteAt(make([]byte, superblockSize), at); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// The block with the superblock comes last.
	rest, err := openTemplate(template)
	if err != nil {
		return err
	}
	defer rest.Close()
	if _, err := io.CopyN(io.Discard, rest, dataBlockSize); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(io.NewOffsetWriter(f, dataBlockSize), onlyReader{rest}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := f.WriteAt(first, 0); err != nil {
		return err
	}
	return f.Sync()
}

// onlyReader keeps io.CopyBuffer from the reader's own way of copying, which
// writes in pieces of any size.
type onlyReader struct{ io.Reader }

func openTemplate(template []byte) (*zstd.Decoder, error) {
	return zstd.NewReader(bytes.NewReader(template), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
}

// checkTemplate unpacks the template once, and refuses what is not a data file
// system before anything is written. It returns the first block and the length.
func checkTemplate(template []byte) (first []byte, length int64, err error) {
	d, err := openTemplate(template)
	if err != nil {
		return nil, 0, fmt.Errorf("the template: %w", err)
	}
	defer d.Close()
	first = make([]byte, dataBlockSize)
	if _, err := io.ReadFull(d, first); err != nil {
		return nil, 0, fmt.Errorf("the template: %w", err)
	}
	length, err = io.Copy(io.Discard, io.LimitReader(d, layout.DataSize))
	if err != nil {
		return nil, 0, fmt.Errorf("the template: %w", err)
	}
	length += dataBlockSize
	sb, err := readSuperblock(bytes.NewReader(first), superblockOffset)
	if err != nil {
		return nil, 0, fmt.Errorf("the template: %w", err)
	}
	if sb.label != DataLabel || sb.bytes() != length || sb.blockSize != dataBlockSize {
		return nil, 0, errors.New("the template is not a data file system")
	}
	return first, length, nil
}
