package netup

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// Questions to the routers after the start (RFC 4861, Section 10).
const (
	solicitations   = 3
	solicitInterval = 4 * time.Second
)

var (
	allNodes   = net.IPAddr{IP: net.ParseIP("ff02::1")}
	allRouters = net.IPAddr{IP: net.ParseIP("ff02::2")}
)

// NeighbourDiscovery is the real Routers. The kernel makes the addresses and
// the default route from the same messages; it leaves out the name servers.
type NeighbourDiscovery struct{}

// Listen needs the right to open raw sockets.
func (NeighbourDiscovery) Listen(ctx context.Context, link Link, heard func(Advertisement)) error {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	p := c.IPv6PacketConn()
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	on := &net.Interface{Index: link.Index, Name: link.Name}
	for _, err := range []error{
		p.SetICMPFilter(&filter),
		p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		p.SetMulticastHopLimit(hopLimit),
		p.SetMulticastInterface(on),
		p.JoinGroup(on, &allNodes),
	} {
		if err != nil {
			return err
		}
	}
	b := make([]byte, 2048)
	for asked, next := 0, time.Now(); ctx.Err() == nil; {
		if asked < solicitations && !time.Now().Before(next) {
			// It fails until the kernel has an address to send it from; the
			// kernel asks by itself then.
			_, _ = p.WriteTo([]byte{typeSolicitation, 0, 0, 0, 0, 0, 0, 0}, nil, &allRouters)
			asked, next = asked+1, time.Now().Add(solicitInterval)
		}
		until := time.Time{}
		if asked < solicitations {
			until = next
		}
		if err := p.SetReadDeadline(until); err != nil {
			return err
		}
		n, cm, src, err := p.ReadFrom(b)
		if err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		from, ok := src.(*net.IPAddr)
		if !ok || cm == nil || cm.IfIndex != link.Index {
			continue
		}
		router, _ := netip.AddrFromSlice(from.IP)
		if a, err := parseAdvertisement(router.WithZone(link.Name), cm.HopLimit, b[:n]); err == nil {
			asked = solicitations
			heard(a)
		}
	}
	return nil
}
