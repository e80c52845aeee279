// Package api is the admin API: what the relay role tells and does on request.
// HTTP with JSON bodies on a unix socket; the page, the command line, PID 1 and
// the tests are its clients and there is no other way in. openapi.json, served
// at /openapi.json, describes every route and body; docs/api.md has examples.
//
// A failed request has a status of 4xx or 5xx and a body of Problem. The socket
// is the authentication: only who can open it is asked, and "by" in a request
// is believed, because the client knows who it acts for.
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
	// Pauses is what a person has stopped.
	Pauses []Pause `json:"pauses,omitempty"`
}

// SelfTest is what the mail machine finds when it tries itself. That it comes
// says that the process is alive.
type SelfTest struct {
	Spool    string    `json:"spool,omitempty"`  // why mail could not be written now
	Policies int       `json:"policies"`         // that can be looked up
	Written  time.Time `json:"written,omitzero"` // of the last test that wrote to the disk
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

// Policies is a page of the saved policies, in the order of the domains.
type Policies struct {
	Total    int      `json:"total"` // of all that are saved
	Policies []Policy `json:"policies"`
	Next     string   `json:"next,omitempty"` // "after" of the next page, "" when there is none
}

// Policy is the saved MTA-STS policy of a domain.
type Policy struct {
	Domain  string    `json:"domain"`
	Mode    string    `json:"mode"` // enforce, testing or none
	MX      []string  `json:"mx,omitempty"`
	ID      string    `json:"id,omitempty"` // of the DNS record under which it was read
	MaxAge  int64     `json:"max_age"`      // seconds
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
	// Ended: its life is over; it is kept for a while, but does not hold.
	Ended     bool      `json:"ended,omitempty"`
	Used      time.Time `json:"used,omitzero"`       // last question for the domain
	RefreshAt time.Time `json:"refresh_at,omitzero"` // next planned refresh
	Trouble   string    `json:"trouble,omitempty"`   // reason id of the last failed refresh
	Detail    string    `json:"detail,omitempty"`    // its technical cause

	// The rest is told of one domain, not in a list.
	Body   string      `json:"body,omitempty"`    // the text as served
	SeenID string      `json:"seen_id,omitempty"` // id that the DNS gave last, "" when it gave none
	Host   *PolicyHost `json:"host,omitempty"`
}

// PolicyHost is what was seen of the server that served a policy, when it was
// read.
type PolicyHost struct {
	Addr         string    `json:"addr,omitempty"` // address and port
	TLSVersion   string    `json:"tls_version,omitempty"`
	Cipher       string    `json:"cipher,omitempty"`
	CertNames    []string  `json:"cert_names,omitempty"`
	CertIssuer   string    `json:"cert_issuer,omitempty"`
	CertNotAfter time.Time `json:"cert_not_after,omitzero"`
}

// PolicyAnswer is what holds for a domain right after it was asked.
type PolicyAnswer struct {
	Domain string `json:"domain"`
	// Held: a policy is in force. Without it mail goes out as if there were no
	// MTA-STS for the domain.
	Held    bool      `json:"held"`
	Mode    string    `json:"mode,omitempty"`
	MX      []string  `json:"mx,omitempty"`
	MaxAge  int64     `json:"max_age,omitempty"` // seconds
	ID      string    `json:"id,omitempty"`
	Body    string    `json:"body,omitempty"` // the text as served
	Fetched time.Time `json:"fetched,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// Changed: the policy differs from the one that was saved before.
	Changed bool   `json:"changed,omitempty"`
	Trouble string `json:"trouble,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// Check is what would become of mail to a domain, found out without sending
// any.
type Check struct {
	Domain string `json:"domain"`
	// Verdict is that of the first server that would get the mail: its outcome
	// "delivered" means "would be sent". It is "" when the settings name the
	// server, which is not asked. The evidence tells of every server of the domain.
	Verdict verdict.Verdict `json:"verdict"`
}

// Problem is the body of a failed request.
type Problem struct {
	Error string `json:"error"`
}
