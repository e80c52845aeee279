package resolver

import (
	"errors"
	"net"
)

// Sentinels for errors.Is. Every error of this package matches exactly one.
var (
	// ErrNXDomain: the name does not exist. For a mail domain the message is
	// returned (RFC 5321, Section 5.1).
	ErrNXDomain = errors.New("no such domain")
	// ErrNoData: the name exists and has no record of this type. For MX the
	// domain itself is the mail host (RFC 5321, Section 5.1).
	ErrNoData = errors.New("no record of this type")
	// ErrTemporary: nobody could or would say. Try again later; never treat it
	// as absence.
	ErrTemporary = errors.New("no answer from the name servers")
)

// Error is a failed lookup. It matches one of the sentinels with errors.Is and
// holds a *net.DNSError for errors.As, with IsNotFound set for absence.
type Error struct {
	Name string // the name that was asked for
	Type string // "MX", "A", "AAAA", "TXT"
	Kind error  // ErrNXDomain, ErrNoData or ErrTemporary
	// Detail is the cause in technical words; it may hold a server's address.
	Detail string
}

func (e *Error) Error() string {
	s := e.Type + " of " + e.Name + ": " + e.Kind.Error()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Is reports whether target is this error's kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap gives the error in the form of the standard library's resolver.
func (e *Error) Unwrap() error {
	return &net.DNSError{
		Err:         e.Kind.Error(),
		Name:        e.Name,
		IsNotFound:  e.Kind == ErrNXDomain || e.Kind == ErrNoData,
		IsTemporary: e.Kind == ErrTemporary,
	}
}
