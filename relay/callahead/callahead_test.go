package callahead

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay/nexthop"
	"gatepost/relay/smtpc"
)

// inner is the office's mail server on a loopback socket. It knows anna, and
// nobody else.
type inner struct {
	t    *testing.T
	ln   net.Listener
	mail string                    // the reply to MAIL, "" is 250
	rcpt func(local string) string // the reply to RCPT, nil knows anna
	hold func(ctx context.Context) // what it does before it answers RCPT
	ctx  context.Context           // ends with the test
	wg   sync.WaitGroup

	mu    sync.Mutex
	lines []string
	now   int // sessions
	most  int // sessions at once
	all   int // sessions ever
}

func newInner(t *testing.T) *inner {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &inner{t: t, ln: ln, ctx: ctx}
	s.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		cancel()
		s.stop()
	})
	return s
}

// stop closes the server: from now on connections are refused.
func (s *inner) stop() {
	s.ln.Close()
	s.wg.Wait()
}

func (s *inner) serve(nc net.Conn) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	s.mu.Lock()
	s.now++
	s.all++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	say := func(text string) { _, _ = io.WriteString(nc, text+"\r\n") }
	say("220 inner")
	br := bufio.NewReader(nc)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "EHLO":
			say("250-inner\r\n250-PIPELINING\r\n250 8BITMIME")
		case "MAIL":
			if s.mail != "" {
				say(s.mail)
				continue
			}
			say("250 ok")
		case "RCPT":
			if s.hold != nil {
				s.hold(s.ctx)
			}
			local, _, _ := strings.Cut(strings.TrimPrefix(line, "RCPT TO:<"), "@")
			switch {
			case s.rcpt != nil:
				say(s.rcpt(local))
			case local == "anna":
				say("250 2.1.5 ok")
			default:
				say("550 5.1.1 no such user")
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// asked counts the RCPT commands for the address.
func (s *inner) asked(addr string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, line := range s.lines {
		if strings.HasPrefix(line, "RCPT TO:<"+addr) {
			n++
		}
	}
	return n
}

// clock is a clock that the test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// asker asks s about office.example.
func (s *inner) asker(change func(*Config)) (*Asker, *clock) {
	ck := &clock{t: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	port := s.ln.Addr().(*net.TCPAddr).AddrPort().Port()
	cfg := Config{
		Hop: func(domain string) (nexthop.Hop, bool) {
			return nexthop.Hop{Host: "127.0.0.1", Port: port, TLS: nexthop.TLSTry}, domain == "office.example"
		},
		Env: nexthop.Env{SMTP: smtpc.Config{Hello: "gate.office.example", Timeouts: smtpc.Timeouts{Quit: 100 * time.Millisecond}}},
		Now: ck.now,
	}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), ck
}

func brief(err error) string {
	var no *UnknownError
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &no):
		return fmt.Sprintf("%d %s", no.Code, no.Enhanced)
	}
	return err.Error()
}

// Only a 5yz to RCPT is a no; whatever else happens, the mail is taken.
func TestAskAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, mail, rcpt, want string
	}{
		{"known", "", "250 2.1.5 ok", "yes"},
		{"forwarded", "", "251 2.1.5 ok", "yes"},
		{"cannot say", "", "252 2.5.0 perhaps", "yes"},
		{"unknown", "", "550 5.1.1 no such user", "550 5.1.1"},
		{"unknown, without a code", "", "550 no such user", "550 5.1.1"},
		{"moved", "", "551 5.1.6 gone", "551 5.1.6"},
		{"not allowed", "", "553 5.1.3 odd", "553 5.1.3"},
		{"by its first digit", "", "599 no", "599 5.1.1"},
		{"syntax of the address", "", "501 5.1.3 odd", "501 5.1.3"},
		{"syntax of our command", "", "501 5.5.4 odd", "yes"},
		{"relaying refused", "", "554 5.7.1 relaying denied", "554 5.7.1"},
		{"login wanted", "", "530 5.7.0 log in first", "yes"},
		{"out of order", "", "503 5.5.1 MAIL first", "yes"},
		{"unknown command", "", "500 5.5.1 what?", "yes"},
		{"mailbox full", "", "552 5.2.2 full", "yes"},
		{"greylisted", "", "450 4.7.1 later", "yes"},
		{"busy", "", "421 4.3.2 later", "yes"},
		{"nonsense", "", "hello", "yes"},
		{"go ahead", "", "354 go", "yes"},
		{"null path refused", "550 5.7.1 no bounces", "503 5.5.1 MAIL first", "yes"},
		{"MAIL later", "451 4.3.0 later", "503 5.5.1 MAIL first", "yes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newInner(t)
			s.mail = tt.mail
			s.rcpt = func(string) string { return tt.rcpt }
			a, _ := s.asker(nil)
			for range 3 {
				if got := brief(a.Ask(context.Background(), "someone@office.example")); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			}
			if n := s.asked("someone@"); n != 1 {
				t.Errorf("got %d questions, want 1 and its answer remembered", n)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, line := range s.lines {
				if strings.HasPrefix(line, "DATA") || strings.HasPrefix(line, "MAIL") && line != "MAIL FROM:<>" {
					t.Errorf("got %q at the inner server", line)
				}
			}
		})
	}
}

