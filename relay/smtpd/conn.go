package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// conn is the armour around one accepted connection, below TLS.
//
// go-smtp has one deadline for a whole body and reads on after it has struck,
// so that the rest of the body becomes commands. conn therefore ignores the
// deadlines of the layers above, sets its own for each piece of input and
// output, and once a read has failed for whatever reason, every later read is
// the end of the stream.
//
// Output is collected until the next read, when the other side's answer is
// awaited: a pipelined group is answered in one packet.
//
// Read, Write and Close are called by the one goroutine that serves the
// connection; stop, kill, end and the transfer methods by any.
type conn struct {
	nc   net.Conn
	srv  *Server
	role Role
	peer netip.Addr
	born time.Time

	// Owned by the serving goroutine.
	out     []byte
	clear   bool // no TLS yet
	greeted bool
	mute    bool // the last words are said
	linger  bool // wait a moment at Close, so that the last words are not lost
	asked   time.Time

	mu        sync.Mutex
	ended     bool // every read is the end of the stream from now on
	lost      bool // the stream has ended; what is not complete never will be
	peeking   bool // reads take nothing from the network
	stopping  bool
	transfers int // messages being taken in
	closed    bool
}

// idle is the first failure of a read inside TLS. go-smtp says 421 to a
// time-out where it waits for a command; outside of TLS conn says it itself.
type idle struct{}

func (idle) Error() string   { return "time-out" }
func (idle) Timeout() bool   { return true }
func (idle) Temporary() bool { return false }

// nothingYet answers reads while peeking. It is temporary, so that TLS does not
// keep it.
type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

const maxHeld = 4 << 10 // bytes of output collected before they are sent

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.isPeeking() {
		return 0, nothingYet{}
	}
	if err := c.flush(c.srv.cfg.Limits.Write); err != nil {
		c.fail()
	}
	if !c.setReadDeadline() {
		return 0, c.over(nil)
	}
	n, err := c.nc.Read(p)
	if n > 0 {
		return n, nil
	}
	return 0, c.over(err)
}

// setReadDeadline limits the next read. It is false when there is none.
func (c *conn) setReadDeadline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	d := time.Now().Add(c.srv.cfg.Limits.Read)
	if last := c.born.Add(c.srv.cfg.Limits.Session); last.Before(d) {
		d = last
	}
	_ = c.nc.SetReadDeadline(d)
	return true
}

// over notes the end of the stream and chooses the error for the reader.
func (c *conn) over(err error) error {
	c.mu.Lock()
	again := c.lost
	c.ended, c.lost = true, true
	stopping := c.stopping
	c.mu.Unlock()
	if again {
		return io.EOF
	}
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	if !timeout && !stopping {
		return io.EOF // the client is gone, or we have had enough of it
	}
	if !c.clear {
		return idle{}
	}
	if stopping {
		c.lastWords(replyShutdown)
	} else {
		c.lastWords(replyTimeout)
	}
	return io.EOF
}

// lastWords sends r and drops everything that is written after it.
func (c *conn) lastWords(r Reply) {
	if c.mute {
		return
	}
	c.out = append(c.out, r.line()...)
	c.mute, c.linger = true, true
	_ = c.flush(time.Second)
}

// Fixed texts of go-smtp on which conn acts while the connection is in clear.
var (
	textStartTLS  = []byte("220 2.0.0 Ready to start TLS")
	textHandshake = []byte("550 5.0.0 Handshake error")
	// A malformed BDAT leaves its chunk in the stream, where it would be read as
	// commands.
	textBadBDAT = [][]byte{
		[]byte("501 5.5.4 Missing chunk size argument"), []byte("501 5.5.4 Too many arguments"),
		[]byte("501 5.5.4 Unknown BDAT argument"), []byte("501 5.5.4 Malformed size argument"),
	}
)

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.mute {
		return len(p), nil
	}
	if c.clear {
		if !c.greeted {
			c.greeted = true
			if r, ok := c.greeting(); !ok {
				c.end()
				c.lastWords(r)
				return len(p), nil
			}
		}
		for _, text := range textBadBDAT {
			if bytes.HasPrefix(p, text) {
				c.end()
			}
		}
		if bytes.HasPrefix(p, textStartTLS) {
			c.clear = false
		}
	} else if bytes.HasPrefix(p, textHandshake) {
		// RFC 3207, Section 4.1: a session whose handshake failed must not go on.
		// A TLS record never begins with this text.
		c.end()
		c.mute = true
		return len(p), nil
	}
	c.out = append(c.out, p...)
	if len(c.out) < maxHeld {
		return len(p), nil
	}
	if err := c.flush(c.srv.cfg.Limits.Write); err != nil {
		c.fail()
		return 0, err
	}
	return len(p), nil
}

// greeting decides whether the greeting may be said. A client that talks
// before it is one that does not listen (RFC 5321, Section 4.3.1).
func (c *conn) greeting() (Reply, bool) {
	if ready := c.srv.cfg.Ready; ready != nil {
		if err := ready(); err != nil {
			if r, bye := goodbye(err); bye {
				return r, false
			}
		}
	}
	var b [1]byte
	_ = c.nc.SetReadDeadline(time.Now().Add(max(c.srv.cfg.Limits.GreetDelay, 200*time.Microsecond)))
	if n, _ := c.nc.Read(b[:]); n > 0 {
		r := Reply{554, [3]int{5, 5, 1}, "You spoke before the greeting, closing the connection"}
		c.srv.refused(c.peer, r)
		return r, false
	}
	return Reply{}, true
}

// flush sends the collected output.
func (c *conn) flush(limit time.Duration) error {
	if len(c.out) == 0 {
		return nil
	}
	d := time.Now().Add(limit)
	if !c.asked.IsZero() && c.asked.Before(d) {
		d = c.asked
	}
	_ = c.nc.SetWriteDeadline(d)
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline implements net.Conn: the deadlines of conn are its own.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn: the deadlines of conn are its own.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn. It can only shorten the wait; TLS uses
// it so that its last record does not hold Close up.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.asked = t
	return nil
}
