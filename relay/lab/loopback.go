package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Loopback is a Network of real sockets on 127.0.0.1: each virtual address
// and port is a real port that the host picks. A program under test gets the
// virtual world through [Dialer]; a foreign program uses the real ports of
// [Loopback.Ports]. Broadcasts are dropped: there is no DHCP here.
type Loopback struct {
	tap *Tap

	mu      sync.Mutex
	claimed map[netip.Addr]bool
	tcp     map[netip.AddrPort]netip.AddrPort // virtual to real
	udp     map[netip.AddrPort]netip.AddrPort
	peers   map[netip.AddrPort]netip.AddrPort // real client ends to virtual
}

// NewLoopback returns an empty network.
func NewLoopback() *Loopback {
	return &Loopback{
		tap:     NewTap(TapConfig{}),
		claimed: make(map[netip.Addr]bool),
		tcp:     make(map[netip.AddrPort]netip.AddrPort),
		udp:     make(map[netip.AddrPort]netip.AddrPort),
		peers:   make(map[netip.AddrPort]netip.AddrPort),
	}
}

// Tap returns the network's tap: it sees every connection that Dial makes,
// and not those that foreign programs open to the real ports.
func (l *Loopback) Tap() *Tap { return l.tap }

// Port is one virtual address with the real one behind it.
type Port struct {
	Network string // "tcp" or "udp"
	Virtual netip.AddrPort
	Real    netip.AddrPort
}

// Ports lists what is open, in order of virtual address.
func (l *Loopback) Ports() []Port {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ports []Port
	for v, r := range l.tcp {
		ports = append(ports, Port{"tcp", v, r})
	}
	for v, r := range l.udp {
		ports = append(ports, Port{"udp", v, r})
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(a.Virtual.Compare(b.Virtual), cmp.Compare(a.Network, b.Network))
	})
	return ports
}

// Map says that a foreign program listens on the real TCP address in the name
// of the virtual one.
func (l *Loopback) Map(virtual, real netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed[virtual.Addr()] = true
	l.tcp[virtual] = real
}

// Claim implements Network.
func (l *Loopback) Claim(addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed[addr] = true
	return nil
}

// Listen implements Network.
func (l *Loopback) Listen(addr netip.AddrPort) (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.tcp[addr]; taken {
		return nil, fmt.Errorf("lab: %v is taken", addr)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l.claimed[addr.Addr()] = true
	l.tcp[addr] = addrPortOf(ln.Addr())
	return &loopListener{Listener: ln, net: l, addr: addr}, nil
}

// Dial implements Network.
func (l *Loopback) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	l.mu.Lock()
	target, open := l.tcp[to]
	claimed := l.claimed[to.Addr()]
	l.mu.Unlock()
	if !open && !claimed {
		l.tap.Open(netip.AddrPortFrom(from, 0), to)
		return nil, unanswered(ctx, "tcp", to)
	}
	if !open {
		l.tap.Open(netip.AddrPortFrom(from, 0), to).Refused()
		return nil, refused("tcp", to)
	}
	// The lock is held while dialling so that the accepting side, which takes
	// it too, finds the virtual address of its peer.
	l.mu.Lock()
	defer l.mu.Unlock()
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp4", target.String())
	local := netip.AddrPortFrom(from, 0)
	if err != nil {
		l.tap.Open(local, to).Refused()
		return nil, err
	}
	actual := addrPortOf(c.LocalAddr())
	local = netip.AddrPortFrom(from, actual.Port())
	l.peers[actual] = local
	flow := l.tap.Open(local, to)
	flow.Accepted()
	return flow.Wrap(&loopConn{TCPConn: c.(*net.TCPConn), net: l, real: actual, local: net.TCPAddrFromAddrPort(local), remote: net.TCPAddrFromAddrPort(to)}), nil
}

type loopListener struct {
	net.Listener
	net  *Loopback
	addr netip.AddrPort
}

func (l *loopListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	remote := addrPortOf(c.RemoteAddr())
	l.net.mu.Lock()
	if v, ok := l.net.peers[remote]; ok {
		remote = v
	}
	l.net.mu.Unlock()
	return &loopConn{TCPConn: c.(*net.TCPConn), local: net.TCPAddrFromAddrPort(l.addr), remote: net.TCPAddrFromAddrPort(remote)}, nil
}

func (l *loopListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

func (l *loopListener) Close() error {
	l.net.mu.Lock()
	delete(l.net.tcp, l.addr)
	l.net.mu.Unlock()
	return l.Listener.Close()
}

// loopConn is a real connection that reports virtual addresses.
type loopConn struct {
	*net.TCPConn
	net           *Loopback      // set on the dialling side
	real          netip.AddrPort // its entry in net.peers
	local, remote net.Addr
}

func (c *loopConn) LocalAddr() net.Addr  { return c.local }
func (c *loopConn) RemoteAddr() net.Addr { return c.remote }

func (c *loopConn) Close() error {
	if c.net != nil {
		c.net.mu.Lock()
		delete(c.net.peers, c.real)
		c.net.mu.Unlock()
	}
	return c.TCPConn.Close()
}

// ListenPacket implements Network.
func (l *Loopback) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.udp[addr]; taken {
		return nil, fmt.Errorf("lab: %v is taken", addr)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if !addr.Addr().IsUnspecified() {
		l.claimed[addr.Addr()] = true
	}
	l.udp[addr] = addrPortOf(c.LocalAddr())
	return &loopSocket{UDPConn: c, net: l, addr: addr}, nil
}

// DialPacket implements Network. The socket reports real addresses.
func (l *Loopback) DialPacket(ctx context.Context, _ netip.Addr, to netip.AddrPort) (net.Conn, error) {
	l.mu.Lock()
	target, open := l.udp[to]
	l.mu.Unlock()
	if !open {
		// A socket of our own that never answers stands for the missing host.
		target = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9)
	}
	var d net.Dialer
	return d.DialContext(ctx, "udp4", target.String())
}

type loopSocket struct {
	*net.UDPConn
	net  *Loopback
	addr netip.AddrPort
}

var errNoBroadcast = errors.New("lab: no broadcast on loopback")

func (s *loopSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	if addrPortOf(to).Addr() == broadcast {
		return 0, errNoBroadcast
	}
	return s.UDPConn.WriteTo(b, to)
}

func (s *loopSocket) Close() error {
	s.net.mu.Lock()
	delete(s.net.udp, s.addr)
	s.net.mu.Unlock()
	return s.UDPConn.Close()
}
