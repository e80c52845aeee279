package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Memory is a Network of pipes and queues in this process. Made inside a
// testing/synctest bubble it may be used there: everything that waits, waits
// on channels and timers.
type Memory struct {
	tap *Tap

	mu        sync.Mutex
	claimed   map[netip.Addr]bool
	listeners map[netip.AddrPort]*memListener
	sockets   map[netip.AddrPort]*memSocket
	next      map[netip.Addr]uint16 // last ephemeral port given out
}

// NewMemory returns an empty network.
func NewMemory() *Memory {
	return &Memory{
		tap:       NewTap(TapConfig{}),
		claimed:   make(map[netip.Addr]bool),
		listeners: make(map[netip.AddrPort]*memListener),
		sockets:   make(map[netip.AddrPort]*memSocket),
		next:      make(map[netip.Addr]uint16),
	}
}

// Tap returns the network's tap: it sees every connection that Dial makes.
func (m *Memory) Tap() *Tap { return m.tap }

// Claim implements Network.
func (m *Memory) Claim(addr netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claimed[addr] = true
	return nil
}

// Listen implements Network.
func (m *Memory) Listen(addr netip.AddrPort) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.listeners[addr]; taken {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: syscall.EADDRINUSE}
	}
	m.claimed[addr.Addr()] = true
	l := &memListener{net: m, addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	m.listeners[addr] = l
	return l, nil
}

// Dial implements Network.
func (m *Memory) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	m.mu.Lock()
	l, open := m.listeners[to]
	claimed := m.claimed[to.Addr()]
	local := netip.AddrPortFrom(from, m.ephemeral(from))
	m.mu.Unlock()
	flow := m.tap.Open(local, to)
	if !open {
		if !claimed {
			return nil, unanswered(ctx, "tcp", to)
		}
		flow.Refused()
		return nil, refused("tcp", to)
	}
	client, server := newPipe(local, to)
	select {
	case l.conns <- server:
		flow.Accepted()
		return flow.Wrap(client), nil
	case <-l.closed:
		flow.Refused()
		return nil, refused("tcp", to)
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: ctx.Err()}
	}
}

// ephemeral returns a fresh port of the address; m.mu is held.
func (m *Memory) ephemeral(a netip.Addr) uint16 {
	p := m.next[a]
	if p < 49152 || p == 65535 {
		p = 49151
	}
	p++
	m.next[a] = p
	return p
}

type memListener struct {
	net    *Memory
	addr   netip.AddrPort
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.addr)
		l.net.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// ListenPacket implements Network.
func (m *Memory) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	s, err := m.socket(addr)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// DialPacket implements Network.
func (m *Memory) DialPacket(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "udp", Addr: net.UDPAddrFromAddrPort(to), Err: err}
	}
	for range 100 {
		m.mu.Lock()
		port := m.ephemeral(from)
		m.mu.Unlock()
		s, err := m.socket(netip.AddrPortFrom(from, port))
		if err == nil {
			s.peer = to
			return s, nil
		}
	}
	return nil, fmt.Errorf("lab: no free UDP port on %v", from)
}

func (m *Memory) socket(addr netip.AddrPort) (*memSocket, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.sockets[addr]; taken {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(addr), Err: syscall.EADDRINUSE}
	}
	if !addr.Addr().IsUnspecified() {
		m.claimed[addr.Addr()] = true
	}
	s := &memSocket{net: m, addr: addr, in: make(chan memPacket, 256), closed: make(chan struct{})}
	s.readBy.init()
	m.sockets[addr] = s
	return s, nil
}

// send delivers a datagram to whoever is there; one that nobody takes is lost.
func (m *Memory) send(from *memSocket, to netip.AddrPort, b []byte) {
	p := memPacket{from: from.addr, b: append([]byte(nil), b...)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if to.Addr() != broadcast {
		s := m.sockets[to]
		if s == nil && m.claimed[to.Addr()] {
			s = m.sockets[netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())]
		}
		if s != nil {
			s.take(p)
		}
		return
	}
	for addr, s := range m.sockets {
		if s != from && addr.Port() == to.Port() {
			s.take(p)
		}
	}
}
