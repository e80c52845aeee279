package smtpd

import "net/netip"

// Role says what a listener is for, and what the sender of a message was: the
// listener's role, or Internet.
type Role int

const (
	// Trusted takes mail for anywhere from the trusted networks, without login.
	// Everybody else is a stranger: with Config.Local the role of the connection is
	// Internet, without it the stranger is turned away at connect with 554.
	Trusted Role = iota
	// Submission takes mail for anywhere from whoever logs in inside TLS
	// (RFC 6409, RFC 8314), from any address.
	Submission
	// Internet is a stranger on a Trusted listener, who may send to own domains
	// only. It is no role of a listener.
	Internet
)

// String names the role for logs.
func (r Role) String() string {
	switch r {
	case Submission:
		return "submission"
	case Internet:
		return "internet"
	}
	return "trusted"
}

// TLSRule says what an own domain asks of strangers who send to it. It does not
// speak to the trusted networks, whose devices may know no TLS.
type TLSRule string

// The rules for inbound TLS. The empty rule is TLSOff.
const (
	TLSOff   TLSRule = "off"   // TLS is offered, as always
	TLSWatch TLSRule = "watch" // and mail that came in clear is told of: event.InboundClear
	// TLSRequired refuses recipients in clear with 530 5.7.0. RFC 3207, Section 4
	// forbids it to a public server that has no say over who sends to it: it is the
	// office's choice. The answer comes at RCPT, not at MAIL, because only the
	// recipient tells whose rule counts and whether it is a report address.
	TLSRequired TLSRule = "required"
)

// Local is what the Server must know about an own domain.
type Local struct {
	TLS TLSRule
	// Reports are local parts that take mail in clear in spite of TLSRequired, in
	// any case of letters: the addresses for TLS reports, which others send over
	// whatever works, since they tell of TLS that does not (RFC 8460, Section 3).
	Reports []string
}

// Question asks whether a recipient exists; see Config.Verify.
type Question struct {
	From   string // "" is the null return path
	Rcpt   string // its domain is an own one
	Client netip.Addr
	Role   Role
}
