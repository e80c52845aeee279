package smtpd

import (
	"bytes"
	"encoding/binary"
	"io"
)

const (
	maxReceived = 100 // RFC 5321, Section 6.3
	longLine    = 998 // RFC 5322, Section 2.1.1
	maxLine     = 64 << 10
)

// Body is the message that Accept reads: our Received field, then the message
// byte for byte. It is for one goroutine. Its figures are final once Read has
// returned io.EOF.
type Body struct {
	// Size counts the bytes of the message without our Received field.
	Size int64
	// EightBit says that the message has bytes above 127.
	EightBit bool
	// LongLines counts lines of more than 998 bytes (RFC 5322, Section 2.1.1).
	LongLines int

	head []byte // what is left of our Received field
	src  io.Reader
	max  int64
	err  error // why there is no more: io.EOF, a Reply, or an error of src

	line     int  // bytes in the current line
	cr       bool // the last byte was a CR
	inBody   bool // the header is over
	received int
	start    [9]byte // the first bytes of the current line
}

// Read implements io.Reader. An error that is not io.EOF stays; the message
// must then be dropped.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	n, err := b.src.Read(p)
	b.Size += int64(n)
	if b.Size > b.max {
		b.err = tooBig(b.max)
		return 0, b.err
	}
	if b.err = b.scan(p[:n]); b.err != nil {
		return 0, b.err
	}
	if err != nil {
		b.err = b.ending(err)
	}
	return n, b.err
}

// ending judges the end of src.
func (b *Body) ending(err error) error {
	switch {
	case err != io.EOF:
		return replyLost // the client went away, was too slow, or broke the message off
	case b.cr:
		return bare("CR without LF")
	}
	return io.EOF
}

func bare(what string) Reply {
	return Reply{550, [3]int{5, 5, 2}, "The message holds a " + what + "; lines must end in CR LF (RFC 5321, Section 2.3.8)"}
}

// scan looks at a piece of the message. Each LF must follow a CR, and there
// must be no more CRs than that makes, but for one at the very end: so only the
// LFs are looked at one by one.
func (b *Body) scan(p []byte) error {
	switch {
	case len(p) == 0:
		return nil
	case bytes.IndexByte(p, 0) >= 0:
		return Reply{550, [3]int{5, 5, 2}, "The message holds a NUL byte, which mail may not (RFC 5322, Section 4)"}
	case b.cr && p[0] != '\n':
		return bare("CR without LF")
	}
	b.EightBit = b.EightBit || !ascii(p)
	crs := bytes.Count(p, []byte{'\r'})
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			if b.cr = rest[len(rest)-1] == '\r'; b.cr {
				crs--
				rest = rest[:len(rest)-1]
			}
			if err := b.text(rest); err != nil {
				return err
			}
			break
		}
		switch {
		case i > 0 && rest[i-1] == '\r':
			crs--
		case i > 0 || !b.cr:
			return bare("LF without CR")
		}
		if err := b.text(rest[:max(0, i-1)]); err != nil {
			return err
		}
		if err := b.lineDone(); err != nil {
			return err
		}
		b.cr = false
		rest = rest[i+1:]
	}
	if crs != 0 {
		return bare("CR without LF")
	}
	return nil
}

// text takes a part of one line, without its line end.
func (b *Body) text(p []byte) error {
	if !b.inBody && b.line < len(b.start) {
		copy(b.start[b.line:], p)
	}
	if b.line += len(p); b.line > maxLine {
		return Reply{554, [3]int{5, 6, 0}, "A line of the message is longer than " + bytesText(maxLine)}
	}
	return nil
}

// lineDone counts a whole line.
func (b *Body) lineDone() error {
	length := b.line
	b.line = 0
	if length > longLine {
		b.LongLines++
	}
	if b.inBody {
		return nil
	}
	if length == 0 {
		b.inBody = true
		return nil
	}
	if length >= len(b.start) && bytes.EqualFold(b.start[:], []byte("Received:")) {
		b.received++
		if b.received > maxReceived {
			return Reply{554, [3]int{5, 4, 6}, "The message has passed too many servers, this looks like a loop"}
		}
	}
	return nil
}

// ascii reports whether p has no byte above 127. It looks at eight at a time.
func ascii(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
