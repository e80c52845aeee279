package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// orSkip skips the test for that reason, or fails it in CI.
func orSkip(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(err) // make test installs it: here a skip would hide the check
	}
	t.Skip(err)
}

// TestPostfix sends through an instance to smtp-sink and into a mailbox.
func TestPostfix(t *testing.T) {
	orSkip(t, CanPostfix())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sink, err := StartSink(ctx, SinkConfig{Dump: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartPostfix(ctx, PostfixConfig{Hostname: "mail.office.example", Mailboxes: []string{"anna@office.example"}, Next: sink.Addr})
	if err != nil {
		t.Fatal(err)
	}
	load := Load{To: p.Addr, Sessions: 5, Messages: 20, Size: 1000, From: "bert@office.example", Rcpt: "anna@office.example"}
	if _, err := Send(ctx, load); err != nil {
		t.Fatal(err)
	}
	mails, err := p.WaitMail(ctx, "anna@office.example", 20)
	if err != nil || !strings.Contains(string(mails[0]), "\nReceived: from client.office.example") {
		t.Errorf("%d messages, %v; log:\n%s", len(mails), err, p.Log())
	}
	load.Rcpt = "x@away.example"
	if _, err := Send(ctx, load); err != nil {
		t.Fatal(err)
	}
	if err := sink.Wait(ctx, 20); err != nil {
		t.Errorf("%v; log:\n%s", err, p.Log())
	}
	if names, err := filepath.Glob(filepath.Join(sink.Folder, "mail.*")); err != nil || len(names) != 20 {
		t.Errorf("the sink kept %d messages, %v", len(names), err)
	}
	load.Rcpt, load.Messages = "nobody@office.example", 1
	if _, err := Send(ctx, load); err == nil || !strings.Contains(err.Error(), "550 5.1.1") {
		t.Errorf("an unknown user: got %v, want 550 5.1.1", err)
	}
	u, err := p.Usage()
	if err != nil || u.Count < 4 || u.Memory < 1<<20 || u.CPU <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := sink.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestTLSFront has Postfix deliver over TLS to smtp-sink.
func TestTLSFront(t *testing.T) {
	orSkip(t, CanPostfix())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sink, err := StartSink(ctx, SinkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Stop() })
	front, err := StartTLSFront(sink.Addr, selfSigned(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartPostfix(ctx, PostfixConfig{
		Hostname: "mail.office.example", Next: front.Addr,
		Settings: map[string]string{"smtp_tls_security_level": "encrypt", "smtp_tls_loglevel": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	load := Load{To: p.Addr, Sessions: 5, Messages: 20, Size: 100 << 10, From: "bert@office.example", Rcpt: "x@away.example", Keep: true}
	if _, err := Send(ctx, load); err != nil {
		t.Fatal(err)
	}
	if err := sink.Wait(ctx, 20); err != nil || !strings.Contains(p.Log(), "TLS connection established to 127.0.0.1") {
		t.Errorf("%v; log:\n%s", err, p.Log())
	}
	out, err := Swaks(ctx, "--server", front.Addr, "--from", "a@b.example", "--to", "c@d.example")
	if err == nil || !strings.Contains(out, "530 5.7.0") {
		t.Errorf("in clear: %v: %s", err, out)
	}
	if err := front.Close(); err != nil {
		t.Error(err)
	}
}

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"sink.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
