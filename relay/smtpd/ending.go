package smtpd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// end makes every later read the end of the stream.
func (c *conn) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
}

// fail notes that the connection is of no use any more.
func (c *conn) fail() {
	c.mu.Lock()
	c.ended, c.lost = true, true
	c.mu.Unlock()
	c.mute = true
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
	c.mu.Lock()
	c.ended, c.lost = true, true
	c.mu.Unlock()
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

func (c *conn) isPeeking() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peeking
}

func (c *conn) peek(on bool) {
	c.mu.Lock()
	c.peeking = on
	c.mu.Unlock()
}

// hasEnded reports whether the stream that top reads from c has ended; top is c
// or the TLS connection above it. It must be called only while the serving
// goroutine waits for something else.
func (c *conn) hasEnded(top net.Conn) bool {
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	tc, ok := top.(*tls.Conn)
	if lost || !ok {
		return lost
	}
	// Inside TLS the client can end the stream without ending the connection
	// below. Reading is the only way to see it.
	c.peek(true)
	defer c.peek(false)
	var b [1]byte
	n, err := tc.Read(b[:])
	if n > 0 {
		// The stream goes on with a pipelined command that has now lost its first
		// byte. No command can be trusted after that.
		c.end()
		return false
	}
	var wait nothingYet
	return err != nil && !errors.As(err, &wait)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed, c.ended, c.lost = true, true, true
	c.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	c.asked = time.Time{}
	_ = c.flush(2 * time.Second)
	if c.linger {
		c.drain()
	}
	err := c.nc.Close()
	c.srv.release(c)
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
