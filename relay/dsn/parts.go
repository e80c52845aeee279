package dsn

import (
	"bytes"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatepost/relay/smtpc/address"
)

const (
	textWidth   = 76   // columns of the part for people
	fieldWidth  = 76   // columns of a field of the status part, where it can be folded
	maxDiag     = 1000 // bytes of a diagnostic that are repeated
	maxSentence = 2000 // bytes of a sentence
	hardLine    = 998  // RFC 5322, Section 2.1.1
)

// textPart is the part for people.
func textPart(p Params, action Action) part {
	var t strings.Builder
	lead := "This message was made by the mail gateway " + p.ReportingMTA + "."
	switch action {
	case Delayed:
		lead += " Your message has not reached the people below yet. We keep trying; you do not have to send it again."
	default:
		lead += " Your message could not be delivered to the people below. We have stopped trying."
	}
	wrap(&t, lead, "")
	for _, r := range p.Recipients {
		t.WriteString("\r\n")
		wrap(&t, plain(r.Final, 320), "")
		wrap(&t, plain(r.Sentence, maxSentence), "    ")
		if r.Diagnostic != "" {
			who := "The other server"
			if r.RemoteMTA != "" {
				who += " (" + plain(r.RemoteMTA, 255) + ")"
			}
			wrap(&t, who+" said: "+plain(r.Diagnostic, maxDiag), "    ")
		}
		if action == Delayed && !r.RetryUntil.IsZero() {
			wrap(&t, "We keep trying until "+r.RetryUntil.Format("Monday, 2 January 2006, 15:04 MST")+".", "    ")
		}
	}
	t.WriteString("\r\n")
	if p.OriginalMessage != nil {
		wrap(&t, "Your message is attached.", "")
	} else {
		wrap(&t, "The first lines of your message (its header) are attached.", "")
	}
	text := []byte(t.String())
	out := part{kind: "text/plain; charset=us-ascii", about: "Notification", encoding: "7bit", body: text}
	if Is8Bit(text) || !shortLines(text) {
		out.kind, out.encoding, out.body = "text/plain; charset=utf-8", "quoted-printable", quoted(text)
	}
	return out
}

// statusPart is the part for programs (RFC 3464, Section 2). All of it is
// ASCII: addresses outside of it are written as RFC 6533, Section 3 says.
func statusPart(p Params, def Action) part {
	var b bytes.Buffer
	field(&b, "Reporting-MTA", "dns; "+p.ReportingMTA)
	if p.EnvelopeID != "" {
		folded(&b, "Original-Envelope-Id", xtextSafe(p.EnvelopeID))
	}
	if d := dateOr(p.Arrival); d != "" {
		field(&b, "Arrival-Date", d)
	}
	for _, r := range p.Recipients {
		action := actionOr(r.Action, def)
		b.WriteString("\r\n")
		if r.Original != "" {
			kind, addr, ok := strings.Cut(r.Original, ";")
			if ok && token(kind) && addr != "" {
				folded(&b, "Original-Recipient", typed(kind, addr))
			}
		}
		folded(&b, "Final-Recipient", typed("rfc822", r.Final))
		field(&b, "Action", string(action))
		field(&b, "Status", statusFor(action, r.Status))
		if r.RemoteMTA != "" && address.CheckDomain(r.RemoteMTA) == nil && address.IsASCII(r.RemoteMTA) {
			field(&b, "Remote-MTA", "dns; "+r.RemoteMTA)
		}
		if r.Diagnostic != "" {
			folded(&b, "Diagnostic-Code", "smtp; "+ascii(r.Diagnostic, maxDiag))
		}
		if d := dateOr(r.LastAttempt); d != "" {
			field(&b, "Last-Attempt-Date", d)
		}
		if d := dateOr(r.RetryUntil); d != "" && action == Delayed {
			field(&b, "Will-Retry-Until", d)
		}
	}
	return part{kind: "message/delivery-status", about: "Delivery report", encoding: "7bit", body: b.Bytes()}
}

// originalPart is the original: its header, or all of it when asked and when
// its lines can be sent as they are.
func originalPart(p Params) part {
	if m := p.OriginalMessage; m != nil && shortLines(m) {
		out := part{kind: "message/rfc822", about: "Undelivered message", encoding: "7bit", body: m}
		if Is8Bit(m) {
			out.encoding = "8bit" // a message/rfc822 part may not be encoded (RFC 2046, Section 5.2.1)
		}
		return out
	}
	h := p.OriginalHeaders
	if len(h) == 0 {
		h = p.OriginalMessage
	}
	h = Headers(h)
	out := part{kind: "text/rfc822-headers", about: "Undelivered message headers", encoding: "7bit", body: h}
	if Is8Bit(h) || !shortLines(h) {
		out.kind, out.encoding, out.body = "text/rfc822-headers; charset=utf-8", "quoted-printable", quoted(h)
	}
	return out
}

// shortLines reports whether b has CRLF line ends only, no NUL, and no line
// that is too long to be sent unencoded.
func shortLines(b []byte) bool {
	for line := range bytes.Lines(b) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok && bytes.HasSuffix(line, []byte("\n")) || len(text) > hardLine || bytes.ContainsAny(text, "\r\x00") {
			return false
		}
	}
	return true
}

// quoted encodes text with CRLF line ends.
func quoted(text []byte) []byte {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	// Writing to a Buffer cannot fail.
	_, _ = w.Write(text)
	_ = w.Close()
	return b.Bytes()
}

// plain makes s one line of valid UTF-8 without control characters, at most n bytes.
func plain(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), n)], "?")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\r', r == '\n', r == '\t', r == '\u2028', r == '\u2029', r == '\u0085':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return '?' // the last two: text that changes its own direction
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// ascii is plain with everything outside ASCII replaced.
func ascii(s string, n int) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, plain(s, n))
}

// typed is "type; address" for the status part, in ASCII.
func typed(kind, addr string) string {
	addr = plain(addr, 500)
	if address.IsASCII(addr) {
		return strings.ToLower(kind) + "; " + addr
	}
	var b strings.Builder // utf-8-addr-xtext
	for _, r := range addr {
		if r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\' {
			b.WriteRune(r)
		} else {
			b.WriteString(`\x{` + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + `}`)
		}
	}
	return "utf-8; " + b.String()
}

// xtextSafe repeats an ENVID, which RFC 3461, Section 4.4 limits to printable
// ASCII.
func xtextSafe(s string) string { return ascii(s, 100) }

func token(s string) bool {
	return s != "" && len(s) <= 20 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// wrap writes text in lines of textWidth columns, words unbroken.
func wrap(b *strings.Builder, text, indent string) {
	col := 0
	for word := range strings.FieldsSeq(text) {
		w := utf8.RuneCountInString(word)
		switch {
		case col == 0:
			b.WriteString(indent)
			col = len(indent)
		case col+1+w > textWidth:
			b.WriteString("\r\n" + indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += w
	}
	if col > 0 {
		b.WriteString("\r\n")
	}
}

// folded writes a field and folds it at spaces; a word that no line can hold is
// cut.
func folded(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	col := len(name) + 1
	for word := range strings.FieldsSeq(value) {
		for first := true; word != ""; first = false {
			piece := word[:min(len(word), hardLine-len("\t")-1)]
			word = word[len(piece):]
			if !first || col > len(name)+1 && col+1+len(piece) > fieldWidth || col+1+len(piece) > hardLine {
				b.WriteString("\r\n\t")
				col = 1
			} else {
				b.WriteByte(' ')
				col++
			}
			b.WriteString(piece)
			col += len(piece)
		}
	}
	b.WriteString("\r\n")
}
