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

// Lease is an address for a time.
type Lease struct {
	Address  netip.Prefix
	Gateway  netip.Addr
	DNS, NTP []netip.Addr
	Domain   string
	Server   netip.Addr
	Obtained time.Time // when the request was sent that was granted
	// Times from Obtained (RFC 2131, Section 4.4.5): 0 < Renew <= Rebind <=
	// Lifetime.
	Renew, Rebind, Lifetime time.Duration
}

// Limits on what a server may say.
const (
	maxServers      = 8 // DNS or NTP servers that are kept
	defaultLifetime = time.Hour
	shortestRenew   = time.Second
)

// leaseFrom reads an acknowledgement. Whatever a server says too much or
// wrong beside the address is dropped; an address that cannot be used is an
// error.
func leaseFrom(ack *dhcpv4.DHCPv4, obtained time.Time) (Lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return Lease{}, fmt.Errorf("the DHCP server gave the address %v, which cannot be used", ack.YourIPAddr)
	}
	bits := 24
	if mask := ack.SubnetMask(); mask != nil {
		ones, size := mask.Size()
		if size != 32 || ones == 0 {
			return Lease{}, fmt.Errorf("the DHCP server gave the network mask %v, which cannot be used", mask)
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
	if routers := addresses(ack.Router()); len(routers) > 0 && routers[0] != addr {
		l.Gateway = routers[0]
	}
	server, ok := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if !ok {
		return Lease{}, errors.New("the DHCP server did not say who it is")
	}
	l.Server = server
	l.Lifetime = ack.IPAddressLeaseTime(defaultLifetime)
	l.setTimes(ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0))
	return l, nil
}

// setTimes fills T1 and T2, with the defaults of RFC 2131, Section 4.4.5 for
// those that are missing or out of order.
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
	seen := map[netip.Addr]bool{}
	for _, ip := range ips {
		a, ok := netip.AddrFromSlice(ip.To4())
		if !ok || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || seen[a] || len(out) == maxServers {
			continue
		}
		seen[a] = true
		out = append(out, a)
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
