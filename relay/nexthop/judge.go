package nexthop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

// Judge reports whether a session meets the hop's rule: nil, or a
// *NotSafeError. It must be asked again before an open session is used for
// another message, because certificates end and settings change; a session that
// is refused must be closed. It does not look at the login: share a session
// only between hops that are equal.
func (h Hop) Judge(c *smtpc.Conn, env Env) error {
	rule := h.rule()
	no := func(reason verdict.Reason, detail string) error {
		return &NotSafeError{Hop: h.String(), Rule: rule, Reason: reason, Detail: bounded(detail)}
	}
	if rule == TLSNone || rule == TLSTry {
		return nil
	}
	state := c.State()
	if state == nil || !state.HandshakeComplete {
		if h.User != "" && (h.TLS == TLSTry) {
			return no(verdict.StartTLSNotSupported, "the server offers no STARTTLS, and the login may only be sent inside TLS")
		}
		return no(verdict.StartTLSNotSupported, "the server offers no STARTTLS")
	}
	if rule == TLSRequire {
		return nil
	}
	now := env.now()
	if now.IsZero() {
		return no(verdict.ClockWrong, "the time is unknown, the certificate cannot be judged")
	}
	roots := h.Roots
	if roots == nil {
		roots = env.Roots
	}
	if reason, err := checkCertificate(h.name(), state, roots, now); err != nil {
		return no(reason, err.Error())
	}
	return nil
}

// checkCertificate checks the chain, the dates and the name, which may be an IP
// address.
func checkCertificate(name string, state *tls.ConnectionState, roots *x509.CertPool, now time.Time) (verdict.Reason, error) {
	ip, err := netip.ParseAddr(name)
	if err != nil {
		reason, err := mtasts.CheckCertificate(name, state, roots, now)
		return verdict.Reason(reason), err
	}
	if len(state.PeerCertificates) == 0 {
		return verdict.CertificateNotTrusted, errors.New("no certificate was shown")
	}
	leaf := state.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	if err := leaf.VerifyHostname(ip.WithZone("").String()); err != nil {
		return verdict.CertificateHostMismatch, fmt.Errorf("the certificate is not for %s", ip)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return verdict.CertificateExpired, err
	}
	return verdict.CertificateNotTrusted, err
}
