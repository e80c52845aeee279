package smtpd

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// gate is the listener that go-smtp accepts from. It lets nobody through whom
// the caps, the rates or the trusted networks keep out.
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
		c := g.srv.admit(nc, g)
		if c == nil {
			continue
		}
		if g.ImplicitTLS {
			return tls.Server(c, g.srv.tls), nil
		}
		return c, nil
	}
}

// admit returns the armoured connection, or nil when it was turned away.
func (s *Server) admit(nc net.Conn, g *gate) *conn {
	peer := addrOf(nc.RemoteAddr())
	say := func(r Reply) {
		if !g.ImplicitTLS {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(nc, r.line())
		}
		_ = nc.Close()
	}
	trusted := s.trusted(peer)
	if why, ok := s.limits.connect(peer, trusted, time.Now()); !ok {
		s.cfg.Log.Debug("connection refused", "client", peer.String(), "reply", why.Error())
		say(why)
		return nil
	}
	c := &conn{nc: nc, srv: s, role: g.Role, peer: peer, born: time.Now(), clear: !g.ImplicitTLS}
	if !s.keep(c) {
		s.limits.disconnect(peer, trusted)
		say(replyShutdown)
		return nil
	}
	if g.Role == Trusted && !trusted {
		s.joined.Go(func() { c.turnAway(g.ImplicitTLS) })
		return nil
	}
	return c
}

// turnAway tells a stranger that nothing is to be had here, and then waits for
// its QUIT for a little while (RFC 5321, Section 3.1).
func (c *conn) turnAway(silent bool) {
	defer c.Close()
	r := Reply{554, [3]int{5, 7, 1}, "No mail is taken from your address here"}
	// While the box itself is not in order it is nobody's last word: a sender
	// that would be welcome otherwise must keep its mail.
	if ready := c.srv.cfg.Ready; ready != nil {
		if why, bye := goodbye(ready()); bye {
			if !silent {
				_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = io.WriteString(c.nc, why.line())
			}
			return
		}
	}
	c.srv.refused(c.peer, r)
	if silent {
		return
	}
	deadline := time.Now().Add(10 * time.Second)
	_ = c.nc.SetDeadline(deadline)
	if _, err := io.WriteString(c.nc, r.line()); err != nil {
		return
	}
	in := bufio.NewScanner(io.LimitReader(c.nc, 4<<10))
	for in.Scan() && !c.isEnding() {
		if strings.EqualFold(strings.TrimSpace(in.Text()), "QUIT") {
			_, _ = io.WriteString(c.nc, "221 2.0.0 Bye\r\n")
			return
		}
		if _, err := io.WriteString(c.nc, "503 5.5.1 No mail is taken from your address here\r\n"); err != nil {
			return
		}
	}
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
