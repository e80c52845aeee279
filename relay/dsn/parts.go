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
	maxSentence = 4000 // bytes of a sentence
	maxAddr     = 500  // bytes of an address
	hardLine    = 998  // RFC 5322, Section 2.1.1

	maxParagraphs = 50 // of a sentence
)

// lead is the first sentence of the part for people: what has happened, what
// happens by itself, what they can do.
func lead(action Action) string {
	switch action {
	case Delayed:
		return "Your message has not arrived yet at the people below. We are still trying, and you do not have to do anything. Please do not send it again."
	case Delivered, Relayed:
		return "You asked to be told when your message goes out. It has gone out to the people below, and you do not have to do anything."
	}
	return "Your message could not be delivered to the people below. We have stopped trying. If it still matters, look at the reason and send it again."
}

// sentence is what is said about one recipient when the caller says nothing.
func sentence(action Action, mta string) string {
	if mta == "" {
		mta = "the next mail server"
	}
	switch action {
	case Delivered:
		return "Delivered."
	case Relayed:
		return "Passed on to " + mta + ", which took it and sends no such notice itself. This is the last that we hear of it."
	case Delayed:
		return "Waiting."
	}
	return "Returned."
}

// textPart is the part for people.
func textPart(p Params, action Action) part {
	var t strings.Builder
	wrap(&t, lead(action), "")
	for _, r := range p.Recipients {
		did := actionOr(r.Action, action)
		mta := plain(r.RemoteMTA, 255)
		t.WriteString("\r\n")
		wrap(&t, plain(r.Final, 320), "")
		text := r.Sentence
		if strings.TrimSpace(text) == "" {
			text = sentence(did, mta)
		}
		for _, paragraph := range strings.SplitN(text[:min(len(text), maxSentence)], "\n", maxParagraphs) {
			wrap(&t, plain(paragraph, maxSentence), "    ")
		}
		if r.Diagnostic != "" {
			who := "The other server"
			if mta != "" {
				who += " (" + mta + ")"
			}
			wrap(&t, who+" said: "+plain(r.Diagnostic, maxDiag), "    ")
		}
		if did == Delayed && !r.RetryUntil.IsZero() {
			wrap(&t, "We keep trying until "+r.RetryUntil.Format("Monday, 2 January 2006, 15:04 MST")+".", "    ")
		}
	}
	t.WriteString("\r\n")
	whole, rest := p.original()
	switch {
	case whole != nil:
		wrap(&t, "Your message is attached.", "")
	case len(rest) > 0:
		wrap(&t, "The first lines of your message (its header) are attached.", "")
	}
	wrap(&t, "This notice was written by the mail gateway "+p.ReportingMTA+".", "")
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
	global := !address.IsASCII(p.To)
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
			if ok && token(kind) && plain(addr, maxAddr) != "" {
				folded(&b, "Original-Recipient", typed(kind, addr, global))
			}
		}
		folded(&b, "Final-Recipient", typed("rfc822", r.Final, global))
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
	out := part{kind: "message/delivery-status", about: "Delivery report", encoding: "7bit", body: b.Bytes()}
	if Is8Bit(out.body) {
		out.kind, out.encoding = "message/global-delivery-status", "8bit" // RFC 6533, Section 4
	}
	return out
}

// original returns what of the original is attached: all of it when asked, when
// it is not too big and when its lines can be sent as they are; else its
// header.
func (p Params) original() (whole, header []byte) {
	if m := p.OriginalMessage; m != nil && len(m) <= MaxOriginal && shortLines(m) {
		return m, nil
	}
	h := p.OriginalHeaders
	if len(h) == 0 {
		h = p.OriginalMessage
	}
	return nil, Headers(h)
}

// originalPart is the original.
func originalPart(p Params) part {
	about := "Your message"
	whole, h := p.original()
	if whole != nil {
		out := part{kind: "message/rfc822", about: about, encoding: "7bit", body: whole}
		if Is8Bit(whole) {
			out.encoding = "8bit" // a message/rfc822 part may not be encoded (RFC 2046, Section 5.2.1)
		}
		if h := Headers(whole); Is8Bit(h) && utf8.Valid(h) {
			out.kind = "message/global" // RFC 6532, Section 3.7
		}
		return out
	}
	out := part{kind: "text/rfc822-headers", about: about + ", its header", encoding: "7bit", body: h}
	if Is8Bit(h) || !shortLines(h) {
		out.encoding, out.body = "quoted-printable", quoted(h)
	}
	switch {
	case Is8Bit(h) && utf8.Valid(h):
		out.kind = "message/global-headers" // RFC 6533, Section 6
	case Is8Bit(h):
		out.kind += "; charset=unknown-8bit" // RFC 1428, Section 3
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

// typed is "type; address" for the status part: as it is when global is set,
// else in ASCII (RFC 6533, Section 3).
func typed(kind, addr string, global bool) string {
	addr = plain(addr, maxAddr)
	switch {
	case address.IsASCII(addr):
		return strings.ToLower(kind) + "; " + addr
	case global:
		return "utf-8; " + addr
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
