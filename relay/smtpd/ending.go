package smtpd

import (
	"errors"
	"io"
	"os"
	"time"
)

// end makes every later read the end of the stream.
func (c *conn) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
}

// stop ends the session as soon as no message is in transfer.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.transfers == 0 {
		c.ended = true
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// kill ends everything at once.
func (c *conn) kill() {
	c.end()
	_ = c.nc.Close()
}

// beginTransfer notes that a message is being taken in. It is false when the
// session is ending; endTransfer must be called only when it is true.
func (c *conn) beginTransfer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.transfers++
	return true
}

func (c *conn) endTransfer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transfers--
	if c.stopping {
		c.ended = true
	}
}

// isEnding reports whether no new transaction should begin.
func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended || c.stopping
}

func (c *conn) hasEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// errOver is the end of the dialog. What had to be said about it has been said.
var errOver = errors.New("smtpd: the dialog is over")

// over ends the dialog after a read failed with err, nil when there was to be
// no read any more, and says why where somebody is still there to hear it.
func (d *dialog) over(err error) error {
	d.mu.Lock()
	d.ended = true
	stopping := d.stopping
	d.mu.Unlock()
	switch {
	case stopping:
		d.lastWords(replyShutdown)
	case errors.Is(err, os.ErrDeadlineExceeded):
		d.lastWords(replyTimeout)
	}
	d.mute = true
	return errOver
}

// lastWords sends r and ends the session: nothing is heard or said after it
// (RFC 5321, Section 3.8).
func (d *dialog) lastWords(r Reply) {
	d.end()
	if d.mute {
		return
	}
	d.out = append(d.out, r.line()...)
	d.mute, d.linger = true, true
	_ = d.flush(time.Second)
}

// Close implements net.Conn.
func (d *dialog) Close() error {
	d.mu.Lock()
	again := d.closed
	d.closed, d.ended = true, true
	d.mu.Unlock()
	if again {
		return nil
	}
	_ = d.flush(2 * time.Second)
	d.patience = time.Second
	if d.tls != nil {
		_ = d.tls.CloseWrite()
	}
	if d.linger {
		d.drain()
	}
	err := d.nc.Close()
	d.mute = true
	d.srv.giveBack(d)
	d.srv.release(d.conn)
	return err
}

// drain reads a little of what the client still sends, since closing a socket
// with unread input throws away output that is under way.
func (c *conn) drain() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.CopyN(io.Discard, c.nc, 64<<10)
}
