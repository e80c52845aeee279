package deliver

import (
	"bufio"
	"bytes"
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

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// server is one MX host with a script. The zero value takes everything.
type server struct {
	greeting string   // instead of 220
	offers   []string // EHLO keywords
	maxRcpts int      // of one transaction; more get 452. 0: no limit
	down     bool     // connections are refused
	starttls bool     // STARTTLS is offered and its handshake fails

	oneMail bool // a second MAIL of a session is refused with 503

	mu    sync.Mutex
	mails [][]string // recipients of each message
	talks int        // sessions
}

// world is a Resolver and a Dial for servers by host name, in the order of
// their preference.
type world struct {
	domain string // that of the MX records
	names  []string
	hosts  map[string]*server
	addrs  map[string][]string // of a host; the default is one, 203.0.113.N
}

func (w *world) addr(i int) string { return fmt.Sprintf("203.0.113.%d", i+1) }

func (w *world) LookupMX(_ context.Context, domain string) ([]resolver.MX, error) {
	if domain != w.domain {
		return nil, &resolver.Error{Name: domain, Type: "MX", Kind: resolver.ErrNXDomain}
	}
	var out []resolver.MX
	for i, n := range w.names {
		out = append(out, resolver.MX{Host: n, Pref: uint16(i)})
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

func (w *world) dial(_ context.Context, _, addr string) (net.Conn, error) {
	for i, n := range w.names {
		if s := w.hosts[n]; addr == w.addr(i)+":25" && !s.down {
			here, there := net.Pipe()
			go s.serve(there)
			return here, nil
		}
	}
	return nil, errors.New("connection refused")
}

func (s *server) serve(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	s.talks++
	s.mu.Unlock()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(c)
	// A pipelined group is answered when it is read: the pipe has no buffer.
	var out bytes.Buffer
	say := func(line string) { out.WriteString(line + "\r\n") }
	if s.greeting != "" {
		_, _ = io.WriteString(c, s.greeting+"\r\n")
		return
	}
	say("220 mx ESMTP")
	var rcpts []string
	begun := false
	for {
		if br.Buffered() == 0 {
			if _, err := c.Write(out.Bytes()); err != nil {
				return
			}
			out.Reset()
		}
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "EHLO":
			say("250-mx")
			for _, o := range s.offers {
				say("250-" + o)
			}
			if s.starttls {
				say("250-STARTTLS")
			}
			say("250 HELP")
		case "STARTTLS":
			_, _ = io.WriteString(c, "220 go on\r\n")
			_, _ = br.ReadByte()
			_, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, 70}) // alert: protocol_version
			return
		case "MAIL":
			if s.oneMail && begun {
				say("503 5.5.1 One message is enough")
				continue
			}
			begun = true
			say("250 2.1.0 OK")
		case "RCPT":
			if s.maxRcpts > 0 && len(rcpts) >= s.maxRcpts {
				say("452 4.5.3 Too many recipients")
				continue
			}
			rcpts = append(rcpts, strings.TrimSpace(line))
			say("250 2.1.5 OK")
		case "DATA":
			_, _ = io.WriteString(c, out.String()+"354 go on\r\n")
			out.Reset()
			for line != ".\r\n" {
				if line, err = br.ReadString('\n'); err != nil {
					return
				}
			}
			s.mu.Lock()
			s.mails = append(s.mails, rcpts)
			s.mu.Unlock()
			rcpts = nil
			say("250 2.0.0 OK")
		case "QUIT":
			_, _ = io.WriteString(c, "221 bye\r\n")
			return
		default:
			say("250 OK")
		}
	}
}

func (w *world) deliverer(p Policies) *Deliverer {
	if w.domain == "" {
		w.domain = "a.example"
	}
	return New(Config{
		Hostname: "g.example", Resolver: w, Policies: p,
		SMTP: smtpc.Config{Dial: w.dial, Hello: "g.example"},
	})
}

// letter is a message with a body for n recipients.
func letter(n int) queue.Message {
	m := message(0, false)
	m.Rcpts, m.Envelope.Rcpts = nil, nil
	for i := range n {
		m.Rcpts = append(m.Rcpts, i)
		m.Envelope.Rcpts = append(m.Envelope.Rcpts, spool.Rcpt{Addr: fmt.Sprintf("y%d@a.example", i)})
	}
	m.Body = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("Subject: x\r\n\r\nhi\r\n")), nil }
	return m
}

var noPolicy = &saved{answer: mtasts.Answer{RecordChecked: true}}

// A domain with U-labels is looked up by its A-labels, like its policy (RFC
// 8461, Section 3.1; RFC 6531, Section 3.7.1).
func TestDomainWithULabels(t *testing.T) {
	s := &server{offers: []string{"SMTPUTF8", "8BITMIME"}}
	w := &world{domain: "xn--bcher-kva.example", names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
	m := letter(1)
	m.Domain, m.Envelope.Rcpts[0].Addr, m.Envelope.SMTPUTF8 = "bücher.example", "y@bücher.example", true
	got := one(t, w.deliverer(noPolicy).Deliver(t.Context(), m)).Verdict
	if got.Outcome != verdict.Delivered || got.Domain != "xn--bcher-kva.example" {
		t.Errorf("got %s for %s (%s), want it delivered", got.Outcome, got.Domain, got.Detail)
	}
}

// What one host cannot take another one may (RFC 8689, Section 4.2.1; RFC
// 6531): only when no host can is the message returned, and while one is out of
// reach it waits.
func TestUnsupportedTriesTheNextHost(t *testing.T) {
	able := []string{"SMTPUTF8", "8BITMIME"}
	for _, c := range []struct {
		name    string
		servers []*server
		outcome verdict.Outcome
		reason  verdict.Reason
	}{
		{"the second can", []*server{{}, {offers: able}}, verdict.Delivered, ""},
		{"none can", []*server{{}, {}}, verdict.Returned, verdict.Unsupported},
		{"one is down", []*server{{}, {down: true}}, verdict.Deferred, verdict.ConnectTimeout},
		{"the first is down", []*server{{down: true}, {}}, verdict.Deferred, verdict.ConnectTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{names: []string{"mx1.a.example", "mx2.a.example"}, hosts: map[string]*server{
				"mx1.a.example": c.servers[0], "mx2.a.example": c.servers[1],
			}}
			m := letter(1)
			m.Envelope.SMTPUTF8 = true
			got := one(t, w.deliverer(noPolicy).Deliver(t.Context(), m)).Verdict
			if got.Outcome != c.outcome || got.Reason != c.reason {
				t.Errorf("got %s, %s (%s), want %s, %s", got.Outcome, got.Reason, got.Detail, c.outcome, c.reason)
			}
			if got.Outcome == verdict.Returned && got.Enhanced != "5.6.7" {
				t.Errorf("got %q, want 5.6.7", got.Enhanced)
			}
		})
	}
}

// A server must take 100 recipients at a time and need not take more (RFC
// 5321, Section 4.5.3.1.8): the others go in further transactions at once, not
// in further attempts.
func TestManyRecipients(t *testing.T) {
	for _, c := range []struct {
		name   string
		server *server
		mails  int
	}{
		{"silent limit", &server{maxRcpts: 100, offers: []string{"PIPELINING"}}, 3},
		{"told limit", &server{maxRcpts: 250, offers: []string{"PIPELINING", "LIMITS RCPTMAX=250"}}, 1},
		{"a smaller one", &server{maxRcpts: 60, offers: []string{"LIMITS RCPTMAX=60"}}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.server
			w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
			results := w.deliverer(noPolicy).Deliver(t.Context(), letter(250))
			seen := map[int]bool{}
			for _, r := range results {
				if r.Verdict.Outcome != verdict.Delivered || seen[r.Rcpt] {
					t.Fatalf("recipient %d: got %s (%s), seen before %v", r.Rcpt, r.Verdict.Outcome, r.Verdict.Detail, seen[r.Rcpt])
				}
				seen[r.Rcpt] = true
			}
			if len(seen) != 250 || len(s.mails) != c.mails {
				t.Errorf("got %d results, %d messages; want 250, %d", len(seen), len(s.mails), c.mails)
			}
		})
	}
}

