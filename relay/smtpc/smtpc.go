// Package smtpc is the outbound side of SMTP: one connection to one server.
//
// It speaks RFC 5321 with STARTTLS (RFC 3207) or TLS from the first byte (RFC
// 8314), PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8
// (RFC 6531), DSN (RFC 3461), ENHANCEDSTATUSCODES (RFC 2034), REQUIRETLS (RFC
// 8689), LIMITS (RFC 9422) and, inside TLS only, AUTH PLAIN and LOGIN (RFC
// 4954). It reports what happened in typed errors and leaves every decision to
// its caller: which server, whether TLS is demanded, whether a certificate is
// good enough (the handshake never fails for the certificate; its state is
// kept for the judge), when to try again.
//
// One connection may carry several transactions, one after the other. RSET is
// sent only where the transaction before was left open, and then together with
// the next MAIL. Where PIPELINING is offered the whole envelope and DATA go out
// in one write, so that a message costs two round trips.
//
// What a server sends is bounded in lines, bytes and time. A message's bytes
// are sent as they are: dots at the beginning of a line are stuffed, nothing
// else is changed, and a body with a bare CR or a bare LF is not sent at all.
package smtpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config says how to connect. It is a value: copies are independent, and one
// Config may be used from many goroutines.
type Config struct {
	// Dial opens the TCP connection. nil means a net.Dialer. An own address to
	// send from, a proxy, or a network that is not TCP are its business; a bind
	// address is the LocalAddr of the net.Dialer whose DialContext is given here.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Hello is our own name for EHLO: a fully qualified host name or an address
	// literal. It must not be empty.
	Hello string
	// Timeouts of zero are replaced by those of RFC 5321, Section 4.5.3.2.
	Timeouts Timeouts
	// Log receives debug lines; nil discards them.
	Log *slog.Logger
}

// Timeouts are the limits for each step, reply included (RFC 5321, Section
// 4.5.3.2). A zero field means the default in its comment.
type Timeouts struct {
	Dial      time.Duration // 1 minute
	Greeting  time.Duration // 5 minutes
	Hello     time.Duration // 5 minutes: EHLO and HELO
	StartTLS  time.Duration // 2 minutes: the STARTTLS command
	Handshake time.Duration // 1 minute: the TLS handshake
	Mail      time.Duration // 5 minutes: MAIL and RSET
	Rcpt      time.Duration // 5 minutes: each RCPT reply
	Auth      time.Duration // 2 minutes: each step of AUTH
	DataInit  time.Duration // 2 minutes: DATA until 354
	DataBlock time.Duration // 3 minutes: each write of a block of the body
	DataDone  time.Duration // 10 minutes: the final dot until its reply
	Quit      time.Duration // 5 seconds
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Dial, time.Minute)
	set(&t.Greeting, 5*time.Minute)
	set(&t.Hello, 5*time.Minute)
	set(&t.StartTLS, 2*time.Minute)
	set(&t.Handshake, time.Minute)
	set(&t.Mail, 5*time.Minute)
	set(&t.Rcpt, 5*time.Minute)
	set(&t.Auth, 2*time.Minute)
	set(&t.DataInit, 2*time.Minute)
	set(&t.DataBlock, 3*time.Minute)
	set(&t.DataDone, 10*time.Minute)
	set(&t.Quit, 5*time.Second)
	return t
}

// Connect dials addr, reads the greeting and says EHLO. host is the server's
// name without a trailing dot: the name for SNI and for the records. The caller
// must call [Conn.Close] or [Conn.Quit].
//
// Errors: [*NetError], [*ProtocolError], and [*ReplyError] with Command
// "greeting" or "EHLO"; all of them are failures of this host, never of a
// recipient (RFC 5321, Section 4.3.2). When EHLO is refused and TLS is not
// demanded, [Config.ConnectHELO] may be tried.
func (c Config) Connect(ctx context.Context, host string, addr netip.AddrPort) (*Conn, error) {
	return c.connect(ctx, host, addr, opening{verb: "EHLO"})
}

// ConnectHELO is Connect with HELO in place of EHLO, for servers that know no
// extensions (RFC 5321, Section 3.2). The connection can never have TLS: do not
// call it where TLS is demanded.
func (c Config) ConnectHELO(ctx context.Context, host string, addr netip.AddrPort) (*Conn, error) {
	return c.connect(ctx, host, addr, opening{verb: "HELO"})
}

// ConnectTLS is Connect with TLS from the first byte (RFC 8314, Section 3), as
// on port 465. base is that of [Conn.StartTLS], and so is what State returns
// afterwards: the certificate is recorded and not judged, so judge it before
// anything is sent. Nothing is ever written outside TLS, and there is no way
// back to a connection in clear.
//
// Errors: those of Connect, and [*TLSError] when the handshake fails.
func (c Config) ConnectTLS(ctx context.Context, host string, addr netip.AddrPort, base *tls.Config) (*Conn, error) {
	return c.connect(ctx, host, addr, opening{verb: "EHLO", implicit: true, base: base})
}

// opening says how a connection begins.
type opening struct {
	verb     string // EHLO or HELO
	implicit bool   // TLS from the first byte
	base     *tls.Config
}
