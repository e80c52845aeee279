package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a certificate authority for tests, at the time of its making.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(20 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{t, key, cert, pool}
}

// issue makes a server certificate; change may alter the template.
func (a *authority) issue(names []string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

type ecdsaKey = *ecdsa.PrivateKey

// policyHost serves HTTPS in memory, over net.Pipe, so that it works in
// testing/synctest.
type policyHost struct {
	ca   *authority
	addr netip.Addr

	mu      sync.Mutex
	body    string
	tls     *tls.Config
	handler http.Handler // nil serves body
	dialErr error
	hits    int
	dialled []string
	sni     []string
}

const goodPolicy = "version: STSv1\nmode: enforce\nmx: mx.good.example\nmax_age: 604800\n"

func newPolicyHost(t testing.TB, names ...string) *policyHost {
	ca := newAuthority(t, "Test CA")
	if len(names) == 0 {
		names = []string{"mta-sts.good.example"}
	}
	cert := ca.issue(names, nil)
	return &policyHost{
		ca: ca, addr: netip.MustParseAddr("203.0.113.7"), body: goodPolicy,
		tls: &tls.Config{Certificates: []tls.Certificate{cert}},
	}
}

// set changes the host while nobody asks it.
func (h *policyHost) set(change func(h *policyHost)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *policyHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits
}

func (h *policyHost) fetcher() *Fetcher {
	return &Fetcher{
		LookupNetIP: func(_ context.Context, network, host string) ([]netip.Addr, error) {
			if network != "ip" || !strings.HasSuffix(host, ".") {
				return nil, fmt.Errorf("question for %s %s", network, host)
			}
			return []netip.Addr{h.addr}, nil
		},
		DialContext: h.dial,
		Roots:       h.ca.pool,
	}
}

func (h *policyHost) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dialled = append(h.dialled, network+" "+addr)
	if h.dialErr != nil {
		return nil, h.dialErr
	}
	client, pipe := net.Pipe()
	server := newQueued(pipe)
	config := h.tls.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sni = append(h.sni, hello.ServerName)
		return nil, nil
	}
	go func() {
		conn := tls.Server(server, config)
		if conn.Handshake() != nil {
			server.Close()
			return
		}
		s := &http.Server{Handler: http.HandlerFunc(h.serve), ErrorLog: nil}
		_ = s.Serve(&oneConn{conn: conn})
	}()
	return client, nil
}

func (h *policyHost) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.hits++
	handler, body := h.handler, h.body
	h.mu.Unlock()
	if handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprint(w, body)
}

// queued is a connection whose writes do not wait for the reader, as those of a
// socket do not. On a plain net.Pipe two ends that write at once, such as a
// handshake and the alert against it, would wait for each other.
type queued struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	queue  chan []byte
}

func newQueued(c net.Conn) *queued {
	q := &queued{Conn: c, queue: make(chan []byte, 100_000)}
	go func() {
		for b := range q.queue {
			if _, err := c.Write(b); err != nil {
				break
			}
		}
		c.Close()
	}()
	return q
}

func (q *queued) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, net.ErrClosed
	}
	q.queue <- slices.Clone(b)
	return len(b), nil
}

func (q *queued) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.queue)
	}
	return nil
}

// SetWriteDeadline does nothing: a write never waits. (What is queued must not
// be lost to the deadline that crypto/tls sets when it closes.)
func (q *queued) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the read deadline.
func (q *queued) SetDeadline(t time.Time) error { return q.SetReadDeadline(t) }

// oneConn is a listener for one connection.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, errors.New("no further connection")
	}
	c := l.conn
	l.conn = nil
	return c, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// zone is a Resolver with its answers.
type zone struct {
	mu    sync.Mutex
	txt   map[string][]string
	err   error
	asked int
	wait  time.Duration
}

func newZone(domain, id string) *zone {
	z := &zone{txt: make(map[string][]string)}
	z.setID(domain, id)
	return z
}

func (z *zone) setID(domain string, ids ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var rrs []string
	for _, id := range ids {
		rrs = append(rrs, "v=STSv1; id="+id+";")
	}
	z.txt["_mta-sts."+domain+"."] = rrs
}

func (z *zone) setErr(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.err = err
}

func (z *zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	z.mu.Lock()
	z.asked++
	wait, err, rrs := z.wait, z.err, z.txt[name]
	z.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	if len(rrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return rrs, nil
}

var errServfail = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
