// Package address checks mailbox addresses before they are stored or written
// to an SMTP peer (RFC 5321, Section 4.1.2; RFC 6531, Section 3.3).
//
// It accepts the part of the grammar that can be written back to the wire
// without quoting: a dot-atom local part and a host name or an address
// literal. Quoted local parts, comments, source routes, control characters
// and every other character that has a meaning to an SMTP parser are refused,
// so an address that passes here cannot carry a second command or parameter
// to the next server. It resolves nothing and changes nothing.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 5321, Section 4.5.3.1, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxTotal  = 254 // a path of 256 with its angle brackets
)

// ErrNeedsUTF8 says that the address is well formed but holds characters
// outside ASCII, and the caller did not allow them: the message needs SMTPUTF8.
var ErrNeedsUTF8 = errors.New("the address needs SMTPUTF8")

// Check reports whether addr is a mailbox address that may be stored and sent.
// utf8OK allows characters outside ASCII (RFC 6531). The null path "" is not
// an address: callers that allow it must ask before.
//
// Errors are one line of plain English without any byte of addr.
func Check(addr string, utf8OK bool) error {
	if len(addr) > MaxTotal {
		return fmt.Errorf("the address is longer than %d octets", MaxTotal)
	}
	local, domain, ok := Split(addr)
	if !ok {
		return errors.New("the address has no @")
	}
	if !utf8.ValidString(addr) {
		return errors.New("the address is not valid UTF-8")
	}
	if err := checkLocal(local); err != nil {
		return err
	}
	if err := CheckDomain(domain); err != nil {
		return err
	}
	if !utf8OK && !IsASCII(addr) {
		return ErrNeedsUTF8
	}
	return nil
}

// Split cuts addr at its last @. ok is false when there is none.
func Split(addr string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return "", "", false
	}
	return addr[:i], addr[i+1:], true
}

// IsASCII reports whether s holds only bytes below 0x80.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// checkLocal accepts a dot-atom: atext runs with single dots between them.
func checkLocal(local string) error {
	if local == "" {
		return errors.New("the address has nothing before the @")
	}
	if len(local) > MaxLocal {
		return fmt.Errorf("the part before the @ is longer than %d octets", MaxLocal)
	}
	dot := true // a dot may not come first, nor after another
	for _, r := range local {
		switch {
		case r == '.':
			if dot {
				return errors.New("the part before the @ has a misplaced dot")
			}
			dot = true
			continue
		case !isAtext(r):
			return errors.New("the part before the @ has a character that is not allowed")
		}
		dot = false
	}
	if dot {
		return errors.New("the part before the @ ends with a dot")
	}
	return nil
}

// isAtext is atext of RFC 5322, Section 3.2.3, with the letters, digits,
// marks and symbols of RFC 6532 added.
func isAtext(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
	return r != utf8.RuneError && unicode.IsGraphic(r) && !unicode.IsSpace(r)
}

// CheckDomain reports whether domain is a host name of letters, digits and
// hyphens (characters outside ASCII are taken as parts of U-labels), or a
// complete address literal in square brackets. A trailing dot is refused.
func CheckDomain(domain string) error {
	if domain == "" {
		return errors.New("the address has nothing after the @")
	}
	if len(domain) > MaxDomain {
		return fmt.Errorf("the domain is longer than %d octets", MaxDomain)
	}
	if domain[0] == '[' {
		return checkLiteral(domain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("the domain has an empty label")
	}
	if len(label) > 63 && IsASCII(label) {
		return errors.New("the domain has a label longer than 63 octets")
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("the domain has a label that begins or ends with a hyphen")
	}
	for _, r := range label {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
		case r >= utf8.RuneSelf && r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)):
		default:
			return errors.New("the domain has a character that is not allowed")
		}
	}
	return nil
}

// checkLiteral accepts [192.0.2.1] and [IPv6:2001:db8::1] (RFC 5321, Section 4.1.3).
func checkLiteral(domain string) error {
	bad := errors.New("the address literal is malformed")
	inner, ok := strings.CutSuffix(domain[1:], "]")
	if !ok {
		return bad
	}
	const tag = "IPv6:"
	if len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag) {
		if ip, err := netip.ParseAddr(inner[len(tag):]); err != nil || !ip.Is6() || ip.Zone() != "" {
			return bad
		}
		return nil
	}
	if ip, err := netip.ParseAddr(inner); err != nil || !ip.Is4() {
		return bad
	}
	return nil
}
