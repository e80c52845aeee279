package smtpd

import (
	"context"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay/smtpc/address"
)

// script is a connection whose client says its lines whatever is answered. A
// fake of the network, for fuzzing.
type script struct {
	in    string
	piece int  // bytes of each read
	lines bool // a read ends with a line, as if the client had waited for the reply
	peer  string

	mu     sync.Mutex
	out    strings.Builder
	closed chan struct{}
}

func (s *script) Read(p []byte) (int, error) {
	if s.in == "" {
		return 0, io.EOF
	}
	next := s.in
	if i := strings.IndexByte(next, '\n'); s.lines && i >= 0 {
		next = next[:i+1]
	}
	n := copy(p[:min(len(p), s.piece)], next)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *script) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

func (s *script) Close() error                     { close(s.closed); return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.ParseIP(s.peer), Port: 1} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// scripts is a listener of scripts.
type scripts struct {
	conns chan *script
	once  sync.Once
}

func (s *scripts) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (s *scripts) Close() error   { s.once.Do(func() { close(s.conns) }); return nil }
func (s *scripts) Addr() net.Addr { return &net.TCPAddr{} }

var replyLine = regexp.MustCompile(`^[2345][0-9][0-9][ -][ -~]*\r\n$`)

// FuzzDialog says anything to the server, as a stranger and from a trusted
// network: what is accepted is what may be, and what is answered is SMTP.
func FuzzDialog(f *testing.F) {
	body := "Subject: x\r\n\r\n.x\r\n..y\r\n.\r\n"
	for _, in := range []string{
		"EHLO a\r\nMAIL FROM:<b@c.example> SIZE=5 BODY=8BITMIME\r\nRCPT TO:<anna@office.example> NOTIFY=NEVER\r\nDATA\r\n" + body + "QUIT\r\n",
		"HELO a\nMAIL FROM:<>\nRCPT TO:<@a.example:\"anna\"@office.example>\nRCPT TO:<postmaster>\nDATA\n" + body + forged,
		"EHLO a\r\nMAIL FROM:<b@c.example>\r\nRCPT TO:<anna@office.example>\r\nBDAT 3\r\na\r\nBDAT 5 LAST\r\nb\r\n.\rNOOP\r\nRSET\r\n",
		"EHLO a\r\nMAIL FROM:<b@c.example>\r\nRCPT TO:<anna@office.example>\r\nBDAT 3\r\na\r\nRSET\r\nBDAT 4 LAST\r\nRSET\r\n",
		"EHLO a\r\nAUTH PLAIN\r\nSTARTTLS\r\nVRFY x\r\nEXPN x\r\nHELP\r\nBDAT 3 x\r\nNOOP\r\n",
		"EHLO a\r\nMAIL FROM:<b@c.example>\r\nRCPT TO:<anna@office.example>\r\nDATA\r\na\r\r\n.\r\n" + forged,
		"EHLO a\r\nMAIL FROM:<b@c.example> SMTPUTF8\r\nRCPT TO:<anna@büro.example>\r\nRCPT TO:<x%y@office.example> ORCPT=rfc822;a+2Bb\r\nDATA\r\na\n.\r\nb\r\n.\r\n",
		"GET / HTTP/1.1\r\n\r\n",
	} {
		f.Add(in, uint8(2), true)
		f.Add(in, uint8(254), false)
		f.Add(in, uint8(255), false)
	}
	var mu sync.Mutex
	var wrong string
	accepted := 0
	l := &scripts{conns: make(chan *script)}
	s := New(Config{
		Hostname: "gate.office.example", Listeners: []Listener{{Listener: l}}, Local: ownDomains(TLSWatch), MaxSize: 100000,
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")},
		Limits:          Limits{AuthDelay: 1, Errors: 50, Strangers: StrangerLimits{RatePerMinute: -1, RatePerNet: -1, MessagesPerMinute: -1, MessagesPerNet: -1}},
		Accept: func(_ context.Context, env Envelope, r io.Reader) (string, error) {
			text, err := io.ReadAll(r)
			if err != nil {
				return "", err
			}
			mu.Lock()
			defer mu.Unlock()
			accepted++
			if strings.ContainsAny(strings.ReplaceAll(string(text), "\r\n", ""), "\r\n\x00") {
				wrong = "a body with a bare CR, LF or NUL"
			}
			for _, rcpt := range env.Rcpts {
				if address.Check(rcpt.Addr, env.SMTPUTF8) != nil {
					wrong = "the recipient " + rcpt.Addr
				}
				if _, domain, _ := address.Split(rcpt.Addr); env.Role == Internet && (domain != "office.example" && domain != "xn--bro-hoa.example" || strings.ContainsAny(rcpt.Addr, "%!")) {
					wrong = "a stranger's recipient " + rcpt.Addr
				}
			}
			if env.From != "" && address.Check(env.From, env.SMTPUTF8) != nil {
				wrong = "the sender " + env.From
			}
			return "id", nil
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-done })
	f.Fuzz(func(t *testing.T, in string, piece uint8, trusted bool) {
		mu.Lock()
		wrong, accepted = "", 0
		mu.Unlock()
		c := &script{in: in, piece: int(piece)*16 + 1, lines: piece%2 == 0, peer: "203.0.113.9", closed: make(chan struct{})}
		if trusted {
			c.peer = "192.168.0.9"
		}
		l.conns <- c
		select {
		case <-c.closed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%q: the session has no end", in)
		}
		mu.Lock()
		defer mu.Unlock()
		if wrong != "" {
			t.Fatalf("%q: accepted %s", in, wrong)
		}
		for line := range strings.Lines(c.said()) {
			if !replyLine.MatchString(line) {
				t.Fatalf("%q: said %q", in, line)
			}
		}
		if got := strings.Count(c.said(), "250 2.0.0 Queued as id\r\n"); got != accepted {
			t.Fatalf("%q: said 250 for %d messages, took %d", in, got, accepted)
		}
	})
}

// FuzzDots compares the reader of DATA with a plain reading of RFC 5321,
// Sections 4.1.1.4 and 4.5.2, whatever the pieces in which text comes and goes.
func FuzzDots(f *testing.F) {
	for _, in := range []string{".\r\n", "a\r\n.\r\nb", "..\r\n.\r\n", "a\r\n..b\r\n.\r\n", "a\n.\r\n\r\n.\r\n", "\r\n.\rx\r\n.\r\n", "a\r\r\n.\r\n", ".a\r\n.", "\r\n.\r\r\n.\r\n"} {
		f.Add(in, uint8(1), uint8(3))
		f.Add(in, uint8(200), uint8(200))
	}
	s := New(Config{})
	f.Fuzz(func(t *testing.T, in string, piece, size uint8) {
		want, rest, whole := strings.Cut("\r\n"+in, "\r\n.\r\n")
		if whole {
			want += "\r\n"
		}
		want = strings.ReplaceAll(want, "\r\n.", "\r\n")[2:]
		c := &script{in: in, piece: int(piece) + 1, closed: make(chan struct{})}
		d := &dialog{conn: &conn{nc: c, srv: s, born: time.Now(), class: office}}
		d.rw = d.conn
		s.lend(d)
		defer s.giveBack(d)
		d.beginMessage()
		var got strings.Builder
		p := make([]byte, int(size)+1)
		var err error
		for err == nil {
			var n int
			n, err = messageReader{d}.Read(p)
			got.Write(p[:n])
		}
		if (err == io.EOF) != whole {
			t.Fatalf("%q: got %v, want the end: %v", in, err, whole)
		}
		if !whole {
			return // what has come before the connection broke off is thrown away
		}
		if got.String() != want {
			t.Fatalf("%q: got %q, want %q", in, got.String(), want)
		}
		if left := string(d.in[d.r:d.w]) + c.in; left != rest {
			t.Fatalf("%q: left %q, want %q", in, left, rest)
		}
		if odd := strings.HasSuffix("\r\n"+in[:len(in)-len(rest)], "\r\r\n.\r\n"); d.msg.odd != odd {
			t.Fatalf("%q: got odd %v", in, d.msg.odd)
		}
	})
}

// FuzzPath: an address that passes can be written between angle brackets and
// read again as the same, with the same parameters behind it.
func FuzzPath(f *testing.F) {
	for _, tt := range relayTable {
		f.Add(tt.rcpt)
	}
	for _, in := range []string{"<a@b.example> SIZE=1 BODY=8BITMIME", `<"a\"b"@c.example>`, "<@a,@b:c@d> X", "a@b SIZE=1", "<>", "<> REQUIRETLS SMTPUTF8"} {
		f.Add(in)
	}
	s := New(Config{Local: ownDomains("")})
	f.Fuzz(func(t *testing.T, in string) {
		addr, rest, ok := parsePath(in)
		if !ok || addr != "" && address.Check(addr, true) != nil {
			return
		}
		params, ok := parseParams(rest)
		if !ok {
			return
		}
		line := "<" + addr + ">"
		for _, p := range params {
			line += " " + p.text
		}
		again, rest2, ok := parsePath(line)
		params2, ok2 := parseParams(rest2)
		if !ok || !ok2 || again != addr || len(params2) != len(params) {
			t.Fatalf("%q: %q was read again as %q with %v", in, line, again, params2)
		}
		if strings.ContainsAny(addr, "<>\"\\ \r\n\x00") || strings.Count(addr, "@") > 1 {
			t.Fatalf("%q: got the address %q", in, addr)
		}
		if _, domain, ok := address.Split(addr); ok {
			if name, _, own := s.own(domain); own && name != "office.example" && name != "xn--bro-hoa.example" {
				t.Fatalf("%q: %q is an own domain", in, name)
			}
		}
	})
}
