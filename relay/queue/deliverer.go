package queue

import (
	"context"
	"io"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Message is what one attempt is about: one message and those of its open
// recipients that are in one domain.
type Message struct {
	ID       spool.ID
	Envelope spool.Envelope
	// Rcpts are indexes into Envelope.Rcpts, at least one, all of Domain.
	Rcpts  []int
	Domain string // lower case, as in the addresses
	Tries  int    // attempts before this one
	// Body opens the bytes of the message, CRLF, exactly as accepted. It may
	// be called several times; the caller closes what it gets. A read error
	// means that the message must not be completed.
	Body    func() (io.ReadCloser, error)
	Expires time.Time
	// Final says that this is the last attempt: what is not delivered now is
	// returned to the sender.
	Final bool
}

// Result is the end of an attempt for one recipient.
type Result struct {
	Rcpt    int // index into Message.Envelope.Rcpts
	Verdict verdict.Verdict
	// Unsettled says that the recipient must be tried again even after the
	// last attempt: a failure may not be made permanent yet (RFC 8461, Section
	// 5.1). It does not count for delivered and returned.
	Unsettled bool
}

// Deliverer makes one attempt.
//
// Deliver returns one Result for each of m.Rcpts; a recipient without a result
// counts as deferred. A Verdict's Outcome is delivered, held, deferred or
// returned. When ctx ends Deliver must return soon, with honest results: a
// recipient whose fate is not known is deferred. A panic is caught and counts
// as deferred.
type Deliverer interface {
	Deliver(ctx context.Context, m Message) []Result
}

// Notice is what a sender is told about.
type Notice string

// The kinds of notices.
const (
	// Failure: the recipients are given up. It is told before they are
	// recorded as returned. It is asked for a null return path too (From is
	// ""), so that the caller can report a double bounce; no mail is sent
	// about it (RFC 5321, Section 6.1).
	Failure Notice = "failure"
	// Delay: the recipients are still being tried after Config.DelayAfter. It
	// is asked once for the recipients of one message in one domain, and only
	// for those whose NOTIFY has DELAY or is absent (RFC 3461, Section 4.1),
	// never for a null return path. It is told before Outcome.Told is
	// recorded.
	Delay Notice = "delay"
	// Success: the recipients took the message and their NOTIFY has SUCCESS,
	// unless the next hop has taken that duty over (Verdict.NoticePassed, RFC
	// 3461, Section 5.2.1) or the return path is null. It is told before they
	// are recorded as delivered.
	Success Notice = "success"
)
