package nexthop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"gatepost/relay/verdict"
)

// ipCertificate makes a certificate of its own for an address.
func ipCertificate(t *testing.T, ip string, until time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ip}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// An open session is judged again for each message: the rule may have become
// stricter, the certificate may have ended, the clock may be unknown.
func TestJudgeAgain(t *testing.T) {
	g := newGround(t)
	srv := serve(t, conduct{starttls: "ok", cert: g.good})
	open := func(rule TLSRule) *Session {
		s, err := srv.hop(rule).Open(context.Background(), g.env())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Conn.Quit)
		return s
	}
	secure, clear := open(TLSTry), open(TLSNone)
	login := srv.hop(TLSTry)
	login.User, login.Password = user, password
	other := srv.hop(TLSVerify)
	other.Name = "other.example"
	at := func(d time.Duration) func() time.Time {
		return func() time.Time { return time.Now().Add(d) }
	}
	for _, tt := range []struct {
		name    string
		hop     Hop
		session *Session
		now     func() time.Time
		want    verdict.Reason
	}{
		{"none", srv.hop(TLSNone), clear, nil, ""},
		{"try", srv.hop(TLSTry), clear, nil, ""},
		{"try with a login", login, clear, nil, verdict.StartTLSNotSupported},
		{"require", srv.hop(TLSRequire), clear, nil, verdict.StartTLSNotSupported},
		{"verify", srv.hop(TLSVerify), clear, nil, verdict.StartTLSNotSupported},
		{"no rule is verify", srv.hop(""), clear, nil, verdict.StartTLSNotSupported},
		{"require", srv.hop(TLSRequire), secure, nil, ""},
		{"verify", srv.hop(TLSVerify), secure, nil, ""},
		{"verify, another name", other, secure, nil, verdict.CertificateHostMismatch},
		{"verify, a year later", srv.hop(TLSVerify), secure, at(365 * 24 * time.Hour), verdict.CertificateExpired},
		{"require, a year later", srv.hop(TLSRequire), secure, at(365 * 24 * time.Hour), ""},
		{"verify, not yet", srv.hop(TLSVerify), secure, at(-24 * time.Hour), verdict.CertificateExpired},
		{"verify, time unknown", srv.hop(TLSVerify), secure, func() time.Time { return time.Time{} }, verdict.ClockWrong},
	} {
		env := g.env()
		env.Now = tt.now
		err := tt.hop.Judge(tt.session.Conn, env)
		var ns *NotSafeError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &ns) || ns.Reason != tt.want || !errors.Is(err, ErrNotSafe)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		hop Hop
		ok  bool
	}{
		{Hop{Host: "mail.office.example"}, true},
		{Hop{Host: "mail"}, true},
		{Hop{Host: "192.168.1.5", TLS: TLSNone}, true},
		{Hop{Host: "fd00::5", TLS: TLSTry}, true},
		{Hop{Host: "127.0.0.1", Implicit: true, User: "a", Password: "b"}, true},
		{Hop{}, false},
		{Hop{Host: "mail.office.example:25"}, false},
		{Hop{Host: "[192.168.1.5]"}, false},
		{Hop{Host: "mail office"}, false},
		{Hop{Host: "mail\r\nQUIT"}, false},
		{Hop{Host: "0.0.0.0"}, false},
		{Hop{Host: "::"}, false},
		{Hop{Host: "224.0.0.1"}, false},
		{Hop{Host: "mail", TLS: "sometimes"}, false},
		{Hop{Host: "mail", TLS: TLSNone, Implicit: true}, false},
		{Hop{Host: "mail", TLS: TLSNone, User: "a", Password: "b"}, false},
		{Hop{Host: "mail", User: "a"}, false},
		{Hop{Host: "mail", Password: "b"}, false},
	} {
		if err := tt.hop.Validate(); (err == nil) != tt.ok {
			t.Errorf("%+v: got %v, want ok %v", tt.hop, err, tt.ok)
		}
		if _, err := tt.hop.Open(context.Background(), Env{}); err == nil {
			t.Errorf("%+v: got a session from nowhere", tt.hop)
		}
	}
}

func TestString(t *testing.T) {
	for want, h := range map[string]Hop{
		"mail.office.example:25":   {Host: "mail.office.example", User: user, Password: password},
		"mail.office.example:465":  {Host: "mail.office.example", Implicit: true},
		"mail.office.example:2525": {Host: "mail.office.example", Implicit: true, Port: 2525},
		"[fd00::5]:25":             {Host: "fd00::5"},
	} {
		if got := h.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
