package smtpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gatepost/relay/event"
)

// Role says what a listener is for.
type Role int

const (
	// Trusted takes mail for anywhere from the trusted networks, without login.
	// Everybody else is turned away at connect with 554.
	Trusted Role = iota
	// Submission takes mail for anywhere from whoever logs in inside TLS
	// (RFC 6409, RFC 8314), from any address.
	Submission
)

// String names the role for logs.
func (r Role) String() string {
	if r == Submission {
		return "submission"
	}
	return "trusted"
}

// Listener is one open port. The Server closes it.
type Listener struct {
	net.Listener
	Role        Role
	ImplicitTLS bool // TLS from the first byte (port 465)
}

// Config says how to serve. The Server keeps a copy; the funcs must be safe
// for use by many goroutines.
type Config struct {
	Hostname  string // our name in greeting and Received
	Listeners []Listener
	// TLS is the server's configuration for STARTTLS and implicit TLS; nil means
	// that no TLS is offered. Versions below TLS 1.2 are never spoken.
	TLS *tls.Config
	// TrustedNetworks are the networks that may relay on Trusted listeners.
	TrustedNetworks []netip.Prefix
	// Auth checks a login. false means wrong name or password; an error means
	// that nothing can be said now (454). nil means that no login is offered. At
	// most two calls run at once.
	Auth func(user, password string) (bool, error)
	// MaySend reports whether user may use the envelope sender from ("" is the
	// null return path) (RFC 6409, Section 6.1). nil allows every sender.
	MaySend  func(user, from string) bool
	MaxSize  int64 // bytes of a message without our Received field; 0 means 50 MiB
	MaxRcpts int   // recipients of a message; 0 means 1000
	Limits   Limits
	// Accept takes over a message: it must have made it durable when it returns
	// a nil error, because 250 is said then. body is a *Body: our Received field
	// and then the message byte for byte, with CRLF line ends only. It must be
	// read to io.EOF, and when it returns another error the message must be
	// dropped. Errors that are, or wrap, a Reply are answered as such; every
	// other error is 451 4.3.0. The returned id is shown to the sender. ctx ends
	// when the Server is stopped by force.
	Accept func(ctx context.Context, env Envelope, body io.Reader) (id string, err error)
	// Ready, when set, is asked at connect and at MAIL. A Reply with code 421 is
	// answered at connect; any error is answered at MAIL.
	Ready func() error
	// Room, when set, is asked at MAIL with the size that the sender declares (0
	// when it does not), after Ready. An error is answered, e.g. 452 4.3.1.
	Room func(size int64) error
	// Events receives event.Refused; nil discards it. Who accepts a message tells
	// of that: Accept.
	Events event.Sink
	Log    *slog.Logger     // nil discards
	Now    func() time.Time // for the Received field and events; nil means time.Now
}

// Limits bound what strangers can use up. Zero fields mean the defaults.
type Limits struct {
	Conns        int // open connections in all, at most half of them from outside of the trusted networks; 0 means 500
	ConnsPerAddr int // open connections from one source; 0 means 100
	// RatePerMinute is how many connections one source may open in a minute; 0
	// means no limit. A source is one IPv4 address or one IPv6 /64.
	RatePerMinute int
	// MessagesPerMinute is how many messages (MAIL commands) one source may begin
	// in a minute; 0 means no limit.
	MessagesPerMinute int
	Errors            int           // refused commands in one session before it ends; 0 means 20
	Read              time.Duration // wait for each piece of input; 0 means 5 minutes (RFC 5321, Section 4.5.3.2.7)
	Write             time.Duration // wait for each piece of output; 0 means 5 minutes
	Session           time.Duration // life of a connection; 0 means 4 hours
	// GreetDelay is the pause before the greeting in which a client that talks
	// already is caught; 0 means that only input which is there at once counts.
	GreetDelay time.Duration
	Stop       time.Duration // how long messages in transfer may go on after the end of ctx; 0 means 30 seconds
	AuthDelay  time.Duration // pause after the first failed login, doubled with each one; 0 means 1 second
}

// withDefaults fills the zero fields.
func (c Config) withDefaults() Config {
	c.MaxSize = cmp.Or(c.MaxSize, 50<<20)
	c.MaxRcpts = cmp.Or(c.MaxRcpts, 1000)
	if c.Events == nil {
		c.Events = event.Discard
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &c.Limits
	l.Conns = cmp.Or(l.Conns, 500)
	l.ConnsPerAddr = cmp.Or(l.ConnsPerAddr, 100)
	l.Errors = cmp.Or(l.Errors, 20)
	l.Read = cmp.Or(l.Read, 5*time.Minute)
	l.Write = cmp.Or(l.Write, 5*time.Minute)
	l.Session = cmp.Or(l.Session, 4*time.Hour)
	l.Stop = cmp.Or(l.Stop, 30*time.Second)
	l.AuthDelay = cmp.Or(l.AuthDelay, time.Second)
	return c
}
