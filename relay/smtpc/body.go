package smtpc

import (
	"bytes"
	"errors"
	"io"
)

// errWrite marks an error of the writer below, to tell it from one of the body.
type errWrite struct{ err error }

func (e errWrite) Error() string { return e.err.Error() }

// dotter prepares a body for DATA (RFC 5321, Section 4.5.2), piece by piece: it
// finds the dots that stand at the beginning of a line, which must be doubled,
// and refuses a bare CR or LF. It looks at line ends only, never at each byte.
type dotter struct {
	cr     bool  // the last byte was a CR
	inLine bool  // the last byte was not the end of a line
	dots   []int // of the piece: where a dot must be put in
}

// scan reads the next piece, which must not be empty, and fills dots.
func (d *dotter) scan(p []byte) error {
	d.dots = d.dots[:0]
	if d.cr && p[0] != '\n' {
		return ErrBareCR
	}
	if !d.inLine && p[0] == '.' {
		d.dots = append(d.dots, 0)
	}
	crs := 0 // that belong to a line end, or may
	next := 0
	for {
		i := bytes.IndexByte(p[next:], '\n')
		if i < 0 {
			break
		}
		at := next + i
		switch {
		case at > 0 && p[at-1] == '\r':
			crs++
		case at == 0 && d.cr:
		default:
			return ErrBareLF
		}
		if next = at + 1; next < len(p) && p[next] == '.' {
			d.dots = append(d.dots, next)
		}
	}
	d.inLine = next < len(p)
	if d.cr = p[len(p)-1] == '\r'; d.cr {
		crs++
	}
	if bytes.Count(p, []byte{'\r'}) != crs {
		return ErrBareCR
	}
	return nil
}

// tail is the end of the data. A body that does not end in CRLF gets one,
// since the dot must stand on a line of its own.
func (d *dotter) tail() (string, error) {
	switch {
	case d.cr:
		return "", ErrBareCR
	case d.inLine:
		return "\r\n.\r\n", nil
	}
	return ".\r\n", nil
}

// stuffed appends p to dst with the dots doubled that scan has found in it.
func (d *dotter) stuffed(dst, p []byte) []byte {
	done := 0
	for _, at := range d.dots {
		dst = append(dst, p[done:at]...)
		dst = append(dst, '.')
		done = at
	}
	return append(dst, p[done:]...)
}

// maxTail is the length of the longest tail.
const maxTail = len("\r\n.\r\n")

// copyBody sends body and the end of the data through w, in pieces of the size
// of buf, which must have room for more than maxTail bytes; the last piece and
// the end go in one write. The error is nil, an errWrite, or a *BodyError.
func copyBody(w io.Writer, body io.Reader, buf []byte) error {
	var d dotter
	var stuffed []byte
	piece := buf[:len(buf)-maxTail]
	for {
		n, err := fill(body, piece)
		if err != nil && err != io.EOF {
			return &BodyError{Err: err}
		}
		out := piece[:n]
		if n > 0 {
			if serr := d.scan(out); serr != nil {
				return &BodyError{Err: serr}
			}
			if len(d.dots) > 0 {
				if need := n + len(d.dots) + maxTail; cap(stuffed) < need {
					stuffed = make([]byte, 0, need)
				}
				stuffed = d.stuffed(stuffed[:0], out)
				out = stuffed
			}
		}
		if err == io.EOF {
			tail, terr := d.tail()
			if terr != nil {
				return &BodyError{Err: terr}
			}
			out = append(out, tail...)
		}
		if _, werr := w.Write(out); werr != nil {
			return errWrite{werr}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// fill reads until p is full or the reader ends; io.EOF comes with the last
// bytes.
func fill(r io.Reader, p []byte) (int, error) {
	n := 0
	for idle := 0; n < len(p); {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// isWrite reports whether copyBody failed because of the writer.
func isWrite(err error) bool {
	var w errWrite
	return errors.As(err, &w)
}
