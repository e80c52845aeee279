package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// openPolicy opens a domain's policy host.
func (l *Lab) openPolicy(domain string, p Presence, addr netip.AddrPort) error {
	return l.openPort(p, addr, func(ctx context.Context, c net.Conn) { l.servePolicy(ctx, c, domain) })
}

// servePolicy serves one HTTPS connection to a policy host, or lets the
// attacker cut it.
func (l *Lab) servePolicy(ctx context.Context, c net.Conn, domain string) {
	l.mu.Lock()
	st := l.domains[domain]
	blocked, cert := st.attack == Forge, st.policyCert
	l.mu.Unlock()
	if blocked {
		if t, ok := c.(interface{ SetLinger(int) error }); ok {
			_ = t.SetLinger(0) // a reset, as an attacker on the path sends
		}
		_ = c.Close()
		l.opts.Events(PolicyBlocked{l.stamp(), domain})
		return
	}
	conn := tls.Server(c, &tls.Config{
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{"http/1.1"},
		Time:         l.opts.Now,
	})
	one := newOneConn(conn)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.answerPolicy(ctx, w, r, domain, addrPortOf(c.RemoteAddr()).Addr())
		}),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState:         one.state,
	}
	_ = srv.Serve(one) // ends when the connection does
}

func (l *Lab) answerPolicy(ctx context.Context, w http.ResponseWriter, r *http.Request, domain string, by netip.Addr) {
	l.mu.Lock()
	st := l.domains[domain]
	p := *st.d.Policy
	host := st.d.PolicyHost()
	l.mu.Unlock()
	if p.Delay > 0 {
		t := time.NewTimer(p.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		case <-r.Context().Done():
			return
		}
	}
	if r.Host != host || r.URL.Path != "/.well-known/mta-sts.txt" || r.Method != http.MethodGet {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		l.opts.Events(PolicyServed{l.stamp(), domain, http.StatusNotFound, by})
		return
	}
	kind, status := p.ContentType, p.Status
	if kind == "" {
		kind = "text/plain; charset=us-ascii"
	}
	if status == 0 {
		status = http.StatusOK
	}
	w.Header().Set("Content-Type", kind)
	if p.Location != "" {
		w.Header().Set("Location", p.Location)
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, p.Text())
	if status == http.StatusOK {
		l.mu.Lock()
		st.fetched = true
		l.mu.Unlock()
	}
	l.opts.Events(PolicyServed{l.stamp(), domain, status, by})
}

// oneConn is a listener that gives out one connection and ends when that one
// is closed, so that an http.Server can serve it.
type oneConn struct {
	conn  chan net.Conn
	ended chan struct{}
	addr  net.Addr
}

func newOneConn(c net.Conn) *oneConn {
	o := &oneConn{conn: make(chan net.Conn, 1), ended: make(chan struct{}), addr: c.LocalAddr()}
	o.conn <- c
	return o
}

func (o *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-o.conn:
		return c, nil
	case <-o.ended:
		return nil, net.ErrClosed
	}
}

func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Addr() net.Addr { return o.addr }

// state is the server's ConnState hook.
func (o *oneConn) state(_ net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		close(o.ended)
	}
}
