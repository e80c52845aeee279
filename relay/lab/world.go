package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatepost/relay/verdict"
)

// World is a simulated internet as data. A World is a value: New copies what
// it needs, and [Lab.Change] is the way to alter a running one.
type World struct {
	LAN      LAN
	Domains  []Domain
	Attacker Attacker
	Clients  []Client
	// Records are further DNS records in zone file form with absolute names,
	// e.g. "pool.ntp.org. 60 IN A 192.168.77.1".
	Records []string
	// Names are faults of single DNS names; see [Lab.SetName].
	Names []NameFault
}

// LAN is the office network with the machines that the lab plays on it.
type LAN struct {
	Prefix netip.Prefix // the network, e.g. 192.168.77.0/24
	// Router is gateway, DHCP server, DNS server and first NTP server.
	Router netip.Addr
	// Guest is the address that the DHCP server leases to whoever asks: there
	// is one guest.
	Guest netip.Addr
	// Host is the address from which forwarded connections of the real host
	// reach the guest.
	Host netip.Addr
	// NTP are the time servers that DHCP option 42 names. Each is run.
	NTP []netip.Addr
	// Lease is the lease time, at least a second. Renewal (T1) is due after
	// half of it, rebinding (T2) after seven eighths (RFC 2131, Section 4.4.5).
	Lease time.Duration
	// Domain is the office's own domain.
	Domain string
}

// Client is a machine of the office that sends mail through the guest.
type Client struct {
	Name  string // as the story calls it, e.g. "mail server"
	Addr  netip.Addr
	Hello string   // EHLO name
	From  []string // senders, used in turn
	Every time.Duration
	// Subjects are used in turn; each message gets its canary appended.
	Subjects []string
}

// Attacker owns one mail server with a valid certificate for its own name.
type Attacker struct {
	Domain string     // e.g. "attacker.example"
	Host   string     // MX host name, e.g. "mx.attacker.example"
	Addr   netip.Addr // of the MX host
}

// Domain is one mail domain of the world.
type Domain struct {
	Name   string // lower case, no trailing dot
	Shows  string // one sentence: what it is meant to show
	Expect []Expect
	MX     []MX
	Policy *Policy // nil: no MTA-STS at all
	// TTL of the domain's DNS records; 0 means one minute.
	TTL time.Duration
	// MendAfter repairs the domain this long after a client first left one of
	// its MX hosts without handing over mail; 0 means never by itself. See
	// [Lab.Repair].
	MendAfter time.Duration
	Attack    Attack
}

// Expect is what an honest sender's verdict must be, in order of time. A
// domain whose world does not change has one.
type Expect struct {
	When       string // "" or e.g. "before the attack"
	Outcome    verdict.Outcome
	Reason     verdict.Reason // "" for delivered
	Protection verdict.Protection
}

// MX is one mail server of a domain.
type MX struct {
	Host     string // lower case, no trailing dot
	Pref     uint16
	Addr     netip.Addr
	Presence Presence
	// TLS says whether STARTTLS is offered (RFC 3207).
	TLS  bool
	Cert Cert
	// MinTLS and MaxTLS bound the TLS version, e.g. tls.VersionTLS12; 0 leaves
	// the bound to crypto/tls.
	MinTLS, MaxTLS uint16
	// Unknown are local parts that are refused with 550 5.1.1.
	Unknown []string
	// Greylist defers the first attempts of a recipient for this long (450).
	Greylist time.Duration
	// Inject is sent in clear right behind the reply 220 to STARTTLS, as an
	// attacker would who wants his text read as if it came through TLS.
	Inject string
}

// Presence says whether a machine answers at all.
type Presence string

// The presences. A machine that Refuses has an address on which nobody
// listens; one that is Silent swallows every packet.
const (
	Answers Presence = ""
	Refuses Presence = "refuses"
	Silent  Presence = "silent"
)

// Cert describes the certificate of a server. The zero value is a valid one
// for the server's own name.
type Cert struct {
	Fault CertFault
	// Names replaces the DNS names of the certificate. For WrongName it
	// defaults to one name of an unrelated host.
	Names []string
}

// CertFault is what is wrong with a certificate.
type CertFault string

// The faults. NotTrusted is issued by a CA that is in nobody's list.
const (
	CertFine   CertFault = ""
	WrongName  CertFault = "wrong name"
	Expired    CertFault = "expired"
	NotTrusted CertFault = "not trusted"
)

// Policy is an MTA-STS policy with its TXT record and its HTTPS host.
type Policy struct {
	ID     string // of the TXT record
	Mode   string // enforce, testing, none
	MX     []string
	MaxAge time.Duration
	Addr   netip.Addr // of mta-sts.<domain>

	// The rest are faults; the zero value is a policy host without one.

	Cert   Cert
	Status int    // HTTP status instead of 200
	Body   string // instead of the text made from Mode, MX and MaxAge
	// ContentType instead of text/plain.
	ContentType string
	Delay       time.Duration // before the answer
	Location    string        // redirect target; set Status as well
	Presence    Presence
}

// Text is the policy as it is served (RFC 8461, Section 3.2).
func (p Policy) Text() string {
	if p.Body != "" {
		return p.Body
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", p.Mode)
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(p.MaxAge/time.Second))
	return b.String()
}

// AttackKind names what the attacker does to a domain.
type AttackKind string

// The attacks. Strip removes STARTTLS from the sessions with the domain's MX
// hosts. Forge answers for the domain's MX and _mta-sts records with the
// attacker's own and blocks HTTPS to the policy host.
const (
	NoAttack AttackKind = ""
	Strip    AttackKind = "strip STARTTLS"
	Forge    AttackKind = "forge DNS"
)

// Attack is an attack with the moment at which it starts by itself.
type Attack struct {
	Kind  AttackKind
	Start AttackStart
}

// AttackStart says when an attack starts. Every attack can also be started
// and ended by [Lab.StartAttack] and [Lab.EndAttack].
type AttackStart string

// The starts. AfterFirstMail waits until the policy has been fetched and one
// honest message has arrived at the domain's real MX host, or three messages
// without a fetch: their sender may know the policy from before.
const (
	OnCommand      AttackStart = ""
	FromTheStart   AttackStart = "from the start"
	AfterFirstMail AttackStart = "after the first mail"
)

// NameFault makes DNS answers for one name go wrong. The zero value of a
// field leaves that part alone.
type NameFault struct {
	Name  string        // without the trailing dot
	Type  string        // "MX", "TXT", "A"; "" means every type
	Rcode string        // "SERVFAIL", "NXDOMAIN", "REFUSED"
	Delay time.Duration // before the answer
	Drop  bool          // never answer
}

// Find returns the domain of that name.
func (w *World) Find(name string) (*Domain, bool) {
	for i := range w.Domains {
		if w.Domains[i].Name == name {
			return &w.Domains[i], true
		}
	}
	return nil, false
}

// PolicyHost is the name of the domain's policy host (RFC 8461, Section 3.3).
func (d *Domain) PolicyHost() string { return "mta-sts." + d.Name }

// clone copies the domain with everything that Change may alter.
func (d *Domain) clone() Domain {
	c := *d
	c.Expect = append([]Expect(nil), d.Expect...)
	c.MX = append([]MX(nil), d.MX...)
	if d.Policy != nil {
		p := *d.Policy
		p.MX = append([]string(nil), p.MX...)
		c.Policy = &p
	}
	return c
}
