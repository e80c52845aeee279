package mtasts

import (
	"errors"
	"fmt"
	"strings"
)

// Match reports whether the policy lists an MX host (Section 4.1). mxHost is
// the name in the MX record, or the domain itself where it has none; never the
// target of a CNAME, never an address. Case and one dot at the end do not
// count. A pattern "*.example.com" stands for exactly one label more.
//
// Match looks at names only: whether a failed match forbids the delivery is
// the mode's matter, see Judge and JudgeMX.
func (p Policy) Match(mxHost string) bool {
	host, ok := hostName(mxHost)
	if !ok {
		return false
	}
	// What a wildcard can match: all after the first dot of the host.
	parent := ""
	if dot := strings.IndexByte(host, '.'); dot > 0 {
		parent = host[dot+1:]
	}
	for _, pattern := range p.MX {
		if len(pattern) > 2 && pattern[0] == '*' {
			if len(pattern)-2 == len(parent) && equalFold(pattern[2:], parent) {
				return true
			}
		} else if len(pattern) == len(host) && equalFold(pattern, host) {
			return true
		}
	}
	return false
}

// MatchPattern is Policy.Match for a single pattern. It fails with ErrPattern
// when the pattern is none (Section 3.2, sts-policy-mx).
func MatchPattern(pattern, mxHost string) (bool, error) {
	if err := checkPattern(pattern); err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrPattern, quote(pattern), err)
	}
	return Policy{MX: []string{pattern}}.Match(mxHost), nil
}

var (
	errPatternEmpty    = errors.New("empty")
	errPatternLong     = errors.New("longer than 253 bytes")
	errPatternWildcard = errors.New(`"*" is allowed only as the whole first label`)
	errPatternALabel   = errors.New("not in A-label form")
	errPatternLabel    = errors.New("not a domain name")
)

// checkPattern: ["*."] Domain, Domain as in RFC 5321, Section 4.1.2.
func checkPattern(pattern string) error {
	name := strings.TrimPrefix(pattern, "*.")
	switch {
	case pattern == "":
		return errPatternEmpty
	case len(pattern) > 253+len("*."):
		return errPatternLong
	case strings.Contains(name, "*"):
		return errPatternWildcard
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return errPatternALabel
		}
	}
	if len(name) > 253 {
		return errPatternLong
	}
	if !isDomain(name, false) {
		return errPatternLabel
	}
	return nil
}

// equalFold compares two ASCII texts of equal length, letters without case.
func equalFold(a, b string) bool {
	// From the end: names of one organisation differ at their start least
	// often, but their last bytes are in the cache already.
	for i := len(a) - 1; i >= 0; i-- {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}
