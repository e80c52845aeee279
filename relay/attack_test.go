package relay_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// talk says lines to the machine as a client of the office would and returns
// the last answer. A line that is the body of a message ends in CRLF "." CRLF
// by itself.
func (b *bench) talk(lines ...string) string {
	b.t.Helper()
	c, err := net.Dial("tcp", b.real.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	br := bufio.NewReader(c)
	last := ""
	read := func() {
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				b.t.Fatalf("after %q: %v", last, err)
			}
			if last = strings.TrimSpace(line); len(last) < 4 || last[3] != '-' {
				return
			}
		}
	}
	read()
	for _, l := range append([]string{"EHLO client.office.example"}, lines...) {
		if _, err := fmt.Fprintf(c, "%s\r\n", l); err != nil {
			b.t.Fatal(err)
		}
		read()
	}
	return last
}

// withOffice is the office's world with mail servers for the office itself, so
// that notices arrive.
func withOffice() lab.World {
	world := lab.Office()
	world.Domains = append(world.Domains, lab.Domain{
		Name: "office.example",
		MX:   []lab.MX{{Host: "mail.office.example", Pref: 10, Addr: netip.MustParseAddr("203.0.113.77"), TLS: true}},
	})
	world.Records = world.Records[:2]
	return world
}

// A notice about a message with SMTPUTF8 is itself ASCII when its recipient is:
// it must not need SMTPUTF8 of the sender's server.
func TestNoticeNeedsNoSMTPUTF8(t *testing.T) {
	b := newBench(t, withOffice(), nil)
	got := b.talk("MAIL FROM:<anna@office.example> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<jürgen@nowhere.example>", "DATA",
		"Subject: Grüße\r\n\r\nhallo\r\n.")
	if !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	mails, err := b.lab.WaitReceived(ctx, "office.example", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range mails[0].Data {
		if c >= 0x80 {
			t.Fatalf("the notice has a byte %#x at %d", c, i)
		}
	}
	if strings.Contains(mails[0].MailParams, "SMTPUTF8") {
		t.Errorf("the notice was sent with %q", mails[0].MailParams)
	}
}

// Names in mixed case are one domain, under one policy, and the local part
// stays as it was written.
func TestMixedCase(t *testing.T) {
	b := newBench(t, lab.Office(), nil)
	got := b.talk("MAIL FROM:<Anna@office.example>", "RCPT TO:<Bob@GooD.Example>", "RCPT TO:<bob@WRONGNAME.example>", "DATA", ".")
	if !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q", got)
	}
	v := b.await("GooD.Example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Delivered })
	if v.Protection != verdict.Verified || v.PolicyMode != "enforce" || v.Domain != "good.example" {
		t.Errorf("got %s, policy %q of %s; want verified, enforce of good.example", v.Protection, v.PolicyMode, v.Domain)
	}
	b.await("WRONGNAME.example", func(v verdict.Verdict) bool { return v.Reason == verdict.CertificateHostMismatch })
	if m := b.lab.Received("good.example"); len(m) != 1 || m[0].Rcpts[0] != "Bob@GooD.Example" {
		t.Errorf("got %+v", m)
	}
	if m := b.lab.Received("wrongname.example"); len(m) != 0 {
		t.Errorf("got %d messages, want none", len(m))
	}
}

// An address literal is dialled only where mail may go: never on the box
// itself, however its address is spelt.
func TestAddressLiterals(t *testing.T) {
	b := newBench(t, lab.Office(), func(c *relay.Config) { c.Retry = []time.Duration{time.Hour} })
	for _, to := range []string{"u@[IPv6:::ffff:127.0.0.1]", "u@[127.0.0.1]", "u@[IPv6:::1]"} {
		if got := b.talk("MAIL FROM:<>", "RCPT TO:<"+to+">", "DATA", "Subject: x\r\n\r\nx\r\n."); !strings.HasPrefix(got, "250") {
			t.Errorf("%s: got %q", to, got)
		}
	}
	for _, d := range []string{"[IPv6:::ffff:127.0.0.1]", "[127.0.0.1]", "[IPv6:::1]"} {
		v := b.await(d, func(verdict.Verdict) bool { return true })
		if v.Reason != verdict.NoRoute || v.Addr != "" {
			t.Errorf("%s: got %s at %q, want it not dialled", d, v.Reason, v.Addr)
		}
	}
}

// Servers and policies at the edges of what is allowed.
func TestEdges(t *testing.T) {
	n := 0
	addr := func(net string) netip.Addr { n++; return netip.MustParseAddr(fmt.Sprintf("%s.%d", net, 150+n)) }
	mx := func(host string, pref uint16) lab.MX {
		return lab.MX{Host: host, Pref: pref, Addr: addr("203.0.113"), TLS: true}
	}
	policy := func(mode string, hosts ...string) *lab.Policy {
		return &lab.Policy{ID: "1", Mode: mode, MX: hosts, MaxAge: 24 * time.Hour, Addr: addr("198.51.100")}
	}
	old := func(name, mode string) lab.Domain {
		m := mx("mx."+name, 10)
		m.MinTLS, m.MaxTLS = tls.VersionTLS10, tls.VersionTLS10
		return lab.Domain{Name: name, MX: []lab.MX{m}, Policy: policy(mode, "mx."+name)}
	}
	slow := lab.Domain{Name: "slow.example", MX: []lab.MX{mx("mx.slow.example", 10)}, Policy: policy("enforce", "mx.slow.example")}
	slow.Policy.Delay = 2 * time.Second
	brief := lab.Domain{Name: "brief.example", MX: []lab.MX{mx("mx.brief.example", 10)}, Policy: policy("enforce", "*.brief.example")}
	brief.Policy.MaxAge = 0
	grey := lab.Domain{Name: "grey.example", MX: []lab.MX{mx("mx.grey.example", 10)}, Policy: policy("enforce", "mx.grey.example")}
	grey.MX[0].Greylist = 400 * time.Millisecond
	inject := lab.Domain{Name: "inject.example", MX: []lab.MX{mx("mx.inject.example", 10)}, Policy: policy("enforce", "mx.inject.example")}
	inject.MX[0].Inject = "250 ready\r\n"
	away := mx("mx1.backup.example", 10)
	away.Presence = lab.Refuses
	seen := func(o verdict.Outcome, p verdict.Protection, r verdict.Reason) lab.Expect {
		return lab.Expect{Outcome: o, Protection: p, Reason: r}
	}
	fine := []lab.Expect{seen(verdict.Delivered, verdict.Verified, "")}
	held := []lab.Expect{seen(verdict.Held, "", verdict.ValidationFailure)}
	domains := []struct {
		lab.Domain
		expect []lab.Expect
		host   string // that took the message
	}{
		{old("old-enforce.example", "enforce"), held, ""},
		{old("old-testing.example", "testing"), []lab.Expect{seen(verdict.Delivered, verdict.Clear, "")}, "mx.old-testing.example"},
		{old("old-none.example", "none"), []lab.Expect{seen(verdict.Delivered, verdict.Clear, "")}, "mx.old-none.example"},
		{inject, held, ""},
		{slow, fine, "mx.slow.example"},
		{brief, fine, "mx.brief.example"},
		{grey, []lab.Expect{seen(verdict.Deferred, "", verdict.Greylisted), fine[0]}, "mx.grey.example"},
		{lab.Domain{
			Name: "second.example", MX: []lab.MX{mx("mx.elsewhere.example", 10), mx("mx2.second.example", 20)},
			Policy: policy("enforce", "mx2.second.example"),
		}, fine, "mx2.second.example"},
		{lab.Domain{Name: "backup.example", MX: []lab.MX{away, mx("mx2.backup.example", 20)}, Policy: policy("enforce", "*.backup.example")}, fine, "mx2.backup.example"},
	}
	world := lab.Office()
	for _, d := range domains {
		d.Domain.Expect = d.expect
		world.Domains = append(world.Domains, d.Domain)
	}
	b := newBench(t, world, nil)
	for _, d := range domains {
		b.send(d.Name)
	}
	for _, d := range domains {
		for _, e := range d.expect {
			v := b.await(d.Name, fits(e))
			if e.Outcome == verdict.Delivered && v.MX != d.host {
				t.Errorf("%s: delivered to %s, want %s", d.Name, v.MX, d.host)
			}
			if d.Name == "old-testing.example" && v.Reason != verdict.ValidationFailure {
				t.Errorf("%s: got the reason %q, want %s", d.Name, v.Reason, verdict.ValidationFailure)
			}
		}
		mails := b.lab.Received(d.Name)
		switch {
		case d.host == "" && len(mails) > 0:
			t.Errorf("%s: %d messages arrived", d.Name, len(mails))
		case d.host != "" && (len(mails) != 1 || mails[0].Host != d.host):
			t.Errorf("%s: got %d messages, want one at %s", d.Name, len(mails), d.host)
		}
	}
	for _, leak := range b.lab.Leaks() {
		if !leak.Allowed {
			t.Errorf("a message for %s was seen in clear on its way to %s", leak.Intended, leak.To)
		}
	}
}

// RFC 8689, Section 4.2.2: a message whose header says TLS-Required: No goes to
// a host that fails its policy, as over an encrypted line as can be had; the
// next one, without the field, is held. The option REQUIRETLS is stronger.
func TestTLSRequiredNo(t *testing.T) {
	b := newBench(t, lab.Office(), nil)
	send := func(domain, field string) {
		t.Helper()
		got := b.talk("MAIL FROM:<tom@office.example>", "RCPT TO:<x@"+domain+">", "DATA", field+"Subject: x\r\n\r\nx\r\n.")
		if !strings.HasPrefix(got, "250 ") {
			t.Fatalf("got %q", got)
		}
	}
	send("wrongname.example", "TLS-Required: No\r\n")
	b.await("wrongname.example", func(v verdict.Verdict) bool {
		return v.Outcome == verdict.Delivered && v.Protection == verdict.Encrypted
	})
	send("wrongname.example", "")
	b.await("wrongname.example", func(v verdict.Verdict) bool { return v.Outcome == verdict.Held })
	send("stripped.example", "TLS-Required: No\r\n")
	b.await("stripped.example", func(v verdict.Verdict) bool {
		return v.Outcome == verdict.Delivered && v.Protection == verdict.Clear
	})
}
