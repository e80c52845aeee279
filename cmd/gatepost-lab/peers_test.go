package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/lab"
	"gatepost/relay/lab/peer"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpd"
	"gatepost/relay/verdict"
)

// patience bounds every wait of these tests; a quiet machine needs a hundredth.
const patience = time.Minute

// peerWorld is the office's world on the loopback network, with machines in it
// that are real programs.
type peerWorld struct {
	t   *testing.T
	ctx context.Context // ends when patience does
	net *lab.Loopback
	lab *lab.Lab
}

// realDomain is a domain with a policy whose only MX host is no part of the
// lab: the test maps a real program to its address.
func realDomain(name string, n byte) lab.Domain {
	host := "mx." + name
	return lab.Domain{
		Name: name,
		MX:   []lab.MX{{Host: host, Pref: 10, Addr: netip.AddrFrom4([4]byte{203, 0, 113, n}), Presence: lab.Refuses}},
		Policy: &lab.Policy{
			ID: "1", Mode: "enforce", MX: []string{host}, MaxAge: 24 * time.Hour, Addr: netip.AddrFrom4([4]byte{198, 51, 100, n}),
		},
	}
}

func newPeerWorld(t *testing.T, domains ...lab.Domain) *peerWorld {
	t.Helper()
	needPostfix(t)
	world := lab.Office()
	world.Domains = append(world.Domains, domains...)
	w := &peerWorld{t: t, net: lab.NewLoopback()}
	var err error
	if w.lab, err = lab.New(world, w.net, lab.Options{NoDHCP: true}); err != nil {
		t.Fatal(err)
	}
	// The world outlives the programs in it.
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.lab.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w.ctx = ctx
	return w
}

// mapMX says that the program at addr is the MX host of the domain.
func (w *peerWorld) mapMX(domain, addr string) {
	w.t.Helper()
	d, ok := w.lab.Domain(domain)
	if !ok {
		w.t.Fatalf("no domain %s", domain)
	}
	w.net.Map(netip.AddrPortFrom(d.MX[0].Addr, 25), netip.MustParseAddrPort(addr))
}

func (w *peerWorld) certificate(name string, fault lab.Cert) *tls.Certificate {
	w.t.Helper()
	cert, err := w.lab.CA().Issue(name, fault, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

func (w *peerWorld) postfix(cfg peer.PostfixConfig) *peer.Postfix {
	w.t.Helper()
	if cfg.Settings == nil {
		cfg.Settings = map[string]string{}
	}
	cfg.Settings["local_header_rewrite_clients"] = "" // it is to change no header
	p, err := peer.StartPostfix(w.ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", cfg.Hostname, p.Log())
		}
		if err := p.Stop(); err != nil {
			w.t.Error(err)
		}
	})
	return p
}

// hop is the next hop at a real address, in clear if it must be.
func hop(addr string) nexthop.Hop {
	a := netip.MustParseAddrPort(addr)
	return nexthop.Hop{Host: a.Addr().String(), Port: a.Port(), TLS: nexthop.TLSTry}
}

// gate is a Gatepost that runs in this process.
type gate struct {
	t                             *testing.T
	trusted, submission, implicit string // its ports

	mu       sync.Mutex
	attempts []event.Attempted
	changed  chan struct{} // closed and replaced
}

// gate starts a Gatepost with that name.
func (w *peerWorld) gate(name string, change func(*relay.Config)) *gate {
	w.t.Helper()
	g := &gate{t: w.t, changed: make(chan struct{})}
	var listeners []smtpd.Listener
	for _, l := range []struct {
		addr *string
		smtpd.Listener
	}{
		{&g.trusted, smtpd.Listener{Role: smtpd.Trusted}},
		{&g.submission, smtpd.Listener{Role: smtpd.Submission}},
		{&g.implicit, smtpd.Listener{Role: smtpd.Submission, ImplicitTLS: true}},
	} {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		*l.addr, l.Listener.Listener = ln.Addr().String(), ln
		listeners = append(listeners, l.Listener)
	}
	data, err := os.OpenRoot(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { data.Close() })
	cfg := relay.Config{
		Version: "test", Hostname: name, Listeners: listeners,
		TLS:             &tls.Config{Certificates: []tls.Certificate{*w.certificate(name, lab.Cert{})}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		MaxMessage:      10 << 20, MaxRecipients: 100,
		Retry: []time.Duration{300 * time.Millisecond}, Lifetime: time.Hour, Parallel: 100, PerDomain: 20,
		Data:        data,
		NameServers: func() []netip.AddrPort { return []netip.AddrPort{w.lab.Resolver()} },
		Dial:        w.dial, Roots: w.lab.CA().Pool(),
		Events: g.event,
	}
	if change != nil {
		change(&cfg)
	}
	m, err := relay.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	})
	return g
}

