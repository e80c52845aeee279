package dsn

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/relay/smtpc/address"
)

// Bounds of what a notice carries of the original, in bytes.
const (
	MaxHeaders  = 64 << 10
	MaxOriginal = 1 << 20
)

// Failure writes the notice that mail was not delivered and will not be tried
// again. The result has CRLF line ends. It is plain ASCII except when
// OriginalMessage has bytes above 127 (send it with BODY=8BITMIME then) or when
// To has (send it with SMTPUTF8 and BODY=8BITMIME then): see [Is8Bit].
//
// An error means that p has no recipients, or that From, To or ReportingMTA
// are not what a header can hold; it is the caller's mistake.
func Failure(p Params) ([]byte, error) {
	return build(p, Failed, "Your message could not be delivered")
}

// Delay writes the notice that mail was not delivered yet and is still being
// tried (RFC 3464, Section 2.3.3). It never carries the whole original (RFC
// 3461, Section 4.3). The result and the errors are those of Failure.
func Delay(p Params) ([]byte, error) {
	p.OriginalHeaders, p.OriginalMessage = headersOnly(p)
	return build(p, Delayed, "Your message has not arrived yet")
}

// Success writes the notice that mail was passed on, for a sender who asked for
// one (RFC 3461, Section 5.2.2). A recipient's Action is Relayed unless it says
// Delivered: only who puts mail into a mailbox has delivered it. The notice
// never carries the whole original. The result and the errors are those of
// Failure.
func Success(p Params) ([]byte, error) {
	p.OriginalHeaders, p.OriginalMessage = headersOnly(p)
	return build(p, Relayed, "Your message was passed on")
}

func headersOnly(p Params) (headers, message []byte) {
	if p.OriginalMessage != nil {
		return Headers(p.OriginalMessage), nil
	}
	return p.OriginalHeaders, nil
}

// Is8Bit reports whether a notice has bytes above 127.
func Is8Bit(notice []byte) bool {
	for _, c := range notice {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// Headers returns the header of an original message with CRLF line ends: what
// stands before its first blank line, at most MaxHeaders bytes, cut at a line end.
func Headers(original []byte) []byte {
	h := original
	if bytes.HasPrefix(h, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(h, []byte("\r\n\r\n")); i >= 0 {
		h = h[:i+2]
	}
	if len(h) > MaxHeaders {
		h = h[:MaxHeaders]
		h = h[:bytes.LastIndexByte(h, '\n')+1]
	}
	return h
}

func build(p Params, action Action, subject string) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	token := p.Token
	if token == nil {
		token = rand.Text
	}
	id := token()
	parts := []part{textPart(p, action), statusPart(p, action)}
	if original := originalPart(p); len(original.body) > 0 { // RFC 6522, Section 3: it may be left out
		parts = append(parts, original)
	}
	boundary, err := newBoundary(token, parts)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	field(&b, "From", "Mail delivery <"+p.From+">")
	field(&b, "To", "<"+p.To+">")
	field(&b, "Subject", subject)
	field(&b, "Date", p.Now.Format(dateFormat))
	field(&b, "Message-ID", "<"+id+"@"+p.ReportingMTA+">")
	if ref := messageID(p); ref != "" {
		field(&b, "In-Reply-To", ref)
		field(&b, "References", ref)
	}
	field(&b, "Auto-Submitted", "auto-replied") // RFC 3834, Section 3.1.7
	field(&b, "MIME-Version", "1.0")
	field(&b, "Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+boundary+"\"") // RFC 6522, Section 3
	if encoding := outerEncoding(parts); encoding != "7bit" {
		field(&b, "Content-Transfer-Encoding", encoding)
	}
	b.WriteString("\r\n")
	for _, part := range parts {
		b.WriteString("--" + boundary + "\r\n")
		field(&b, "Content-Type", part.kind)
		if part.about != "" {
			field(&b, "Content-Description", part.about)
		}
		if part.encoding != "7bit" {
			field(&b, "Content-Transfer-Encoding", part.encoding)
		}
		b.WriteString("\r\n")
		b.Write(part.body)
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

const dateFormat = "Mon, 2 Jan 2006 15:04:05 -0700"

// part is one part of the report.
type part struct {
	kind, about, encoding string
	body                  []byte
}

func (p Params) check() error {
	switch {
	case len(p.Recipients) == 0:
		return errors.New("dsn: no recipients")
	case p.To == "":
		return errors.New("dsn: no notice goes to the null return path")
	case p.Now.IsZero():
		return errors.New("dsn: the time is not set")
	}
	if err := address.Check(p.To, true); err != nil {
		return fmt.Errorf("dsn: the address of the sender: %w", err)
	}
	if err := address.Check(p.From, false); err != nil {
		return fmt.Errorf("dsn: our own address: %w", err)
	}
	if err := address.CheckDomain(p.ReportingMTA); err != nil || !address.IsASCII(p.ReportingMTA) {
		return errors.New("dsn: our own name is not a host name")
	}
	return nil
}

// field writes one header field; value must be harmless already.
func field(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ": " + value + "\r\n")
}

func outerEncoding(parts []part) string {
	for _, p := range parts {
		if p.encoding == "8bit" {
			return "8bit"
		}
	}
	return "7bit"
}

// newBoundary draws a boundary that stands in none of the parts.
func newBoundary(token func() string, parts []part) (string, error) {
	for range 10 {
		b := "=_" + token()
		if strings.Trim(b[2:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" || len(b) < 18 || len(b) > 62 {
			return "", errors.New("dsn: Token returned something that is not 16 to 60 letters and digits")
		}
		free := true
		for _, p := range parts {
			free = free && !bytes.Contains(p.body, []byte(b))
		}
		if free {
			return b, nil
		}
	}
	return "", errors.New("dsn: Token returns what the message holds already")
}

// messageID finds the Message-ID of the original, so that mail programs show
// the notice beside it. "" when there is none that can be repeated safely.
func messageID(p Params) string {
	header := p.OriginalHeaders
	if p.OriginalMessage != nil {
		header = p.OriginalMessage
	}
	for line := range bytes.Lines(Headers(header)) {
		const name = "message-id:"
		if len(line) <= len(name) || !strings.EqualFold(string(line[:len(name)]), name) {
			continue
		}
		id := string(bytes.TrimSpace(line[len(name):]))
		if len(id) < 5 || len(id) > 900 || id[0] != '<' || id[len(id)-1] != '>' || strings.Count(id, "@") != 1 ||
			strings.ContainsFunc(id[1:len(id)-1], func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>()"\,;`, r) }) {
			return ""
		}
		return id
	}
	return ""
}

// statusFor makes the class of a status code agree with the action (RFC 3464,
// Section 2.3.4). A failure may have a 4.x.x code: it was tried for too long.
func statusFor(action Action, status string) string {
	class, rest, _ := strings.Cut(status, ".")
	subject, detail, _ := strings.Cut(rest, ".")
	ok := len(class) == 1 && digits(subject) && digits(detail)
	if !ok {
		rest = "0.0"
	}
	switch action {
	case Delayed:
		return "4." + rest
	case Delivered, Relayed:
		return "2." + rest
	}
	if ok && class == "4" {
		return status
	}
	return "5." + rest
}

func digits(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

func dateOr(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(dateFormat)
}

func actionOr(a, def Action) Action { return cmp.Or(a, def) }
