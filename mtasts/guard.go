package mtasts

import "net/netip"

// PublicAddress reports whether an address may be that of a policy host. It is
// what a Fetcher without Allow asks. The name of a policy host is chosen by
// whoever writes a recipient's domain, so a sender must not be led to itself
// or into its own network: loopback, private, shared (RFC 6598), link-local,
// multicast, unspecified, reserved and benchmarking addresses are refused, as
// are the IPv6 forms that carry such an IPv4 address, and addresses with a
// zone. Documentation ranges are not refused: nobody's network is there.
func PublicAddress(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false // loopback, link-local, multicast, unspecified, broadcast, private
	}
	for _, p := range refusedRanges {
		if p.Contains(a) {
			return false
		}
	}
	if v4, ok := embeddedIPv4(a); ok {
		return PublicAddress(v4)
	}
	return true
}

var refusedRanges = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network
	netip.MustParsePrefix("100.64.0.0/10"), // shared address space, RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),  // protocol assignments, RFC 6890
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),  // benchmarking, RFC 2544
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved
	netip.MustParsePrefix("::/96"),          // IPv4-compatible, deprecated
	netip.MustParsePrefix("64:ff9b:1::/48"), // local translation, RFC 8215
	netip.MustParsePrefix("100::/64"),       // discard, RFC 6666
	netip.MustParsePrefix("2001::/23"),      // protocol assignments, Teredo among them
	netip.MustParsePrefix("fec0::/10"),      // site-local, deprecated
}

// embeddedIPv4 gives the IPv4 address inside a 6to4 (RFC 3056) or a NAT64
// (RFC 6052) address.
func embeddedIPv4(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case netip.PrefixFrom(netip.MustParseAddr("64:ff9b::"), 96).Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}