func TestAskRemembers(t *testing.T) {
	s := newInner(t)
	a, ck := s.asker(func(c *Config) { c.Good, c.Bad = time.Hour, time.Minute })
	ask := func(rcpt, want string, questions int) {
		t.Helper()
		if got := brief(a.Ask(context.Background(), rcpt)); got != want {
			t.Errorf("%s: got %s, want %s", rcpt, got, want)
		}
		local, _, _ := strings.Cut(rcpt, "@")
		if n := s.asked(local + "@"); n != questions {
			t.Errorf("%s: got %d questions, want %d", rcpt, n, questions)
		}
	}
	ask("anna@office.example", "yes", 1)
	ask("anna@OFFICE.Example", "yes", 1)
	ask("Anna@office.example", "550 5.1.1", 1) // the local part's case is the server's business
	ask("bob@office.example", "550 5.1.1", 1)
	ck.step(59 * time.Second)
	ask("bob@office.example", "550 5.1.1", 1)
	ck.step(2 * time.Second)
	ask("bob@office.example", "550 5.1.1", 2)
	ck.step(58 * time.Minute)
	ask("anna@office.example", "yes", 1)
	ck.step(time.Minute)
	ask("anna@office.example", "yes", 2)
	ask("anna@elsewhere.example", "yes", 2) // nobody to ask
	ask("nonsense", "yes", 0)
}

