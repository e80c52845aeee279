package smtpd

import (
	"io"
	"net"
	"net/netip"
	"time"
)

// gate is the listener that go-smtp accepts from. It lets nobody through whom
// the caps or the rates keep out.
type gate struct {
	Listener
	srv *Server
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		nc, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if d := g.srv.admit(nc, g); d != nil {
			return d, nil
		}
	}
}

// admit returns the dialog for a connection, or nil when it was turned away.
func (s *Server) admit(nc net.Conn, g *gate) *dialog {
	peer := addrOf(nc.RemoteAddr())
	say := func(r Reply) {
		if !g.ImplicitTLS {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(nc, r.line())
		}
		_ = nc.Close()
	}
	role, from := g.Role, office
	if !s.trusted(peer) {
		from = people
		if role == Trusted {
			role, from = Internet, internet
		}
	}
	if why, ok := s.limits.connect(peer, from, time.Now()); !ok {
		s.cfg.Log.Debug("connection refused", "client", peer, "reply", why)
		say(why)
		return nil
	}
	c := &conn{nc: nc, srv: s, role: role, class: from, peer: peer, born: time.Now(), patience: time.Second}
	if !s.keep(c) {
		s.limits.disconnect(peer, from)
		say(replyShutdown)
		return nil
	}
	if c.squeezed() {
		s.squeeze()
	}
	d := &dialog{conn: c, rw: c, implicit: g.ImplicitTLS}
	s.lend(d)
	return d
}

// squeeze cuts the waits short where places have become few: a client that
// waits for a good reason connects again.
func (s *Server) squeeze() {
	due := time.Now().Add(s.cfg.Limits.Strangers.Squeeze)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.hurry(due)
	}
}

// buffers are what a dialog needs while it is open.
type buffers struct {
	in      [inputSize]byte
	out     [maxHeld]byte
	scratch [512]byte
}

func (s *Server) lend(d *dialog) {
	d.lent = s.pool.Get().(*buffers)
	d.in, d.out, d.scratch = d.lent.in[:], d.lent.out[:0], d.lent.scratch[:0]
}

func (s *Server) giveBack(d *dialog) {
	d.in, d.out, d.scratch, d.feed = nil, nil, nil, nil
	d.r, d.w = 0, 0
	s.pool.Put(d.lent)
	d.lent = nil
}

// trusted reports whether addr is in a trusted network.
func (s *Server) trusted(addr netip.Addr) bool {
	for _, p := range s.cfg.TrustedNetworks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf returns the IP address of a, the zero Addr when it has none. Mapped
// IPv4 addresses and zones are taken off, so that prefixes match.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
