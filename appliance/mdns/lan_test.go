package mdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fakeLAN is a wire on which everyone hears what is sent to a group.
type fakeLAN struct {
	start time.Time
	mu    sync.Mutex
	nodes []*node
	heard []sent
	// echo sends every packet for a group back to all, in the name of this
	// address: a repeater between two networks.
	echo netip.Addr
}

type sent struct {
	at   time.Duration
	from netip.AddrPort
	to   netip.AddrPort
	msg  dnsmessage.Message
}

type node struct {
	lan    *fakeLAN
	addr   netip.AddrPort
	in     chan Packet
	closed bool
}

func newLAN() *fakeLAN { return &fakeLAN{start: time.Now()} }

func (l *fakeLAN) plug(addr netip.AddrPort) *node {
	n := &node{lan: l, addr: addr, in: make(chan Packet, waiting)}
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	return n
}

func (n *node) Packets() <-chan Packet { return n.in }

func (n *node) Close() error {
	n.lan.mu.Lock()
	defer n.lan.mu.Unlock()
	n.closed = true
	return nil
}

func (n *node) Send(data []byte, to netip.AddrPort) error {
	n.lan.deliver(data, n.addr, to, true)
	return nil
}

func (l *fakeLAN) deliver(data []byte, from, to netip.AddrPort, fresh bool) {
	if to == group6 {
		return // these machines have IPv4 alone
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var m dnsmessage.Message
	if err := m.Unpack(data); err == nil && fresh {
		l.heard = append(l.heard, sent{time.Since(l.start), from, to, m})
	}
	for _, n := range l.nodes {
		if n.closed || fresh && n.addr == from || to != group4 && to != n.addr {
			continue
		}
		select {
		case n.in <- Packet{data, from}:
		default:
		}
	}
	if fresh && l.echo.IsValid() && to == group4 {
		go l.deliver(data, netip.AddrPortFrom(l.echo, port), to, false)
	}
}

// log tells what was sent since the last time, as "time kind names".
func (l *fakeLAN) log() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, s := range l.heard {
		kind := "response"
		if !s.msg.Response {
			kind = "question"
		}
		if s.to != group4 {
			kind = "private " + kind
		}
		var what []string
		for _, q := range s.msg.Questions {
			what = append(what, "?"+q.Name.String())
		}
		for _, r := range s.msg.Answers {
			text := strings.TrimPrefix(r.Header.Type.String(), "Type")
			if r.Header.TTL == 0 {
				text = "no " + text
			}
			what = append(what, text)
		}
		out = append(out, fmt.Sprintf("%v %s %s", s.at, kind, strings.Join(what, " ")))
	}
	l.heard = nil
	return out
}

func (l *fakeLAN) clear() { l.mu.Lock(); l.heard = nil; l.mu.Unlock() }

// last is the last packet that was sent.
func (l *fakeLAN) last(t *testing.T) sent {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) == 0 {
		t.Fatal("nothing was sent")
	}
	return l.heard[len(l.heard)-1]
}

func (l *fakeLAN) count() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.heard) }

// box is a Responder that is plugged in.
type box struct {
	*Responder
	lan   *fakeLAN
	mu    sync.Mutex
	names []string
	stop  func()
}

var (
	mac  = net.HardwareAddr{0x52, 0x54, 0x00, 0x3c, 0x1a, 0x2b}
	home = netip.MustParsePrefix("192.168.77.50/24")
)

func newBox(l *fakeLAN) *box {
	b := &box{lan: l}
	b.Responder = New(Config{
		MAC: mac,
		Named: func(name, note string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if name == "" {
				name = "silent: " + note
			}
			if n := len(b.names); n == 0 || b.names[n-1] != name {
				b.names = append(b.names, name)
			}
		},
	})
	return b
}

func (b *box) plug(t *testing.T, addresses ...netip.Prefix) {
	t.Helper()
	if len(addresses) == 0 {
		addresses = []netip.Prefix{home}
	}
	b.Open = func(net.Interface) (Conn, error) {
		return b.lan.plug(netip.AddrPortFrom(addresses[0].Addr(), port)), nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx, net.Interface{Name: "eth0", Index: 2}, addresses); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	b.stop = func() { cancel(); <-done }
}

func (b *box) had() []string { b.mu.Lock(); defer b.mu.Unlock(); return slices.Clone(b.names) }

// settled is long enough for probes and announcements.
const settled = 5 * time.Second

// onLAN runs a test with a box that has its name, in false time.
func onLAN(t *testing.T, f func(t *testing.T, l *fakeLAN, b *box, other *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		b := newBox(l)
		b.plug(t)
		other := l.plug(netip.MustParseAddrPort("192.168.77.9:5353"))
		time.Sleep(settled)
		l.clear()
		f(t, l, b, other)
		b.stop()
	})
}

func name(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func ask(t *testing.T, n *node, to netip.AddrPort, change func(*dnsmessage.Message), q ...dnsmessage.Question) {
	t.Helper()
	m := dnsmessage.Message{Questions: q}
	if change != nil {
		change(&m)
	}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Send(data, to); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func q(s string, typ dnsmessage.Type, class dnsmessage.Class) dnsmessage.Question {
	return dnsmessage.Question{Name: name(s), Type: typ, Class: class}
}

// addressOf is an A record of the name, as another machine would say it.
func addressOf(host string, a byte, ttl uint32) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: name(host), Class: dnsmessage.ClassINET | topBit, TTL: ttl},
		Body:   &dnsmessage.AResource{A: [4]byte{192, 168, 77, a}},
	}
}

func says(r ...dnsmessage.Resource) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) { m.Response, m.Answers = true, r }
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
