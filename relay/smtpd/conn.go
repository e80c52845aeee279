package smtpd

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// conn is the armour around one accepted connection, below TLS: it keeps the
// time, and once the connection has ended, for whatever reason, every later
// read is the end of the stream. What is said on it is the matter of dialog,
// which stands above TLS.
//
// Read and Write are called by the one goroutine that serves the connection;
// stop, kill, hurry, end and the transfer methods by any.
type conn struct {
	nc    net.Conn
	srv   *Server
	role  Role
	class class
	peer  netip.Addr
	born  time.Time

	patience time.Duration // for the next writes; owned by the serving goroutine

	mu        sync.Mutex
	due       time.Time // when the read under way is given up
	ended     bool      // every read is the end of the stream from now on
	stopping  bool
	transfers int // messages being taken in
	closed    bool
}

var errEnded = errors.New("smtpd: the connection has ended")

// Read implements net.Conn, for TLS and dialog.
func (c *conn) Read(p []byte) (int, error) {
	if c.hasEnded() {
		return 0, errEnded
	}
	n, err := c.nc.Read(p)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// Write implements net.Conn, for TLS and dialog.
func (c *conn) Write(p []byte) (int, error) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.patience))
	return c.nc.Write(p)
}

// until limits the next reads. It is false when there may be none.
func (c *conn) until(due time.Time) bool {
	if last := c.born.Add(c.srv.cfg.Limits.Session); last.Before(due) {
		due = last
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if !due.Equal(c.due) {
		c.due = due
		_ = c.nc.SetReadDeadline(due)
	}
	return true
}

// hurry brings the end of the waiting forward to due, when places are short.
func (c *conn) hurry(due time.Time) {
	if !c.squeezed() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended && c.due.After(due) {
		c.due = due
		_ = c.nc.SetReadDeadline(due)
	}
}

// wait is how long the client may take for a whole command, or for one piece
// of a message.
func (c *conn) wait() time.Duration {
	if c.squeezed() {
		return c.srv.cfg.Limits.Strangers.Squeeze
	}
	return c.srv.cfg.Limits.Read
}

// writeLimit is how long the client may take to take a reply.
func (c *conn) writeLimit() time.Duration {
	return min(c.srv.cfg.Limits.Write, c.wait())
}

// bodyRate is the least number of bytes a second for a message.
func (c *conn) bodyRate() int {
	if c.squeezed() {
		return 10 * c.srv.cfg.Limits.BodyRate
	}
	return c.srv.cfg.Limits.BodyRate
}

// squeezed reports whether places are short and this client holds one of those.
func (c *conn) squeezed() bool { return c.srv.limits.squeezed[c.class].Load() }

// spokeFirst reports whether the client has sent something already, after
// delay at most. It may take a byte of it away.
func (c *conn) spokeFirst(delay time.Duration) bool {
	var b [1]byte
	if delay > 0 {
		if !c.until(time.Now().Add(delay)) {
			return false
		}
		n, _ := c.nc.Read(b[:])
		return n > 0
	}
	s, ok := c.nc.(syscall.Conn)
	if !ok {
		return false // no socket of the kernel: there is no way to look without waiting
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Read(func(fd uintptr) bool {
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return n > 0
}

// Close implements net.Conn, for TLS. It does nothing: dialog closes.
func (c *conn) Close() error { return nil }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline implements net.Conn: the deadlines of conn are its own.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn: the deadlines of conn are its own.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn: the deadlines of conn are its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
