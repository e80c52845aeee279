// Package dsn writes delivery status notifications: the message that tells a
// sender that mail was not delivered, or not yet, or was passed on (RFC 3461,
// 3464, 6522, 6533, 3834).
//
// A notice has three parts: sentences for people, which the caller passes in,
// in any language or in several; a message/delivery-status part for programs;
// and the header of the original message, or the whole of it when asked. The
// package stores and sends nothing. Whether a notice is due, the null return
// path and the choice between header and whole message (RFC 8689, Section 5)
// are the caller's business.
//
// # Characters outside ASCII
//
// A notice to an ASCII address is readable by every server and program: its
// status part is ASCII, with other addresses in the form that RFC 6533, Section
// 3 has for that (utf-8-addr-xtext). A notice to an address outside ASCII needs
// SMTPUTF8 anyway; its status part is message/global-delivery-status with the
// addresses as they are. An original whose header is UTF-8 is returned as
// message/global or message/global-headers. One whose header is neither ASCII
// nor UTF-8 goes back as message/rfc822, byte for byte, or as
// text/rfc822-headers.
package dsn

import "time"

// Action is what happened to one recipient (RFC 3464, Section 2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
)

// Params describes one notice. Text fields may hold bytes of strangers: they
// are bounded and made harmless here.
type Params struct {
	ReportingMTA string    // our host name
	From         string    // sender shown in the header, e.g. mailer-daemon@mail.office.example
	To           string    // the original envelope sender, not ""
	EnvelopeID   string    // ENVID of the original, decoded; "" when there was none
	Arrival      time.Time // when the original came in; zero leaves it out
	// OriginalHeaders is the header of the original, up to the blank line. More
	// than MaxHeaders bytes are cut at a line end. See Headers.
	OriginalHeaders []byte
	// OriginalMessage, when not nil, is the whole original message with CRLF
	// line ends, returned in place of the header by Failure (RET=FULL). Of one
	// of more than MaxOriginal bytes, or with lines that no peer need take,
	// only the header is returned.
	OriginalMessage []byte
	Recipients      []Recipient
	Now             time.Time
	// Token returns a fresh string of 16 to 60 letters and digits for each
	// boundary and Message-ID. nil means random ones.
	Token func() string
}

// Recipient is the state of one recipient.
type Recipient struct {
	Final    string // the address that we tried
	Original string // ORCPT, decoded: "rfc822;user@example.net"; "" when there was none
	// Action: "" means the one that fits the function called.
	Action Action
	// Status is the RFC 3463 code, "" when there is none. Its class is made to
	// agree with Action; a failure keeps 4.x.x, which says that it was tried
	// for too long.
	Status string
	// Diagnostic is the server's answer, e.g. "550 5.1.1 no such user"; "" when no
	// server answered.
	Diagnostic  string
	RemoteMTA   string // host name of the server that answered, or ""
	LastAttempt time.Time
	RetryUntil  time.Time // for Delayed: when we give up
	// Sentence is for people: one or two sentences, UTF-8. "\n" begins a new
	// paragraph, for example the same in another language. "" means a plain
	// English one that fits Action.
	Sentence string
}
