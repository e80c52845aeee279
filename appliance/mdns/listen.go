package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// waiting is how many packets may wait to be looked at; more are dropped.
const waiting = 64

// hopLimit shows others that no router has passed a packet on (RFC 6762,
// Section 11).
const hopLimit = 255

// sockets is the real Conn.
type sockets struct {
	four, six net.PacketConn // either may be nil
	zone      string
	packets   chan Packet
	readers   sync.WaitGroup
}

// Listen opens port 5353 of an interface, in the families that it has.
func Listen(on net.Interface) (Conn, error) {
	s := &sockets{zone: on.Name, packets: make(chan Packet, waiting)}
	var err4, err6 error
	if s.four, err4 = open("udp4", "0.0.0.0", on.Name); err4 == nil {
		p := ipv4.NewPacketConn(s.four)
		err4 = errors.Join(p.JoinGroup(&on, net.UDPAddrFromAddrPort(group4)), p.SetMulticastInterface(&on),
			p.SetMulticastTTL(hopLimit), p.SetTTL(hopLimit), p.SetMulticastLoopback(false))
	}
	if s.six, err6 = open("udp6", "[::]", on.Name); err6 == nil {
		p := ipv6.NewPacketConn(s.six)
		err6 = errors.Join(p.JoinGroup(&on, net.UDPAddrFromAddrPort(group6)), p.SetMulticastInterface(&on),
			p.SetMulticastHopLimit(hopLimit), p.SetHopLimit(hopLimit), p.SetMulticastLoopback(false))
	}
	if err4 != nil && err6 != nil {
		s.Close()
		return nil, fmt.Errorf("port %d of %s: %w", port, on.Name, errors.Join(err4, err6))
	}
	for _, c := range []net.PacketConn{s.four, s.six} {
		if c != nil {
			s.readers.Go(func() { s.read(c) })
		}
	}
	go func() { s.readers.Wait(); close(s.packets) }()
	return s, nil
}

func open(network, address, on string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), on))
		}), err)
	}}
	return lc.ListenPacket(context.Background(), network, fmt.Sprintf("%s:%d", address, port))
}

func (s *sockets) read(c net.PacketConn) {
	b := make([]byte, maxPacket+1)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if u, ok := from.(*net.UDPAddr); ok {
			select {
			case s.packets <- Packet{append([]byte(nil), b[:n]...), u.AddrPort()}:
			default:
			}
		}
	}
}

// Packets is closed after Close.
func (s *sockets) Packets() <-chan Packet { return s.packets }

// Send goes out at the interface.
func (s *sockets) Send(data []byte, to netip.AddrPort) error {
	c := s.four
	if a := to.Addr().Unmap(); a.Is6() {
		c = s.six
		if a.IsLinkLocalUnicast() || a.IsMulticast() {
			to = netip.AddrPortFrom(a.WithZone(s.zone), to.Port())
		}
	} else {
		to = netip.AddrPortFrom(a, to.Port())
	}
	if c == nil {
		return nil // a family that this network does not have
	}
	_, err := c.WriteTo(data, net.UDPAddrFromAddrPort(to))
	return err
}

// Close ends the readers too.
func (s *sockets) Close() error {
	var errs []error
	for _, c := range []net.PacketConn{s.four, s.six} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
