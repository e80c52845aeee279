package smtpc

import (
	"strconv"
	"strings"

	"gatepost/relay/smtpc/address"
)

// Transaction is the envelope of one message for one server.
type Transaction struct {
	From  string // "" is the null return path
	Rcpts []Rcpt
	// Size is the number of bytes of the body as it is stored; sent with MAIL
	// and compared with the server's limit (RFC 1870). 0 means unknown.
	Size       int64
	EightBit   bool   // the body has bytes above 127: BODY=8BITMIME
	SMTPUTF8   bool   // the header needs RFC 6531 (see Inspect); addresses are looked at here
	RequireTLS bool   // RFC 8689: the tag goes on, and must be offered inside TLS
	EnvelopeID string // DSN ENVID, decoded; sent only where DSN is offered
	Ret        string // DSN RET: "FULL", "HDRS" or ""; sent only where DSN is offered
}

// Rcpt is one recipient. Notify and ORcpt are sent only where DSN is offered.
type Rcpt struct {
	Addr   string
	Notify []string // DSN NOTIFY: "NEVER" alone, or some of "SUCCESS", "FAILURE", "DELAY"
	ORcpt  string   // DSN ORCPT, decoded: "rfc822;user@example.net"
}

// RcptResult is what became of one recipient.
type RcptResult struct {
	// Code, Enhanced and Text are the reply that decided, for success too; Code
	// is 0 when no reply decided.
	Code     int
	Enhanced string
	Text     string
	// Err is nil when the server has taken responsibility for the message for
	// this recipient. Otherwise one of the errors of this package.
	Err error
}

// supports compares what the message needs with what the server offers. The
// order is that of how little another MX host could help.
func (t Transaction) supports(e Extensions, secure bool) error {
	switch {
	case t.RequireTLS && !secure:
		return &UnsupportedError{Feature: "TLS", Enhanced: "5.7.10"} // RFC 8689, Section 4.2.1
	case t.RequireTLS && !e.RequireTLS:
		return &UnsupportedError{Feature: "REQUIRETLS", Enhanced: "5.7.30"}
	case t.needsUTF8() && !e.SMTPUTF8:
		return &UnsupportedError{Feature: "SMTPUTF8", Enhanced: "5.6.7"} // RFC 6531, Section 3.2
	case t.EightBit && !e.EightBitMIME && !e.SMTPUTF8:
		return &UnsupportedError{Feature: "8BITMIME", Enhanced: "5.6.3"} // RFC 6152, Section 3
	case t.Size > 0 && e.MaxSize > 0 && t.Size > e.MaxSize:
		return &UnsupportedError{Feature: "SIZE", Enhanced: "5.3.4"} // RFC 1870, Section 6.1
	}
	return nil
}

func (t Transaction) needsUTF8() bool {
	if t.SMTPUTF8 || !address.IsASCII(t.From) {
		return true
	}
	for _, r := range t.Rcpts {
		if !address.IsASCII(r.Addr) {
			return true
		}
	}
	return false
}

// appendMail appends the MAIL command with its line end. From was checked.
func (t Transaction) appendMail(b []byte, e Extensions) []byte {
	b = append(append(append(b, "MAIL FROM:<"...), t.From...), '>')
	if e.Size && t.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), t.Size, 10)
	}
	if t.EightBit && e.EightBitMIME {
		b = append(b, " BODY=8BITMIME"...)
	}
	if t.needsUTF8() {
		b = append(b, " SMTPUTF8"...)
	}
	if t.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if e.DSN {
		if t.Ret == "FULL" || t.Ret == "HDRS" {
			b = append(append(b, " RET="...), t.Ret...)
		}
		// RFC 3461, Section 4.4: at most 100 characters.
		if id := xtext(t.EnvelopeID); id != "" && len(id) <= 100 {
			b = append(append(b, " ENVID="...), id...)
		}
	}
	return append(b, "\r\n"...)
}

// appendLine appends the RCPT command with its line end. Addr was checked.
func (r Rcpt) appendLine(b []byte, e Extensions) []byte {
	b = append(append(append(b, "RCPT TO:<"...), r.Addr...), '>')
	if e.DSN {
		if n := notify(r.Notify); n != "" {
			b = append(append(b, " NOTIFY="...), n...)
		}
		if o := orcpt(r.ORcpt, e.SMTPUTF8); o != "" {
			b = append(append(b, " ORCPT="...), o...)
		}
	}
	return append(b, "\r\n"...)
}

// notify joins the values that RFC 3461, Section 4.1 knows, "" when the set
// makes no sense.
func notify(values []string) string {
	for _, v := range values {
		switch v {
		case "NEVER":
			if len(values) > 1 {
				return ""
			}
		case "SUCCESS", "FAILURE", "DELAY":
		default:
			return ""
		}
	}
	return strings.Join(values, ",")
}

// orcpt encodes a decoded "type;address" (RFC 3461, Section 4.2; RFC 6533,
// Section 3). What cannot be encoded within 500 characters is left out.
func orcpt(s string, utf8OK bool) string {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || addr == "" || kind == "" || strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	enc := ""
	if strings.EqualFold(kind, "utf-8") {
		enc = unitext(addr, utf8OK)
	} else if address.IsASCII(addr) {
		enc = xtext(addr)
	}
	if enc == "" || len(kind)+1+len(enc) > 500 {
		return ""
	}
	return kind + ";" + enc
}

// xtext encodes as RFC 3461, Section 4 says.
func xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// unitext encodes an address as utf-8-addr-unitext where SMTPUTF8 is offered,
// else as utf-8-addr-xtext (RFC 6533, Section 3).
func unitext(s string, utf8OK bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\':
			b.WriteRune(r)
		case r >= 0xa0 && utf8OK:
			b.WriteRune(r)
		default:
			b.WriteString(`\x{` + strings.ToUpper(hexAtLeast2(r)) + `}`)
		}
	}
	return b.String()
}

func hexAtLeast2(r rune) string {
	h := strconv.FormatInt(int64(r), 16)
	if len(h) < 2 {
		h = "0" + h
	}
	return h
}
