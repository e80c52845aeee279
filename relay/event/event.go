// Package event holds the facts that the mail machine reports, as typed
// values. Components call a Sink; the appliance turns events into log lines,
// counters, history and the console's story.
//
// An event is a fact that has already happened: a Sink can neither stop nor
// change it. This package decides nothing and imports only relay/verdict.
package event

import (
	"time"

	"gatepost/relay/verdict"
)

// Event is one of the types of this package.
type Event interface{ event() }

// Sink takes an event. It may be called from many goroutines at once and must
// return quickly. A nil Sink is not valid: use Discard.
type Sink func(Event)

// Discard is a Sink that drops everything.
func Discard(Event) {}

// Accepted says that a message is durable in the spool and that 250 was, or is
// about to be, said to its sender.
type Accepted struct {
	Time   time.Time
	ID     string   // spool id
	From   string   // envelope sender, "" for the null return path
	Rcpts  []string // envelope recipients
	Size   int64    // bytes
	Client string   // IP address of the sender
	TLS    string   // "TLS 1.3", "" in clear
}

// Refused says that a client was answered with an error before 250.
type Refused struct {
	Time   time.Time
	Client string
	Code   int
	Text   string // our own reply text
}

// Attempted says how one attempt ended for one recipient.
type Attempted struct {
	ID      string
	From    string
	Rcpt    string
	Tries   int       // attempts so far, this one included
	Next    time.Time // next attempt; zero when the recipient is done
	Expires time.Time // when the queue gives up on this message
	Verdict verdict.Verdict
}

// Bounced says that a notice was queued for the sender of a message.
type Bounced struct {
	Time   time.Time
	ID     string // the message that failed
	Notice string // spool id of the notice, "" when none was due (null return path)
	To     string
}

// Delayed says that a notice about mail that still waits was queued for its
// sender.
type Delayed struct {
	Time   time.Time
	ID     string // the message that waits
	Notice string // spool id of the notice, "" when the sender wants none
	To     string
}

// Relayed says that a notice of success was queued for a sender who asked for
// one (RFC 3461).
type Relayed struct {
	Time   time.Time
	ID     string
	Notice string
	To     string
}

// DoubleBounce says that a notice of ours, or a message with a null return
// path, was given up: nobody is left to be told but the people of the box.
type DoubleBounce struct {
	Time    time.Time
	ID      string
	Rcpt    string
	Subject string // at most 200 bytes, a stranger may have written it
	Verdict verdict.Verdict
}

// Removed says that a person took a message out of the queue; its sender was
// not told.
type Removed struct {
	Time time.Time
	ID   string
	From string
	By   string // who, as the admin API was told
}

// Paused says that a person stopped (or with On false, started again) the
// delivery of a message, of mail to one domain, or of all mail.
type Paused struct {
	Time time.Time
	On   bool
	What string // "all", "domain example.net" or "message 01abc..."
	By   string
}

// InboundClear says that mail for an own domain came in without TLS where the
// settings watch for that.
type InboundClear struct {
	Time   time.Time
	Client string
	Domain string
	Rcpt   string
}

// PolicyChanged says that the saved policy of a domain is new or different.
type PolicyChanged struct {
	Time    time.Time
	Domain  string
	Mode    string
	OldMode string // "" when there was none
	ID      string
}

// PolicyAlarm says that a domain's policy needs a person's eyes: see
// mtasts.Event for the kinds.
type PolicyAlarm struct {
	Time   time.Time
	Domain string
	Kind   string
	Detail string
}

// SpoolDamaged says that a record could not be read back and was set aside.
type SpoolDamaged struct {
	Time   time.Time
	Detail string
}

// StoreDamaged says that the database was damaged and a new one was begun:
// saved policies are fetched again when they are needed, history is gone.
type StoreDamaged struct {
	Time   time.Time
	Detail string
}

func (Accepted) event()      {}
func (Refused) event()       {}
func (Attempted) event()     {}
func (Bounced) event()       {}
func (Delayed) event()       {}
func (Relayed) event()       {}
func (DoubleBounce) event()  {}
func (Removed) event()       {}
func (Paused) event()        {}
func (InboundClear) event()  {}
func (PolicyChanged) event() {}
func (PolicyAlarm) event()   {}
func (SpoolDamaged) event()  {}
func (StoreDamaged) event()  {}
