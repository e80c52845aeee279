package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/smtp"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatepost/relay/lab"
)

// lay runs the office world on a wire until the test ends and returns the
// lab, the wire and the path of its socket.
func lay(t *testing.T, world lab.World, opts lab.Options) (*lab.Lab, *Wire, string) {
	t.Helper()
	if opts.Tap == nil {
		opts.Tap = lab.NewTap(lab.TapConfig{})
	}
	w, err := New(Config{Router: netip.PrefixFrom(world.LAN.Router, 24), Frame: opts.Tap.Frame})
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(world, w, opts)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wire")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx, ln); err != nil {
			t.Errorf("the wire ended with %v", err)
		}
	})
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("the lab ended with %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		w.Close()
	})
	return l, w, path
}

// office returns the world with a guest plugged in.
func office(t *testing.T, opts lab.Options) (*lab.Lab, *Wire, *guest) {
	world := lab.Office()
	l, w, path := lay(t, world, opts)
	return l, w, plugIn(t, path, world.LAN.Guest, world.LAN.Router)
}

func TestServicesOnTheWire(t *testing.T) {
	l, _, g := office(t, lab.Options{})
	t.Run("DNS", func(t *testing.T) {
		for _, network := range []string{"udp", "tcp"} {
			r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				if network == "udp" {
					return g.dialUDP("192.168.77.1:53"), nil
				}
				return g.dial("192.168.77.1:53")
			}}
			mx, err := r.LookupMX(context.Background(), "good.example")
			if err != nil || len(mx) != 1 || mx[0].Host != "mx.good.example." {
				t.Errorf("over %s: got %v, %v", network, mx, err)
			}
		}
	})
	t.Run("NTP", func(t *testing.T) {
		c := g.dialUDP("203.0.113.123:123")
		ask := make([]byte, 48)
		ask[0] = 4<<3 | 3
		_, _ = c.Write(ask)
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		if n, err := c.Read(make([]byte, 100)); n != 48 || err != nil {
			t.Errorf("got %d bytes, %v", n, err)
		}
	})
	t.Run("policy host", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{
			DialContext:     func(context.Context, string, string) (net.Conn, error) { return g.dial("198.51.100.10:443") },
			TLSClientConfig: &tls.Config{RootCAs: l.CA().Pool()},
		}}
		resp, err := client.Get("https://mta-sts.good.example/.well-known/mta-sts.txt")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || !strings.Contains(string(body), "mode: enforce") {
			t.Errorf("got %q, %v", body, err)
		}
		if err := l.StartAttack("good.example", lab.Forge); err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
		if _, err := client.Get("https://mta-sts.good.example/.well-known/mta-sts.txt"); err == nil {
			t.Error("a blocked policy host answered")
		}
		if err := l.EndAttack("good.example"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		if _, err := g.dial("203.0.113.20:25"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v, want a refusal", err)
		}
		flows := l.Tap().Flows()
		if f := flows[len(flows)-1]; !f.Refused || f.To.String() != "203.0.113.20:25" || f.From.Addr() != g.addr {
			t.Errorf("the tap saw %+v, want a refused flow", f)
		}
	})
	t.Run("silent", func(t *testing.T) {
		if _, err := g.dial("203.0.113.200:25"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an address of nobody: got %v, want a timeout", err)
		}
	})
}

// TestEvidence sends one message over TLS and one in clear and asks the tap.
func TestEvidence(t *testing.T) {
	l, _, g := office(t, lab.Options{})
	filler := strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"\r\n", 4000) // many packets
	for _, row := range []struct {
		domain, addr, canary string
		clear                bool
	}{
		{"good.example", "203.0.113.10:25", "canary-good-7", false},
		{"plain.example", "203.0.113.18:25", "canary-plain-7", true},
		{"stripped.example", "203.0.113.13:25", "canary-stripped-7", true},
	} {
		c, err := g.dial(row.addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := smtp.NewClient(c, "mx."+row.domain)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := s.Extension("STARTTLS"); ok {
			if err := s.StartTLS(&tls.Config{ServerName: "mx." + row.domain, RootCAs: l.CA().Pool()}); err != nil {
				t.Fatal(err)
			}
		}
		message := "Subject: x\r\n\r\n" + filler + row.canary + "\r\n"
		if err := errors.Join(s.Mail("anna@office.example"), s.Rcpt("sales@"+row.domain)); err != nil {
			t.Fatal(err)
		}
		w, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, message)
		if err := errors.Join(w.Close(), s.Quit()); err != nil {
			t.Fatal(err)
		}
		got := l.Received(row.domain)
		if len(got) != 1 || string(got[0].Data) != message || (got[0].TLS == "") != row.clear {
			t.Errorf("%s: got %d messages; want the one that was sent, clear %v", row.domain, len(got), row.clear)
		}
		seen := slices.ContainsFunc(l.Leaks(), func(k lab.Leak) bool { return k.Canary == row.canary && k.Domain == row.domain })
		if seen != row.clear {
			t.Errorf("%s: the tap saw the message: %v, want %v", row.domain, seen, row.clear)
		}
	}
	if got := l.Tap().Incomplete(); len(got) != 0 {
		t.Errorf("the tap missed bytes of %+v", got)
	}
}

