package deliver

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpc"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// key says for what a connection may be used again. Mail for another domain
// has another key, even where the server is the same, so that what one domain's
// policy let pass is never carried over to another one.
type key struct {
	domain string         // policy domain; "" with a hop
	host   string         // MX host name
	addr   netip.AddrPort // of the MX host
	hop    nexthop.Hop    // all of its settings, its rule and login included
}

// session is an open connection with what has to be judged about it.
type session struct {
	conn *smtpc.Conn
	key  key
	st   mtasts.TLSState
	// hop is what was seen of a hop of the settings; nil for an MX host.
	hop    *nexthop.Session
	addr   string // of the server, for the evidence
	chain  []verdict.Certificate
	opened time.Time
	past   judged
	// once says that the connection must not be used for another message.
	once bool
}

// newSession wraps a connection. The chain is put into words once, since
// messages share it.
func newSession(k key, conn *smtpc.Conn, st mtasts.TLSState) *session {
	return &session{conn: conn, key: k, st: st, chain: chain(conn.State()), opened: time.Now(), addr: k.addr.Addr().String()}
}

// judged is a decision to send over a session. It is kept for the next messages
// so that the signatures of the same certificates need not be checked again for
// each of them. It counts only for an equal demand, and until the first of the
// certificates ends.
type judged struct {
	demand    tlspolicy.Demand
	dec       tlspolicy.Decision
	at, until time.Time
}

// memory bounds how long a decision is kept: a root of ours may end too.
const memory = 30 * time.Second

// recall returns the decision that was made for an equal demand, if it holds.
func (s *session) recall(demand tlspolicy.Demand, now time.Time) (tlspolicy.Decision, bool) {
	p := &s.past
	return p.dec, p.dec.Send && !now.Before(p.at) && now.Before(p.until) && p.demand.Equal(demand)
}

// remember keeps a decision to send.
func (s *session) remember(demand tlspolicy.Demand, dec tlspolicy.Decision, now time.Time) {
	until := now.Add(memory)
	if cs := s.conn.State(); cs != nil {
		for _, c := range cs.PeerCertificates {
			if c.NotAfter.Before(until) {
				until = c.NotAfter
			}
		}
	}
	s.past = judged{demand: demand, dec: dec, at: now, until: until}
}

// clear reports whether the session has no TLS.
func (s *session) clear() bool { return s.conn.State() == nil }

// chain puts the certificates that a server showed into words.
func chain(cs *tls.ConnectionState) []verdict.Certificate {
	if cs == nil {
		return nil
	}
	var out []verdict.Certificate
	for _, c := range cs.PeerCertificates[:min(len(cs.PeerCertificates), verdict.MaxChain)] {
		out = append(out, certificate(c))
	}
	return out
}

// maxName bounds each text out of a certificate, which a stranger wrote.
const maxName = 300

func certificate(c *x509.Certificate) verdict.Certificate {
	sum := sha256.Sum256(c.Raw)
	out := verdict.Certificate{
		Subject: cut(c.Subject.String(), maxName), Issuer: cut(c.Issuer.String(), maxName),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, SHA256: hex.EncodeToString(sum[:]),
	}
	for _, n := range c.DNSNames[:min(len(c.DNSNames), verdict.MaxNames)] {
		out.Names = append(out.Names, cut(n, maxName))
	}
	return out
}

// describe notes what the session is like.
func describe(v *verdict.Verdict, dec tlspolicy.Decision, cs *tls.ConnectionState) {
	v.Protection, v.Rule = dec.Protection, dec.Rule
	v.CertNames, v.CertIssuer, v.CertNotAfter = dec.CertNames, dec.CertIssuer, dec.CertNotAfter
	v.TLSVersion, v.Cipher = "", ""
	if cs != nil && cs.HandshakeComplete {
		v.TLSVersion, v.Cipher = tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite)
	}
}

// networkFault reports whether a handshake ended because of the network.
func networkFault(err error) bool {
	var te *smtpc.TLSError
	var ne *smtpc.NetError
	return errors.As(err, &te) && te.Network() || errors.As(err, &ne)
}