// dial reaches the virtual world, and the real programs on 127.0.0.1.
func (w *peerWorld) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.HasPrefix(address, "127.0.0.1:") {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return w.lab.DialContext(ctx, network, address)
}

func (g *gate) event(e event.Event) {
	if a, ok := e.(event.Attempted); ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.attempts = append(g.attempts, a)
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// await waits for the verdict of an attempt for that recipient.
func (g *gate) await(ctx context.Context, rcpt string) verdict.Verdict {
	g.t.Helper()
	for {
		g.mu.Lock()
		all, changed := slices.Clone(g.attempts), g.changed
		g.mu.Unlock()
		for _, a := range all {
			if a.Rcpt == rcpt {
				return a.Verdict
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			g.t.Fatalf("no attempt for %s came; got %+v", rcpt, all)
		}
	}
}

// awkward is a message in which every byte could go wrong: folded fields with
// spaces and tabs at their ends, empty and repeated fields, dots at the start
// of lines, a line of 998 bytes, 8-bit text, white space at the ends of lines
// and empty lines at the end. A DKIM signature would cover any of them.
func awkward(from, to string) string {
	lines := []string{
		"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=office.example;",
		"\ts=a; h=from:to:subject; ",
		"  bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\tb=AAAA",
		"From: Anna <" + from + ">  ",
		"tO:\t<" + to + ">",
		"Subject:  two  spaces\t and a tab ",
		"Subject: twice",
		"Date: Mon, 23 Nov 2026 10:00:00 +0100",
		"Message-ID: <awkward@office.example>",
		"X-Empty:",
		"X-Long: " + strings.Repeat("x", 990),
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: 8bit",
		"MIME-Version: 1.0",
		"",
		".", "..", ".dot", "...", " .", "",
		"Grüße aus dem Büro ",
		"\ttab at the start, spaces at the end   ",
		strings.Repeat("y", 998),
		"From the start of a line",
		"", "", "",
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// sendRaw hands a message over as it is and returns the last reply.
func sendRaw(t *testing.T, addr, from, to, message string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	k := newDialogue(t, conn)
	k.say("", "220")
	k.say("EHLO mail.office.example", "250")
	k.say("MAIL FROM:<"+from+"> BODY=8BITMIME", "250")
	if got := k.say("RCPT TO:<"+to+">", ""); !strings.HasPrefix(got, "250") {
		k.say("QUIT", "221")
		return got
	}
	k.say("DATA", "354")
	stuffed := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:]
	got := k.say(stuffed+".", "")
	k.say("QUIT", "221")
	return got
}

// sameBytes compares what Postfix put into a mailbox with what was sent, less
// the fields that the servers on the way put on top.
func sameBytes(t *testing.T, got []byte, sent string) {
	t.Helper()
	want := strings.ReplaceAll(sent, "\r\n", "\n")
	first, _, _ := strings.Cut(want, "\n")
	at := bytes.Index(got, []byte("\n"+first))
	if at < 0 {
		t.Fatalf("the first field is missing in %q", got)
	}
	if rest := string(got[at+1:]); rest != want {
		i := 0
		for i < len(rest) && i < len(want) && rest[i] == want[i] {
			i++
		}
		t.Errorf("the message was changed at byte %d: got %.80q, want %.80q", i, rest[i:], want[i:])
	}
	top := string(got[:at+1])
	for line := range strings.Lines(top) {
		name, _, _ := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' && !slices.Contains([]string{"Return-Path", "X-Original-To", "Delivered-To", "Received"}, name) {
			t.Errorf("the field %q was added", line)
		}
	}
	if n := strings.Count(top, "\nReceived: "); n < 2 {
		t.Errorf("%d Received fields were added, want one of Gatepost and one of Postfix: %s", n, top)
	}
}

func messageFrom(from, to, id string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: test %s\r\nMessage-ID: <%s@test.example>\r\n\r\n%s\r\n", from, to, id, id, id)
}
