package api

import (
	"time"

	"gatepost/relay/verdict"
)

// MessageQuery selects waiting mail; every field that is set must fit. The zero
// value is everything, in the order of arrival.
type MessageQuery struct {
	Domain string // an open recipient is in this domain
	State  string // an open recipient is "held" or "deferred"
	From   string // part of the sender, in any case
	Rcpt   string // part of an open recipient, in any case
	Newest bool   // the newest first
	After  string // the id after which the page begins, in the order asked for
	Limit  int    // 1 to 1000; 0 means 100
}

// Messages is a page of waiting mail.
type Messages struct {
	Total    int       `json:"total"` // of all that wait, without regard to the query
	Messages []Message `json:"messages"`
	Next     string    `json:"next,omitempty"` // "after" of the next page, "" when there is none
}

// Message is one message that waits. From, Subject, Hello and the recipients are
// what a stranger chose.
type Message struct {
	ID         string      `json:"id"`
	From       string      `json:"from"` // "" for the null return path
	Subject    string      `json:"subject,omitempty"`
	Size       int64       `json:"size"` // bytes
	Received   time.Time   `json:"received"`
	Expires    time.Time   `json:"expires,omitzero"`
	Notice     bool        `json:"notice,omitempty"`      // made by the box itself
	Client     string      `json:"client,omitempty"`      // address it came from
	Hello      string      `json:"hello,omitempty"`       // name that client gave itself
	TLS        string      `json:"tls,omitempty"`         // "TLS 1.3"; absent when it came in clear
	User       string      `json:"user,omitempty"`        // login name
	TraceID    string      `json:"trace_id,omitempty"`    // id in its Received field
	RequireTLS bool        `json:"require_tls,omitempty"` // RFC 8689
	Rcpts      []Recipient `json:"rcpts"`                 // those that are open
	Paused     *Pause      `json:"paused,omitempty"`
	Action     *Action     `json:"action,omitempty"` // what will be done with it soon
}

// Recipient is one open recipient of a waiting message.
type Recipient struct {
	Addr    string           `json:"addr"`
	Domain  string           `json:"domain"`
	Tries   int              `json:"tries"`
	Next    time.Time        `json:"next,omitzero"`
	Trying  bool             `json:"trying,omitempty"`  // an attempt is going on
	Verdict *verdict.Verdict `json:"verdict,omitempty"` // of the last attempt
}

// Detail is all that is known of one message.
type Detail struct {
	// Message is nil when it waits no more; History then says what became of it.
	Message *Message  `json:"message,omitempty"`
	History []Attempt `json:"history"` // its attempts of the last 30 days, the newest first, at most 1000
}

// Attempt is how one attempt ended for one recipient.
type Attempt struct {
	Seq     uint64          `json:"seq"` // "after" of the next page
	Time    time.Time       `json:"time"`
	ID      string          `json:"id"` // of the message
	From    string          `json:"from"`
	Rcpt    string          `json:"rcpt"`
	Tries   int             `json:"tries"`
	Verdict verdict.Verdict `json:"verdict"` // with its evidence
}

// HistoryQuery selects attempts; every field that is set must fit.
type HistoryQuery struct {
	ID      string    // of the message
	From    string    // the sender; "<>" is the null return path
	Rcpt    string    // the recipient
	Domain  string    // the recipient's domain
	Address string    // an address or a domain, as sender or recipient
	Since   time.Time // at this time or later
	Until   time.Time // before this time
	After   uint64    // Seq after which the page begins
	Limit   int       // 1 to 1000; 0 means 100. An export has no limit.
}

// Trace is what happened to the mail of an address, or to one message.
type Trace struct {
	Waiting  []Message `json:"waiting"`  // what still waits, at most 100
	Attempts []Attempt `json:"attempts"` // the newest first
	// Next is "after" of the next page of attempts, 0 when there is none.
	Next uint64 `json:"next,omitempty"`
}

// Retry asks for an attempt now: for messages, or for all mail to a domain.
// Unknown ids are passed over.
type Retry struct {
	IDs    []string `json:"ids,omitempty"`
	Domain string   `json:"domain,omitempty"`
}

// Retried says how many messages will be tried now.
type Retried struct {
	Count int `json:"count"`
}

// Pause is something that a person stopped: all mail, mail to a domain, or one
// message. Exactly one of All, Domain and ID is set.
type Pause struct {
	All    bool      `json:"all,omitempty"`
	Domain string    `json:"domain,omitempty"`
	ID     string    `json:"id,omitempty"`
	Since  time.Time `json:"since,omitzero"` // not in a request
	By     string    `json:"by,omitempty"`
}

// Pauses is everything that is stopped.
type Pauses struct {
	Pauses []Pause `json:"pauses"`
}

// Return asks to give messages back to their senders.
type Return struct {
	IDs  []string `json:"ids"`
	By   string   `json:"by"`
	Text string   `json:"text,omitempty"` // for the senders, at most 2000 bytes
}

// Delete asks to remove messages; their senders are not told.
type Delete struct {
	IDs []string `json:"ids"`
	By  string   `json:"by"`
}

// Action is a return or a delete that has not taken effect yet.
type Action struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"` // "return" or "delete"
	Messages []string  `json:"messages"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"` // takes effect then
}

// Actions is everything that can be undone.
type Actions struct {
	Actions []Action `json:"actions"`
}

// Undone says how many messages wait again.
type Undone struct {
	Count int `json:"count"`
}

// Kinds of a Note.
const (
	NoteDoubleBounce = "double-bounce" // nobody is left to be told that a message did not arrive
	NoteRemoved      = "removed"
	NotePaused       = "paused"
	NoteResumed      = "resumed"
)

// Note is something that a person should find again and that no sender was told.
type Note struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	ID   string    `json:"id,omitempty"`
	From string    `json:"from,omitempty"`
	Rcpt string    `json:"rcpt,omitempty"`
	By   string    `json:"by,omitempty"`
	Text string    `json:"text,omitempty"`
}

// Notes are the newest notes first.
type Notes struct {
	Notes []Note `json:"notes"`
}

// Line is one event for people and programs that follow along.
type Line struct {
	Time time.Time `json:"time"`
	// Kind is accepted, refused, attempted, bounced, delayed, relayed,
	// double-bounce, removed, paused, resumed, inbound-clear, policy, alarm or
	// damaged.
	Kind    string           `json:"kind"`
	ID      string           `json:"id,omitempty"`
	From    string           `json:"from,omitempty"`
	Rcpt    string           `json:"rcpt,omitempty"`
	Text    string           `json:"text,omitempty"`
	Next    time.Time        `json:"next,omitzero"`
	Verdict *verdict.Verdict `json:"verdict,omitempty"`
}
