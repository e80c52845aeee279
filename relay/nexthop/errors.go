package nexthop

import (
	"errors"

	"gatepost/relay/verdict"
)

// ErrNotSafe says that the hop does not meet its TLS rule: hold the message and
// try again later; never send it another way. Errors that match it are
// *NotSafeError.
var ErrNotSafe = errors.New("nexthop: the TLS rule for this server is not met")

// ErrLogin says that the hop does not take the name and the password of the
// settings: hold the message, it is no fault of it. Errors that match it are
// *LoginError.
var ErrLogin = errors.New("nexthop: the server does not take our login")

// ErrNoAddress says that the hop's name has no address. Try again later: the
// name is from the settings, so that it is no fault of the message. It wraps
// the error of LookupNetIP, if there is one.
var ErrNoAddress = errors.New("nexthop: the server's name has no address")

// NotSafeError is why a hop does not meet its rule.
type NotSafeError struct {
	Hop  string // host and port
	Rule TLSRule
	// Reason is one of StartTLSNotSupported, ValidationFailure (STARTTLS refused,
	// the handshake failed, bytes in clear behind it), CertificateExpired,
	// CertificateHostMismatch, CertificateNotTrusted, ClockWrong.
	Reason verdict.Reason
	// Detail is the cause for a technical reader; a stranger chose parts of it.
	Detail string
	Err    error // the cause, if it is an error of smtpc
}

// Error implements error.
func (e *NotSafeError) Error() string {
	return "nexthop: " + e.Hop + " does not meet the rule \"" + string(e.Rule) + "\": " + e.Detail
}

// Is makes the error match ErrNotSafe.
func (e *NotSafeError) Is(target error) bool { return target == ErrNotSafe }

// Unwrap returns the cause, if any.
func (e *NotSafeError) Unwrap() error { return e.Err }

// LoginError is why a login failed. Err is a *smtpc.ReplyError, the server's
// refusal, or one of smtpc.ErrNoLogin and smtpc.ErrCredentials.
type LoginError struct {
	Hop string // host and port
	Err error
}

// Error implements error.
func (e *LoginError) Error() string { return "nexthop: login at " + e.Hop + ": " + e.Err.Error() }

// Is makes the error match ErrLogin.
func (e *LoginError) Is(target error) bool { return target == ErrLogin }

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }
