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

	nc   net.Conn
	wire net.Conn // the TCP connection below TLS
	br   *bufio.Reader

	ext     Extensions
	offered bool
	state   *tls.ConnectionState
	hsErr   error
	dead    error // why the connection cannot be used any more
	closed  atomic.Bool
}

var longAgo = time.Unix(1, 0)

func (c Config) connect(ctx context.Context, host string, addr netip.AddrPort, verb string) (*Conn, error) {
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
		wire:  nc,
	}
	conn.use(nc)
	if err := conn.open(ctx, verb); err != nil {
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

// open reads the greeting and introduces us.
func (c *Conn) open(ctx context.Context, verb string) error {
	rep, err := c.await(ctx, "greeting", c.t.Greeting)
	if err != nil {
		return err
	}
	// 554 here means that the host takes no mail at all; like every other
	// refusal it speaks about the host only (RFC 5321, Section 4.3.2).
	if rep.class() != 2 {
		return c.refused(rep, "greeting")
	}
	return c.greet(ctx, verb)
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

// command sends one line and reads its reply.
func (c *Conn) command(ctx context.Context, phase string, limit time.Duration, line string) (reply, error) {
	if err := c.write(ctx, phase, limit, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return c.await(ctx, phase, limit)
}

// write sends text at once.
func (c *Conn) write(ctx context.Context, phase string, limit time.Duration, text string) error {
	if c.dead != nil {
		return ErrClosed
	}
	if err := c.unasked(ctx, phase); err != nil {
		return err
	}
	defer c.deadline(ctx, limit)()
	_, err := c.nc.Write([]byte(text))
	if err != nil {
		return c.kill(&NetError{Phase: phase, Err: ctxErr(ctx, err)})
	}
	return nil
}

// unasked looks for a reply that nobody asked for: a 421 with which the server
// takes its leave, or one that would be taken for the answer to the next
// command, in the end for that to the message.
func (c *Conn) unasked(ctx context.Context, phase string) error {
	if c.br.Buffered() == 0 {
		return nil
	}
	rep, err := c.await(ctx, phase, time.Second)
	if err != nil {
		return err
	}
	if rep.code == 421 {
		return c.refused(rep, phase)
	}
	return c.kill(&ProtocolError{Phase: phase, Detail: "a reply that nobody asked for"})
}

// await reads one reply within limit, all its lines included.
func (c *Conn) await(ctx context.Context, phase string, limit time.Duration) (reply, error) {
	if c.dead != nil {
		return reply{}, ErrClosed
	}
	defer c.deadline(ctx, limit)()
	rep, err := readReply(c.br, phase)
	if err != nil {
		var pe *ProtocolError
		if !errors.As(err, &pe) {
			err = &NetError{Phase: phase, Err: ctxErr(ctx, err)}
		}
		return reply{}, c.kill(err)
	}
	c.log.Debug("reply", "phase", phase, "code", rep.code)
	return rep, nil
}

// deadline limits what is read and written until the returned func is called,
// by time and by ctx.
func (c *Conn) deadline(ctx context.Context, limit time.Duration) (release func()) {
	nc := c.nc
	_ = nc.SetDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(longAgo) })
	return func() { stop() }
}

// ctxErr prefers the reason of ctx over the time-out that it caused.
func ctxErr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
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
	if c.dead == nil {
		_ = c.nc.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.nc.Write([]byte("QUIT\r\n"))
	}
	_ = c.kill(err)
}

// Host returns the name that was given to Connect.
func (c *Conn) Host() string { return c.host }

// Extensions returns what the latest EHLO reply offered: after StartTLS that
// of the second EHLO, never a mixture.
func (c *Conn) Extensions() Extensions { return c.ext }

// Alive reports whether another transaction may be tried on the connection.
func (c *Conn) Alive() bool { return c.dead == nil && !c.closed.Load() }

// Quit says QUIT, waits a little for the answer and closes.
func (c *Conn) Quit() {
	if c.Alive() {
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
