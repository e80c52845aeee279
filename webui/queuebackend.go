package webui

import (
	"context"
	"errors"
	"io"
	"time"

	"gatepost/webui/foreign"
)

// ErrGone says that what was asked for is not there any more: the message waits
// no longer, nothing is known of it, or the action has taken effect. Nothing was
// changed.
var ErrGone = errors.New("webui: not there any more")

// QueueBackend does what a person may want done with waiting mail, and tells
// what became of a message. The rules of Backend hold for it too, except that
// what Original returns may be read for as long as it takes.
//
// by is the name of the person who asks.
type QueueBackend interface {
	// Pauses lists everything that a person has stopped, in any order.
	Pauses(ctx context.Context) ([]PauseRow, error)
	// Pause stops delivery. What is paused already stays as it is. ErrGone for a
	// message that waits no more.
	Pause(ctx context.Context, t Target, by string) error
	// Resume lets it go on. What is not paused is no error. ErrGone for a message
	// that waits no more.
	Resume(ctx context.Context, t Target, by string) error

	// Return sends messages back to their senders with a notice that holds text,
	// and Delete removes them without telling anybody. Both wait until
	// Pending.Until. They take all open recipients of a message, pass over ids
	// that wait no more, and give ErrGone when none is left.
	Return(ctx context.Context, ids []string, by, text string) (Pending, error)
	Delete(ctx context.Context, ids []string, by string) (Pending, error)
	// Undo takes a pending action back and returns how many messages wait on.
	// ErrGone when it has taken effect.
	Undo(ctx context.Context, id, by string) (int, error)
	// PendingActions lists what can still be undone, in any order.
	PendingActions(ctx context.Context) ([]PendingRow, error)

	// Lost lists mail that could be neither delivered nor returned, the newest
	// first.
	Lost(ctx context.Context) ([]LostMail, error)

	// MessageDetail is everything known of a message, whether it waits or not.
	// ErrGone when nothing is.
	MessageDetail(ctx context.Context, id string) (Detail, error)
	// Original opens a waiting message as it came in. ErrGone when it waits no
	// more. The caller closes it.
	Original(ctx context.Context, id string) (io.ReadCloser, error)
	// Find looks for mail, waiting or not.
	Find(ctx context.Context, q FindQuery) (Found, error)
}

// Target is what a pause stops. Exactly one field is set.
type Target struct {
	All    bool
	Domain string // recipient domain, exactly as in Message.Domain
	ID     string // of a message
}

// Paused says who stopped what, and when.
type Paused struct {
	What  string       // "all", "domain" or "message"
	By    foreign.Text // "" when it is not known
	Since time.Time
}

// PauseRow is one pause.
type PauseRow struct {
	Target
	Paused
}

// Pending is a return or a delete that has not taken effect yet.
type Pending struct {
	ID    string       // URL-safe, as Message.ID
	Kind  string       // "return" or "delete"
	By    foreign.Text // "" when it is not known
	Until time.Time    // takes effect then
}

// PendingRow is a pending action with the number of messages that it takes.
type PendingRow struct {
	Pending
	Count int
}

// LostMail is a message of which nobody could be told that it did not arrive.
type LostMail struct {
	Time        time.Time
	ID          string
	To, Subject foreign.Text
}

// Detail is one message with its way.
type Detail struct {
	// Open has an entry for each recipient that still waits. It is empty when the
	// message waits no more; the facts of the envelope are then not known.
	Open []Message

	Client     foreign.Text // address that it came from
	Hello      foreign.Text // name that the client gave itself
	TLS        string       // "TLS 1.3", "" when it came in without encryption
	User       foreign.Text // login name, "" without a login
	TraceID    string       // id in its Received field
	RequireTLS bool         // RFC 8689
	Notice     bool         // made by the box itself

	// History is its attempts, in any order.
	History []AttemptRow
	// Ended says how a message ended that was neither delivered nor returned; nil
	// when that is not known or did not happen.
	Ended *Ended
}

// Ended is an end without delivery and without return.
type Ended struct {
	Time time.Time
	Kind string       // "removed" (by a person) or "lost" (a LostMail)
	By   foreign.Text // who removed it
}

// AttemptRow is one attempt for one recipient. The JSON names are those of the
// downloaded evidence.
type AttemptRow struct {
	To      foreign.Text `json:"rcpt"`
	Attempt Attempt      `json:"verdict"`
	// Evidence is nil when it was not kept. Recipients of one attempt may share
	// it.
	Evidence *Evidence `json:"evidence,omitempty"`
}

// FindQuery selects mail.
type FindQuery struct {
	// Text is an address, a domain, or the id of a message; at most 320 bytes,
	// without spaces around it.
	Text  string
	Since time.Time
	After uint64 // Found.Next of the page before, 0 for the first page
}

// Found is a page of what fits.
type Found struct {
	Waiting []Message // an entry for each open recipient, at most about 100
	Past    []PastRow // attempts, the newest first, at most about 100
	Next    uint64    // FindQuery.After of the next page of Past, 0 when there is none
}

// PastRow is one attempt for one recipient of some message.
type PastRow struct {
	ID       string // of the message
	From, To foreign.Text
	Attempt  Attempt
}
