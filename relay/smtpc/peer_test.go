package smtpc

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// peer is the scripted server side of one connection on a loopback socket.
type peer struct {
	t   *testing.T
	nc  net.Conn
	br  *bufio.Reader
	sni string
}

func (p *peer) send(text string) {
	if _, err := io.WriteString(p.nc, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		p.t.Errorf("peer: write: %v", err)
	}
}

// line reads one line without its CRLF; "" at the end of the stream.
func (p *peer) line() string {
	s, err := p.br.ReadString('\n')
	if err != nil {
		return ""
	}
	line, ok := strings.CutSuffix(s, "\r\n")
	if !ok {
		p.t.Errorf("peer: got line %q without CRLF", s)
	}
	return line
}

// want reads one line and answers it.
func (p *peer) want(line, reply string) {
	p.t.Helper()
	if got := p.line(); got != line {
		p.t.Errorf("peer: got %q, want %q", got, line)
	}
	p.send(reply)
}

// body reads to the final dot and returns the raw bytes, dot line included.
func (p *peer) body() string {
	var b strings.Builder
	for {
		s, err := p.br.ReadString('\n')
		b.WriteString(s)
		if err != nil || s == ".\r\n" {
			return b.String()
		}
	}
}

// startTLS takes the handshake and goes on inside.
func (p *peer) startTLS(cert tls.Certificate) error {
	tc := tls.Server(p.nc, &tls.Config{
		Certificates: []tls.Certificate{cert},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			p.sni = h.ServerName
			return nil, nil
		},
	})
	if err := tc.Handshake(); err != nil {
		return err
	}
	p.nc, p.br = tc, bufio.NewReader(tc)
	return nil
}

// serve runs script for one connection and returns its address. The script has
// ended, and the connection is closed, when the test ends.
func serve(t *testing.T, script func(p *peer)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		script(&peer{t: t, nc: nc, br: bufio.NewReader(nc)})
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

var testConfig = Config{Hello: "gate.office.example"}

// dial connects to a scripted peer that greets and answers EHLO with ehlo.
func dial(t *testing.T, ehlo string, script func(p *peer)) *Conn {
	t.Helper()
	addr := serve(t, func(p *peer) {
		p.send("220 mx.good.example ESMTP\n")
		p.want("EHLO gate.office.example", ehlo)
		script(p)
	})
	c, err := testConfig.Connect(context.Background(), "mx.good.example", addr)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const plainEHLO = "250-mx.good.example\n250-PIPELINING\n250-8BITMIME\n250-SIZE 1000000\n250-DSN\n250 ENHANCEDSTATUSCODES\n"

// selfSigned makes a certificate that nobody trusts.
func selfSigned(t *testing.T, name string, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
