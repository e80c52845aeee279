package mtasts

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// PolicyDomain gives the policy domain of a recipient domain in the form in
// which this package uses it: A-labels, lower case, no dot at the end (Section
// 3.1). The policy domain is the domain as written in the address: never its
// parent (Section 3.4), never the target of its CNAME, never its MX host.
//
// An address literal such as "[192.0.2.1]" and a name that cannot be one in
// the DNS fail with ErrDomain: no policy can exist for them.
func PolicyDomain(domain string) (string, error) {
	name := strings.TrimSuffix(domain, ".")
	if !isASCII(name) {
		ascii, err := toASCII(name)
		if err != nil {
			return "", fmt.Errorf("%w: %s", ErrDomain, quote(domain))
		}
		name = ascii
	}
	// "_mta-sts." has to fit in front.
	if !isDomain(name, true) || len(name) > 253-len("_mta-sts.") || isAddress(name) {
		return "", fmt.Errorf("%w: %s", ErrDomain, quote(domain))
	}
	return lower(name), nil
}

// hostName gives the A-label form of an MX host name, without a dot at the
// end. ok is false for addresses and for what is no name.
func hostName(host string) (name string, ok bool) {
	name = strings.TrimSuffix(host, ".")
	if !isASCII(name) {
		ascii, err := toASCII(name)
		if err != nil {
			return "", false
		}
		name = ascii
	}
	if !isDomain(name, true) || isAddress(name) {
		return "", false
	}
	return name, true
}

// toASCII converts a name with U-labels (RFC 5891, Section 5).
func toASCII(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", ErrDomain
	}
	return idna.Lookup.ToASCII(name)
}

// isDomain reports whether s is labels of letters, digits and inner hyphens,
// 1 to 63 bytes each, 253 in all. loose allows "_" too, which names in the DNS
// have and the Domain of RFC 5321 has not.
func isDomain(s string, loose bool) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if c := s[i]; !isAlnum(c) && c != '-' && !(loose && c == '_') {
				return false
			}
			continue
		}
		label := s[start:i]
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// isAddress reports whether s would be taken for an IP address.
func isAddress(s string) bool {
	if c := s[len(s)-1]; c < '0' || c > '9' {
		return false // the cheap answer for nearly every name
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// lower is strings.ToLower for ASCII; it gives back s itself where it can.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
