// Package nexthop opens a session with a mail server that the settings name:
// the office's own server inside, or the smart host through which everything
// goes out. Such a server is found by its name or address, never by MX records,
// and it has its own rule about TLS and perhaps a login.
//
// It decides whether the rule is met, and says why not; it sends no mail, keeps
// no connection, and does not know MTA-STS or DANE: those speak of MX hosts.
//
// Two promises hold whatever the server or somebody on the path does. Under
// TLSRequire and TLSVerify nothing but EHLO, STARTTLS and QUIT is sent in clear.
// The user name and the password are only sent inside TLS, and under TLSVerify
// only after the certificate was found good; they are in no error and no log.
//
// RFC 5321, RFC 3207 (STARTTLS), RFC 8314, Section 3 (TLS from the first byte),
// RFC 4954 (AUTH), RFC 7435 (TLS when it works).
package nexthop

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatepost/relay/smtpc"
	"gatepost/relay/smtpc/address"
	"gatepost/relay/verdict"
)

// TLSRule says what a next hop must show before mail may be given to it.
type TLSRule string

// The rules. The empty rule is TLSVerify, the strictest.
const (
	TLSNone    TLSRule = "none"    // never TLS
	TLSTry     TLSRule = "try"     // TLS when it is offered and works, with any certificate; else in clear
	TLSRequire TLSRule = "require" // encrypted, with any certificate
	TLSVerify  TLSRule = "verify"  // the certificate checked for the name
)

// Hop is a next hop as the settings name it. It is a value and comparable: two
// hops that are equal may share connections, others must not.
type Hop struct {
	Host string // a DNS name or an IP address, without brackets and without a port
	Port uint16 // 0 means 25, with Implicit 465
	TLS  TLSRule
	// Implicit means TLS from the first byte (port 465). It makes TLSTry as
	// strict as TLSRequire, since there is no way back to clear.
	Implicit bool
	// Name is what the certificate must show, and the name asked for in the
	// handshake (SNI); "" means Host. It may be an IP address.
	Name string
	// User and Password log in; both are empty where no login is wanted. A login
	// makes TLSTry as strict as TLSRequire.
	User, Password string
	// Final is the operator's word that mail is at its end with this hop, so that
	// the hop need not offer REQUIRETLS (RFC 8689). It changes nothing here.
	Final bool
	// Roots is for the certificate of this hop; nil means those of Env.
	Roots *x509.CertPool
}

// Env is what every hop needs from the machine. SMTP.Hello is required, and
// LookupNetIP for hops with a DNS name.
type Env struct {
	SMTP smtpc.Config
	// LookupNetIP finds addresses; network is "ip", "ip4" or "ip6".
	LookupNetIP func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Family      string           // "ip", "ip4" or "ip6"; "" means "ip"
	Roots       *x509.CertPool   // nil means the system's
	Now         func() time.Time // nil means time.Now; a zero time means that it is unknown
	// Note, if set, is called for each address that gave no session, before the
	// next one is tried: evidence for the verdict.
	Note func(verdict.Host)
}

// Session is an open session that meets the hop's rule. The caller must call
// Conn.Quit or Conn.Close.
type Session struct {
	Conn *smtpc.Conn
	Addr netip.AddrPort
	// Protection is what the session gives: Verified only under TLSVerify.
	Protection verdict.Protection
	// Clear is why the session is in clear although TLS was wanted (TLSTry), nil
	// otherwise.
	Clear error
}

// Validate reports whether the hop makes sense, in plain English. Open refuses
// a hop that does not, before anything is sent.
func (h Hop) Validate() error {
	switch h.TLS {
	case "", TLSNone, TLSTry, TLSRequire, TLSVerify:
	default:
		return fmt.Errorf("nexthop: there is no TLS rule %q", h.TLS)
	}
	ip, err := netip.ParseAddr(h.Host)
	switch {
	case err == nil && (ip.IsUnspecified() || ip.IsMulticast()):
		return errors.New("nexthop: the server's address is none that can be called")
	case err != nil && (address.CheckDomain(h.Host) != nil || strings.HasPrefix(h.Host, "[")):
		return errors.New("nexthop: the server is neither a host name nor an IP address")
	case h.TLS == TLSNone && h.Implicit:
		return errors.New("nexthop: TLS from the first byte and the rule \"none\" exclude each other")
	case h.TLS == TLSNone && h.User != "":
		return errors.New("nexthop: a login needs TLS, and the rule is \"none\"")
	case (h.User == "") != (h.Password == ""):
		return errors.New("nexthop: a login needs a user name and a password")
	}
	return nil
}

// rule is the rule that counts: a login, and TLS from the first byte, leave no
// way in clear.
func (h Hop) rule() TLSRule {
	switch {
	case h.TLS == "":
		return TLSVerify
	case h.TLS == TLSTry && (h.User != "" || h.Implicit):
		return TLSRequire
	}
	return h.TLS
}

// name is what the certificate must show.
func (h Hop) name() string {
	if h.Name != "" {
		return h.Name
	}
	return h.Host
}

func (h Hop) port() uint16 {
	switch {
	case h.Port != 0:
		return h.Port
	case h.Implicit:
		return 465
	}
	return 25
}

// String names the hop for people, without its login.
func (h Hop) String() string {
	if strings.Contains(h.Host, ":") {
		return fmt.Sprintf("[%s]:%d", h.Host, h.port())
	}
	return fmt.Sprintf("%s:%d", h.Host, h.port())
}
