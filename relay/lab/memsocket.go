package lab

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// broadcast is the limited broadcast address (RFC 919, Section 7).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// memSocket is a UDP socket in memory. It is both a net.PacketConn and, when
// connected, a net.Conn.
type memSocket struct {
	net    *Memory
	addr   netip.AddrPort
	peer   netip.AddrPort // zero: not connected
	in     chan memPacket
	readBy deadline
	once   sync.Once
	closed chan struct{}
}

type memPacket struct {
	from netip.AddrPort
	b    []byte
}

// take queues a datagram for the reader.
func (s *memSocket) take(p memPacket) {
	select {
	case s.in <- p:
	default: // a full queue drops, as a socket does
	}
}

func (s *memSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		select {
		case <-s.closed:
			return 0, nil, net.ErrClosed
		case <-s.readBy.passed():
			return 0, nil, os.ErrDeadlineExceeded
		case p := <-s.in:
			if s.peer.IsValid() && p.from != s.peer {
				continue
			}
			return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
		}
	}
}

func (s *memSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	s.net.tap.Datagram(s.addr, addrPortOf(to), b)
	s.net.send(s, addrPortOf(to), b)
	return len(b), nil
}

func (s *memSocket) Read(b []byte) (int, error) {
	n, _, err := s.ReadFrom(b)
	return n, err
}

func (s *memSocket) Write(b []byte) (int, error) {
	if !s.peer.IsValid() {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: net.InvalidAddrError("not connected")}
	}
	return s.WriteTo(b, net.UDPAddrFromAddrPort(s.peer))
}

func (s *memSocket) Close() error {
	s.once.Do(func() {
		s.net.mu.Lock()
		delete(s.net.sockets, s.addr)
		s.net.mu.Unlock()
		close(s.closed)
	})
	return nil
}

func (s *memSocket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.addr) }

// RemoteAddr returns nil unless the socket is connected.
func (s *memSocket) RemoteAddr() net.Addr {
	if !s.peer.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(s.peer)
}

func (s *memSocket) SetDeadline(t time.Time) error      { s.readBy.set(t); return nil }
func (s *memSocket) SetReadDeadline(t time.Time) error  { s.readBy.set(t); return nil }
func (s *memSocket) SetWriteDeadline(_ time.Time) error { return nil }
