package webui

import (
	"context"
	"time"

	"gatepost/webui/foreign"
)

// Backend answers the page's questions. Its methods are called from many
// requests at once, must come back within the context's deadline (a few
// seconds) and must not wait for the network: they report what is known.
type Backend interface {
	// Home is the state of the whole box. Where a part does not answer, it says
	// so by a Problem and leaves that part nil. An error means that nothing can
	// be said at all.
	Home(ctx context.Context) (Home, error)
	// Waiting lists every recipient that still waits for its mail, in any order.
	Waiting(ctx context.Context) ([]Message, error)
	// Retry makes the messages of these ids due now and returns how many that
	// were. An id that waits no more is not an error.
	Retry(ctx context.Context, ids []string) (int, error)
}

// Level is how serious a state is.
type Level string

// The levels. Anything else counts as LevelBroken.
const (
	LevelFine   Level = "fine"
	LevelLook   Level = "look"
	LevelBroken Level = "broken"
)

// Problem is one thing that is not as it should be. Its words are found by ID
// in the problem catalogue of webui/words.
type Problem struct {
	ID    string
	Level Level
	// Params fill the words: count and percent are whole numbers; domain, error,
	// detail and since (RFC 3339) are text. Values may
	// hold a stranger's text.
	Params map[string]string
}

// Home is what the first page shows. A nil part means "not known": its
// question is then not answered rather than answered with zeros.
type Home struct {
	// Hostname is the box's name, shown at the top.
	Hostname string
	// Level is the worst level of Problems, LevelFine when there are none.
	Level Level
	// Problems, worst first. The first one is the banner.
	Problems []Problem
	// Light is the id of the light row in force ("healthy", "held", ...), ""
	// when the box has no lights.
	Light string

	Traffic    *Traffic
	Queue      *Queue
	Protection *Protection
	Box        *Box
}

// Traffic says when mail last passed. Zero times mean "not since the start".
type Traffic struct {
	LastIn            time.Time // last message taken from the office
	LastOut           time.Time // last message delivered to another server
	InToday, OutToday int
}

// Queue counts what waits. A message with recipients in several states counts
// once for each.
type Queue struct {
	Held    int // kept because sending would not be safe
	Waiting int // kept for an ordinary reason
	Oldest  time.Time
}

// Protection counts today's deliveries by how they were protected.
type Protection struct {
	Verified  int // encrypted, certificate checked
	Encrypted int // encrypted, certificate not checked
	Clear     int // not encrypted
}

// Box is the state of the appliance itself.
type Box struct {
	Version      string
	Started      time.Time
	DiskPercent  int // 0-100, -1 when not known
	ClockTrusted bool
	Address      string // own LAN address, "" when none
}

// Message is one message to one recipient that waits.
type Message struct {
	ID      string       // URL-safe, 1-64 of A-Z a-z 0-9 _ - .
	From    foreign.Text // "" is the null return path
	To      foreign.Text
	Domain  foreign.Text // recipient domain; messages are grouped by it
	Subject foreign.Text // "" when it is not known or hidden
	Size    int64        // bytes
	// Received is when the box took it, Next when it is tried again (zero: when
	// the cause is gone), Deadline when the queue gives up.
	Received, Next, Deadline time.Time
	Tries                    int
	// Last is the newest attempt; the zero value means not tried yet.
	Last Attempt
	// Paused is set while a person has stopped this mail, Pending while it is
	// about to be returned or deleted. It is not tried then.
	Paused  *Paused
	Pending *Pending
}

// Attempt is the record of one delivery attempt. The zero value of a field
// means "not found out". The JSON names are those of
// the admin API's verdict, so that it can be decoded from there as it is.
type Attempt struct {
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`          // "held", "deferred", "delivered", "returned"; "" when not tried
	Reason  string    `json:"reason,omitempty"` // id of the reason catalogue
	Rule    string    `json:"rule,omitempty"`   // "RFC 8461, Section 5"

	MX   foreign.Text `json:"mx,omitempty"`
	Addr foreign.Text `json:"addr,omitempty"`

	Protection   string         `json:"protection,omitempty"`
	TLSVersion   string         `json:"tls_version,omitempty"`
	Cipher       string         `json:"cipher,omitempty"`
	CertNames    []foreign.Text `json:"cert_names,omitempty"`
	CertIssuer   foreign.Text   `json:"cert_issuer,omitempty"`
	CertNotAfter time.Time      `json:"cert_not_after,omitzero"`

	PolicyMode    string         `json:"policy_mode,omitempty"`
	PolicyID      foreign.Text   `json:"policy_id,omitempty"`
	PolicyFetched time.Time      `json:"policy_fetched,omitzero"`
	PolicyExpires time.Time      `json:"policy_expires,omitzero"`
	PolicyMX      []foreign.Text `json:"policy_mx,omitempty"`
	PolicyNote    string         `json:"policy_note,omitempty"` // reason id of a trouble with the policy itself

	Code     int          `json:"code,omitempty"`
	Enhanced foreign.Text `json:"enhanced,omitempty"`
	Reply    foreign.Text `json:"reply,omitempty"`
	Detail   foreign.Text `json:"detail,omitempty"`
	MXTried  int          `json:"mx_tried,omitempty"`
}
