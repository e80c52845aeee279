package config

import (
	"fmt"
	"net/netip"
)

// Secret is a password in clear. It prints as "(hidden)" in every log line and
// message; code that sends it converts it to a string. As JSON it travels from
// PID 1 to its roles, through a pipe that nobody else can read.
type Secret string

// hidden is what a Secret shows of itself: not even its length.
const hidden = "(hidden)"

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		fmt.Fprint(f, hidden)
	}
}

// How far a next hop of the settings must be encrypted.
const (
	TLSNone    = "none"    // never, for servers that break with it
	TLSTry     = "try"     // when the server can
	TLSRequire = "require" // always, with any certificate
	TLSVerify  = "verify"  // always, with a certificate that is checked for its name
)

// Who is believed about the recipients of an own domain.
const (
	RecipientsAsk  = "ask"  // the inner server is asked for each new one
	RecipientsAny  = "any"  // everyone is taken
	RecipientsList = "list" // Inbound.List
)

// What is asked of those who send to an own domain.
const (
	InboundTLSOff      = "off"      // nothing
	InboundTLSWatch    = "watch"    // mail without TLS is counted
	InboundTLSRequired = "required" // mail without TLS is refused
)

// Server is a mail server that the settings name.
type Server struct {
	Host string // a DNS name or an address, without brackets
	Port uint16
	TLS  string // one of TLSNone to TLSVerify
	// ImplicitTLS begins with TLS at once instead of STARTTLS (RFC 8314).
	ImplicitTLS bool
	// CertificateName is the name that the certificate must show; "" means Host.
	CertificateName string
	User            string // "" means no login
	Password        Secret
	// Final declares that mail ends there, so that a message that may only travel
	// protected may be handed to a server without REQUIRETLS (RFC 8689).
	Final bool
}

// Inbound is one domain of the office and where its mail goes.
type Inbound struct {
	Domain     string // lower case, A-labels
	Server     Server
	Recipients string   // RecipientsAsk, RecipientsAny or RecipientsList
	List       []string // local parts, for RecipientsList
	TLSRule    string   // InboundTLSOff, InboundTLSWatch or InboundTLSRequired
	// ReportAddresses are local parts that take mail without TLS even when it is
	// required: reports about broken TLS must get through (RFC 8460, Section 3).
	ReportAddresses []string
}

// Listen is what "gatepost serve" opens: addresses with a port, "" for off. The
// box itself ignores it, its ports are fixed.
type Listen struct {
	SMTP        string // port 25: trusted networks, and own domains for everyone
	Submissions string // port 465: login, TLS from the first byte
	Submission  string // port 587: login, STARTTLS
	Page        string // the admin page, HTTPS
}

// Bind is the address that connections to other servers come from; an invalid
// one leaves it to the system.
type Bind struct {
	V4, V6 netip.Addr
}
