package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// Network carries the lab's virtual addresses. All methods may be called
// concurrently. Connections report virtual addresses (as *net.TCPAddr and
// *net.UDPAddr) wherever the network knows them.
type Network interface {
	// Listen opens a TCP listener. Listening claims the address.
	Listen(addr netip.AddrPort) (net.Listener, error)
	// ListenPacket opens a UDP socket. The unspecified address receives what
	// is sent to the port of any claimed address, and broadcasts.
	ListenPacket(addr netip.AddrPort) (net.PacketConn, error)
	// Dial opens a TCP connection from one virtual machine to another.
	Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// DialPacket returns a connected UDP socket; the result is also a
	// net.PacketConn.
	DialPacket(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Claim says that a machine has this address: it refuses connections to
	// ports on which nobody listens. Packets to unclaimed addresses vanish.
	Claim(addr netip.Addr) error
}

// tapped is a Network with a tap of its own.
type tapped interface{ Tap() *Tap }

// Dialer returns a dial function for a program that runs on the virtual
// machine from: its network must be tcp or udp (or tcp4, udp4), its address a
// literal IPv4 address and port. It fits smtpc, mtasts.Fetcher and resolvers.
func Dialer(n Network, from netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("lab: %w", err)}
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		switch {
		case strings.HasPrefix(network, "tcp"):
			return n.Dial(ctx, from, to)
		case strings.HasPrefix(network, "udp"):
			return n.DialPacket(ctx, from, to)
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
}

// refused is the error that a real dial gives for a closed port.
func refused(network string, to netip.AddrPort) error {
	return &net.OpError{
		Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to),
		Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}
}

// unanswered waits like a dial into a black hole and returns its error.
func unanswered(ctx context.Context, network string, to netip.AddrPort) error {
	<-ctx.Done()
	return &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: ctx.Err()}
}

// addrPortOf reads the address out of a net.Addr of this package's networks.
func addrPortOf(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	default:
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
