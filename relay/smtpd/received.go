package smtpd

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"strings"

	"gatepost/relay/smtpc/address"
)

// cleanHello makes the EHLO argument safe to store and show: letters, digits
// and the characters of names and literals stay, every other byte becomes a
// question mark.
func cleanHello(s string) string {
	b := []byte(s[:min(len(s), 255)])
	for i, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			b[i] = '?'
		}
	}
	return string(b)
}

// receivedField is the trace field for a message (RFC 5321, Section 4.4), with
// its last CRLF. The recipient is named only when there is no other to hide it
// from.
func receivedField(hostname string, env Envelope) string {
	var b strings.Builder
	from := env.Hello
	if address.CheckDomain(from) != nil || !address.IsASCII(from) {
		from = literal(env.Client)
	}
	b.WriteString("Received: from " + from + " (" + literal(env.Client) + ")\r\n")
	b.WriteString("\tby " + hostname + " with " + protocol(env) + " id " + env.TraceID)
	if len(env.Rcpts) == 1 {
		b.WriteString("\r\n\tfor <" + env.Rcpts[0].Addr + ">")
	}
	if env.TLSCipher != "" {
		// RFC 8314, Section 4.3.
		b.WriteString("\r\n\ttls " + env.TLSCipher)
		if env.TLSGroup != "" {
			b.WriteString(" " + env.TLSGroup)
		}
		b.WriteString(" (" + env.TLSVersion + ")")
	}
	b.WriteString(";\r\n\t" + env.Received.Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n")
	return b.String()
}

// protocol is the transmission type (RFC 3848; RFC 6531, Section 4.3).
func protocol(env Envelope) string {
	p := "ESMTP"
	switch {
	case env.Plain:
		return "SMTP" // HELO: there is no other word for it, with TLS or without
	case env.SMTPUTF8:
		p = "UTF8SMTP"
	}
	if env.TLSCipher != "" {
		p += "S"
	}
	if env.User != "" {
		p += "A"
	}
	return p
}

// literal is an address literal (RFC 5321, Section 4.1.3).
func literal(a netip.Addr) string {
	switch {
	case a.Is4():
		return "[" + a.String() + "]"
	case a.Is6():
		return "[IPv6:" + a.String() + "]"
	}
	return "[0.0.0.0]" // a transport without IP addresses
}

// groupName is the name of a key exchange group in the TLS registry, "" when
// it is not known.
func groupName(id tls.CurveID) string {
	switch id {
	case tls.CurveP256:
		return "secp256r1"
	case tls.CurveP384:
		return "secp384r1"
	case tls.CurveP521:
		return "secp521r1"
	case tls.X25519:
		return "x25519"
	case tls.X25519MLKEM768:
		return "X25519MLKEM768"
	}
	return ""
}

func bytesText(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }
