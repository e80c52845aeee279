package deliver

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// letter is a message with a body for n recipients.
func letter(n int) queue.Message {
	m := message(0, false)
	m.Rcpts, m.Envelope.Rcpts = nil, nil
	for i := range n {
		m.Rcpts = append(m.Rcpts, i)
		m.Envelope.Rcpts = append(m.Envelope.Rcpts, spool.Rcpt{Addr: fmt.Sprintf("y%d@a.example", i)})
	}
	m.Body = body("Subject: x\r\n\r\nhi\r\n")
	return m
}

func body(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

var noPolicy = &saved{answer: mtasts.Answer{RecordChecked: true}}

// A domain with U-labels is looked up by its A-labels, like its policy (RFC
// 8461, Section 3.1; RFC 6531, Section 3.7.1).
func TestDomainWithULabels(t *testing.T) {
	s := &server{offers: []string{"SMTPUTF8", "8BITMIME"}}
	w := &world{domain: "xn--bcher-kva.example", names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
	m := letter(1)
	m.Domain, m.Envelope.Rcpts[0].Addr, m.Envelope.SMTPUTF8 = "bücher.example", "y@bücher.example", true
	got := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
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
			m.Body = body("Subject: Größe\r\n\r\nhi\r\n")
			got := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
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
			results := w.deliverer(t, noPolicy).Deliver(t.Context(), letter(250))
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

// A server that wants no second transaction refuses nobody with that: the
// others go in a further session at once (RFC 9422, Section 4.1).
func TestOneMessageInASession(t *testing.T) {
	for _, s := range []*server{{oneMail: true}, {oneMail: true, offers: []string{"LIMITS MAILMAX=1"}}} {
		w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
		n := map[verdict.Outcome]int{}
		for _, r := range w.deliverer(t, noPolicy).Deliver(t.Context(), letter(150)) {
			n[r.Verdict.Outcome]++
		}
		if n[verdict.Delivered] != 150 || s.talks != 2 {
			t.Errorf("%v: got %v in %d sessions, want 150 delivered in 2", s.offers, n, s.talks)
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
	got := one(t, w.deliverer(t, noPolicy).Deliver(t.Context(), letter(1))).Verdict
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
			got := one(t, w.deliverer(t, &saved{answer: c.answer}).Deliver(t.Context(), letter(1))).Verdict
			if got.Outcome != verdict.Delivered || got.Protection != verdict.Clear || got.Reason != c.reason || !strings.Contains(got.Detail, "TLS was tried first") {
				t.Errorf("got %s, %s, %s, %q; want delivered, clear, %s, TLS was tried first", got.Outcome, got.Protection, got.Reason, got.Detail, c.reason)
			}
		})
	}
	s := &server{starttls: true}
	w := &world{names: []string{"mx.a.example"}, hosts: map[string]*server{"mx.a.example": s}}
	got := one(t, w.deliverer(t, &saved{answer: enforce("1", "mx.a.example")}).Deliver(t.Context(), letter(1))).Verdict
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
	got := one(t, w.deliverer(t, &saved{answer: a}).Deliver(t.Context(), letter(1))).Verdict
	if got.Outcome != verdict.Held || len(got.PolicyMX) > 20 {
		t.Errorf("got %s with %d hosts of the policy, want held with at most 20", got.Outcome, len(got.PolicyMX))
	}
}

// A connection that is lost in the handshake is a fault of the network, no
// evidence about the server's TLS: the message waits, it is not held.
func TestLostInTheHandshake(t *testing.T) {
	s := &server{drops: true, starttls: true}
	v := deliverN(t, single(s).deliverer(t, &saved{answer: enforce("1", "mx.a.example")}), 1)[0]
	if v.Outcome != verdict.Deferred || v.Reason != verdict.ConnectTimeout {
		t.Errorf("got %s, %s (%s), want deferred, %s", v.Outcome, v.Reason, v.Detail, verdict.ConnectTimeout)
	}
	if mails, _, _ := s.count(); mails != 0 {
		t.Error("the message went out in clear")
	}
}

// An address that may not be written to the wire is returned, each recipient
// for itself (RFC 5321, Section 4.1.2).
func TestAddressesThatCannotBeSent(t *testing.T) {
	s := &server{}
	m := letter(2)
	m.Envelope.Rcpts[0].Addr = "a b@a.example"
	for _, r := range single(s).deliverer(t, noPolicy).Deliver(t.Context(), m) {
		want, code := verdict.Delivered, "2.0.0"
		if r.Rcpt == 0 {
			want, code = verdict.Returned, "5.1.3"
		}
		if v := r.Verdict; v.Outcome != want || v.Enhanced != code {
			t.Errorf("recipient %d: got %s, %s, want %s, %s", r.Rcpt, v.Outcome, v.Enhanced, want, code)
		}
	}
	m = letter(1)
	m.Envelope.From = "a b@office.example"
	if v := one(t, single(s).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict; v.Outcome != verdict.Returned || v.Enhanced != "5.1.7" {
		t.Errorf("the sender: got %s, %s, want returned, 5.1.7", v.Outcome, v.Enhanced)
	}
}

// Lines with a bare CR or LF never leave (RFC 5321, Section 2.3.8), and a
// message that cannot be read is not sent by halves.
func TestBodiesThatCannotBeSent(t *testing.T) {
	for _, c := range []struct {
		name    string
		body    func() (io.ReadCloser, error)
		outcome verdict.Outcome
	}{
		{"bare LF", body("Subject: x\n\nhi\n"), verdict.Returned},
		{"bare CR", body("Subject: x\r\n\r\nh\ri\r\n"), verdict.Returned},
		{"missing", func() (io.ReadCloser, error) { return nil, errors.New("no such record") }, verdict.Deferred},
		{"damaged", func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n"), iotest.ErrReader(errors.New("bad checksum")))), nil
		}, verdict.Deferred},
	} {
		for _, offers := range [][]string{nil, {"8BITMIME"}} { // read while it is sent, and before
			s := &server{offers: offers}
			m := letter(1)
			m.Body = c.body
			v := one(t, single(s).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
			if mails, _, _ := s.count(); v.Outcome != c.outcome || mails != 0 {
				t.Errorf("%s: got %s (%s), %d messages; want %s, none", c.name, v.Outcome, v.Detail, mails, c.outcome)
			}
		}
	}
}
