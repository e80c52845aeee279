package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"

	"gatepost/relay/event"
)

// ownDomains is a Local of two own domains, one of them with a U-label name.
func ownDomains(rule TLSRule) func(string) (Local, bool) {
	return func(domain string) (Local, bool) {
		switch domain {
		case "office.example", "xn--bro-hoa.example": // büro.example
			return Local{TLS: rule, Reports: []string{"tls-reports"}}, true
		}
		return Local{}, false
	}
}

// stranger dials from outside of the trusted networks and says EHLO.
func (f *fixture) stranger() *client {
	f.t.Helper()
	c := f.from("127.0.0.9", f.trusted)
	c.want("", "220 ")
	c.want("EHLO client.example", "250-")
	return c
}

// relayTable holds every spelling by which a relay was ever talked into passing
// mail on, and what each role is answered. kept is the recipient as it is kept,
// "" means as it stands in rcpt.
var relayTable = []struct {
	rcpt, kept              string
	internet, trusted, auth string
}{
	{"<anna@office.example>", "anna@office.example", "250", "250", "250"},
	{"<Anna@OFFICE.Example>", "Anna@office.example", "250", "250", "250"},
	{"<anna@büro.example>", "anna@xn--bro-hoa.example", "250", "250", "250"},
	{"<anna@BÜRO.example>", "anna@xn--bro-hoa.example", "250", "250", "250"},
	{"<anna@XN--BRO-HOA.example>", "anna@xn--bro-hoa.example", "250", "250", "250"},
	{`<"anna"@office.example>`, "anna@office.example", "250", "250", "250"},
	{"anna@office.example", "anna@office.example", "250", "250", "250"}, // no brackets
	{"<postmaster>", "postmaster@office.example", "250", "250", "250"},
	{"<PostMaster>", "postmaster@office.example", "250", "250", "250"},
	{"<@other.example:anna@office.example>", "anna@office.example", "250", "250", "250"},
	{"<@a.example,@b.example:anna@office.example>", "anna@office.example", "250", "250", "250"},
	// not ours
	{"<victim@other.example>", "victim@other.example", "550 5.7.1", "250", "250"},
	{"<victim@sub.office.example>", "victim@sub.office.example", "550 5.7.1", "250", "250"},
	{"<victim@notoffice.example>", "victim@notoffice.example", "550 5.7.1", "250", "250"},
	{"<victim@example>", "victim@example", "550 5.7.1", "250", "250"},
	{"<victim@[192.0.2.1]>", "victim@[192.0.2.1]", "550 5.7.1", "250", "250"},
	{"<victim@[127.0.0.1]>", "victim@[127.0.0.1]", "550 5.7.1", "250", "250"},
	{"<postmaster@[127.0.0.1]>", "postmaster@[127.0.0.1]", "550 5.7.1", "250", "250"},
	{"<victim@[IPv6:2001:db8::1]>", "victim@[IPv6:2001:db8::1]", "550 5.7.1", "250", "250"},
	{"<@office.example:victim@other.example>", "victim@other.example", "550 5.7.1", "250", "250"},
	{"<@office.example,@office.example:victim@other.example>", "victim@other.example", "550 5.7.1", "250", "250"},
	// routes inside of local parts, which the office's server may follow
	{"<victim%other.example@office.example>", "victim%other.example@office.example", "550 5.7.1", "250", "250"},
	{"<victim%other.example%office.example@office.example>", "victim%other.example%office.example@office.example", "550 5.7.1", "250", "250"},
	{"<other.example!victim@office.example>", "other.example!victim@office.example", "550 5.7.1", "250", "250"},
	{`<"victim%other.example"@office.example>`, "victim%other.example@office.example", "550 5.7.1", "250", "250"},
	{"<@other.example:victim%other.example@office.example>", "victim%other.example@office.example", "550 5.7.1", "250", "250"},
	{"<other.example!victim>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	// two addresses in one
	{`<"victim@other.example"@office.example>`, "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{`<"victim@other.example> X"@office.example>`, "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{`<"victim@other.example\"> "@office.example>`, "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@other.example@office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@office.example@other.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{`<"victim"@other.example@office.example>`, "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@other.example,anna@office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@other.example:anna@office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@other.example>anna@office.example", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<victim@other.example> <anna@office.example>", "", "555 5.5.4", "555 5.5.4", "555 5.5.4"},
	{"<<victim@other.example>@office.example>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"victim@other.example anna@office.example", "", "555 5.5.4", "555 5.5.4", "555 5.5.4"},
	// pieces missing
	{"<victim@>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<@office.example>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<@>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{`<""@office.example>`, "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<@office.example:>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<@:anna@office.example>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<@other example:anna@office.example>", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{"<anna@office.example", "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	{`<"anna@office.example>`, "", "501 5.5.4", "501 5.5.4", "501 5.5.4"},
	// odd domains
	{"<anna@office.example.>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<anna@.office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<anna@office..example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<anna@[office.example]>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<anna@#office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<anna@ office.example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
	{"<victim@other.example\x00@office.example>", "", "500 5.5.2", "500 5.5.2", "500 5.5.2"},
	{"<victim@other.example\roffice.example>", "", "500 5.5.2", "500 5.5.2", "500 5.5.2"},
	{"<anna@ｏｆｆｉｃｅ.example>", "anna@office.example", "250", "250", "250"}, // the same name to IDNA; kept as the own one
	{"<anna@office。example>", "", "553 5.1.3", "553 5.1.3", "553 5.1.3"},
}

// No relay hole of any kind (RFC 5321, Section 7.9).
func TestRelayAccess(t *testing.T) {
	for _, role := range []Role{Internet, Trusted, Submission} {
		t.Run(role.String(), func(t *testing.T) {
			f := start(t, func(c *Config) {
				c.Local, c.Limits.Errors = ownDomains(""), 1000
			})
			var c *client
			switch role {
			case Internet:
				c = f.stranger()
			case Trusted:
				c, _ = f.hello(f.trusted)
			case Submission:
				c, _ = f.secure(f.submission)
				c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ")
			}
			c.want("MAIL FROM:<eve@office.example> SMTPUTF8", "250 ")
			var kept []string
			for _, tt := range relayTable {
				want := map[Role]string{Internet: tt.internet, Trusted: tt.trusted, Submission: tt.auth}[role]
				c.want("RCPT TO:"+tt.rcpt, want)
				if want == "250" {
					kept = append(kept, tt.kept)
				}
			}
			c.want("DATA", "354 ")
			c.want(".", "250 ")
			got := f.all()[0].env
			var addrs []string
			for _, r := range got.Rcpts {
				addrs = append(addrs, r.Addr)
			}
			if !reflect.DeepEqual(addrs, kept) || got.Role != role {
				t.Errorf("%v: got recipients %q of role %v, want %q", role, addrs, got.Role, kept)
			}
		})
	}
}

// Nothing of a listener for people with a login is open to others.
func TestSubmissionTakesNoLocalMailWithoutLogin(t *testing.T) {
	f := start(t, func(c *Config) { c.Local = ownDomains("") })
	c, _ := f.secure(f.submission)
	c.want("MAIL FROM:<eve@other.example>", "530 5.7.0 ")
	c.want("RCPT TO:<anna@office.example>", "503 5.5.1 ")
}

func TestPostmaster(t *testing.T) {
	for _, tt := range []struct {
		hostname, set, want string
		local               bool
	}{
		{"gate.office.example", "", "postmaster@office.example", true},
		{"office.example", "", "postmaster@office.example", true},
		{"a.b.office.example", "", "postmaster@office.example", true},
		{"gate.elsewhere.example", "", "postmaster@gate.elsewhere.example", true},
		{"gate.office.example", "", "postmaster@gate.office.example", false},
		{"gate.office.example", "root@office.example", "root@office.example", true},
		{"", "", "postmaster@", true},
	} {
		cfg := Config{Hostname: tt.hostname, Postmaster: tt.set}
		if tt.local {
			cfg.Local = ownDomains("")
		}
		if got := New(cfg).postmaster; got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
	// Only RCPT knows it, and a name alone is nothing else.
	f := start(t, func(c *Config) { c.Local = ownDomains("") })
	c := f.stranger()
	c.want("MAIL FROM:<postmaster>", "553 5.1.7 ")
	c.want("MAIL FROM:<>", "250 ")
	c.want("RCPT TO:<postmaster> NOTIFY=NEVER", "250 ")
	c.want("RCPT TO:postmaster", "250 ")
	c.want("RCPT TO:<postmasters>", "553 5.1.3 ")
}

func TestInboundTLSRules(t *testing.T) {
	for _, tt := range []struct {
		rule   TLSRule
		secure bool
		anna   string
		report string
		events int
	}{
		{"", false, "250 ", "250 ", 0},
		{TLSOff, false, "250 ", "250 ", 0},
		{TLSOff, true, "250 ", "250 ", 0},
		{TLSWatch, false, "250 ", "250 ", 2},
		{TLSWatch, true, "250 ", "250 ", 0},
		{TLSRequired, false, "530 5.7.0 ", "250 ", 0},
		{TLSRequired, true, "250 ", "250 ", 0},
	} {
		t.Run(fmt.Sprintf("%s/secure=%v", tt.rule, tt.secure), func(t *testing.T) {
			var mu sync.Mutex
			var clear []event.InboundClear
			f := start(t, func(c *Config) {
				c.Local = ownDomains(tt.rule)
				c.Events = func(e event.Event) {
					if e, ok := e.(event.InboundClear); ok {
						mu.Lock()
						defer mu.Unlock()
						clear = append(clear, e)
					}
				}
			})
			c := f.stranger()
			if tt.secure {
				c.want("STARTTLS", "220 ")
				c.handshake()
				c.want("EHLO client.example", "250-")
			}
			c.want("MAIL FROM:<eve@other.example>", "250 ")
			c.want("RCPT TO:<anna@office.example>", tt.anna)
			c.want("RCPT TO:<ben@office.example>", tt.anna)
			c.want("RCPT TO:<carl@xn--bro-hoa.example>", tt.anna)
			c.want("RCPT TO:<TLS-Reports@office.example>", tt.report)
			c.want("DATA", "354 ")
			c.want(".", "250 ")
			// A transaction that comes to nothing is none that came in clear.
			c.want("MAIL FROM:<eve@other.example>", "250 ")
			c.want("RCPT TO:<ben@office.example>", tt.anna)
			c.want("RSET", "250 ")
			mu.Lock()
			defer mu.Unlock()
			if len(clear) != tt.events {
				t.Fatalf("got %d events, want %d: %+v", len(clear), tt.events, clear)
			}
			for i, domain := range []string{"office.example", "xn--bro-hoa.example"}[:min(2, len(clear))] {
				if e := clear[i]; e.Domain != domain || e.Client != "127.0.0.9" || !strings.HasSuffix(e.Rcpt, "@"+domain) || e.Time.IsZero() {
					t.Errorf("got %+v, want one of %s", e, domain)
				}
			}
		})
	}
	// The office's own devices may know no TLS.
	f := start(t, func(c *Config) { c.Local = ownDomains(TLSRequired) })
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<scan@office.example>", "250 ")
	c.want("RCPT TO:<anna@office.example>", "250 ")
}

func TestVerify(t *testing.T) {
	var mu sync.Mutex
	var asked []Question
	f := start(t, func(c *Config) {
		c.Local, c.Limits.Errors = ownDomains(""), 4
		c.Verify = func(ctx context.Context, q Question) error {
			if _, ok := ctx.Deadline(); !ok {
				return errors.New("no limit of time")
			}
			mu.Lock()
			asked = append(asked, q)
			mu.Unlock()
			switch local, _, _ := strings.Cut(q.Rcpt, "@"); local {
			case "anna":
				return nil
			case "broken":
				return errors.New("dial tcp 192.168.1.5:25: no route to host")
			case "later":
				return fmt.Errorf("asking: %w", Reply{450, [3]int{4, 2, 0}, "Not now"})
			}
			return Reply{550, [3]int{5, 1, 1}, "There is no such mailbox"}
		}
	})
	c := f.stranger()
	c.want("MAIL FROM:<eve@other.example>", "250 ")
	c.want("RCPT TO:<anna@Office.example>", "250 ")
	c.want("RCPT TO:<broken@office.example>", "451 4.3.0 Local error, please try again later\r\n")
	c.want("RCPT TO:<later@office.example>", "450 4.2.0 Not now\r\n")
	c.want("RCPT TO:<a@other.example>", "550 5.7.1 ") // nobody is asked
	c.want("RCPT TO:<x1@office.example>", "550 5.1.1 There is no such mailbox\r\n")
	c.want("RCPT TO:<x2@office.example>", "550 5.1.1 ")
	c.want("RCPT TO:<x3@office.example>", "421 4.7.0 ") // somebody tries names
	c.gone()
	mu.Lock()
	if q := (Question{"eve@other.example", "anna@office.example", netip.MustParseAddr("127.0.0.9"), Internet}); len(asked) != 6 || asked[0] != q {
		t.Errorf("got %+v, want %+v first of 6", asked, q)
	}
	asked = nil
	mu.Unlock()

	// Someone of the office with an old list is not put out.
	c, _ = f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	for i := range 10 {
		c.want(fmt.Sprintf("RCPT TO:<x%d@office.example>", i), "550 5.1.1 ")
		c.want(fmt.Sprintf("RCPT TO:<x%d@other.example>", i), "250 ")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 10 || asked[0].Role != Trusted {
		t.Errorf("got %+v, want 10 questions about own domains", asked)
	}
}
