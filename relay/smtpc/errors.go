package smtpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// ErrNoSTARTTLS says that the server does not offer STARTTLS. Nothing was
// sent. The caller decides whether the mail may go in clear.
var ErrNoSTARTTLS = errors.New("smtpc: the server does not offer STARTTLS")

// ErrInjected says that bytes in clear stood behind the reply to STARTTLS
// (CVE-2011-0411). Someone on the path may have put them there: close the
// connection and treat the server as one whose TLS failed.
var ErrInjected = errors.New("smtpc: unexpected bytes in clear behind the reply to STARTTLS")

// ErrRcptLimit says that a recipient was not tried because the server takes
// fewer recipients, or of fewer domains, in one transaction (RFC 9422). Send
// again with the rest.
var ErrRcptLimit = errors.New("smtpc: the server takes no more recipients in one transaction")

// ErrMailLimit says that nothing was tried because the server takes no further
// transaction on this connection (RFC 9422). Quit, and send on a new one.
var ErrMailLimit = errors.New("smtpc: the server takes no more transactions on one connection")

// ErrClosed says that the connection is no longer usable.
var ErrClosed = errors.New("smtpc: the connection is closed")

// ReplyError is an answer of the server that is not the hoped for one.
type ReplyError struct {
	Command  string // "greeting", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "body", "RSET"
	Code     int    // 200 to 599
	Enhanced string // RFC 3463 code such as "4.7.1", "" when there was none or its class differs
	// Text is the server's text without the codes, lines joined by a space, in
	// printable characters, at most 1000 bytes. A stranger chose it: escape it.
	Text string
}

// Error implements error.
func (e *ReplyError) Error() string {
	s := fmt.Sprintf("smtpc: %s answered with %d", e.Command, e.Code)
	if e.Enhanced != "" {
		s += " " + e.Enhanced
	}
	if e.Text != "" {
		s += " " + e.Text
	}
	return s
}

// Temporary reports whether trying again later may help: every code but 5yz,
// read by its first digit (RFC 5321, Section 4.2.1).
func (e *ReplyError) Temporary() bool { return e.Code/100 != 5 }

// Host reports whether the answer is about the server and not about the
// message: the next MX host should be tried and nothing be returned because of
// it alone (RFC 5321, Sections 3.8 and 4.3.2).
func (e *ReplyError) Host() bool {
	switch e.Command {
	case "greeting", "EHLO", "HELO", "STARTTLS", "AUTH", "RSET":
		return true
	}
	return e.Code == 421
}

// NetError is a failure of the network or a time-out. Try again later.
type NetError struct {
	Phase string // "dial", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "body", "end of body", "RSET", "QUIT"
	Err   error
}

// Error implements error.
func (e *NetError) Error() string { return fmt.Sprintf("smtpc: %s: %v", e.Phase, e.Err) }

// Unwrap returns the cause.
func (e *NetError) Unwrap() error { return e.Err }

// Timeout reports whether the cause was a time-out.
func (e *NetError) Timeout() bool { return isTimeout(e.Err) }

// ProtocolError says that the server does not speak SMTP as it should: a
// malformed or over-long reply, differing codes in one reply, a code that does
// not fit the command. It is a failure of this host; try another or later.
type ProtocolError struct {
	Phase  string // as in NetError
	Detail string // plain English, without the server's bytes
	Err    error  // ErrInjected or nil
}

// Error implements error.
func (e *ProtocolError) Error() string { return fmt.Sprintf("smtpc: %s: %s", e.Phase, e.Detail) }

// Unwrap returns the cause, if any.
func (e *ProtocolError) Unwrap() error { return e.Err }

// TLSError says that the TLS handshake failed. It never speaks of names, dates
// or issuers of a certificate: those are not judged here.
type TLSError struct{ Err error }

// Error implements error.
func (e *TLSError) Error() string { return fmt.Sprintf("smtpc: TLS handshake: %v", e.Err) }

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// Network reports whether the handshake died of a time-out, a lost connection
// or the end of its context, rather than of a disagreement about TLS. A black hole on the path
// is no evidence about the server's TLS.
func (e *TLSError) Network() bool {
	var op *net.OpError
	return isTimeout(e.Err) || errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, net.ErrClosed) || errors.Is(e.Err, io.EOF) || errors.Is(e.Err, io.ErrUnexpectedEOF) ||
		errors.Is(e.Err, syscall.ECONNRESET) || errors.Is(e.Err, syscall.EPIPE) ||
		(errors.As(e.Err, &op) && op.Op != "remote error" && op.Op != "local error")
}

// UnsupportedError says that this server cannot take this message because it
// lacks an extension or has a limit. Nothing was sent. Another MX host may be
// able to; if none is, return the message with the Enhanced code.
type UnsupportedError struct {
	Feature  string // "8BITMIME", "SMTPUTF8", "SIZE", "REQUIRETLS", "TLS"
	Enhanced string // 5.6.3, 5.6.7, 5.3.4, 5.7.30, 5.7.10
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	if e.Feature == "SIZE" {
		return "smtpc: the message is larger than the server takes (" + e.Enhanced + ")"
	}
	return "smtpc: the server lacks " + e.Feature + ", which the message needs (" + e.Enhanced + ")"
}

// AddressError says that an envelope address is not one that may be written to
// the wire. Nothing was sent for it. It is permanent: return the message.
type AddressError struct {
	Sender bool  // the sender, else a recipient
	Err    error // from relay/smtpc/address
}

// Error implements error.
func (e *AddressError) Error() string {
	who := "recipient"
	if e.Sender {
		who = "sender"
	}
	return "smtpc: " + who + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// BodyError says that the body could not be read, or is not one that may be
// sent (ErrBareCR, ErrBareLF). The connection was cut before the final dot, so
// the server has no message.
type BodyError struct{ Err error }

// Error implements error.
func (e *BodyError) Error() string { return "smtpc: body: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// Causes of a BodyError that are permanent (RFC 5321, Section 2.3.8).
var (
	ErrBareCR = errors.New("a CR without LF")
	ErrBareLF = errors.New("a LF without CR")
)

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		(errors.As(err, &ne) && ne.Timeout())
}
