package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/lab/peer"
	"gatepost/relay/verdict"
)

// A second Gatepost is the MX host of a domain with a policy and hands on to
// the Postfix behind it.
func TestSecondGatepost(t *testing.T) {
	w := newPeerWorld(t, realDomain("second.example", 203))
	p := w.postfix(peer.PostfixConfig{Hostname: "mail.second.example", Mailboxes: []string{"anna@second.example"}})
	second := w.gate("mx.second.example", func(c *relay.Config) {
		c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		c.Inside = map[string]relay.Inside{"second.example": {Hop: hop(p.Addr), Ask: true, TLS: "required"}}
	})
	w.mapMX("second.example", second.trusted)
	first := w.gate("gatepost.office.example", nil)
	text := awkward("bert@office.example", "anna@second.example")
	if got := sendRaw(t, first.trusted, "bert@office.example", "anna@second.example", text); !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q", got)
	}
	if v := first.await(w.ctx, "anna@second.example"); v.Outcome != verdict.Delivered || v.Protection != verdict.Verified {
		t.Errorf("between the two: got %+v, want it delivered to a verified server", v)
	}
	if v := second.await(w.ctx, "anna@second.example"); v.Outcome != verdict.Delivered {
		t.Errorf("to the inner server: got %+v", v)
	}
	mails, err := p.WaitMail(w.ctx, "anna@second.example", 1)
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, mails[0], text)
	// An unknown user is refused by the inner server, and so by both in turn.
	if got := sendRaw(t, first.trusted, "bert@office.example", "nobody@second.example", text); !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q", got)
	}
	if v := first.await(w.ctx, "nobody@second.example"); v.Outcome != verdict.Returned {
		t.Errorf("an unknown user: got %+v, want the first Gatepost to return the message", v)
	}
}

// Two Gateposts that hand everything to each other: the message goes round a
// bounded number of times and comes back to its sender.
func TestLoopEnds(t *testing.T) {
	w := newPeerWorld(t)
	p := w.postfix(peer.PostfixConfig{Hostname: "mail.office.example", Mailboxes: []string{"bert@office.example"}})
	door, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	virtual := netip.MustParseAddrPort("192.0.2.77:25")
	toFirst := hop(door)
	toFirst.Host, toFirst.Port = virtual.Addr().String(), virtual.Port()
	second := w.gate("second.example", func(c *relay.Config) { c.SmartHost = &toFirst })
	toSecond := hop(second.trusted)
	first := w.gate("first.example", func(c *relay.Config) {
		c.SmartHost = &toSecond
		c.Inside = map[string]relay.Inside{"office.example": {Hop: hop(p.Addr)}}
	})
	w.net.Map(virtual, netip.MustParseAddrPort(first.trusted))
	began := time.Now()
	if got := sendRaw(t, first.trusted, "bert@office.example", "anna@round.example", messageFrom("bert@office.example", "anna@round.example", "round")); !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q", got)
	}
	mails, err := p.WaitMail(w.ctx, "bert@office.example", 1)
	if err != nil {
		t.Fatal(err)
	}
	notice := string(mails[0])
	rounds := strings.Count(notice, "for <anna@round.example>")
	// RFC 5321, Section 6.3: at least 100 hops are to be borne.
	if !strings.Contains(notice, "anna@round.example") || !strings.Contains(notice, "multipart/report") || rounds < 100 || rounds > 102 {
		t.Errorf("got %d Received fields in\n%s", rounds, notice)
	}
	t.Logf("the message came back after %v and %d Received fields", time.Since(began).Round(time.Millisecond), rounds)
	first.mu.Lock()
	hops := len(first.attempts)
	first.mu.Unlock()
	time.Sleep(500 * time.Millisecond)
	first.mu.Lock()
	defer first.mu.Unlock()
	if later := len(first.attempts); later > hops+1 {
		t.Errorf("the message goes on: %d attempts, then %d", hops, later)
	}
}
