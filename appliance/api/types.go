// Package api is the admin API: what the relay role tells and does on request.
// HTTP with JSON bodies on a unix socket; the page, the command line, PID 1 and
// the tests are its clients and there is no other way in.
//
//	GET  /v1/status              Status
//	GET  /v1/messages            Messages: waiting mail, the next due first
//	GET  /v1/messages/{id}/eml   the message as it came in, message/rfc822
//	POST /v1/messages/retry      Retry -> Retried
//	GET  /v1/policies            Policies: the saved policies of other domains
//	GET  /v1/events              lines of JSON, one Line each, until the client leaves
//
// A failed request has a status of 4xx or 5xx and a body of Problem. The socket
// is the authentication: only root and the roles can open it.
//
// It holds no mail logic: the Engine that is handed in does the work. It
// imports relay/verdict for the record of an attempt.
package api

import (
	"time"

	"gatepost/relay/verdict"
)

// Status is the state of the mail machine in figures.
type Status struct {
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	// Delivering is false while nothing may be decided: the clock is not
	// trusted, or there is no spool.
	Delivering bool      `json:"delivering"`
	Spool      Spool     `json:"spool"`
	Held       int       `json:"held"`                // messages held for safety
	Waiting    int       `json:"waiting"`             // messages that wait for a normal retry or a first attempt
	OldestTry  time.Time `json:"oldest_try,omitzero"` // arrival of the oldest message that was tried and waits
	Today      Counts    `json:"today"`
	LastIn     time.Time `json:"last_in,omitzero"`
	LastOut    time.Time `json:"last_out,omitzero"`
	DNSKnown   bool      `json:"dns_known"`
	DNS        bool      `json:"dns"`
	// StoreDamaged says that the database was damaged and begun anew.
	StoreDamaged bool `json:"store_damaged,omitempty"`
	// ExtraRoots counts the authorities of the settings that are believed
	// beside the built-in list.
	ExtraRoots int `json:"extra_roots,omitempty"`
}

// Spool is the state of the message log.
type Spool struct {
	State     string `json:"state"`          // "ok", "missing", "failed" or "full"
	Text      string `json:"text,omitempty"` // technical text when not ok
	Live      int64  `json:"live"`           // bytes of waiting mail
	DiskTotal int64  `json:"disk_total"`
	DiskFree  int64  `json:"disk_free"`
	Damaged   int    `json:"damaged"` // records set aside since the start
}

// Percent is how full the disk is, 0 to 100.
func (s Spool) Percent() int {
	if s.DiskTotal <= 0 {
		return 0
	}
	return int((s.DiskTotal - s.DiskFree) * 100 / s.DiskTotal)
}

// Counts are sums since midnight of the box's time.
type Counts struct {
	Accepted  int `json:"accepted"`  // messages taken in
	Delivered int `json:"delivered"` // recipients
	Verified  int `json:"verified"`  // of these, encrypted with a checked certificate
	Encrypted int `json:"encrypted"` // of these, encrypted without a check
	Clear     int `json:"clear"`     // of these, without encryption
	Returned  int `json:"returned"`  // recipients given up
}

// Messages is a page of waiting mail.
type Messages struct {
	Total    int       `json:"total"`
	Messages []Message `json:"messages"`
}

// Message is one message that waits.
type Message struct {
	ID       string      `json:"id"`
	From     string      `json:"from"` // "" for the null return path
	Subject  string      `json:"subject,omitempty"`
	Size     int64       `json:"size"`
	Received time.Time   `json:"received"`
	Expires  time.Time   `json:"expires"`
	Notice   bool        `json:"notice,omitempty"` // made by the box itself
	Rcpts    []Recipient `json:"rcpts"`
}

// Recipient is one recipient of a waiting message.
type Recipient struct {
	Addr    string           `json:"addr"`
	Domain  string           `json:"domain"`
	Done    bool             `json:"done,omitempty"`
	Tries   int              `json:"tries"`
	Next    time.Time        `json:"next,omitzero"`
	Verdict *verdict.Verdict `json:"verdict,omitempty"` // of the last attempt
}

// Retry asks for an attempt now. Unknown ids are passed over.
type Retry struct {
	IDs []string `json:"ids"`
}

// Retried says how many messages will be tried now.
type Retried struct {
	Count int `json:"count"`
}

// Policies are the saved policies.
type Policies struct {
	Policies []Policy `json:"policies"`
}

// Policy is one saved policy of another domain.
type Policy struct {
	Domain  string    `json:"domain"`
	Mode    string    `json:"mode"`
	MX      []string  `json:"mx"`
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
	Text    string    `json:"text"`
	Trouble string    `json:"trouble,omitempty"` // reason id of the last failed refresh
}

// Line is one event for people and programs that follow along.
type Line struct {
	Time    time.Time        `json:"time"`
	Kind    string           `json:"kind"` // accepted, refused, attempted, bounced, policy, alarm, damaged
	ID      string           `json:"id,omitempty"`
	From    string           `json:"from,omitempty"`
	Rcpt    string           `json:"rcpt,omitempty"`
	Text    string           `json:"text,omitempty"`
	Next    time.Time        `json:"next,omitzero"`
	Verdict *verdict.Verdict `json:"verdict,omitempty"`
}

// Problem is the body of a failed request.
type Problem struct {
	Error string `json:"error"`
}
