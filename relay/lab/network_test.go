package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipe(guestEnd, mxEnd)
		if a.RemoteAddr().String() != mxEnd.String() || b.RemoteAddr().String() != guestEnd.String() {
			t.Errorf("addresses: got %v and %v", a.RemoteAddr(), b.RemoteAddr())
		}
		// Both sides may write before anybody reads.
		for _, c := range []net.Conn{a, b} {
			if n, err := c.Write(make([]byte, pipeBuffer)); n != pipeBuffer || err != nil {
				t.Fatalf("got %d, %v", n, err)
			}
		}
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := a.Write([]byte("more")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a full buffer: got %d, %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		go func() {
			_, _ = a.Write(bytes.Repeat([]byte("x"), 3*pipeBuffer))
			_ = a.CloseWrite()
		}()
		if got, err := io.ReadAll(b); len(got) != 4*pipeBuffer || err != nil {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if _, err := io.ReadFull(a, make([]byte, pipeBuffer)); err != nil {
			t.Error(err)
		}
		_ = a.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("past the deadline: got %v", err)
		}
		_ = a.SetReadDeadline(time.Time{})
		go func() {
			time.Sleep(time.Second)
			_ = a.SetReadDeadline(time.Unix(1, 0)) // wakes a reader that waits
		}()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline in the past: got %v", err)
		}
		_ = a.SetReadDeadline(time.Now().Add(time.Hour))
		_, _ = b.Write([]byte("lost"))
		_ = b.SetLinger(0)
		_ = b.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a reset: got %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing after a reset: got %v", err)
		}
		_ = a.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: got %v", err)
		}
	})
}

func TestNetworks(t *testing.T) {
	server, client := netip.MustParseAddrPort("203.0.113.10:25"), netip.MustParseAddr("192.168.77.50")
	everywhere(t, func(t *testing.T, n Network) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ln, err := n.Listen(server)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(server); err == nil {
			t.Error("one address was opened twice")
		}
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String()+" "+c.LocalAddr().String())
			_ = c.Close()
		}()
		c, err := n.Dial(ctx, client, server)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if want := client.String() + " " + server.String(); string(got) != want || err != nil || c.RemoteAddr().String() != server.String() {
			t.Errorf("got %q, %v, remote %v; want %q", got, err, c.RemoteAddr(), want)
		}
		_ = c.Close()
		_ = ln.Close()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: got %v", err)
		}
		if _, err := n.Dial(ctx, client, server); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: got %v", err)
		}
		if _, err := Dialer(n, client)(ctx, "unix", server.String()); err == nil {
			t.Error("a network that is none was dialled")
		}
		if _, err := Dialer(n, client)(ctx, "tcp", "mx.good.example:25"); err == nil {
			t.Error("a name was dialled")
		}
	})
}

// TestLabCloses shows that Run leaves no address open.
func TestLabCloses(t *testing.T) {
	for range 2 {
		n := NewLoopback()
		l, err := New(Office(), n, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		c, err := l.DialContext(ctx, "tcp", "203.0.113.10:25")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("an open session: got %v, want its end", err)
		}
		if got := n.Ports(); len(got) != 0 {
			t.Errorf("still open: %v", got)
		}
	}
}

func TestWorldErrors(t *testing.T) {
	for name, spoil := range map[string]func(w *World){
		"no name":       func(w *World) { w.Domains[0].Name = "" },
		"same name":     func(w *World) { w.Domains[1].Name = w.Domains[0].Name },
		"same address":  func(w *World) { w.Domains[1].MX[0].Addr = w.Domains[0].MX[0].Addr },
		"no lease time": func(w *World) { w.LAN.Lease = 0 },
		"broken record": func(w *World) { w.Records = []string{"nonsense IN"} },
	} {
		w := Office()
		spoil(&w)
		n := NewLoopback()
		if _, err := New(w, n, Options{}); err == nil {
			t.Errorf("%s: New took it", name)
		}
		if got := n.Ports(); len(got) != 0 {
			t.Errorf("%s: still open: %v", name, got)
		}
	}
}
