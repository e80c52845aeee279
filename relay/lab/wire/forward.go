package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guestPatience is how long a forwarded connection waits for the guest to
// answer before it is closed.
const guestPatience = 10 * time.Second

// Forward passes each connection that ln (a listener of the real host, such
// as 127.0.0.1:2525) takes on to an address of the guest, which sees it come
// from the wire's address from. It blocks until ctx is done, closes ln and
// every connection, and returns nil then.
func (w *Wire) Forward(ctx context.Context, ln net.Listener, from netip.Addr, to netip.AddrPort) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		host, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wire: forward to %v: %w", to, err)
		}
		wg.Go(func() {
			defer func() { _ = host.Close() }()
			dial, cancel := context.WithTimeout(ctx, guestPatience)
			guest, err := w.Dial(dial, from, to)
			cancel()
			if err != nil {
				w.cfg.Log.Info("wire: the guest does not answer", "address", to, "error", err)
				return
			}
			defer func() { _ = guest.Close() }()
			join(ctx, host, guest)
		})
	}
}

// halfCloser is what both ends of a forwarded connection can do.
type halfCloser interface{ CloseWrite() error }

// join copies both ways until both directions have ended.
func join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() {
		_ = a.Close()
		_ = b.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	oneWay := func(dst, src net.Conn) {
		_, err := io.Copy(dst, src)
		if h, ok := dst.(halfCloser); ok && err == nil {
			_ = h.CloseWrite()
			return
		}
		_ = dst.Close()
		_ = src.Close()
	}
	wg.Go(func() { oneWay(a, b) })
	oneWay(b, a)
	wg.Wait()
}
