package netup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// ErrNak means that the server refused the address.
var ErrNak = errors.New("the DHCP server took the address back")

// Lease is an address for a time.
type Lease struct {
	Address  netip.Prefix
	Gateway  netip.Addr
	Routes   []Route
	DNS, NTP []netip.Addr
	Domain   string
	Server   netip.Addr
	Obtained time.Time // when the request was sent that was granted
	// Times from Obtained (RFC 2131, Section 4.4.5): 0 < Renew <= Rebind <=
	// Lifetime.
	Renew, Rebind, Lifetime time.Duration
	// Witness is the MAC of the gateway when the lease was given, by which the
	// network is known again when no DHCP server answers; nil if not known.
	Witness net.HardwareAddr
}

// Limits on what a server may say.
const (
	maxServers      = 8 // DNS or NTP servers that are kept
	maxRoutes       = 16
	shortestNet     = 8 // bits of a network mask
	defaultLifetime = time.Hour
	shortestRenew   = 5 * time.Second
)

// ipv4 is what the interface is to have.
func (l Lease) ipv4() IPv4 { return IPv4{Address: l.Address, Gateway: l.Gateway, Routes: l.Routes} }

func (l Lease) valid() bool { return l.Address.IsValid() }

func (l Lease) expires() time.Time { return l.Obtained.Add(l.Lifetime) }

// leaseFrom reads an acknowledgement. Whatever a server says too much or
// wrong beside the address is dropped; an address that cannot be used is an
// error.
func leaseFrom(ack *dhcpv4.DHCPv4, obtained time.Time) (Lease, error) {
	addr, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	bits := 24
	if ack.Options.Has(dhcpv4.OptionSubnetMask) {
		ones, size := ack.SubnetMask().Size()
		if size != 32 || ones == 0 {
			return Lease{}, fmt.Errorf("the DHCP server gave the network mask %v, which cannot be used", ack.SubnetMask())
		}
		bits = ones
	}
	l := Lease{
		Address:  netip.PrefixFrom(addr, bits),
		DNS:      addresses(ack.DNS()),
		NTP:      addresses(ack.NTPServers()),
		Domain:   domainName(ack.DomainName()),
		Obtained: obtained,
	}
	if err := checkAddress(l.Address); err != nil {
		return Lease{}, err
	}
	l.setWays(ack)
	server, ok := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if !ok || !unicast(server) {
		return Lease{}, errors.New("the DHCP server did not say who it is")
	}
	l.Server = server
	l.Lifetime = ack.IPAddressLeaseTime(defaultLifetime)
	l.setTimes(ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0))
	return l, nil
}

// unicast reports whether a machine on an ordinary network can have a.
func unicast(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] != 0 && a.As4()[0] < 224 && !a.IsLoopback()
}

// checkAddress refuses what no machine can have as its address.
func checkAddress(p netip.Prefix) error {
	if !p.IsValid() || !unicast(p.Addr()) {
		return fmt.Errorf("the DHCP server gave the address %v, which cannot be used", p.Addr())
	}
	if p.Bits() < shortestNet {
		return fmt.Errorf("the DHCP server gave a network mask of %d bits, which cannot be used", p.Bits())
	}
	if p.Bits() <= 30 && (p.Addr() == p.Masked().Addr() || p.Addr() == lastOf(p)) {
		return fmt.Errorf("the DHCP server gave the address %v, which stands for the whole network", p)
	}
	return nil
}

// lastOf is the broadcast address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// isHost reports whether a can be another machine of the network p.
func isHost(a netip.Addr, p netip.Prefix) bool {
	if !unicast(a) || a == p.Addr() {
		return false
	}
	return p.Bits() > 30 || a != p.Masked().Addr() && a != lastOf(p)
}

// setWays fills the gateway and the routes. A server that names classless
// routes names the default route there too, and its router option must not be
// looked at (RFC 3442).
func (l *Lease) setWays(ack *dhcpv4.DHCPv4) {
	if ack.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		for _, r := range ack.ClasslessStaticRoute() {
			l.addRoute(r)
		}
		return
	}
	for _, a := range addresses(ack.Router()) {
		if isHost(a, l.Address) {
			l.Gateway = a
			return
		}
	}
}

func (l *Lease) addRoute(r *dhcpv4.Route) {
	to, ok1 := netip.AddrFromSlice(r.Dest.IP.To4())
	gw, ok2 := netip.AddrFromSlice(r.Router.To4())
	ones, _ := r.Dest.Mask.Size()
	if !ok1 || !ok2 || !gw.IsUnspecified() && !isHost(gw, l.Address) {
		return
	}
	if gw.IsUnspecified() {
		gw = netip.Addr{}
	}
	route := Route{To: netip.PrefixFrom(to, ones).Masked(), Gateway: gw}
	switch {
	case ones == 0 && !l.Gateway.IsValid():
		l.Gateway = gw
	case route.valid() && len(l.Routes) < maxRoutes:
		l.Routes = append(l.Routes, route)
	}
}

// valid reports whether a route leads to other machines and not to everyone.
func (r Route) valid() bool {
	return r.To.IsValid() && r.To == r.To.Masked() && r.To.Bits() > 0 && unicast(r.To.Addr()) && (!r.Gateway.IsValid() || unicast(r.Gateway))
}

// setTimes fills T1 and T2, with the defaults of RFC 2131, Section 4.4.5 for
// those that are missing or out of order. Whatever a server says, it is not
// asked more often than each shortestRenew.
func (l *Lease) setTimes(t1, t2 time.Duration) {
	l.Lifetime = max(l.Lifetime, 2*shortestRenew)
	if t2 <= 0 || t2 >= l.Lifetime {
		t2 = l.Lifetime / 8 * 7
	}
	if t1 <= 0 || t1 >= t2 {
		t1 = min(l.Lifetime/2, t2)
	}
	l.Renew = max(t1, shortestRenew)
	l.Rebind = max(t2, l.Renew)
}

// addresses keeps the unicast addresses of a list, each once.
func addresses(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && unicast(a) {
			out = append(out, a)
		}
	}
	return firstOnes(out, maxServers)
}

// firstOnes returns the first n different addresses of a list.
func firstOnes(list []netip.Addr, n int) []netip.Addr {
	var out []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, a := range list {
		if !seen[a] && len(out) < n {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}

// domainName returns s when it looks like a domain name, else "". It ends up
// in resolv.conf, so nothing else may pass.
func domainName(s string) string {
	s = strings.TrimSuffix(strings.TrimRight(s, "\x00"), ".")
	if len(s) > 253 || s == "" {
		return ""
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return ""
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return ""
			}
		}
	}
	return strings.ToLower(s)
}
