package smtpd

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

// A failed handshake must not leave a session in clear behind (RFC 3207,
// Section 4.1).
func TestFailedHandshakeCloses(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("STARTTLS", "220 ")
	c.send("this is not a ClientHello, it is " + strings.Repeat("x", 100) + "\r\n" + forged)
	all := ""
	for !strings.HasSuffix(all, "EOF") {
		all += c.reply()
	}
	if strings.Contains(all, "550") || strings.Contains(all, "250") || strings.Contains(all, "Handshake") {
		t.Errorf("got %q after a failed handshake, want no SMTP", all)
	}
	if got := f.all(); len(got) > 0 {
		t.Error("got a message after a failed handshake")
	}

	// An old version is such a failure too.
	c, _ = f.hello(f.trusted)
	c.want("STARTTLS", "220 ")
	if tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake() == nil {
		t.Error("got a handshake with TLS 1.1")
	}
	c.gone()
}

// Commands in clear behind STARTTLS are not carried out inside TLS, nor
// anywhere else (RFC 3207, Section 4.2).
func TestSTARTTLSInjection(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.send("STARTTLS\r\nMAIL FROM:<eve@office.example>\r\nRCPT TO:<victim@other.example>\r\n")
	c.want("", "554 5.5.0 ")
	c.gone()
	// What comes a moment later meets the handshake, and breaks it.
	c, _ = f.hello(f.trusted)
	c.want("STARTTLS", "220 ")
	c.send("MAIL FROM:<eve@office.example>\r\n")
	c.gone()
	if got := f.all(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestSTARTTLSTakesNoArgument(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("STARTTLS now", "501 5.5.4 ")
	c.want("STARTTLSxyz", "500 5.5.1 ")
	c.want("STARTTLS ", "220 ")
	c.handshake()
	c.want("EHLO client.example", "250-")
}

// What was said before STARTTLS is forgotten (RFC 3207, Section 4.2).
func TestSTARTTLSForgets(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.want("STARTTLS", "220 ")
	c.handshake()
	c.want("DATA", "503 ")
	c.want("MAIL FROM:<bob@office.example>", "503 ")
	c.want("STARTTLS", "503 ")
}

func TestHandshakeStall(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Read = 200 * time.Millisecond })
	c, _ := f.hello(f.trusted)
	c.want("STARTTLS", "220 ")
	time.Sleep(400 * time.Millisecond)
	_, _ = c.nc.Write([]byte(forged))
	if r := c.reply(); strings.Contains(r, "250") || !strings.HasSuffix(r, "EOF") {
		t.Errorf("got %q, want the end", r)
	}
}

func TestNoTLSConfigured(t *testing.T) {
	f := start(t, func(c *Config) { c.TLS = nil; c.Listeners = c.Listeners[:1] })
	c, ehlo := f.hello(f.trusted)
	if strings.Contains(ehlo, "STARTTLS") {
		t.Errorf("got %q", ehlo)
	}
	c.want("STARTTLS", "502 ")
	c.data()
	c.want(".", "250 ")

	bad := New(Config{Listeners: []Listener{{Listener: listenTest(t), Role: Submission}}})
	if err := bad.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "needs TLS") {
		t.Errorf("got %v, want an error about TLS", err)
	}
}
