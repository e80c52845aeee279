package smtpc

import (
	"syscall"
	"time"
)

// Sent returns how many transactions were begun on the connection: the number
// of MAIL commands, refused ones too.
func (c *Conn) Sent() int { return c.sent }

// Alive reports whether another transaction may be tried: the connection is
// not closed, the server's limit of transactions (RFC 9422, Section 4.1) is not
// reached, and, as far as the network can tell without waiting, the server has
// neither closed nor said anything since. A connection that is not alive may
// still be owed a [Conn.Quit].
//
// A server may close at any moment after that: a transaction on a connection
// with Sent above 0 that fails with a *NetError in phase "MAIL" or with a 421
// to MAIL has told nothing about the host. Try once more on a new connection.
func (c *Conn) Alive() bool { return c.Idle() && !c.stirred() }

// Idle is Alive without asking the network, for a connection that is not to be
// used at once: ask Alive then.
func (c *Conn) Idle() bool { return c.usable() && !c.full() && c.br.Buffered() == 0 }

// usable reports whether commands may be sent.
func (c *Conn) usable() bool { return c.dead == nil && !c.closed.Load() }

// full reports whether the server wants no more transactions.
func (c *Conn) full() bool { return c.ext.MailMax > 0 && c.sent >= c.ext.MailMax }

// stirred reports whether there is something to read on a TCP connection, the
// end included: a server that speaks between transactions says goodbye.
// Connections that are no sockets are taken to be quiet.
func (c *Conn) stirred() bool {
	sc, ok := c.wire.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	_ = c.wire.SetReadDeadline(time.Time{}) // one that has passed would look like an error
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err != nil || !quiet
}