// The server is away: mail is taken, without asking again and again; but what
// it has refused a moment ago stays refused.
func TestAskServerAway(t *testing.T) {
	s := newInner(t)
	dials := 0
	a, ck := s.asker(func(c *Config) {
		c.Bad = time.Minute
		c.Env.SMTP.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "550 5.1.1" {
		t.Fatalf("got %s", got)
	}
	s.stop()
	for i := range 5 {
		if got := brief(a.Ask(context.Background(), fmt.Sprintf("x%d@office.example", i))); got != "yes" {
			t.Errorf("got %s, want yes", got)
		}
	}
	if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "550 5.1.1" {
		t.Errorf("got %s, want bob refused still", got)
	}
	if dials != 2 {
		t.Errorf("got %d calls, want 2: one that worked and one that did not", dials)
	}
	ck.step(silence + time.Second)
	if got := brief(a.Ask(context.Background(), "x0@office.example")); got != "yes" || dials != 3 {
		t.Errorf("got %s after %d calls, want one more", got, dials)
	}
	ck.step(time.Minute)
	if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "yes" {
		t.Errorf("got %s, want bob taken when nobody knows any more", got)
	}
}

// A rule that is not met, and a login that is refused, ask nothing and take the
// mail; nothing is asked in clear that must not be.
func TestAskNotSafe(t *testing.T) {
	s := newInner(t)
	port := s.ln.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, hop := range []nexthop.Hop{
		{Host: "127.0.0.1", Port: port, TLS: nexthop.TLSRequire},
		{Host: "127.0.0.1", Port: port, TLS: nexthop.TLSVerify},
		{Host: "127.0.0.1", Port: port, TLS: nexthop.TLSTry, User: "gate", Password: "secret"},
		{Host: "127.0.0.1", Port: port, TLS: "nonsense"},
		{Host: "no-such-name", Port: port},
	} {
		a, _ := s.asker(func(c *Config) {
			c.Hop = func(string) (nexthop.Hop, bool) { return hop, true }
			c.Env.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("no") }
		})
		if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "yes" {
			t.Errorf("%+v: got %s, want yes", hop, got)
		}
	}
	if n := s.asked(""); n != 0 {
		t.Errorf("got %d questions in clear", n)
	}
}

// RFC 6531, Section 3.5: an address that the server cannot be told is refused now.
func TestAskUTF8(t *testing.T) {
	s := newInner(t)
	a, _ := s.asker(nil)
	if got := brief(a.Ask(context.Background(), "jürgen@office.example")); got != "553 5.6.7" {
		t.Errorf("got %s, want 553 5.6.7", got)
	}
}

func TestAskText(t *testing.T) {
	s := newInner(t)
	s.rcpt = func(string) string { return "550 5.1.1 " + strings.Repeat("ü\x1b", 300) }
	a, _ := s.asker(nil)
	var no *UnknownError
	if err := a.Ask(context.Background(), "bob@office.example"); !errors.As(err, &no) || len(no.Text) > 200 || strings.Contains(no.Text, "\x1b") || !strings.HasPrefix(no.Text, "ü?ü") {
		t.Errorf("got %v", err)
	}
}

func TestAcceptsAll(t *testing.T) {
	s := newInner(t)
	s.rcpt = func(string) string { return "250 2.1.5 anything" }
	a, ck := s.asker(func(c *Config) { c.Good = time.Minute })
	if a.AcceptsAll("office.example") {
		t.Error("got true before anything was asked")
	}
	for range 2 {
		if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "yes" {
			t.Errorf("got %s", got)
		}
		ck.step(time.Hour)
	}
	if !a.AcceptsAll("OFFICE.example") || a.AcceptsAll("elsewhere.example") {
		t.Error("got no note of a server that takes everything, or one of another")
	}
	if n := s.asked("no-such-mailbox-"); n != 1 {
		t.Errorf("got %d tries of an address that cannot exist, want 1", n)
	}
	s.rcpt = nil
	ck.step(checkEvery)
	if got := brief(a.Ask(context.Background(), "anna@office.example")); got != "yes" || a.AcceptsAll("office.example") {
		t.Errorf("got %s, accepts all %v; want it known that the server checks now", got, a.AcceptsAll("office.example"))
	}
}

// 10,000 guesses of a stranger fill the memory, not the machine.
func TestMemoryBounded(t *testing.T) {
	m := newMemory(3)
	now := time.Now()
	for i := range 5 {
		m.put(fmt.Sprint(i), nil, now.Add(time.Hour))
		m.get("0", now) // 0 is needed all the time
	}
	var left []string
	for i := range 5 {
		if ok, _ := m.get(fmt.Sprint(i), now); ok {
			left = append(left, fmt.Sprint(i))
		}
	}
	if got := strings.Join(left, " "); got != "0 3 4" || m.order.Len() != 3 || len(m.byKey) != 3 {
		t.Errorf("got %s, %d and %d", got, m.order.Len(), len(m.byKey))
	}
	m.put("0", errors.New("no"), now.Add(time.Minute))
	if ok, err := m.get("0", now); !ok || err == nil || m.order.Len() != 3 {
		t.Errorf("got %v, %v after a second answer", ok, err)
	}
	if ok, _ := m.get("0", now.Add(time.Minute)); ok || m.order.Len() != 2 {
		t.Error("got an answer that is too old")
	}
}

// A name outside ASCII has countless spellings: they share what is known of
// the server, and cost no memory each.
func TestAskSpellings(t *testing.T) {
	s := newInner(t)
	a, _ := s.asker(func(c *Config) {
		hop, _ := c.Hop("office.example")
		c.Hop = func(string) (nexthop.Hop, bool) { return hop, true }
		c.Size = 10
	})
	for i := range 64 {
		name := []rune("bureau.example")
		for bit := range 6 {
			if i>>bit&1 == 1 {
				name[bit] += '\uff41' - 'a' // the full-width letter
			}
		}
		_ = a.Ask(context.Background(), "anna@"+string(name))
	}
	if len(a.domains) != 1 || a.domains["bureau.example"] == nil || len(a.answers.byKey) != 10 {
		t.Errorf("got %d domains and %d answers, want 1 and 10", len(a.domains), len(a.answers.byKey))
	}
}
