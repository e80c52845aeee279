package mtasts

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// TLSState is what an SMTP client saw of a server's TLS.
type TLSState struct {
	// STARTTLS says that the server offered it.
	STARTTLS bool
	// Connection is the state after the handshake; nil without one. The
	// handshake should be made without verification, so that a bad certificate
	// can be told from a broken handshake.
	Connection *tls.ConnectionState
	// HandshakeErr is why the handshake failed.
	HandshakeErr error
}

// Verdict says whether mail may go to one MX host under one policy.
type Verdict struct {
	// OK: the host meets the demands of the policy. True where there are none.
	OK bool
	// Deliver: mail may be sent to the host. In modes testing and none it
	// always may (Section 5); in enforce only when OK. It says nothing about
	// the demands of others (DANE, REQUIRETLS, the operator), which testing
	// neither weakens nor meets.
	Deliver bool
	// Result is the result type of RFC 8460, Section 4.3 for a TLS report, ""
	// when OK. An MX host that the policy does not list is a
	// validation-failure there.
	Result string
	// Reason is the id of what failed, "" when OK.
	Reason Reason
	// Detail is the cause for a technical reader. A stranger chose parts of
	// it; they are quoted and bounded.
	Detail string

	// What the host's certificate says, zero when there was none.
	CertNames    []string
	CertIssuer   string
	CertNotAfter time.Time
}

// JudgeMX judges the name of an MX host before anything is dialled (Section
// 4.1). Walk the MX hosts in the order of their preference and treat a host
// without Deliver as one that cannot be reached (Section 5.1).
func JudgeMX(p Policy, mxHost string) Verdict {
	if p.Mode != Enforce && p.Mode != Testing || p.Match(mxHost) {
		return Verdict{OK: true, Deliver: true}
	}
	return fail(p, ReasonMXNotListed, ReasonValidation,
		fmt.Sprintf("no mx of the policy matches %s", quote(mxHost)))
}

// Judge judges an MX host after the TLS handshake (Sections 4.1, 4.2 and 5):
// the host is listed, it offered STARTTLS, the version is TLS 1.2 or newer
// (Section 7.2), and the certificate is valid for the host's name. roots nil
// means the roots of the system. now is the current time; the zero time means
// that it is unknown, and then no certificate is judged: the Reason is
// ReasonClock, and in mode enforce the mail has to wait.
//
// Before a failure is reported to a sender as permanent, Cache.Recheck must
// have been asked (Section 5.1).
func Judge(p Policy, mxHost string, st TLSState, roots *x509.CertPool, now time.Time) Verdict {
	v := JudgeMX(p, mxHost)
	if st.Connection != nil && len(st.Connection.PeerCertificates) > 0 {
		leaf := st.Connection.PeerCertificates[0]
		v.CertNames, v.CertIssuer, v.CertNotAfter = certificateFacts(leaf)
	}
	if !v.OK || p.Mode != Enforce && p.Mode != Testing {
		return v
	}
	no := func(reason Reason, result, detail string) Verdict {
		w := fail(p, reason, result, detail)
		w.CertNames, w.CertIssuer, w.CertNotAfter = v.CertNames, v.CertIssuer, v.CertNotAfter
		return w
	}
	switch {
	case !st.STARTTLS:
		return no(ReasonSTARTTLS, ReasonSTARTTLS, "the server offers no STARTTLS")
	case st.HandshakeErr != nil:
		reason := handshakeReason(st.HandshakeErr)
		return no(reason, reason, "TLS handshake: "+bounded(st.HandshakeErr.Error()))
	case st.Connection == nil:
		return no(ReasonValidation, ReasonValidation, "no TLS handshake took place")
	case st.Connection.Version < tls.VersionTLS12:
		return no(ReasonValidation, ReasonValidation, tls.VersionName(st.Connection.Version)+" is older than TLS 1.2")
	case now.IsZero():
		return no(ReasonClock, "", "the time is unknown, the certificate cannot be judged")
	}
	if reason, err := CheckCertificate(mxHost, st.Connection, roots, now); err != nil {
		return no(reason, reason, bounded(err.Error()))
	}
	return v
}

func fail(p Policy, reason Reason, result, detail string) Verdict {
	return Verdict{Deliver: p.Mode != Enforce, Reason: reason, Result: result, Detail: detail}
}

// CheckCertificate checks that the certificate of a TLS session is valid for
// host (Section 4.2): not expired, a chain to roots (nil: the system's), and
// host as a DNS-ID, a wildcard standing for the whole left-most label only.
// The common name does not count. The reason is ReasonHostMismatch,
// ReasonExpired (not yet valid, too) or ReasonNotTrusted, "" when err is nil.
//
// Revocation is not checked.
func CheckCertificate(host string, cs *tls.ConnectionState, roots *x509.CertPool, now time.Time) (Reason, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return ReasonNotTrusted, errors.New("no certificate was shown")
	}
	leaf := cs.PeerCertificates[0]
	// A name that looks like an address would be compared with the addresses
	// in the certificate: MTA-STS knows names only.
	name, ok := hostName(host)
	if !ok {
		return ReasonHostMismatch, fmt.Errorf("%s is not a host name", quote(host))
	}
	switch {
	case now.After(leaf.NotAfter):
		return ReasonExpired, fmt.Errorf("the certificate expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return ReasonExpired, fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if err := leaf.VerifyHostname(name); err != nil {
		names, _, _ := certificateFacts(leaf)
		return ReasonHostMismatch, fmt.Errorf("the certificate is for %q, not for %s", names, quote(name))
	}
	intermediates := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
	})
	if err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return ReasonExpired, fmt.Errorf("a certificate of the chain: %w", err)
		}
		return ReasonNotTrusted, err
	}
	return "", nil
}

// handshakeReason names the cause of a handshake that failed because the
// caller let crypto/tls verify the certificate; any other failure is a
// validation-failure.
func handshakeReason(err error) Reason {
	var (
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		roots   x509.SystemRootsError
	)
	switch {
	case errors.As(err, &host):
		return ReasonHostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonExpired
	case errors.As(err, &invalid), errors.As(err, &unknown), errors.As(err, &roots):
		return ReasonNotTrusted
	}
	return ReasonValidation
}

// certificateFacts gives at most 20 names of a certificate, each bounded, and
// its issuer: a stranger wrote them.
func certificateFacts(leaf *x509.Certificate) (names []string, issuer string, notAfter time.Time) {
	for _, name := range leaf.DNSNames[:min(20, len(leaf.DNSNames))] {
		names = append(names, bounded(name))
	}
	return names, bounded(leaf.Issuer.String()), leaf.NotAfter
}

// bounded cuts a stranger's text at 300 bytes.
func bounded(s string) string {
	if len(s) > 300 {
		return s[:300] + "..."
	}
	return s
}
