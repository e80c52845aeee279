package smtpd

import (
	"bytes"
	"errors"
	"io"

	"github.com/emersion/go-smtp"
)

const (
	maxReceived = 100 // RFC 5321, Section 6.3
	longLine    = 998 // RFC 5322, Section 2.1.1
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
	lost func() bool // whether the connection has ended; nil when src knows by itself
	err  error       // why there is no more: io.EOF, a Reply, or an error of src

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
		if errors.Is(err, smtp.ErrTooLongLine) {
			return Reply{554, [3]int{5, 6, 0}, "A line of the message is longer than " + bytesText(maxLine)}
		}
		var r Reply
		if errors.As(err, &r) {
			return r
		}
		return replyLost
	case b.cr:
		return bare("CR without LF")
	case b.lost != nil && b.lost():
		// go-smtp takes a connection that ends inside of a BDAT chunk for the end of
		// the chunk: the message is not whole.
		return replyLost
	}
	return io.EOF
}

func bare(what string) Reply {
	return Reply{550, [3]int{5, 5, 2}, "The message holds a " + what + "; lines must end in CR LF (RFC 5321, Section 2.3.8)"}
}

// scan looks at a piece of the message, line by line.
func (b *Body) scan(p []byte) error {
	if bytes.IndexByte(p, 0) >= 0 {
		return Reply{550, [3]int{5, 5, 2}, "The message holds a NUL byte, which mail may not (RFC 5322, Section 4)"}
	}
	b.EightBit = b.EightBit || !ascii(p)
	for len(p) > 0 {
		if b.cr && p[0] != '\n' {
			return bare("CR without LF")
		}
		i := bytes.IndexByte(p, '\n')
		piece := p
		if i >= 0 {
			piece = p[:i+1]
		}
		if err := b.piece(piece, i >= 0); err != nil {
			return err
		}
		p = p[len(piece):]
	}
	return nil
}

// piece takes a part of one line; last says that it ends in LF.
func (b *Body) piece(p []byte, last bool) error {
	text := p
	if last {
		text = p[:len(p)-1]
	}
	cr := b.cr
	if n := len(text); n > 0 {
		if cr = text[n-1] == '\r'; cr {
			text = text[:n-1]
		}
	}
	if bytes.IndexByte(text, '\r') >= 0 {
		return bare("CR without LF")
	}
	if last && !cr {
		return bare("LF without CR")
	}
	if b.line < len(b.start) {
		copy(b.start[b.line:], text)
	}
	b.line += len(text)
	b.cr = cr && !last
	if !last {
		return nil
	}
	return b.lineDone()
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

func ascii(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
