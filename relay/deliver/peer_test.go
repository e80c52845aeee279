package deliver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
)

// server is one mail server with a script, on real sockets. The zero value
// takes everything, in clear.
type server struct {
	greeting string           // instead of 220
	offers   []string         // EHLO keywords
	maxRcpts int              // of one transaction; more get 452. 0: no limit
	down     bool             // connections are refused
	starttls bool             // STARTTLS is offered and its handshake fails
	cert     *tls.Certificate // STARTTLS is offered and works
	implicit bool             // TLS from the first byte
	oldHello bool             // EHLO is not known
	oneMail  bool             // a second MAIL of a session is refused with 503
	closes   bool             // the server closes after each message
	drops    bool             // the connection is lost in the handshake
	// replies are the answers to commands that begin with the key (upper case),
	// "close" to close without one. The key "." is the end of a message.
	replies map[string]string
	once    map[string]string // the same, but only the first time

	mu    sync.Mutex
	mails [][]string // recipients of each message
	texts []string   // of each message
	lines []string   // commands
	talks int        // sessions
	quits int
}

// count returns what the server has seen.
func (s *server) count() (mails, talks, quits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mails), s.talks, s.quits
}

// set changes the script while the server runs.
func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// said returns the commands that begin with a word.
func (s *server) said(word string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.lines), func(l string) bool { return !strings.HasPrefix(l, word) })
}

// world is a Resolver and a Dial for servers by host name, in the order of
// their preference.
type world struct {
	domain string // that of the MX records; "" means a.example
	names  []string
	prefs  []uint16 // of the names; nil: in their order
	hosts  map[string]*server
	addrs  map[string][]string // of a host; the default is one, 203.0.113.N
	now    func() time.Time
	ca     *lab.CA
	cfg    func(*Config)

	mu      sync.Mutex
	askedMX int
	dialled []string
}

func (w *world) addr(i int) string { return fmt.Sprintf("203.0.113.%d", i+1) }

func (w *world) LookupMX(_ context.Context, domain string) ([]resolver.MX, error) {
	w.mu.Lock()
	w.askedMX++
	w.mu.Unlock()
	if domain != w.domain && !(w.domain == "" && domain == "a.example") {
		return nil, &resolver.Error{Name: domain, Type: "MX", Kind: resolver.ErrNXDomain}
	}
	var out []resolver.MX
	for i, n := range w.names {
		pref := uint16(i)
		if w.prefs != nil {
			pref = w.prefs[i]
		}
		out = append(out, resolver.MX{Host: n, Pref: pref})
	}
	return out, nil
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for i, n := range w.names {
		if n == host {
			out = append(out, netip.MustParseAddr(w.addr(i)))
		}
	}
	for _, a := range w.addrs[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		return nil, &resolver.Error{Name: host, Type: "A", Kind: resolver.ErrNoData}
	}
	return out, nil
}

// dial connects to the server at an address, whatever the port. Nobody has a
// way to IPv6 here.
func (w *world) dial(_ context.Context, _, addr string) (net.Conn, error) {
	to := netip.MustParseAddrPort(addr)
	w.mu.Lock()
	w.dialled = append(w.dialled, to.Addr().String())
	w.mu.Unlock()
	if to.Addr().Is6() {
		return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
	}
	for i, n := range w.names {
		if s := w.hosts[n]; s != nil && to.Addr().String() == w.addr(i) && !s.down {
			return socket(s.serve)
		}
	}
	return nil, errors.New("connection refused")
}

// socket makes a TCP connection and serves its other end.
func socket(serve func(net.Conn)) (net.Conn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	here, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	there, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	go serve(there)
	return here, nil
}

func (w *world) deliverer(t *testing.T, p Policies) *Deliverer {
	cfg := Config{
		Hostname: "g.example", Resolver: w, Policies: p, Now: w.now,
		SMTP: smtpc.Config{Dial: w.dial, Hello: "g.example"},
	}
	if w.ca != nil {
		cfg.Roots = w.ca.Pool()
	}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	d := New(cfg)
	t.Cleanup(d.Close)
	return d
}

// single is a world with one server, mx.a.example.
func single(s *server) *world {
	return &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
}

// secured is single with a certificate from the world's own authority.
func secured(t *testing.T, s *server, want lab.Cert) *world {
	t.Helper()
	w := single(s)
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.ca = ca
	s.cert = w.issue(t, "mx.a.example", want)
	return w
}

