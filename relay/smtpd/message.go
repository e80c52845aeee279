package smtpd

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// message is the state of one message's transfer, by DATA or by BDAT.
type message struct {
	open    bool // between 354, or the first BDAT, and the end of the message
	done    bool // its last byte was read
	aborted bool // it was broken off by RSET or the like: nobody waits for an answer
	chunked bool // by BDAT
	left    uint64
	last    bool // the chunk is the last one

	// DATA: the last three bytes, and whether they make a dot that follows one with
	// a meaning.
	tail uint32
	bol  bool
	// DATA: the end stood behind CR CR LF, which is the end of a line to some and
	// not to others. The session must not go on behind it.
	odd bool

	began time.Time
	wait  time.Duration
	rate  int
	n     int64 // bytes so far
}

// beginMessage is called when go-smtp has said 354.
func (d *dialog) beginMessage() {
	d.msg.open, d.msg.bol = true, true
	d.msg.tail = crlf
	d.msg.began, d.msg.wait, d.msg.rate = time.Now(), d.wait(), d.bodyRate()
}

// limit is due, or the time at which the message has been too slow on the
// whole, if that is earlier: each piece may take its time, but not all of them.
func (m *message) limit(c *conn, due time.Time) time.Time {
	if !m.open {
		return due
	}
	if c.squeezed() { // since the message began, perhaps
		m.wait, m.rate = c.wait(), c.bodyRate()
	}
	slow := m.began.Add(m.wait + time.Duration(m.n)*time.Second/time.Duration(m.rate))
	if slow.Before(due) {
		return slow
	}
	return due
}

// fillMessage reads more of a message.
func (d *dialog) fillMessage() error {
	return d.fill(d.msg.limit(d.conn, time.Now().Add(d.wait())))
}

// errAborted ends the reading of a message that the client broke off.
var errAborted = errors.New("smtpd: the message was broken off")

// messageReader reads the message in transfer: io.EOF at its end, errAborted
// or errOver when it does not come to one.
type messageReader struct{ d *dialog }

// Read implements io.Reader.
func (r messageReader) Read(p []byte) (n int, err error) {
	m := &r.d.msg
	switch {
	case m.aborted:
		return 0, errAborted
	case r.d.mute:
		return 0, errOver
	case m.done:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case m.chunked:
		n, err = r.d.readChunk(p)
	default:
		n, err = r.d.readDots(p)
	}
	m.n += int64(n)
	return n, err
}

var crlfDot = []byte("\r\n.")

const (
	crlf = '\r'<<8 | '\n'
	odd  = '\r'<<16 | crlf
)

// readDots reads the text of DATA without its dots (RFC 5321, Section 4.5.2).
// It ends at CRLF . CRLF and at nothing else; whatever looks like an end with
// other line ends stays in the text, where Body refuses it.
func (d *dialog) readDots(p []byte) (n int, err error) {
	m := &d.msg
	for n < len(p) {
		win := d.in[d.r:d.w]
		if m.bol {
			if short := len(win) == 0 || len(win) < 3 && bytes.HasPrefix([]byte(".\r"), win); short {
				if n > 0 {
					return n, nil
				}
				if err := d.fillMessage(); err != nil {
					return 0, err
				}
				continue
			}
			if win[0] == '.' {
				if win[1] == '\r' && win[2] == '\n' {
					d.r += 3
					m.done, m.odd = true, m.tail == odd
					return n, io.EOF
				}
				d.r++
				win = win[1:]
			}
			m.bol = false
		}
		if len(win) == 0 {
			if n > 0 {
				return n, nil
			}
			if err := d.fillMessage(); err != nil {
				return 0, err
			}
			continue
		}
		take := win
		if m.tail&0xff == '\r' && win[0] == '\n' {
			take = win[:1] // the CRLF is in two pieces: the next line begins behind it
		} else if i := bytes.Index(win, crlfDot); i >= 0 {
			take = win[:i+2]
		}
		took := copy(p[n:], take)
		n += took
		d.r += took
		for _, c := range take[max(0, took-3):took] {
			m.tail = (m.tail<<8 | uint32(c)) & 0xffffff
		}
		m.bol = m.tail&0xffff == crlf
	}
	return n, nil
}

// drainMessage reads what is left of a message, so that no byte of it is taken
// for a command.
func (d *dialog) drainMessage() error {
	var junk [4 << 10]byte
	for !d.msg.done && !d.msg.aborted {
		if d.mute {
			return errOver
		}
		var err error
		var n int
		if d.msg.chunked {
			// The chunks before this one were answered; this one is the last.
			d.msg.last = true
			n, err = d.readChunk(junk[:])
		} else {
			n, err = d.readDots(junk[:])
		}
		d.msg.n += int64(n)
		if err != nil && err != io.EOF {
			return err
		}
	}
	d.msg.open = false
	return nil
}
