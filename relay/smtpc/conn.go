package smtpc

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"gatepost/relay/smtpc/address"
)

// Conn is one connection to one server. It must not be used from two
// goroutines at once, except for Close.
type Conn struct {
	host  string
	hello string
	t     Timeouts
	log   *slog.Logger
	debug bool // log takes debug lines

	nc   net.Conn
	wire net.Conn // the TCP connection below TLS
	br   *bufio.Reader

	ext     Extensions
	offered bool
	state   *tls.ConnectionState
	hsErr   error
	dead    error // why the connection cannot be used any more
	sent    int   // MAIL commands so far
	// unfinished says that the transaction before was left open: RSET is due.
	unfinished bool
	text       []byte // of the commands that are being sent
	buf        []byte // of bodyBuffer
	closed     atomic.Bool
}

func (c Config) connect(ctx context.Context, host string, addr netip.AddrPort, how opening) (*Conn, error) {
	if err := address.CheckDomain(c.Hello); err != nil || !address.IsASCII(c.Hello) {
		return nil, errors.New("smtpc: our own name for EHLO is not a host name")
	}
	t := c.Timeouts.withDefaults()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dctx, cancel := context.WithTimeout(ctx, t.Dial)
	nc, err := dial(dctx, "tcp", addr.String())
	cancel()
	if err != nil {
		return nil, &NetError{Phase: "dial", Err: err}
	}
	conn := &Conn{
		host:  strings.TrimSuffix(host, "."),
		hello: c.Hello,
		t:     t,
		log:   log.With("mx", host, "addr", addr.String()),
		debug: log.Enabled(ctx, slog.LevelDebug),
		wire:  nc,
	}
	conn.use(nc)
	defer conn.watch(ctx)()
	if err := conn.open(ctx, how); err != nil {
		conn.leave(err)
		return nil, err
	}
	return conn, nil
}

// use makes nc the stream; what was buffered from the stream before is forgotten.
func (c *Conn) use(nc net.Conn) {
	c.nc = nc
	c.br = bufio.NewReader(nc)
}

// open sets up TLS where it comes first, reads the greeting and introduces us.
func (c *Conn) open(ctx context.Context, how opening) error {
	if how.implicit {
		c.offered = true
		if err := c.handshake(ctx, how.base); err != nil {
			return err
		}
	}
	rep, err := c.await(ctx, "greeting", c.t.Greeting)
	if err != nil {
		return err
	}
	// 554 here means that the host takes no mail at all; like every other
	// refusal it speaks about the host only (RFC 5321, Section 4.3.2).
	if rep.class() != 2 {
		return c.refused(rep, "greeting")
	}
	return c.greet(ctx, how.verb)
}

// greet says EHLO (or HELO) and notes what is offered.
func (c *Conn) greet(ctx context.Context, verb string) error {
	c.ext = Extensions{}
	rep, err := c.command(ctx, verb, c.t.Hello, verb+" "+c.hello)
	if err != nil {
		return err
	}
	if rep.class() != 2 {
		return c.refused(rep, verb)
	}
	if verb == "EHLO" {
		c.ext = parseEHLO(rep.lines)
	} else {
		c.ext = Extensions{Name: parseEHLO(rep.lines).Name}
	}
	return nil
}

// refused is the error for a negative reply; a 3yz reply where none is due is
// an error of the protocol.
func (c *Conn) refused(rep reply, command string) error {
	if rep.class() == 3 {
		return c.kill(&ProtocolError{Phase: command, Detail: "an intermediate reply where none is due"})
	}
	err := rep.failed(command)
	if rep.code == 421 {
		// The server closes after 421, whatever was asked (RFC 5321, Section 3.8).
		return c.kill(err)
	}
	return err
}

// Sizes of the buffer for a body.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// bodyBuffer returns a buffer for a body of size bytes, 0 if that is not known.
// It belongs to the connection and holds until the next call.
func (c *Conn) bodyBuffer(size int64) []byte {
	want := largeBuffer
	if size > 0 && size < largeBuffer-smallBuffer {
		// One byte more than the body has, so that its end is seen in the same piece.
		want = max(smallBuffer, int(size)+1+maxTail)
	}
	if len(c.buf) < want {
		c.buf = make([]byte, want)
	}
	return c.buf
}

// kill notes that the connection is finished and closes it. It returns err.
func (c *Conn) kill(err error) error {
	if c.dead == nil {
		c.dead = err
	}
	_ = c.Close()
	return err
}

// leave ends a connection on which nothing more is wanted, politely where the
// server still listens.
func (c *Conn) leave(err error) {
	if c.usable() {
		_ = c.wire.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.nc.Write([]byte("QUIT\r\n"))
	}
	_ = c.kill(err)
}

// Host returns the name that was given to Connect.
func (c *Conn) Host() string { return c.host }

// Extensions returns what the latest EHLO reply offered: after StartTLS that
// of the second EHLO, never a mixture.
func (c *Conn) Extensions() Extensions { return c.ext }

// Quit says QUIT, waits a little for the answer and closes.
func (c *Conn) Quit() {
	if c.usable() {
		_, _ = c.command(context.Background(), "QUIT", c.t.Quit, "QUIT")
	}
	_ = c.kill(ErrClosed)
}

// Close closes the connection at once. It may be called at any time, also
// while another goroutine waits in a method, and more than once.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.wire.Close()
}
