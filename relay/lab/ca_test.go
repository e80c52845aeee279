package lab

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"
)

func TestCA(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	ca, err := NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ca.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseCA(text, now)
	if err != nil {
		t.Fatal(err)
	}
	var (
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
	)
	rows := []struct {
		want Cert
		err  any
	}{
		{Cert{}, nil},
		{Cert{Fault: WrongName}, &hostname},
		{Cert{Fault: WrongName, Names: []string{"a.example", "*.b.example"}}, &hostname},
		{Cert{Fault: Expired}, &invalid},
		{Cert{Fault: NotTrusted}, &unknown},
	}
	for _, issuer := range []*CA{ca, again} {
		for _, row := range rows {
			cert, err := issuer.Issue("mx.good.example", row.want, now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = cert.Leaf.Verify(x509.VerifyOptions{DNSName: "mx.good.example", Roots: ca.Pool(), CurrentTime: now})
			if row.err == nil && err != nil || row.err != nil && !errors.As(err, row.err) {
				t.Errorf("%+v: got %v, want %T", row.want, err, row.err)
			}
		}
	}
	for _, bad := range [][]byte{nil, ca.PEM(), append(ca.PEM(), ca.PEM()...), text[:len(text)/2]} {
		if _, err := ParseCA(bad, now); err == nil {
			t.Errorf("ParseCA took %q", bad)
		}
	}
}
