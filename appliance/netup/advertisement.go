package netup

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Numbers of ICMPv6 and of neighbour discovery (RFC 4861, Section 4; RFC 8106,
// Section 5).
const (
	typeSolicitation  = 133
	typeAdvertisement = 134
	optionDNS         = 25
	optionDomains     = 31
	advertisementSize = 16
	hopLimit          = 255 // of a packet that no router has passed on
)

var errAdvertisement = errors.New("not a right router advertisement")

// parseAdvertisement reads a router advertisement from its ICMPv6 type on. An
// option that it does not know is passed over; one of length 0 makes the whole
// message invalid (RFC 4861, Section 6.1.2). The kernel has checked the sum.
func parseAdvertisement(router netip.Addr, hops int, b []byte) (Advertisement, error) {
	if len(b) < advertisementSize || b[0] != typeAdvertisement || b[1] != 0 || hops != hopLimit ||
		!router.Is6() || !router.IsLinkLocalUnicast() {
		return Advertisement{}, errAdvertisement
	}
	a := Advertisement{Router: router, Lifetime: time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second}
	for rest := b[advertisementSize:]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] == 0 || len(rest) < 8*int(rest[1]) {
			return Advertisement{}, errAdvertisement
		}
		option := rest[:8*int(rest[1])]
		rest = rest[len(option):]
		lifetime := func() time.Duration {
			return time.Duration(binary.BigEndian.Uint32(option[4:])) * time.Second
		}
		switch option[0] {
		case optionDNS:
			for s := option[8:]; len(s) >= 16 && len(a.DNS) < maxServers; s = s[16:] {
				a.DNS = append(a.DNS, TimedAddr{netip.AddrFrom16([16]byte(s)), lifetime()})
			}
		case optionDomains:
			for s := option[8:]; len(a.Domains) < maxServers; {
				name, after, ok := domainLabels(s)
				if !ok {
					break
				}
				a.Domains = append(a.Domains, TimedName{name, lifetime()})
				s = after
			}
		}
	}
	return a, nil
}

// domainLabels reads one name in the form of DNS, without compression. The list
// ends at the padding, which is an empty name.
func domainLabels(b []byte) (name string, rest []byte, ok bool) {
	var labels []string
	for len(b) > 0 {
		n := int(b[0])
		switch {
		case n == 0 && len(labels) > 0:
			return strings.Join(labels, "."), b[1:], true
		case n == 0 || n > 63 || len(b) < 1+n:
			return "", nil, false
		}
		labels = append(labels, string(b[1:1+n]))
		b = b[1+n:]
	}
	return "", nil, false
}
