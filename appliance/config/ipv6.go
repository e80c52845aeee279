package config

import "net/netip"

// ipv6 reads how the box gets its IPv6 addresses: by a word, or by the address
// itself.
func (v *validator) ipv6(f fileNetwork, c *Network) {
	if f.IPv6 != nil && (*f.IPv6 == IPv6Auto || *f.IPv6 == IPv6Off) {
		c.IPv6 = *f.IPv6
	} else if f.IPv6 != nil {
		p, err := netip.ParsePrefix(*f.IPv6)
		switch {
		case err != nil || !p.Addr().Is6() || p.Addr().Is4In6():
			v.fault("network.ipv6", "%q is none of \"auto\", \"off\" and an address with its network size, such as \"2001:db8:1::30/64\"", *f.IPv6)
		case p.Addr().IsLinkLocalUnicast():
			v.fault("network.ipv6", "%q cannot be the address of this box: it is known on one wire only", *f.IPv6)
		case unfit(p) != "":
			v.fault("network.ipv6", "%q cannot be the address of this box: %s", *f.IPv6, unfit(p))
		default:
			c.IPv6, c.Address6 = IPv6Static, p
		}
	}
	if f.Gateway6 == nil {
		return
	}
	a, err := netip.ParseAddr(*f.Gateway6)
	switch {
	case err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "":
		v.fault("network.gateway6", "%q is not an IPv6 address, such as \"fe80::1\"", *f.Gateway6)
	case f.IPv6 == nil || c.IPv6 != IPv6Static:
		v.fault("network.gateway6", "a gateway is of use only beside an address, such as: ipv6 = \"2001:db8:1::30/64\"")
	case a == c.Address6.Addr():
		v.fault("network.gateway6", "%s is this box itself; the gateway is the router", a)
	case !a.IsLinkLocalUnicast() && !c.Address6.Contains(a):
		v.fault("network.gateway6", "%s is not in the network %s", a, c.Address6.Masked())
	}
	c.Gateway6 = a
}
