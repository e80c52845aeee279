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

// Listener is one open port. The Server closes it.
type Listener struct {
	net.Listener
	Role        Role // Trusted or Submission
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
	// Local tells about an own domain of the office (lower case, A-labels); false
	// means that the domain is not an own one, and so are its subdomains. When it
	// is set, a Trusted listener takes mail for own domains from everybody. nil:
	// whoever is outside of the trusted networks is turned away at connect.
	Local func(domain string) (Local, bool)
	// Verify, when set, is asked at RCPT for each recipient of an own domain,
	// whoever sends. nil takes the recipient; a Reply is answered; every other
	// error is 451. ctx ends after a minute or when the Server is stopped by force.
	Verify func(ctx context.Context, q Question) error
	// Postmaster is the address that RCPT TO:<postmaster> without a domain stands
	// for (RFC 5321, Section 4.5.1). "" means postmaster@ the nearest of Hostname
	// and its parents that Local knows, or Hostname itself when it knows none.
	Postmaster string
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
	// Events receives event.Refused and event.InboundClear; nil discards them. Who
	// accepts a message tells of that: Accept.
	Events event.Sink
	Log    *slog.Logger     // nil discards
	Now    func() time.Time // for the Received field and events; nil means time.Now
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
	c.Limits = c.Limits.withDefaults()
	return c
}
