package smtpd

import (
	"math"
	"strconv"
	"strings"

	"gatepost/relay/smtpc/address"
)

// commandMail takes MAIL. go-smtp sees the address in one form only, and no
// SIZE, which it parses as a number of 32 bits.
func (d *dialog) commandMail(arg string) bool {
	addr, params, why := d.path(arg, "FROM:", [3]int{5, 1, 7})
	if why != nil {
		d.refuse(*why)
		return false
	}
	d.size = 0
	line := []string{"MAIL FROM:<", addr, ">"}
	for _, p := range params {
		switch {
		case p.key == "SIZE":
			var ok bool
			if d.size, ok = parseSize(p.value); !ok {
				d.sayReply(Reply{501, [3]int{5, 5, 4}, "SIZE is no number"})
				return false
			}
		case p.given && (p.key == "SMTPUTF8" || p.key == "REQUIRETLS"):
			d.sayReply(Reply{501, [3]int{5, 5, 4}, p.key + " takes no value"}) // RFC 6531, Section 3.4; RFC 8689, Section 2
			return false
		default:
			line = append(line, " ", p.text)
		}
	}
	return d.pass("MAIL", line...)
}

// commandRcpt takes RCPT.
func (d *dialog) commandRcpt(arg string) bool {
	addr, params, why := d.path(arg, "TO:", [3]int{5, 1, 3})
	switch {
	case why != nil:
		d.refuse(*why)
		return false
	case d.ses.tx == nil:
		d.sayReply(replyNoMail)
		return false
	}
	line := []string{"RCPT TO:<", addr, ">"}
	for _, p := range params {
		line = append(line, " ", p.text)
	}
	return d.pass("RCPT", line...)
}

// path takes the argument of MAIL or RCPT apart. why is the answer when it
// cannot be.
func (d *dialog) path(arg, keyword string, enhanced [3]int) (addr string, params []param, why *Reply) {
	if !d.greeted {
		return "", nil, &replyNoHello
	}
	syntax := &Reply{501, [3]int{5, 5, 4}, "Expected " + keyword + "<address>"}
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", nil, syntax
	}
	addr, rest, ok := parsePath(arg[len(keyword):])
	if !ok {
		return "", nil, syntax
	}
	switch {
	case addr == "" && keyword == "FROM:": // the null return path
	case addr == "":
		return "", nil, syntax
	case keyword == "TO:" && strings.EqualFold(addr, "postmaster"):
		addr = d.srv.postmaster
	default:
		if err := address.Check(addr, true); err != nil {
			return "", nil, &Reply{553, enhanced, "Bad address: " + err.Error()}
		}
	}
	if params, ok = parseParams(rest); !ok {
		return "", nil, &Reply{501, [3]int{5, 5, 4}, "A parameter is malformed or comes twice"}
	}
	return addr, params, nil
}

// parsePath reads a path of RFC 5321, Section 4.1.2, from the beginning of s.
// The source route is taken off (appendix C), and so are the quotes of a local
// part: "the same mailbox" without quotes is what is left, or an address that
// address.Check refuses. The angle brackets may be missing, as old devices
// leave them out. ok says no more than that the end of the path was found.
func parsePath(s string) (addr, rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	inner, bracket := strings.CutPrefix(s, "<")
	end, quoted := -1, false
scan:
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracket && c == '>', !bracket && c == ' ':
			end = i
			break scan
		}
	}
	switch {
	case end >= 0:
		inner, rest = inner[:end], inner[end:]
		if bracket {
			rest = rest[1:]
		}
	case bracket || quoted:
		return "", "", false
	}
	if rest != "" && rest[0] != ' ' {
		return "", "", false
	}
	if strings.HasPrefix(inner, "@") {
		if inner, ok = cutRoute(inner); !ok {
			return "", "", false
		}
	} else if inner == "" {
		return "", rest, bracket
	}
	addr, ok = unquote(inner)
	return addr, rest, ok && addr != ""
}

// cutRoute takes @one,@two: off.
func cutRoute(s string) (string, bool) {
	route, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", false
	}
	for hop := range strings.SplitSeq(route, ",") {
		domain, ok := strings.CutPrefix(hop, "@")
		if !ok || address.CheckDomain(domain) != nil {
			return "", false
		}
	}
	return rest, true
}

// unquote takes the quotes off a quoted local part.
func unquote(s string) (string, bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, true
	}
	var local strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
			if i == len(s) {
				return "", false
			}
			local.WriteByte(s[i])
		case '"':
			domain, ok := strings.CutPrefix(s[i+1:], "@")
			return local.String() + "@" + domain, ok
		default:
			local.WriteByte(s[i])
		}
	}
	return "", false
}

// param is one ESMTP parameter.
type param struct {
	text, key, value string // key in upper case
	given            bool   // there is a value
}

// parseParams reads the parameters behind a path (RFC 5321, Section 4.1.2). A
// parameter that comes twice could mean two things to two servers.
func parseParams(s string) ([]param, bool) {
	var list []param
	for text := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' }) {
		key, value, given := strings.Cut(text, "=")
		p := param{text, strings.ToUpper(key), value, given}
		if key == "" || given && (value == "" || strings.Contains(value, "=")) || len(list) >= 20 {
			return nil, false
		}
		for _, other := range list {
			if other.key == p.key {
				return nil, false
			}
		}
		list = append(list, p)
	}
	return list, true
}

// parseSize reads the value of SIZE, up to 20 digits (RFC 1870, Section 4).
// What is beyond 63 bits is too large for anybody.
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}
