package spool

import (
	"time"

	"gatepost/relay/verdict"
)

// ID names one message for ever: 11 characters of digits and lower-case
// letters. IDs sort in the order in which the messages arrived, are safe in
// URLs and file names, and are never used twice on one disk.
type ID = string

// Envelope is everything about a message that is not in its bytes. It is kept
// as JSON in the record of the message.
type Envelope struct {
	From       string    `json:"from"` // "" is the null return path
	Rcpts      []Rcpt    `json:"rcpts"`
	Received   time.Time `json:"received"`
	Client     string    `json:"client,omitempty"` // IP address of the sender
	HelloName  string    `json:"hello,omitempty"`
	TLS        string    `json:"tls,omitempty"` // "TLS 1.3", "" in clear
	Size       int64     `json:"size"`          // bytes of the body; set by Append
	EightBit   bool      `json:"eight_bit,omitempty"`
	SMTPUTF8   bool      `json:"smtputf8,omitempty"`
	RequireTLS bool      `json:"require_tls,omitempty"` // RFC 8689, Section 4.1: survives restarts
	// TLSOptional says that the sender wants the message delivered rather than
	// protected (RFC 8689, Section 3: TLS-Required: No).
	TLSOptional bool   `json:"tls_optional,omitempty"`
	EnvelopeID  string `json:"envelope_id,omitempty"` // RFC 3461, Section 4.4 (ENVID)
	Ret         string `json:"ret,omitempty"`         // RFC 3461, Section 4.3: FULL, HDRS or ""
	// Subject is the decoded Subject field, at most 200 bytes, for lists that
	// people read. A stranger wrote it.
	Subject string `json:"subject,omitempty"`
	// Notice says that Gatepost itself wrote this message (a bounce or a
	// delay notice).
	Notice bool `json:"notice,omitempty"`
	// ClockUnknown says that Received was taken from a clock that was not
	// trusted yet, so that no age follows from it.
	ClockUnknown bool `json:"clock_unknown,omitempty"`
	// User is the login name of the sender, "" without login.
	User string `json:"user,omitempty"`
	// TraceID is our id in the Received field, so that a person can go from a
	// message to its record.
	TraceID string `json:"trace_id,omitempty"`
}

// Rcpt is one recipient of a message.
type Rcpt struct {
	Addr   string   `json:"addr"`
	Notify []string `json:"notify,omitempty"` // RFC 3461, Section 4.1
	ORcpt  string   `json:"orcpt,omitempty"`  // RFC 3461, Section 4.2
}

// States of a recipient. The zero value means that nothing has been recorded
// yet.
const (
	StateDelivered = "delivered"
	StateWaiting   = "waiting"
	StateReturned  = "returned"
	StateRemoved   = "removed"
)

// Outcome is what has become of one recipient of a message.
type Outcome struct {
	Rcpt    int              `json:"rcpt"` // index into Envelope.Rcpts
	State   string           `json:"state"`
	Tries   int              `json:"tries,omitempty"`
	Next    time.Time        `json:"next,omitzero"` // for StateWaiting: when to try again
	Verdict *verdict.Verdict `json:"verdict,omitempty"`
	// Told says that the sender has been told of the delay, or wants no such
	// notice, so that none is due any more.
	Told bool `json:"told,omitempty"`
}

// Done reports whether the recipient needs no further attempt.
func (o Outcome) Done() bool {
	return o.State == StateDelivered || o.State == StateReturned || o.State == StateRemoved
}

// Stored is one live message: at least one of its recipients is not done.
type Stored struct {
	ID       ID
	Envelope Envelope
	// Outcomes has one element for each of Envelope.Rcpts, in the same order;
	// State is "" where nothing has been recorded.
	Outcomes []Outcome
}
