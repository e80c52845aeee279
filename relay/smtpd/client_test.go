package smtpd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// mail is a message that the server took in.
type mail struct {
	env  Envelope
	text string // our Received field included
	body *Body
}

// box is an Accept that keeps the messages.
type box struct {
	mu    sync.Mutex
	mails []mail
}

func (b *box) accept(_ context.Context, env Envelope, r io.Reader) (string, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mails = append(b.mails, mail{env, string(text), r.(*Body)})
	return "id1", nil
}

// drop is an Accept that keeps nothing.
func drop(_ context.Context, _ Envelope, r io.Reader) (string, error) {
	_, err := io.Copy(io.Discard, r)
	return "id", err
}

func (b *box) all() []mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mail(nil), b.mails...)
}

// split cuts our Received field off.
func (m mail) split() (received, rest string) {
	i := 0
	for {
		j := strings.Index(m.text[i:], "\r\n")
		if j < 0 {
			return m.text, ""
		}
		i += j + 2
		if i >= len(m.text) || m.text[i] != '\t' {
			return m.text[:i], m.text[i:]
		}
	}
}

// fixture is a running server with one listener of each kind.
type fixture struct {
	*box
	t          testing.TB
	trusted    string // clear, STARTTLS offered
	submission string // clear, STARTTLS offered
	implicit   string // submission, TLS from the first byte
	cancel     context.CancelFunc
	done       chan error // the result of Run
}

// start runs a server until the end of the test.
func start(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{box: &box{}, t: t, done: make(chan error, 1)}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ls := []Listener{
		{Listener: listen(), Role: Trusted},
		{Listener: listen(), Role: Submission},
		{Listener: listen(), Role: Submission, ImplicitTLS: true},
	}
	f.trusted, f.submission, f.implicit = ls[0].Addr().String(), ls[1].Addr().String(), ls[2].Addr().String()
	cfg := Config{
		Hostname:        "gate.office.example",
		Listeners:       ls,
		TLS:             &tls.Config{Certificates: []tls.Certificate{serverCert(t)}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Auth:            func(user, password string) (bool, error) { return user == "printer" && password == "secret", nil },
		Accept:          f.accept,
		Limits:          Limits{Read: 10 * time.Second, Stop: 5 * time.Second, AuthDelay: time.Millisecond},
		Now:             func() time.Time { return time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) },
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	s := New(cfg)
	go func() { f.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-f.done:
		case <-time.After(20 * time.Second):
			t.Error("Run did not end")
		}
	})
	return f
}

// stop ends the server and returns what Run returned.
func (f *fixture) stop() error {
	f.cancel()
	err := <-f.done
	f.done <- err
	return err
}

// client is the other side of one connection.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

// connect dials without reading the greeting.
func (f *fixture) connect(addr string) *client {
	f.t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
	return &client{f.t, nc, bufio.NewReader(nc)}
}

// hello dials and says EHLO; the EHLO reply is returned.
func (f *fixture) hello(addr string) (*client, string) {
	f.t.Helper()
	c := f.connect(addr)
	if addr == f.implicit {
		c.handshake()
	}
	c.want("", "220 gate.office.example ESMTP")
	return c, c.want("EHLO client.example", "250-gate.office.example greets client.example\r\n")
}

// secure dials, says STARTTLS where it must, and EHLO inside TLS.
func (f *fixture) secure(addr string) (*client, string) {
	f.t.Helper()
	c, ehlo := f.hello(addr)
	if addr == f.implicit {
		return c, ehlo
	}
	c.want("STARTTLS", "220 ")
	c.handshake()
	return c, c.want("EHLO client.example", "250-gate.office.example greets client.example\r\n")
}

func (c *client) handshake() {
	c.t.Helper()
	tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.nc, c.br = tc, bufio.NewReader(tc)
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		c.t.Errorf("send: %v", err)
	}
}

// reply reads one reply, "EOF" at the end of the stream.
func (c *client) reply() string {
	var b strings.Builder
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return b.String() + "EOF"
		}
		b.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return b.String()
		}
	}
}

// want sends cmd ("" sends nothing) and checks how the reply begins.
func (c *client) want(cmd, prefix string) string {
	c.t.Helper()
	if cmd != "" {
		c.send(cmd + "\r\n")
	}
	got := c.reply()
	if !strings.HasPrefix(got, prefix) {
		c.t.Errorf("%q: got %q, want %q", clipTest(cmd), got, prefix)
	}
	return got
}

func clipTest(s string) string { return s[:min(len(s), 80)] }

// gone checks that the server has closed.
func (c *client) gone() {
	c.t.Helper()
	if got := c.reply(); got != "EOF" {
		c.t.Errorf("got %q, want the end of the connection", got)
	}
}

// mail opens a transaction up to 354.
func (c *client) data() {
	c.t.Helper()
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.want("DATA", "354 ")
}

func serverCert(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"gate.office.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
