package smtpc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Content is what a message is made of, as far as extensions are concerned.
type Content struct {
	EightBit   bool // a byte above 127 somewhere: needs 8BITMIME
	HeaderUTF8 bool // a byte above 127 in a header field: needs SMTPUTF8 (RFC 6532)
}

// Inspect reads a message, to its end if need be, and says what it is made of.
// It serves the two cases where the sender's word asks for more than the server
// offers: mail declared as 8BITMIME or SMTPUTF8 that is plain ASCII may go to a
// server that knows neither (RFC 6152, Section 3; RFC 6531, Section 3.2 speaks
// of messages that have such content). Addresses are looked at by [Conn.Send].
//
// Header fields of the parts of a multipart and of attached messages count as
// header fields. Where the structure cannot be read with certainty, a line that
// may open a header is taken for one: HeaderUTF8 may be set for a text that
// only looks like a field, and is never left out.
func Inspect(r io.Reader) (Content, error) {
	var c Content
	in := inspection{header: true}
	br := bufio.NewReaderSize(r, 16<<10)
	for {
		piece, err := br.ReadSlice('\n')
		if len(piece) > 0 {
			in.line(&c, piece, err == nil)
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF:
			return c, nil
		default:
			return c, err
		}
		if c.HeaderUTF8 && c.EightBit {
			return c, nil
		}
	}
}

// inspection is the state between two pieces of a message.
type inspection struct {
	header  bool // in a header, or in what may be one
	message bool // the header speaks of a message inside: another header follows it
	inLine  bool // the piece goes on with a line
	// boundaries open the header of a part (RFC 2046, Section 5.1.1); with loose
	// set, because one could not be read, any line that may be one does.
	boundaries [][]byte
	loose      bool
}

// maxBoundaries is how many boundaries are remembered.
const maxBoundaries = 50

// line looks at a line, or at a piece of a long one; whole says that it ends
// with its line.
func (in *inspection) line(c *Content, piece []byte, whole bool) {
	if !in.inLine {
		switch text := bytes.TrimRight(piece, " \t\r\n"); {
		case in.opens(text):
			in.header, in.message = true, false
		case len(bytes.TrimRight(piece, "\r\n")) == 0 && in.header:
			// The blank line ends a header; after that of an attached message
			// comes the message's own.
			in.header, in.message = in.message, false
		}
	}
	eight := !ascii(piece)
	if in.header {
		in.field(piece, whole)
		c.HeaderUTF8 = c.HeaderUTF8 || eight
	}
	c.EightBit = c.EightBit || eight
	in.inLine = !whole
}

// opens reports whether a line is the boundary before a part.
func (in *inspection) opens(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("--"))
	if !ok || len(rest) == 0 { // "-- " is a signature
		return false
	}
	for _, b := range in.boundaries {
		if bytes.HasPrefix(rest, b) {
			return true
		}
	}
	return in.loose
}

// field looks for what a line of a header says about headers to come.
func (in *inspection) field(piece []byte, whole bool) {
	low := bytes.ToLower(piece)
	// The words may be cut in two where a line is too long for one piece.
	in.message = in.message || !whole || bytes.Contains(low, []byte("message/"))
	in.loose = in.loose || !whole
	at := bytes.Index(low, []byte("boundary"))
	if at < 0 {
		return
	}
	b := boundary(piece[at+len("boundary"):])
	if b == nil || len(in.boundaries) == maxBoundaries {
		in.loose = true
		return
	}
	in.boundaries = append(in.boundaries, b)
}

// boundary reads ="value" or =value, nil where it is written in another way.
func boundary(rest []byte) []byte {
	rest, ok := bytes.CutPrefix(rest, []byte("="))
	if !ok {
		return nil
	}
	rest = bytes.TrimRight(rest, " \t\r\n")
	if quoted, ok := bytes.CutPrefix(rest, []byte{'"'}); ok {
		value, _, closed := bytes.Cut(quoted, []byte{'"'})
		if !closed || len(value) == 0 || bytes.IndexByte(value, '\\') >= 0 {
			return nil
		}
		return bytes.Clone(value)
	}
	if i := bytes.IndexAny(rest, "; \t("); i >= 0 {
		rest = rest[:i]
	}
	if len(rest) == 0 {
		return nil
	}
	return bytes.Clone(rest)
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
