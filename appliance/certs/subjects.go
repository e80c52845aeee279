package certs

import (
	"crypto/x509"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Limits of what one certificate names.
const (
	maxNames   = 16
	maxAddrs   = 16
	maxEarlier = 4 // addresses that the box had before
)

// subjects is what a certificate names.
type subjects struct {
	names []string
	addrs []netip.Addr
}

var hostName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// wanted brings names and addresses into one form and adds those that every box
// has. The first name is the box's own.
func wanted(names []string, addrs []netip.Addr) subjects {
	var s subjects
	for _, n := range append(slices.Clip(names), "gatepost.local", "localhost") {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if _, err := netip.ParseAddr(n); err == nil || len(n) > 253 || !hostName.MatchString(n) || slices.Contains(s.names, n) {
			continue
		}
		s.names = append(s.names, n)
	}
	for _, a := range append(slices.Clip(addrs), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()) {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() && !slices.Contains(s.addrs, a) {
			s.addrs = append(s.addrs, a)
		}
	}
	s.names = s.names[:min(len(s.names), maxNames)]
	s.addrs = s.addrs[:min(len(s.addrs), maxAddrs)]
	return s
}

// missing returns a name or address that the certificate lacks, "" when it has
// all. It may have more.
func (s subjects) missing(leaf *x509.Certificate) string {
	for _, n := range s.names {
		if !slices.Contains(leaf.DNSNames, n) {
			return n
		}
	}
	have := addrsOf(leaf)
	for _, a := range s.addrs {
		if !slices.Contains(have, a) {
			return a.String()
		}
	}
	return ""
}

// with adds the newest addresses of the last certificate, so that a box that is
// given two addresses in turn does not make a certificate each time.
func (s subjects) with(last *x509.Certificate) subjects {
	added := 0
	for _, a := range addrsOf(last) {
		if added < maxEarlier && len(s.addrs) < maxAddrs+maxEarlier && !slices.Contains(s.addrs, a) {
			s.addrs = append(s.addrs, a)
			added++
		}
	}
	return s
}

func addrsOf(leaf *x509.Certificate) []netip.Addr {
	var out []netip.Addr
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func (s subjects) ips() []net.IP {
	var out []net.IP
	for _, a := range s.addrs {
		out = append(out, a.AsSlice())
	}
	return out
}