// TestInbound has the office send to the guest and the host connect to it.
func TestInbound(t *testing.T) {
	l, w, g := office(t, lab.Options{})
	ln := g.listen(25)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 "+c.RemoteAddr().(*net.TCPAddr).IP.String()+"\r\n")
			_, _ = io.Copy(c, c) // an echo; ends with the other side
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := w.Dial(ctx, netip.MustParseAddr("192.168.77.10"), l.GuestSMTP())
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	if n, err := c.Read(line); string(line[:n]) != "220 192.168.77.10\r\n" || err != nil {
		t.Errorf("from the office: got %q, %v", line[:n], err)
	}
	_ = c.Close()

	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Forward(ctx, host, netip.MustParseAddr("192.168.77.2"), l.GuestSMTP()) }()
	h, err := net.Dial("tcp", host.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		_, _ = h.Write(big)
		_ = h.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(h)
	if want := append([]byte("220 192.168.77.2\r\n"), big...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("through the forward: got %d bytes, %v; want %d", len(got), err, len(want))
	}
	if _, err := w.Dial(ctx, netip.MustParseAddr("192.168.77.10"), netip.MustParseAddrPort("192.168.77.50:26")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port of the guest: got %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Forward: got %v", err)
	}
	if got := l.Tap().Sightings(); len(got) != 0 {
		t.Errorf("the tap follows what goes to the guest: %+v", got)
	}
}

// TestReboot pulls one guest out and plugs the next in.
func TestReboot(t *testing.T) {
	var mu sync.Mutex
	var plugged []bool
	w, err := New(Config{Router: netip.MustParsePrefix("192.168.77.1/24"), Plugged: func(in bool) {
		mu.Lock()
		defer mu.Unlock()
		plugged = append(plugged, in)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Listen(netip.MustParseAddrPort("203.0.113.10:25")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wire")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, ln) }()
	router := netip.MustParseAddr("192.168.77.1")
	first := plugIn(t, path, netip.MustParseAddr("192.168.77.50"), router)
	if _, err := first.dial("203.0.113.10:25"); err != nil {
		t.Errorf("the first guest: %v", err)
	}
	_ = first.sock.Close()
	second := plugIn(t, path, netip.MustParseAddr("192.168.77.50"), router)
	if _, err := second.dial("203.0.113.10:25"); err != nil {
		t.Errorf("after a reboot: %v", err)
	}
	third := plugIn(t, path, netip.MustParseAddr("192.168.77.50"), router) // takes the second one's place
	if _, err := third.dial("203.0.113.10:25"); err != nil {
		t.Errorf("in another's place: %v", err)
	}
	bad, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(bad, "GET / HTTP/1.1\r\n\r\n")
	if _, err := io.ReadAll(bad); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a peer that speaks no frames: got %v, want the end", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(plugged) < 5 || !plugged[0] || plugged[len(plugged)-1] {
		t.Errorf("plugged: got %v, want true first and false last", plugged)
	}
}

// TestDHCPOnTheWire broadcasts from a guest that has no address yet.
func TestDHCPOnTheWire(t *testing.T) {
	given := make(chan lab.LeaseGiven, 10)
	_, _, g := office(t, lab.Options{Events: func(e lab.Event) {
		if e, ok := e.(lab.LeaseGiven); ok {
			given <- e
		}
	}})
	const discover, offer, request, ack = 1, 2, 3, 5
	if got := g.exchange(bootp{kind: discover, xid: 1}); got.kind != offer || got.yours != g.addr {
		t.Fatalf("got %+v", got)
	}
	if got := g.exchange(bootp{kind: request, xid: 2, wanted: g.addr}); got.kind != ack || got.yours != g.addr {
		t.Errorf("got %+v", got)
	}
	if e := <-given; e.Renewal || e.MAC != net.HardwareAddr(guestMAC).String() {
		t.Errorf("got %+v", e)
	}
	c, err := dialUDP(g, full(netip.MustParseAddrPort("192.168.77.50:68")), full(netip.MustParseAddrPort("192.168.77.1:67")))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(bootp{kind: request, xid: 3, mine: g.addr}.encode())
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	b := make([]byte, 2000)
	n, err := c.Read(b)
	if got := decode(b[:n]); err != nil || got.kind != ack || got.xid != 3 {
		t.Errorf("renewal: got %+v, %v", got, err)
	}
	if e := <-given; !e.Renewal {
		t.Errorf("got %+v", e)
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for _, n := range []int{60, 1, 0, maxFrame} {
		if err := writeFrame(&b, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	r := newFrameReader(bytes.NewReader(b.Bytes()))
	for _, want := range []int{60, 1, 0, maxFrame} {
		if f, err := r.next(); len(f) != want || err != nil {
			t.Errorf("got %d bytes, %v; want %d", len(f), err, want)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: got %v", err)
	}
	for _, bad := range []string{"\x00\x00", "\x00\x00\x00\x05abc", "\x00\x02\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x05"} {
		if _, err := newFrameReader(strings.NewReader(bad)).next(); err == nil || err == io.EOF {
			t.Errorf("%q: got %v, want an error that is not the end", bad, err)
		}
	}
}

func TestClaimErrors(t *testing.T) {
	if _, err := New(Config{Router: netip.MustParsePrefix("fe80::1/64")}); err == nil {
		t.Error("an IPv6 router was taken")
	}
	w, err := New(Config{Router: netip.MustParsePrefix("192.168.77.1/24")})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, a := range []string{"::1", "0.0.0.0"} {
		if err := w.Claim(netip.MustParseAddr(a)); err == nil {
			t.Errorf("%s was taken", a)
		}
	}
	if _, err := w.Listen(netip.MustParseAddrPort("203.0.113.9:25")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Listen(netip.MustParseAddrPort("203.0.113.9:25")); err == nil {
		t.Error("one address was opened twice")
	}
}