// A server that wants no second transaction refuses nobody with that.
func TestOneMessageInASession(t *testing.T) {
	for _, s := range []*server{{oneMail: true}, {oneMail: true, offers: []string{"LIMITS MAILMAX=1"}}} {
		w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
		n := map[verdict.Outcome]int{}
		for _, r := range w.deliverer(noPolicy).Deliver(t.Context(), letter(150)) {
			n[r.Verdict.Outcome]++
		}
		if n[verdict.Delivered] != 100 || n[verdict.Deferred] != 50 {
			t.Errorf("%v: got %v, want 100 delivered, 50 deferred", s.offers, n)
		}
	}
}

// What a server said counts for more than a host that could not be reached:
// here an address of the other family without a route, and a backup that is
// down.
func TestAReplyOutranksSilence(t *testing.T) {
	w := &world{
		names: []string{"mx1.a.example", "mx2.a.example"},
		hosts: map[string]*server{
			"mx1.a.example": {greeting: "421 4.7.0 Too many connections, slow down"},
			"mx2.a.example": {down: true},
		},
		addrs: map[string][]string{"mx1.a.example": {"2001:db8::1"}},
	}
	got := one(t, w.deliverer(noPolicy).Deliver(t.Context(), letter(1))).Verdict
	if got.Code != 421 || got.Reason != verdict.RateLimited || got.MX != "mx1.a.example" || got.Addr != "203.0.113.1" {
		t.Errorf("got code %d, %s of %s %s; want 421, %s of mx1", got.Code, got.Reason, got.MX, got.Addr, verdict.RateLimited)
	}
}

// A host whose TLS broke gets the message in clear where nobody demands TLS,
// and the verdict tells what happened instead of "no STARTTLS".
func TestClearAfterBrokenTLS(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer mtasts.Answer
		reason verdict.Reason
	}{
		{"no policy", mtasts.Answer{RecordChecked: true}, ""},
		{"testing", func() mtasts.Answer { a := enforce("1", "mx.a.example"); a.Policy.Mode = mtasts.Testing; return a }(), verdict.ValidationFailure},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{starttls: true}
			w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
			got := one(t, w.deliverer(&saved{answer: c.answer}).Deliver(t.Context(), letter(1))).Verdict
			if got.Outcome != verdict.Delivered || got.Protection != verdict.Clear || got.Reason != c.reason || !strings.Contains(got.Detail, "TLS was tried first") {
				t.Errorf("got %s, %s, %s, %q; want delivered, clear, %s, TLS was tried first", got.Outcome, got.Protection, got.Reason, got.Detail, c.reason)
			}
		})
	}
	s := &server{starttls: true}
	w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
	got := one(t, w.deliverer(&saved{answer: enforce("1", "mx.a.example")}).Deliver(t.Context(), letter(1))).Verdict
	if got.Outcome != verdict.Held || len(s.mails) != 0 || s.talks != 1 {
		t.Errorf("enforce: got %s after %d sessions, %d messages sent; want held after one", got.Outcome, s.talks, len(s.mails))
	}
}

// A policy of thousands of hosts does not grow with every recipient's verdict.
func TestPolicyEvidenceIsBounded(t *testing.T) {
	a := enforce("1", "mx.a.example")
	for i := range 5000 {
		a.Policy.MX = append(a.Policy.MX, fmt.Sprintf("m%d.example", i))
	}
	w := &world{names: []string{"other.example"}, hosts: map[string]*server{"other.example": {}}}
	got := one(t, w.deliverer(&saved{answer: a}).Deliver(t.Context(), letter(1))).Verdict
	if got.Outcome != verdict.Held || len(got.PolicyMX) > 20 {
		t.Errorf("got %s with %d hosts of the policy, want held with at most 20", got.Outcome, len(got.PolicyMX))
	}
}
