// Package verdict is the decision record of one delivery attempt: what was
// asked, what was found, what was decided, and by which rule of which RFC.
//
// A Verdict is plain data. It is stored with the queued message, served by the
// admin API and rendered as a sentence by the page; this package holds neither
// sentences nor decisions (those are made in relay/tlspolicy and
// relay/deliver). Every text field except Reason, Outcome and Rule may hold
// bytes chosen by a stranger: escape before showing.
//
// It imports nothing of Gatepost.
package verdict

import "time"

// Outcome says what an attempt did with the message for one recipient.
type Outcome string

// The outcomes. Held and Deferred both keep the message and try again; Held
// means that Gatepost refused to go on because going on was not safe.
const (
	Delivered Outcome = "delivered"
	Held      Outcome = "held"
	Deferred  Outcome = "deferred"
	Returned  Outcome = "returned"
)

// Kept reports whether the message stays in the queue after this outcome.
func (o Outcome) Kept() bool { return o == Held || o == Deferred }

// Protection says how well the message was, or would have been, protected on
// the way to the MX host.
type Protection string

// Protection levels from the weakest to the strongest.
const (
	Clear     Protection = "clear"     // no TLS
	Encrypted Protection = "encrypted" // TLS, identity of the MX host not checked
	Verified  Protection = "verified"  // TLS, certificate checked for the MX host name
)

// Verdict is the record of one attempt for one recipient. The zero value of a
// field means "not found out", never "absent".
type Verdict struct {
	Time    time.Time `json:"time"`
	Outcome Outcome   `json:"outcome"`
	Reason  Reason    `json:"reason,omitempty"`
	// Rule names the text that decided, e.g. "RFC 8461, Section 5".
	Rule string `json:"rule,omitempty"`

	Domain string `json:"domain"`         // policy domain, A-label form
	MX     string `json:"mx,omitempty"`   // MX host name as in DNS, without the trailing dot
	Addr   string `json:"addr,omitempty"` // IP address of the MX host

	Protection Protection `json:"protection,omitempty"`
	TLSVersion string     `json:"tls_version,omitempty"` // "TLS 1.3"
	Cipher     string     `json:"cipher,omitempty"`
	// CertNames are the DNS names of the certificate that was shown.
	CertNames    []string  `json:"cert_names,omitempty"`
	CertIssuer   string    `json:"cert_issuer,omitempty"`
	CertNotAfter time.Time `json:"cert_not_after,omitzero"`

	PolicyMode    string    `json:"policy_mode,omitempty"` // enforce, testing, none; "" without a policy
	PolicyID      string    `json:"policy_id,omitempty"`
	PolicyFetched time.Time `json:"policy_fetched,omitzero"`
	PolicyExpires time.Time `json:"policy_expires,omitzero"`
	PolicyMX      []string  `json:"policy_mx,omitempty"`
	// PolicyNote is the reason id of a trouble with the policy itself that did
	// not decide this attempt, e.g. sts-policy-fetch-error.
	PolicyNote Reason `json:"policy_note,omitempty"`

	Code     int    `json:"code,omitempty"`     // SMTP reply code, 0 when there was none
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463 code, e.g. "4.7.1"
	Reply    string `json:"reply,omitempty"`    // text of the reply, at most 1000 bytes
	// Detail is the technical cause for a consultant, never shown first.
	Detail string `json:"detail,omitempty"`
	// MXTried counts the MX hosts that were tried in this attempt.
	MXTried int `json:"mx_tried,omitempty"`
	// NoticePassed says that the next hop takes over the notices that the
	// sender asked for (RFC 3461, Section 5.2.1), so that none of ours is due.
	NoticePassed bool `json:"notice_passed,omitempty"`
	// Evidence is what led here. It is set by who makes the attempt and kept in
	// the history alone; nil elsewhere.
	Evidence *Evidence `json:"evidence,omitempty"`
}
