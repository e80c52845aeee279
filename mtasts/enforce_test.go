package mtasts

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// state gives the state of a session in which a server showed a certificate.
func state(t *testing.T, version uint16, chain ...tls.Certificate) *tls.ConnectionState {
	t.Helper()
	cs := &tls.ConnectionState{Version: version, HandshakeComplete: true}
	for _, c := range chain {
		for _, der := range c.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			cs.PeerCertificates = append(cs.PeerCertificates, cert)
		}
	}
	return cs
}

// TestJudge: what an MX host has to show in the three modes (Sections 4, 5).
func TestJudge(t *testing.T) {
	ca, other := newAuthority(t, "Test CA"), newAuthority(t, "Other CA")
	now := time.Now()
	name := []string{"mx.good.example"}
	good := ca.issue(name, nil)
	ok := func(c tls.Certificate) TLSState {
		return TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS13, c)}
	}
	for _, test := range []struct {
		name   string
		mx     string
		state  TLSState
		reason Reason
		result string
	}{
		{"good", "mx.good.example", ok(good), "", ""},
		{"good, other form of the name", "MX.good.example.", ok(good), "", ""},
		{"TLS 1.2", "mx.good.example", TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS12, good)}, "", ""},
		{"wildcard certificate", "mx.good.example", ok(ca.issue([]string{"*.good.example"}, nil)), "", ""},
		{"TLS 1.1", "mx.good.example", TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS11, good)}, ReasonValidation, "validation-failure"},
		{"not listed", "mx.other.example", ok(ca.issue([]string{"mx.other.example"}, nil)), ReasonMXNotListed, "validation-failure"},
		{"no STARTTLS", "mx.good.example", TLSState{}, ReasonSTARTTLS, "starttls-not-supported"},
		{"no handshake", "mx.good.example", TLSState{STARTTLS: true}, ReasonValidation, "validation-failure"},
		{"broken handshake", "mx.good.example", TLSState{STARTTLS: true, HandshakeErr: io.ErrUnexpectedEOF}, ReasonValidation, "validation-failure"},
		{"no certificate", "mx.good.example", TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS13)}, ReasonNotTrusted, "certificate-not-trusted"},
		{"certificate for another name", "mx.good.example", ok(ca.issue([]string{"mx.other.example"}, nil)), ReasonHostMismatch, "certificate-host-mismatch"},
		{"certificate for the domain", "mx.good.example", ok(ca.issue([]string{"good.example"}, nil)), ReasonHostMismatch, "certificate-host-mismatch"},
		{"certificate for another listed host", "mx.good.example", ok(ca.issue([]string{"mx2.good.example"}, nil)), ReasonHostMismatch, "certificate-host-mismatch"},
		{"common name only", "mx.good.example", ok(ca.issue(nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name[0]} })), ReasonHostMismatch, "certificate-host-mismatch"},
		{"expired", "mx.good.example", ok(ca.issue(name, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })), ReasonExpired, "certificate-expired"},
		{"not yet valid", "mx.good.example", ok(ca.issue(name, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })), ReasonExpired, "certificate-expired"},
		{"unknown authority", "mx.good.example", ok(other.issue(name, nil)), ReasonNotTrusted, "certificate-not-trusted"},
		{"not for servers", "mx.good.example", ok(ca.issue(name, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		})), ReasonNotTrusted, "certificate-not-trusted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, mode := range []Mode{Enforce, Testing, None, ""} {
				p := Policy{Mode: mode, MX: []string{"mx.good.example", "mx2.good.example"}}
				v := Judge(p, test.mx, test.state, ca.pool, now)
				reason, result, deliver := test.reason, test.result, test.reason == "" || mode != Enforce
				if mode == None || mode == "" {
					reason, result = "", ""
				}
				if v.OK != (reason == "") || v.Reason != reason || v.Result != result || v.Deliver != deliver {
					t.Errorf("mode %q: got OK %v, deliver %v, %q, %q (%s), want deliver %v, %q, %q",
						mode, v.OK, v.Deliver, v.Reason, v.Result, v.Detail, deliver, reason, result)
				}
				if !v.OK && v.Detail == "" {
					t.Error("no detail")
				}
				if c := test.state.Connection; c != nil && len(c.PeerCertificates) > 0 && v.CertNotAfter.IsZero() {
					t.Errorf("mode %q: no facts of the certificate", mode)
				}
			}
		})
	}
}

// TestJudgeClock: an unknown clock judges no certificate; in enforce the mail
// waits, and nothing is reported.
func TestJudgeClock(t *testing.T) {
	ca := newAuthority(t, "Test CA")
	st := TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS13, ca.issue([]string{"mx.good.example"}, nil))}
	p := Policy{Mode: Enforce, MX: []string{"mx.good.example"}}
	if v := Judge(p, "mx.good.example", st, ca.pool, time.Time{}); v.OK || v.Deliver || v.Reason != ReasonClock || v.Result != "" {
		t.Errorf("got %+v", v)
	}
	p.Mode = Testing
	if v := Judge(p, "mx.good.example", st, ca.pool, time.Time{}); v.OK || !v.Deliver {
		t.Errorf("testing: got %+v", v)
	}
}

