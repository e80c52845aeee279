package tlspolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/verdict"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// authority issues certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{cert, key, pool}
}

// session is the state of a completed handshake with a certificate for name.
func (a authority) session(t *testing.T, name string, until time.Time) mtasts.TLSState {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return mtasts.TLSState{STARTTLS: true, Connection: &tls.ConnectionState{
		Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf},
	}}
}

func policy(m mtasts.Mode, mx ...string) mtasts.Policy {
	return mtasts.Policy{Mode: m, MX: mx, MaxAge: time.Hour}
}

// Every combination of policy, tag and what the host shows. The rule that
// nothing may break: with MustVerify, Send only after a verified session, and
// TryClear never.
func TestSession(t *testing.T) {
	a := newAuthority(t)
	const mx = "mx.a.example"
	states := map[string]mtasts.TLSState{
		"good":     a.session(t, mx, now.Add(time.Hour)),
		"name":     a.session(t, "mx.b.example", now.Add(time.Hour)),
		"expired":  a.session(t, mx, now.Add(-time.Minute)),
		"stranger": newAuthority(t).session(t, mx, now.Add(time.Hour)),
		"stripped": {},
		"broken":   {STARTTLS: true, HandshakeErr: errors.New("handshake failure")},
	}
	none := mtasts.Policy{}
	for _, c := range []struct {
		name       string
		policy     mtasts.Policy
		inForce    bool
		requireTLS bool
		state      string
		send       bool
		tryClear   bool
		reason     verdict.Reason
		protection verdict.Protection
	}{
		{"enforce", policy(mtasts.Enforce, mx), true, false, "good", true, false, "", verdict.Verified},
		{"enforce", policy(mtasts.Enforce, mx), true, false, "name", false, false, verdict.CertificateHostMismatch, verdict.Encrypted},
		{"enforce", policy(mtasts.Enforce, mx), true, false, "expired", false, false, verdict.CertificateExpired, verdict.Encrypted},
		{"enforce", policy(mtasts.Enforce, mx), true, false, "stranger", false, false, verdict.CertificateNotTrusted, verdict.Encrypted},
		{"enforce", policy(mtasts.Enforce, mx), true, false, "stripped", false, false, verdict.StartTLSNotSupported, verdict.Clear},
		{"enforce", policy(mtasts.Enforce, mx), true, false, "broken", false, false, verdict.ValidationFailure, verdict.Clear},
		{"enforce, not listed", policy(mtasts.Enforce, "other.example"), true, false, "good", false, false, verdict.MXNotListed, verdict.Encrypted},

		{"testing", policy(mtasts.Testing, mx), true, false, "good", true, false, "", verdict.Verified},
		{"testing", policy(mtasts.Testing, mx), true, false, "name", true, false, verdict.CertificateHostMismatch, verdict.Encrypted},
		{"testing", policy(mtasts.Testing, mx), true, false, "stripped", true, false, verdict.StartTLSNotSupported, verdict.Clear},
		{"testing", policy(mtasts.Testing, mx), true, false, "broken", false, true, verdict.ValidationFailure, verdict.Clear},

		{"none", policy(mtasts.None), true, false, "stranger", true, false, "", verdict.Encrypted},
		{"none", policy(mtasts.None), true, false, "stripped", true, false, "", verdict.Clear},

		{"no policy", none, false, false, "good", true, false, "", verdict.Encrypted},
		{"no policy", none, false, false, "stranger", true, false, "", verdict.Encrypted},
		{"no policy", none, false, false, "stripped", true, false, "", verdict.Clear},
		{"no policy", none, false, false, "broken", false, true, verdict.ValidationFailure, verdict.Clear},

		// RFC 8689, Section 4.2.1: only an enforced policy vouches for a host.
		{"tag, enforce", policy(mtasts.Enforce, mx), true, true, "good", true, false, "", verdict.Verified},
		{"tag, enforce", policy(mtasts.Enforce, mx), true, true, "name", false, false, verdict.CertificateHostMismatch, verdict.Encrypted},
		{"tag, testing", policy(mtasts.Testing, mx), true, true, "good", false, false, verdict.RequireTLS, verdict.Verified},
		{"tag, testing", policy(mtasts.Testing, mx), true, true, "broken", false, false, verdict.RequireTLS, verdict.Clear},
		{"tag, none", policy(mtasts.None), true, true, "good", false, false, verdict.RequireTLS, verdict.Encrypted},
		{"tag, no policy", none, false, true, "good", false, false, verdict.RequireTLS, verdict.Encrypted},
		{"tag, no policy", none, false, true, "broken", false, false, verdict.RequireTLS, verdict.Clear},
	} {
		t.Run(c.name+"/"+c.state, func(t *testing.T) {
			d := New(c.policy, c.inForce, c.requireTLS)
			got := d.Session(mx, states[c.state], a.pool, now)
			if got.Send != c.send || got.TryClear != c.tryClear || got.Reason != c.reason || got.Protection != c.protection {
				t.Errorf("got  send %v, clear %v, %q, %q\nwant send %v, clear %v, %q, %q",
					got.Send, got.TryClear, got.Reason, got.Protection, c.send, c.tryClear, c.reason, c.protection)
			}
			if !got.Send && got.Rule == "" {
				t.Error("a refusal without a rule")
			}
			if d.MustVerify() && (got.TryClear || got.Send && got.Protection != verdict.Verified) {
				t.Errorf("mail that must be verified would go out: %+v", got)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for _, c := range []struct {
		name       string
		policy     mtasts.Policy
		inForce    bool
		requireTLS bool
		send       bool
		reason     verdict.Reason
		pattern    string
		permanent  bool
	}{
		{"no policy", mtasts.Policy{}, false, false, true, "", "", false},
		{"listed", policy(mtasts.Enforce, "b.example", "*.a.example"), true, false, true, "", "*.a.example", false},
		{"not listed", policy(mtasts.Enforce, "b.example"), true, false, false, verdict.MXNotListed, "", false},
		{"not listed, testing", policy(mtasts.Testing, "b.example"), true, false, true, verdict.MXNotListed, "", false},
		{"none", policy(mtasts.None), true, false, true, "", "", false},
		// RFC 8689, Section 4.2.1: where no enforced policy names a host nobody
		// vouches for one, and waiting changes nothing.
		{"listed, tag", policy(mtasts.Enforce, "*.a.example"), true, true, true, "", "*.a.example", false},
		{"not listed, tag", policy(mtasts.Enforce, "b.example"), true, true, false, verdict.MXNotListed, "", false},
		{"no policy, tag", mtasts.Policy{}, false, true, false, verdict.RequireTLS, "", true},
		{"testing, tag", policy(mtasts.Testing, "*.a.example"), true, true, false, verdict.RequireTLS, "", true},
		{"none, tag", policy(mtasts.None), true, true, false, verdict.RequireTLS, "", true},
	} {
		got := New(c.policy, c.inForce, c.requireTLS).Host("mx.a.example")
		if got.Send != c.send || got.Reason != c.reason || got.Pattern != c.pattern || got.Permanent != c.permanent {
			t.Errorf("%s: got %+v, want send %v, %q, pattern %q, permanent %v", c.name, got, c.send, c.reason, c.pattern, c.permanent)
		}
		if got.Permanent != (got.Enhanced == "5.7.10") {
			t.Errorf("%s: got code %q with permanent %v", c.name, got.Enhanced, got.Permanent)
		}
	}
}

// Only where nobody demands or watches TLS may a session in clear be used
// again.
func TestOptional(t *testing.T) {
	for _, c := range []struct {
		mode    mtasts.Mode
		inForce bool
		tag     bool
		want    bool
	}{
		{"", false, false, true},
		{mtasts.None, true, false, true},
		{mtasts.Testing, true, false, false},
		{mtasts.Enforce, true, false, false},
		{"", false, true, false},
		{mtasts.None, true, true, false},
	} {
		if got := New(policy(c.mode), c.inForce, c.tag).Optional(); got != c.want {
			t.Errorf("mode %q, tag %v: got %v, want %v", c.mode, c.tag, got, c.want)
		}
	}
}

func TestEqual(t *testing.T) {
	base := New(policy(mtasts.Enforce, "a.example", "b.example"), true, false)
	for name, o := range map[string]Demand{
		"mode":  New(policy(mtasts.Testing, "a.example", "b.example"), true, false),
		"hosts": New(policy(mtasts.Enforce, "a.example", "c.example"), true, false),
		"fewer": New(policy(mtasts.Enforce, "a.example"), true, false),
		"tag":   New(policy(mtasts.Enforce, "a.example", "b.example"), true, true),
		"none":  New(policy(mtasts.Enforce, "a.example", "b.example"), false, false),
	} {
		if base.Equal(o) || o.Equal(base) {
			t.Errorf("%s: they count as equal", name)
		}
	}
	if !base.Equal(New(policy(mtasts.Enforce, "a.example", "b.example"), true, false)) {
		t.Error("equal demands are not")
	}
}
