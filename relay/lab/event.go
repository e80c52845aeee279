package lab

import (
	"net/netip"
	"time"
)

// Event is a fact about the world, one of the types of this file. Text fields
// may hold bytes that the guest chose: escape before showing.
type Event interface {
	// At is when it happened.
	At() time.Time
	event()
}

// Stamp is the time of an event.
type Stamp struct{ Time time.Time }

// At returns the time of the event.
func (s Stamp) At() time.Time { return s.Time }

func (Stamp) event() {}

// GuestConnected says that the guest's network card was plugged in.
type GuestConnected struct{ Stamp }

// GuestGone says that it was pulled out, as when the guest is switched off.
type GuestGone struct{ Stamp }

// LeaseGiven says that the DHCP server gave or renewed a lease.
type LeaseGiven struct {
	Stamp
	Addr    netip.Addr
	MAC     string
	Host    string // host name that the client gave, may be empty
	Lease   time.Duration
	Renewal bool
}

// LeaseRefused says that the DHCP server answered with a NAK.
type LeaseRefused struct {
	Stamp
	MAC string
}

// TimeGiven says that an NTP server answered the guest.
type TimeGiven struct {
	Stamp
	Server netip.Addr
	Client netip.Addr
}

// MailSent says that the guest accepted a message of an office client.
type MailSent struct {
	Stamp
	Client string // name of the client
	From   string
	To     string
	Domain string
	Canary string
	Reply  string
	Tries  int // 1 when the first try was accepted
}

// MailRefused says that the guest refused a message for good (5yz).
type MailRefused struct {
	Stamp
	Client string
	To     string
	Domain string
	Canary string
	Reply  string
}

// OfficeWaits says that the guest does not take mail yet (or any more). It is
// told once for each client until the guest answers again.
type OfficeWaits struct {
	Stamp
	Client string
	Reason string
}

// PolicyServed says that a policy host answered a request.
type PolicyServed struct {
	Stamp
	Domain string
	Status int
	By     netip.Addr
}

// PolicyBlocked says that the attacker cut a connection to a policy host.
type PolicyBlocked struct {
	Stamp
	Domain string
}

// MXReceived says that an MX host has a message.
type MXReceived struct {
	Stamp
	Domain string
	Host   string
	From   string
	Rcpts  []string
	Bytes  int
	TLS    string // "TLS 1.3", "" in clear
	SNI    string
	Canary string // the first one in the message
}

// MXLeft says that a client left an MX host without handing over a message.
type MXLeft struct {
	Stamp
	Domain string
	Host   string
	TLS    string // the TLS version when there was a handshake
	// Handshake is why the TLS handshake failed.
	Handshake string
	// Stripped says that the attacker hid STARTTLS from the client.
	Stripped bool
	// MailFrom says that the client had begun a transaction.
	MailFrom bool
}

// STARTTLSStripped says that the attacker took STARTTLS out of a reply.
type STARTTLSStripped struct {
	Stamp
	Domain string
	Host   string
}

// AttackStarted says that the attacker set to work on a domain.
type AttackStarted struct {
	Stamp
	Kind   AttackKind
	Domain string
}

// AttackEnded says that the attacker let go of a domain.
type AttackEnded struct {
	Stamp
	Kind   AttackKind
	Domain string
}

// AnswerForged says that the attacker answered a DNS question.
type AnswerForged struct {
	Stamp
	Domain string
	Name   string
	Type   string
}

// Repaired says that a domain's faults were mended.
type Repaired struct {
	Stamp
	Domain string
}

// ConnectionRefused says that the guest connected to a port of a domain's
// machine on which nobody listens.
type ConnectionRefused struct {
	Stamp
	Domain string
	To     netip.AddrPort
}