func (w *world) issue(t *testing.T, host string, want lab.Cert) *tls.Certificate {
	t.Helper()
	cert, err := w.ca.Issue(host, want, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// talk is one session of a server.
type talk struct {
	*server
	c     net.Conn
	br    *bufio.Reader
	out   bytes.Buffer
	tls   bool
	rcpts []string
	begun bool
}

func (s *server) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	s.mu.Lock()
	s.talks++
	cert, implicit, greeting := s.cert, s.implicit, s.greeting
	s.mu.Unlock()
	k := &talk{server: s, c: c, br: bufio.NewReader(c)}
	if implicit && !k.handshake(cert) {
		return
	}
	if greeting != "" {
		_, _ = io.WriteString(k.c, greeting+"\r\n")
		return
	}
	k.say("220 mx ESMTP")
	for {
		// A pipelined group is answered when it is read.
		if k.br.Buffered() == 0 && !k.flush() {
			return
		}
		line, err := k.br.ReadString('\n')
		if err != nil || !k.command(strings.TrimRight(line, "\r\n")) {
			k.flush()
			return
		}
	}
}

func (k *talk) say(line string) bool {
	k.out.WriteString(line + "\r\n")
	return true
}

func (k *talk) flush() bool {
	_, err := k.c.Write(k.out.Bytes())
	k.out.Reset()
	return err == nil
}

func (k *talk) handshake(cert *tls.Certificate) bool {
	tc := tls.Server(k.c, &tls.Config{Certificates: []tls.Certificate{*cert}})
	if tc.Handshake() != nil {
		return false
	}
	k.c, k.br, k.tls = tc, bufio.NewReader(tc), true
	return true
}

// scripted returns the answer of the script.
func (s *server) scripted(line string) string {
	for key, answer := range s.once {
		if strings.HasPrefix(line, key) {
			delete(s.once, key)
			return answer
		}
	}
	for key, answer := range s.replies {
		if strings.HasPrefix(line, key) {
			return answer
		}
	}
	return ""
}

// command answers one command and reports whether the session goes on.
func (k *talk) command(line string) bool {
	up := strings.ToUpper(line)
	verb, _, _ := strings.Cut(up, " ")
	k.mu.Lock()
	k.lines = append(k.lines, line)
	answer := k.scripted(up)
	offers := slices.Clone(k.offers)
	cert, starttls := k.cert, k.starttls
	k.mu.Unlock()
	if answer == "close" {
		return false
	}
	if answer != "" {
		return k.say(answer)
	}
	switch verb {
	case "EHLO":
		if k.oldHello {
			return k.say("502 5.5.1 EHLO?")
		}
		k.say("250-mx")
		if !k.tls && (starttls || cert != nil) {
			offers = append(offers, "STARTTLS")
		}
		for _, o := range offers {
			k.say("250-" + o)
		}
		return k.say("250 HELP")
	case "STARTTLS":
		_, _ = io.WriteString(k.c, "220 go on\r\n")
		if k.drops {
			_, _ = k.br.ReadByte()
			return false
		}
		if cert != nil {
			return k.handshake(cert)
		}
		_, _ = k.br.ReadByte()
		_, _ = k.c.Write([]byte{21, 3, 1, 0, 2, 2, 70}) // alert: protocol_version
		return false
	case "AUTH":
		return k.say("235 2.7.0 welcome")
	case "MAIL":
		if k.oneMail && k.begun {
			return k.say("503 5.5.1 One message is enough")
		}
		k.begun, k.rcpts = true, nil
		return k.say("250 2.1.0 OK")
	case "RCPT":
		if k.maxRcpts > 0 && len(k.rcpts) >= k.maxRcpts {
			return k.say("452 4.5.3 Too many recipients")
		}
		k.rcpts = append(k.rcpts, line)
		return k.say("250 2.1.5 OK")
	case "DATA":
		return k.data()
	case "QUIT":
		k.mu.Lock()
		k.quits++
		k.mu.Unlock()
		k.say("221 bye")
		return false
	}
	return k.say("250 OK")
}

func (k *talk) data() bool {
	if len(k.rcpts) == 0 {
		return k.say("554 5.5.1 No valid recipients")
	}
	k.say("354 go on")
	if !k.flush() {
		return false
	}
	var text strings.Builder
	for {
		line, err := k.br.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(line)
	}
	k.mu.Lock()
	answer := k.scripted(".")
	if answer == "" || answer == "close" {
		k.mails = append(k.mails, k.rcpts)
		k.texts = append(k.texts, text.String())
	}
	closes := k.closes
	k.mu.Unlock()
	k.rcpts = nil
	switch {
	case answer == "close":
		return false
	case answer != "":
		return k.say(answer)
	}
	k.say("250 2.0.0 OK")
	return !closes
}
