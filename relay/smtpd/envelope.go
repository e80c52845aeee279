package smtpd

import (
	"net/netip"
	"time"
)

// Envelope is what a sender said about a message, checked.
type Envelope struct {
	From       string // "" is the null return path
	Rcpts      []Rcpt
	Received   time.Time
	TraceID    string     // our own id of the transaction, as in the Received field
	Client     netip.Addr // never a mapped IPv4 address
	Role       Role       // who sends: the listener's role, or Internet
	Hello      string     // name in EHLO or HELO, made printable
	Plain      bool       // the client said HELO and not EHLO
	User       string     // login name, "" without login
	TLSVersion string     // "TLS 1.3", "" in clear
	TLSCipher  string     // "TLS_AES_128_GCM_SHA256", "" in clear
	TLSGroup   string     // "x25519", "" when not known
	Declared   int64      // SIZE of MAIL, 0 when not declared
	EightBit   bool       // BODY=8BITMIME was said; the body may have 8-bit bytes without it
	SMTPUTF8   bool       // RFC 6531
	RequireTLS bool       // RFC 8689
	EnvelopeID string     // DSN ENVID, decoded
	Ret        string     // DSN RET: "FULL", "HDRS" or ""
}

// Rcpt is one recipient.
type Rcpt struct {
	Addr   string   // local part as sent, checked
	Notify []string // DSN NOTIFY
	ORcpt  string   // DSN ORCPT, decoded: "rfc822;user@example.net"
}
