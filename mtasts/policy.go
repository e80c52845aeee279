package mtasts

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxPolicySize is the largest policy text, in bytes, that is read (Section
// 3.3 suggests 64 kilobytes). A longer one is an error, it is never cut.
const MaxPolicySize = 64 << 10

// MaxMaxAge is the longest life of a policy (Section 3.2).
const MaxMaxAge = 31557600 * time.Second

// Mode says what a policy asks of a sender (Section 5).
type Mode string

// The modes. The zero Mode belongs to no policy and asks nothing.
const (
	Enforce Mode = "enforce" // a host that fails the policy gets no mail
	Testing Mode = "testing" // mail flows as without a policy, failures are reported
	None    Mode = "none"    // as no policy
)

// Policy is a parsed policy (Section 3.2). A Policy is read-only: copies of it
// share their slices.
type Policy struct {
	Mode Mode
	// MX are the patterns as served, in their order. Empty in mode none only.
	MX []string
	// MaxAge is the life of the policy, counted from the moment of its fetch:
	// 0 to MaxMaxAge.
	MaxAge time.Duration
	// Clamped says that the served max_age was longer than MaxMaxAge.
	Clamped bool
	// Extensions are the fields that the RFC does not define.
	Extensions []Extension
}

// ParsePolicy reads a policy text to the letter of Section 3.2. The error is a
// *SyntaxError.
//
// Lines end with LF or CRLF and nothing else. Names and values are compared
// exactly. Of a field other than mx the first counts, whatever a later one
// holds. A max_age over MaxMaxAge is cut to it, see Policy.Clamped. Blank lines
// are not in the grammar and are refused, but for one line end at the end of
// the text.
func ParsePolicy(body []byte) (Policy, error) { return parsePolicy(string(body)) }

// parsePolicy gives a Policy whose strings are parts of text.
func parsePolicy(text string) (Policy, error) {
	var p Policy
	fail := func(line int, format string, args ...any) (Policy, error) {
		return Policy{}, &SyntaxError{Line: line, Detail: fmt.Sprintf(format, args...)}
	}
	if len(text) > MaxPolicySize {
		return fail(0, "longer than %d bytes", MaxPolicySize)
	}
	var version, maxAge bool
	for n := 1; n == 1 || text != ""; n++ {
		line := text
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
			if i > 0 && line[i-1] == '\r' {
				line = line[:i-1]
			}
		} else {
			text = ""
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 {
			if line == "" {
				return fail(n, "empty line")
			}
			return fail(n, "no %q in %s", ":", quote(line))
		}
		name, value := line[:colon], trimWSP(line[colon+1:])
		switch name {
		case "version":
			if version {
				continue
			}
			if value != "STSv1" {
				return fail(n, "version %s, not STSv1", quote(value))
			}
			version = true
		case "mode":
			if p.Mode != "" {
				continue
			}
			switch mode := Mode(value); mode {
			case Enforce, Testing, None:
				p.Mode = mode
			default:
				return fail(n, "mode %s, not enforce, testing or none", quote(value))
			}
		case "max_age":
			if maxAge {
				continue
			}
			if !isDigits(value) || len(value) > 10 {
				return fail(n, "max_age %s, not 1 to 10 digits", quote(value))
			}
			seconds, _ := strconv.ParseInt(value, 10, 64) // ten digits fit
			maxAge = true
			p.Clamped = seconds > int64(MaxMaxAge/time.Second)
			p.MaxAge = time.Duration(min(seconds, int64(MaxMaxAge/time.Second))) * time.Second
		case "mx":
			if err := checkPattern(value); err != nil {
				return fail(n, "mx %s: %v", quote(value), err)
			}
			p.MX = append(p.MX, value)
		default:
			if !isExtensionName(name) {
				return fail(n, "field name %s", quote(name))
			}
			if hasExtension(p.Extensions, name) {
				continue
			}
			if !isPolicyValue(value) {
				return fail(n, "value of %s: %s", name, quote(value))
			}
			p.Extensions = append(p.Extensions, Extension{name, value})
		}
	}
	switch {
	case !version:
		return fail(0, "no version")
	case p.Mode == "":
		return fail(0, "no mode")
	case !maxAge:
		return fail(0, "no max_age")
	case len(p.MX) == 0 && p.Mode != None:
		return fail(0, "no mx in mode %s", p.Mode)
	}
	return p, nil
}

// Text writes the policy in the form of Section 3.2, lines ended by CRLF. It
// reads back as the same policy when p came from ParsePolicy; otherwise the
// caller checks it with ParsePolicy before it is published.
func (p Policy) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", p.Mode)
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(p.MaxAge/time.Second))
	for _, e := range p.Extensions {
		fmt.Fprintf(&b, "%s: %s\r\n", e.Name, e.Value)
	}
	return b.Bytes()
}

// isPolicyValue: sts-policy-vchar [*(%x20 / sts-policy-vchar) sts-policy-vchar]
// after white space at both ends has gone: no control, valid UTF-8.
func isPolicyValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func trimWSP(s string) string {
	for s != "" && isWSP(s[0]) {
		s = s[1:]
	}
	for s != "" && isWSP(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}
