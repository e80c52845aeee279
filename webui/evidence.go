package webui

import (
	"time"

	"gatepost/webui/foreign"
)

// Evidence is all that one attempt saw, host by host. The JSON names are those
// of the admin API, so that it can be decoded from there, and given away, as it
// is. Values that the mail machine itself chose from fixed lists are strings,
// all others are a stranger's text.
type Evidence struct {
	Route string         `json:"route"` // "mx", "literal", "inside" or "smarthost"
	DNS   *EvidenceDNS   `json:"dns,omitempty"`
	Hosts []EvidenceHost `json:"hosts,omitempty"` // in the order tried
}

// EvidenceDNS is the answer about the mail servers of a domain.
type EvidenceDNS struct {
	MX       []EvidenceMX `json:"mx,omitempty"`
	More     int          `json:"more,omitempty"`     // records that are not in MX
	Implicit bool         `json:"implicit,omitempty"` // no MX record: the domain itself is the host
	Null     bool         `json:"null,omitempty"`     // RFC 7505
	Error    foreign.Text `json:"error,omitempty"`
	Security string       `json:"security"` // "unsigned", ...
}

// EvidenceMX is one MX record.
type EvidenceMX struct {
	Host foreign.Text `json:"host"`
	Pref uint16       `json:"pref"`
}

// EvidenceHost is what happened with one address of one MX host.
type EvidenceHost struct {
	Time    time.Time     `json:"time"`
	Took    time.Duration `json:"took_ns"`
	MX      foreign.Text  `json:"mx,omitempty"`
	Addr    foreign.Text  `json:"addr,omitempty"`
	Reused  bool          `json:"reused,omitempty"`  // over an open connection
	Pattern foreign.Text  `json:"pattern,omitempty"` // of the policy, that lists the host

	Protection string        `json:"protection,omitempty"`
	TLSVersion string        `json:"tls_version,omitempty"`
	Cipher     string        `json:"cipher,omitempty"`
	Chain      []Certificate `json:"chain,omitempty"` // the leaf first

	Outcome  string       `json:"outcome"`
	Reason   string       `json:"reason,omitempty"`
	Rule     string       `json:"rule,omitempty"`
	Code     int          `json:"code,omitempty"`
	Enhanced foreign.Text `json:"enhanced,omitempty"`
	Reply    foreign.Text `json:"reply,omitempty"`
	Detail   foreign.Text `json:"detail,omitempty"`
}

// Certificate is one certificate of a chain that a host showed.
type Certificate struct {
	Subject   foreign.Text   `json:"subject,omitempty"`
	Names     []foreign.Text `json:"names,omitempty"`
	Issuer    foreign.Text   `json:"issuer,omitempty"`
	NotBefore time.Time      `json:"not_before,omitzero"`
	NotAfter  time.Time      `json:"not_after,omitzero"`
	SHA256    string         `json:"sha256,omitempty"`
}
