package image

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// compress writes data to w with zstd. The library's version, which go.mod
// pins, decides the bytes; the number of processors does not.
func compress(w io.Writer, data io.Reader, level zstd.EncoderLevel) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("image: zstd: %w", err)
	}
	_, err = io.Copy(z, data)
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("image: zstd: %w", err)
	}
	return nil
}
