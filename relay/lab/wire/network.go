package wire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const backlog = 256

// Listen opens a TCP listener on an address of the wire and claims it.
func (w *Wire) Listen(addr netip.AddrPort) (net.Listener, error) {
	if err := w.Claim(addr.Addr()); err != nil {
		return nil, err
	}
	l := &listener{addr: addr}
	ep, err := w.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &l.wq)
	if err != nil {
		return nil, fmt.Errorf("wire: listen on %v: %v", addr, err)
	}
	if err = ep.Bind(full(addr)); err == nil {
		err = ep.Listen(backlog)
	}
	if err != nil {
		ep.Close()
		return nil, fmt.Errorf("wire: listen on %v: %v", addr, err)
	}
	l.ep, l.closed = ep, make(chan struct{})
	return l, nil
}

// ListenPacket opens a UDP socket. It may send broadcasts; on the unspecified
// address it receives them.
func (w *Wire) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	c, err := w.packet(addr)
	if err != nil {
		return nil, err // not a nil *gonet.UDPConn in an interface
	}
	return c, nil
}

func (w *Wire) packet(addr netip.AddrPort) (*gonet.UDPConn, error) {
	if !addr.Addr().IsUnspecified() {
		if err := w.Claim(addr.Addr()); err != nil {
			return nil, err
		}
	}
	var wq waiter.Queue
	ep, err := w.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if err != nil {
		return nil, fmt.Errorf("wire: listen on %v: %v", addr, err)
	}
	ep.SocketOptions().SetBroadcast(true)
	local := full(addr)
	if addr.Addr().IsUnspecified() {
		local.Addr = tcpip.Address{}
	}
	if err := ep.Bind(local); err != nil {
		ep.Close()
		return nil, fmt.Errorf("wire: listen on %v: %v", addr, err)
	}
	return gonet.NewUDPConn(&wq, ep), nil
}

// Dial opens a TCP connection from an address of the wire to the guest.
func (w *Wire) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if err := w.Claim(from); err != nil {
		return nil, err
	}
	c, err := gonet.DialTCPWithBind(ctx, w.stack, full(netip.AddrPortFrom(from, 0)), full(to), ipv4.ProtocolNumber)
	if err == nil {
		return c, nil
	}
	if strings.Contains(err.Error(), (&tcpip.ErrConnectionRefused{}).String()) {
		err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// DialPacket returns a UDP socket that is connected to the guest.
func (w *Wire) DialPacket(_ context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if err := w.Claim(from); err != nil {
		return nil, err
	}
	local, remote := full(netip.AddrPortFrom(from, 0)), full(to)
	c, err := gonet.DialUDP(w.stack, &local, &remote, ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// listener is a TCP listener whose connections can be reset.
type listener struct {
	addr   netip.AddrPort
	wq     waiter.Queue
	ep     tcpip.Endpoint
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		ep, wq, err := l.ep.Accept(nil)
		if err == nil {
			return &conn{TCPConn: gonet.NewTCPConn(wq, ep), ep: ep}, nil
		}
		if _, wait := err.(*tcpip.ErrWouldBlock); !wait {
			select {
			case <-l.closed:
				return nil, net.ErrClosed
			default:
				return nil, fmt.Errorf("wire: accept on %v: %v", l.addr, err)
			}
		}
		select {
		case <-ready:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.ep.Close()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// conn is an accepted connection.
type conn struct {
	*gonet.TCPConn
	ep    tcpip.Endpoint
	mu    sync.Mutex
	abort bool
}

// SetLinger makes Close reset the connection when sec is 0.
func (c *conn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abort = sec == 0
	return nil
}

func (c *conn) Close() error {
	c.mu.Lock()
	abort := c.abort
	c.mu.Unlock()
	if abort {
		c.ep.Abort()
	}
	return c.TCPConn.Close()
}
