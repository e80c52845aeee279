package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// frameReader reads QEMU's stream framing.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 128<<10), buf: make([]byte, maxFrame)}
}

// next returns the next frame, which is good until the next call. It returns
// io.EOF at the end between two frames.
func (f *frameReader) next() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(f.r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("wire: a frame of %d bytes; is this QEMU's stream framing?", n)
	}
	if _, err := io.ReadFull(f.r, f.buf[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return f.buf[:n], nil
}

// writeFrame writes one frame with its length in front, in a single write.
func writeFrame(w io.Writer, frame []byte) error {
	b := make([]byte, 4, 4+len(frame))
	binary.BigEndian.PutUint32(b, uint32(len(frame)))
	_, err := w.Write(append(b, frame...))
	return err
}
