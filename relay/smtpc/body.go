package smtpc

import (
	"bytes"
	"errors"
	"io"
)

// dotWriter writes a body for DATA (RFC 5321, Section 4.5.2): it doubles a dot
// at the beginning of a line and passes every other byte unchanged. Lines must
// end in CRLF; a bare CR or LF is an error and is not written.
type dotWriter struct {
	w      io.Writer
	cr     bool // the last byte was a CR
	inLine bool // the last byte was not the end of a line
}

// errWrite marks an error of the writer below, to tell it from one of the body.
type errWrite struct{ err error }

func (e errWrite) Error() string { return e.err.Error() }

func (d *dotWriter) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := d.w.Write(p); err != nil {
		return errWrite{err}
	}
	return nil
}

// Write implements io.Writer.
func (d *dotWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if d.cr && p[0] != '\n' {
			return 0, ErrBareCR
		}
		if !d.inLine && p[0] == '.' {
			if err := d.put([]byte{'.'}); err != nil {
				return 0, err
			}
		}
		line := p
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			line = p[:i+1]
		}
		if err := d.checkLine(line, i >= 0); err != nil {
			return 0, err
		}
		if err := d.put(line); err != nil {
			return 0, err
		}
		d.cr = line[len(line)-1] == '\r'
		d.inLine = i < 0
		p = p[len(line):]
	}
	return total, nil
}

// checkLine looks for bare line ends in line, which ends in LF when whole is
// true and goes on in the next Write otherwise.
func (d *dotWriter) checkLine(line []byte, whole bool) error {
	text := line
	if whole {
		text = line[:len(line)-1]
		switch n := len(text); {
		case n > 0 && text[n-1] == '\r':
			text = text[:n-1]
		case n == 0 && d.cr:
		default:
			return ErrBareLF
		}
	} else if text[len(text)-1] == '\r' {
		text = text[:len(text)-1]
	}
	if bytes.IndexByte(text, '\r') >= 0 {
		return ErrBareCR
	}
	return nil
}

// end writes the end of the data. A body that does not end in CRLF gets one,
// since the dot must stand on a line of its own.
func (d *dotWriter) end() error {
	if d.cr {
		return ErrBareCR
	}
	tail := ".\r\n"
	if d.inLine {
		tail = "\r\n.\r\n"
	}
	return d.put([]byte(tail))
}

// copyBody sends body and the end of the data through w, in pieces of the size
// of buf. The error is nil, an errWrite, or a *BodyError.
func copyBody(w io.Writer, body io.Reader, buf []byte) error {
	d := &dotWriter{w: w}
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := d.Write(buf[:n]); werr != nil {
				return bodyErr(werr)
			}
		}
		if err == io.EOF {
			return bodyErr(d.end())
		}
		if err != nil {
			return &BodyError{Err: err}
		}
	}
}

func bodyErr(err error) error {
	var w errWrite
	if err == nil || errors.As(err, &w) {
		return err
	}
	return &BodyError{Err: err}
}