// TestJudgeHandshakeErrors: a caller that let crypto/tls verify gets the same
// reasons.
func TestJudgeHandshakeErrors(t *testing.T) {
	leaf := &x509.Certificate{}
	for _, test := range []struct {
		err  error
		want Reason
	}{
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: leaf, Host: "a"}}, ReasonHostMismatch},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired}}, ReasonExpired},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.NotAuthorizedToSign}}, ReasonNotTrusted},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{Cert: leaf}}, ReasonNotTrusted},
		{&tls.CertificateVerificationError{Err: x509.SystemRootsError{Err: io.EOF}}, ReasonNotTrusted},
		{fmt.Errorf("read: %w", io.EOF), ReasonValidation},
		{errors.New(strings.Repeat("long ", 1000)), ReasonValidation},
	} {
		v := Judge(Policy{Mode: Enforce, MX: []string{"a.example"}}, "a.example", TLSState{STARTTLS: true, HandshakeErr: test.err}, nil, time.Now())
		if v.Reason != test.want || v.Result != test.want || v.Deliver || len(v.Detail) > 400 {
			t.Errorf("%.60v: got %+v, want %s", test.err, v, test.want)
		}
	}
}

func TestCheckCertificate(t *testing.T) {
	ca := newAuthority(t, "Test CA")
	now := time.Now()
	// An intermediate that the server sends, and one that has expired.
	chain := func(change func(*x509.Certificate)) *tls.ConnectionState {
		middle := newAuthority(t, "Middle CA")
		signed := ca.issue(nil, func(c *x509.Certificate) {
			c.Subject, c.IsCA, c.BasicConstraintsValid = pkix.Name{CommonName: "Middle CA"}, true, true
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
			if change != nil {
				change(c)
			}
		})
		cert, err := x509.ParseCertificate(signed.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		middle.cert, middle.key = cert, nil
		leafOf := &authority{t: t, cert: cert, key: keyOf(t, signed)}
		return state(t, tls.VersionTLS13, leafOf.issue([]string{"mx.good.example"}, nil), signed)
	}
	if reason, err := CheckCertificate("mx.good.example", chain(nil), ca.pool, now); err != nil {
		t.Errorf("with an intermediate: got %s, %v", reason, err)
	}
	expired := chain(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	if reason, err := CheckCertificate("mx.good.example", expired, ca.pool, now); reason != ReasonExpired {
		t.Errorf("with an intermediate that has expired: got %s, %v", reason, err)
	}
	if reason, err := CheckCertificate("mx.good.example", nil, ca.pool, now); reason != ReasonNotTrusted || err == nil {
		t.Errorf("without a session: got %s, %v", reason, err)
	}
	if reason, _ := CheckCertificate("mx.good.example", chain(nil), nil, now); reason != ReasonNotTrusted {
		t.Errorf("with the system's roots: got %s", reason)
	}
	// A host that looks like an address is no identity, even if the
	// certificate has that address.
	ip := ca.issue([]string{"192.0.2.1"}, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} })
	for _, host := range []string{"192.0.2.1", "192.0.2.1.", "[192.0.2.1]", "2001:db8::1", "", "a b"} {
		if reason, err := CheckCertificate(host, state(t, tls.VersionTLS13, ip), ca.pool, now); reason != ReasonHostMismatch || err == nil {
			t.Errorf("host %q: got %s, %v", host, reason, err)
		}
	}
}

func keyOf(t *testing.T, c tls.Certificate) (key ecdsaKey) {
	t.Helper()
	key, ok := c.PrivateKey.(ecdsaKey)
	if !ok {
		t.Fatalf("key is a %T", c.PrivateKey)
	}
	return key
}

// TestCertificateFactsBounded: a stranger's certificate cannot fill the memory
// of whoever keeps the verdict.
func TestCertificateFactsBounded(t *testing.T) {
	ca := newAuthority(t, strings.Repeat("x", 60))
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("n%d.%s.example", i, strings.Repeat("a", 63)))
	}
	st := TLSState{STARTTLS: true, Connection: state(t, tls.VersionTLS13, ca.issue(names, nil))}
	v := Judge(Policy{Mode: Enforce, MX: []string{"mx.good.example"}}, "mx.good.example", st, ca.pool, time.Now())
	if len(v.CertNames) != 20 || !slices.Equal(v.CertNames, names[:20]) || len(v.Detail) > 310 {
		t.Errorf("got %d names, detail of %d bytes", len(v.CertNames), len(v.Detail))
	}
}
