package lab

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// DHCPMode says how the DHCP server behaves.
type DHCPMode string

// The modes. A refusing server answers every request with a NAK.
const (
	DHCPAnswers DHCPMode = ""
	DHCPSilent  DHCPMode = "silent"
	DHCPRefuses DHCPMode = "refuses"
)

// SetDHCP changes how the DHCP server behaves.
func (l *Lab) SetDHCP(m DHCPMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dhcp = m
}

// SetLease changes the address and the lease time that the DHCP server gives
// from the next request on; a client that asks for its old address gets a NAK.
// Zero values leave a part as it is. [Lab.GuestSMTP] stays what it was.
func (l *Lab) SetLease(addr netip.Addr, lease time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if addr.IsValid() {
		l.leased = addr
	}
	if lease > 0 {
		l.lease = lease
	}
}

func (l *Lab) openDHCP() error {
	l.leased, l.lease = l.world.LAN.Guest, l.world.LAN.Lease
	if err := l.net.Claim(l.world.LAN.Router); err != nil {
		return err
	}
	any67 := netip.AddrPortFrom(netip.IPv4Unspecified(), 67)
	return l.listenPacket(any67, func(_ context.Context, c net.PacketConn, from net.Addr, b []byte) {
		request, err := dhcpv4.FromBytes(b)
		if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest {
			return
		}
		reply, told := l.lend(request)
		if reply == nil {
			return
		}
		// A client with an address is answered there, one without by broadcast
		// (RFC 2131, Section 4.1); a NAK is always broadcast (Section 4.3.2).
		to := net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(broadcast, 68)))
		src := addrPortOf(from)
		if !src.Addr().IsUnspecified() && reply.MessageType() != dhcpv4.MessageTypeNak {
			to = from
		}
		if _, err := c.WriteTo(reply.ToBytes(), to); err != nil {
			l.log.Debug("lab: DHCP reply not sent", "to", to, "error", err)
			return
		}
		if told != nil {
			l.opts.Events(told)
		}
	})
}

// lend makes the reply to a DHCP message and the event that goes with it. It
// returns nil when there is no reply.
func (l *Lab) lend(request *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Event) {
	l.mu.Lock()
	mode, addr, lease := l.dhcp, l.leased, l.lease
	l.mu.Unlock()
	lan := l.world.LAN
	if mode == DHCPSilent {
		return nil, nil
	}
	kind, wanted := dhcpv4.MessageTypeNone, netip.Addr{}
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
		wanted, _ = netip.AddrFromSlice(request.RequestedIPAddress().To4())
		if !wanted.IsValid() {
			wanted, _ = netip.AddrFromSlice(request.ClientIPAddr.To4())
		}
		if server := request.ServerIdentifier(); server != nil && !server.Equal(ip(lan.Router)) {
			return nil, nil // it chose another server
		}
	case dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, nil // decline, release: there is one address
	}
	reply, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(ip(lan.Router)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(lan.Router))))
	if err != nil {
		return nil, nil
	}
	if request.MessageType() == dhcpv4.MessageTypeRequest && (mode == DHCPRefuses || wanted != addr) {
		reply.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
		return reply, LeaseRefused{l.stamp(), request.ClientHWAddr.String()}
	}
	servers := make([]net.IP, len(lan.NTP))
	for i, s := range lan.NTP {
		servers[i] = ip(s)
	}
	for _, o := range []dhcpv4.Option{
		dhcpv4.OptSubnetMask(net.CIDRMask(lan.Prefix.Bits(), 32)),
		dhcpv4.OptRouter(ip(lan.Router)),
		dhcpv4.OptDNS(ip(lan.Router)),
		dhcpv4.OptNTPServers(servers...),
		dhcpv4.OptDomainName(lan.Domain),
	} {
		reply.UpdateOption(o)
	}
	if request.MessageType() == dhcpv4.MessageTypeInform {
		return reply, nil // RFC 2131, Section 4.3.5: no address, no lease
	}
	reply.YourIPAddr = ip(addr)
	reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
	reply.UpdateOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(lease / 2)})
	reply.UpdateOption(dhcpv4.Option{Code: dhcpv4.OptionRebindingTimeValue, Value: dhcpv4.Duration(lease * 7 / 8)})
	if kind == dhcpv4.MessageTypeOffer {
		return reply, nil
	}
	return reply, LeaseGiven{
		Stamp: l.stamp(), Addr: addr, MAC: request.ClientHWAddr.String(), Host: request.HostName(),
		Lease: lease, Renewal: !request.ClientIPAddr.IsUnspecified() && len(request.ClientIPAddr) > 0,
	}
}

func ip(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }
