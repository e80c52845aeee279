package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/lab"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// labWorld runs the simulated internet on real sockets and returns a Deliverer
// in it: real DNS, real policy hosts over HTTPS, real MX hosts.
func labWorld(t *testing.T, world lab.World, faults ...lab.NameFault) (*lab.Lab, *Deliverer) {
	t.Helper()
	world.Names = append(world.Names, faults...)
	l, err := lab.New(world, lab.NewLoopback(), lab.Options{NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	r := resolver.New(resolver.Config{
		Servers: func() []netip.AddrPort { return []netip.AddrPort{l.Resolver()} },
		Dial:    l.DialContext, Timeout: time.Second, Rounds: 1,
	})
	policies := mtasts.NewCache(mtasts.CacheConfig{
		Resolver: r,
		Fetcher:  &mtasts.Fetcher{LookupNetIP: r.LookupNetIP, DialContext: l.DialContext, Roots: l.CA().Pool()},
	})
	d := New(Config{
		Resolver: r, Policies: policies, Hostname: "gatepost.office.example", Roots: l.CA().Pool(),
		SMTP: smtpc.Config{Dial: l.DialContext, Hello: "gatepost.office.example"},
	})
	t.Cleanup(d.Close)
	return l, d
}

func labMessage(domain string) queue.Message {
	text := "Subject: x\r\n\r\nhi\r\n"
	return queue.Message{
		ID: "m", Domain: domain, Rcpts: []int{0}, Body: body(text),
		Envelope: spool.Envelope{From: "anna@office.example", Size: int64(len(text)), Rcpts: []spool.Rcpt{{Addr: "you@" + domain}}},
	}
}

// The evidence says what really happened, for each kind of domain.
func TestEvidence(t *testing.T) {
	world := lab.Office()
	world.Records = append(world.Records,
		"null.example. 60 IN MX 0 .",
		"implicit.example. 60 IN A 203.0.113.18", // that of plain.example
		"null.example. 60 IN SOA ns.lab.example. root.lab.example. 1 2 3 4 60",
	)
	l, d := labWorld(t, world, lab.NameFault{Name: "servfail.example", Type: "MX", Rcode: "SERVFAIL"})
	const tls13 = "TLS 1.3"
	for _, c := range []struct {
		domain string
		want   verdict.Host // of the only server; Outcome "" for none
		dns    verdict.DNS
		chain  bool
		reply  bool
	}{
		{"good.example", verdict.Host{Outcome: verdict.Delivered, Pattern: "mx.good.example", Protection: verdict.Verified, TLSVersion: tls13, Rule: "RFC 8461, Section 5", Code: 250}, mxs("mx.good.example"), true, true},
		{"wrongname.example", verdict.Host{Outcome: verdict.Held, Reason: verdict.CertificateHostMismatch, Pattern: "mx.wrongname.example", Protection: verdict.Encrypted, TLSVersion: tls13, Rule: "RFC 8461, Section 4.2"}, mxs("mx.wrongname.example"), true, false},
		{"expired.example", verdict.Host{Outcome: verdict.Held, Reason: verdict.CertificateExpired, Pattern: "mx.expired.example", Protection: verdict.Encrypted, TLSVersion: tls13, Rule: "RFC 8461, Section 4.2"}, mxs("mx.expired.example"), true, false},
		{"stripped.example", verdict.Host{Outcome: verdict.Held, Reason: verdict.StartTLSNotSupported, Pattern: "mx.stripped.example", Protection: verdict.Clear, Rule: "RFC 8461, Section 5"}, mxs("mx.stripped.example"), false, false},
		{"unlisted.example", verdict.Host{Outcome: verdict.Held, Reason: verdict.MXNotListed, Rule: "RFC 8461, Section 4.1"}, mxs("mx.unlisted.example"), false, false},
		{"testing.example", verdict.Host{Outcome: verdict.Delivered, Reason: verdict.CertificateNotTrusted, Pattern: "mx.testing.example", Protection: verdict.Encrypted, TLSVersion: tls13, Rule: "RFC 8461, Section 4.2", Code: 250}, mxs("mx.testing.example"), true, true},
		{"plain.example", verdict.Host{Outcome: verdict.Delivered, Protection: verdict.Clear, Rule: "RFC 7435", Code: 250}, mxs("mx.plain.example"), false, true},
		{"down.example", verdict.Host{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout, Pattern: "mx.down.example", Rule: "RFC 5321, Section 4.5.4.1"}, mxs("mx.down.example"), false, false},
		{"implicit.example", verdict.Host{Outcome: verdict.Delivered, Protection: verdict.Clear, Rule: "RFC 7435", Code: 250}, verdict.DNS{Implicit: true}, false, true},
		{"null.example", verdict.Host{}, verdict.DNS{Null: true, MX: []verdict.MX{{}}}, false, false},
		{"nothing.example", verdict.Host{}, verdict.DNS{Error: "no such domain"}, false, false},
		{"servfail.example", verdict.Host{}, verdict.DNS{Error: "no answer from the name servers"}, false, false},
	} {
		t.Run(c.domain, func(t *testing.T) {
			before := time.Now()
			v := one(t, d.Deliver(t.Context(), labMessage(c.domain))).Verdict
			e := v.Evidence
			if e == nil || e.Route != verdict.RouteMX || e.DNS == nil {
				t.Fatalf("the evidence is %+v", e)
			}
			wantDNS(t, *e.DNS, c.dns)
			if c.want.Outcome == "" {
				if len(e.Hosts) != 0 {
					t.Errorf("nobody was asked, and the evidence is %+v", e.Hosts)
				}
				return
			}
			if len(e.Hosts) != 1 {
				t.Fatalf("got %d servers, want 1: %+v", len(e.Hosts), e.Hosts)
			}
			h := e.Hosts[0]
			if h.Outcome != v.Outcome || h.MX != v.MX || h.Addr != v.Addr {
				t.Errorf("the evidence is about %s %s, %s, the verdict about %s %s, %s", h.MX, h.Addr, h.Outcome, v.MX, v.Addr, v.Outcome)
			}
			if h.Time.Before(before) || h.Took < 0 || h.Took > time.Minute || h.Outcome == verdict.Delivered && h.Took == 0 {
				t.Errorf("it began at %v and took %v", h.Time, h.Took)
			}
			if dialled := h.Addr != ""; dialled == (c.want.Reason == verdict.MXNotListed) {
				t.Errorf("the address is %q", h.Addr)
			}
			if (h.Cipher != "") != (c.want.TLSVersion != "") || (h.Reply != "") != c.reply {
				t.Errorf("cipher %q, reply %q", h.Cipher, h.Reply)
			}
			if c.want.Outcome != verdict.Delivered && h.Detail == "" {
				t.Error("no technical cause")
			}
			wantChain(t, h, c.domain, c.chain)
			got := verdict.Host{
				Outcome: h.Outcome, Reason: h.Reason, Pattern: h.Pattern, Protection: h.Protection,
				TLSVersion: h.TLSVersion, Rule: h.Rule, Code: h.Code,
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		})
	}
	// The wire agrees: nobody but those who were to get a message got one.
	for _, dom := range world.Domains {
		want := 0
		switch dom.Name {
		case "good.example", "testing.example":
			want = 1
		case "plain.example":
			want = 2 // implicit.example is the same machine
		}
		if got := len(l.Received(dom.Name)); got != want {
			t.Errorf("%s got %d messages, want %d", dom.Name, got, want)
		}
	}
}

func mxs(host string) verdict.DNS {
	return verdict.DNS{MX: []verdict.MX{{Host: host, Pref: 10}}}
}

func wantDNS(t *testing.T, got, want verdict.DNS) {
	t.Helper()
	if got.Security != "unsigned" {
		t.Errorf("the answers are called %q", got.Security)
	}
	if !strings.Contains(got.Error, want.Error) || want.Error == "" && got.Error != "" {
		t.Errorf("got error %q, want %q", got.Error, want.Error)
	}
	if fmt.Sprint(got.MX) != fmt.Sprint(want.MX) || got.Null != want.Null || got.Implicit != want.Implicit {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func wantChain(t *testing.T, h verdict.Host, domain string, want bool) {
	t.Helper()
	if !want {
		if len(h.Chain) != 0 {
			t.Errorf("a chain without TLS: %+v", h.Chain)
		}
		return
	}
	if len(h.Chain) != 1 {
		t.Fatalf("got a chain of %d certificates, want 1", len(h.Chain))
	}
	c := h.Chain[0]
	name := "mx." + domain
	if domain == "wrongname.example" {
		name = "mail.hosting.example"
	}
	issuer := "Gatepost Lab Root"
	if domain == "testing.example" {
		issuer = "Nobody Knows This Root"
	}
	if len(c.Names) != 1 || c.Names[0] != name || !strings.Contains(c.Subject, name) || !strings.Contains(c.Issuer, issuer) {
		t.Errorf("the certificate is %+v", c)
	}
	if ended := c.NotAfter.Before(time.Now()); ended != (domain == "expired.example") || !c.NotBefore.Before(c.NotAfter) {
		t.Errorf("it holds from %v to %v", c.NotBefore, c.NotAfter)
	}
	if sum, err := hex.DecodeString(c.SHA256); err != nil || len(sum) != sha256.Size {
		t.Errorf("its hash is %q", c.SHA256)
	}
}

// A message that waits because nobody can say whether there is a policy has
// evidence too: no server was asked.
func TestEvidenceWithoutPolicy(t *testing.T) {
	_, d := labWorld(t, lab.Office(), lab.NameFault{Name: "_mta-sts.plain.example", Type: "TXT", Rcode: "SERVFAIL"})
	v := one(t, d.Deliver(t.Context(), labMessage("plain.example"))).Verdict
	if v.Reason != verdict.DNSBroken || v.Evidence == nil || v.Evidence.DNS != nil || len(v.Evidence.Hosts) != 0 {
		t.Errorf("got %s, %+v", v.Reason, v.Evidence)
	}
}

// What a stranger writes into certificates and answers is bounded.
func TestEvidenceIsBounded(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("%s%d.example", strings.Repeat("n", 50), i))
	}
	s := &server{replies: map[string]string{"RCPT": "550 5.1.1 " + strings.Repeat("x", 490)}}
	w := secured(t, s, lab.Cert{Names: names})
	v := deliverN(t, w.deliverer(t, noPolicy), 1)[0]
	h := last(t, v)
	if len(h.Chain) != 1 || len(h.Chain[0].Names) != verdict.MaxNames || len(h.Chain[0].Subject) > maxName {
		t.Errorf("got %+v", h.Chain)
	}
	if sum := sha256.Sum256(s.cert.Certificate[0]); h.Chain[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash is not that of the certificate: %s", h.Chain[0].SHA256)
	}
	b, err := json.Marshal(v.Evidence)
	if err != nil || len(b) > 8<<10 {
		t.Errorf("the evidence of one server has %d bytes, %v", len(b), err)
	}
}
