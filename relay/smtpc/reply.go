package smtpc

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// Bounds on one reply. RFC 5321, Section 4.5.3.1.5 allows 512 octets a line;
// real servers send more, hostile ones send for ever.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
	maxReplyBytes = 32 << 10
	maxReplyText  = 1000 // bytes kept for people
)

// reply is one complete answer of the server.
type reply struct {
	code  int
	lines []string // the text of each line, as sent, without code and line end
}

func (r reply) class() int { return r.code / 100 }

// failed makes the error for a reply to command that was not hoped for.
func (r reply) failed(command string) *ReplyError {
	enhanced, text := r.text()
	return &ReplyError{Command: command, Code: r.code, Enhanced: enhanced, Text: text}
}

// text returns the enhanced code (RFC 3463; "" unless its class is that of the
// reply code) and the text for people: printable, one line, bounded.
func (r reply) text() (enhanced, text string) {
	var b strings.Builder
	for _, line := range r.lines {
		code, rest := cutEnhanced(line, r.class())
		if enhanced == "" {
			enhanced = code
		}
		rest = strings.TrimSpace(printable(rest))
		if rest == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(rest)
		if b.Len() > maxReplyText {
			break
		}
	}
	return enhanced, clip(b.String(), maxReplyText)
}

// cutEnhanced splits a leading enhanced status code of the given class off line.
func cutEnhanced(line string, class int) (code, rest string) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || int(parts[0][0]-'0') != class {
		return "", line
	}
	for _, p := range parts {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", line
		}
	}
	return word, rest
}

// printable replaces control characters and broken UTF-8 by a question mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd' {
			return '?'
		}
		return r
	}, s)
}

// clip cuts s to at most n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// readReply reads one reply (RFC 5321, Section 4.2.1). Lines may end in LF
// alone. Every error but that of r itself is a *ProtocolError.
func readReply(r *bufio.Reader, phase string) (reply, error) {
	bad := func(detail string) (reply, error) {
		return reply{}, &ProtocolError{Phase: phase, Detail: detail}
	}
	var rep reply
	total := 0
	for {
		line, err := readLine(r)
		if err == errLongLine {
			return bad("a reply line is too long")
		}
		if err != nil {
			return reply{}, err
		}
		total += len(line)
		if total > maxReplyBytes || len(rep.lines) == maxReplyLines {
			return bad("a reply has no end")
		}
		code, last, text, ok := parseReplyLine(line)
		if !ok {
			return bad("a reply line has no valid code")
		}
		if rep.code != 0 && code != rep.code {
			return bad("a reply changes its code between lines")
		}
		rep.code = code
		rep.lines = append(rep.lines, text)
		if last {
			return rep, nil
		}
	}
}

// parseReplyLine takes a line without its line end apart. Codes are 200 to 599.
func parseReplyLine(line string) (code int, last bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, "", false
	}
	for i := range 3 {
		if line[i] < '0' || line[i] > '9' {
			return 0, false, "", false
		}
		code = code*10 + int(line[i]-'0')
	}
	switch {
	case len(line) == 3: // the text may be left out with its space
		return code, true, "", true
	case line[3] == ' ':
		return code, true, line[4:], true
	case line[3] == '-':
		return code, false, line[4:], true
	}
	return 0, false, "", false
}

var errLongLine = errors.New("smtpc: line too long")

// readLine reads to the next LF and cuts the line end off. A line cut by the
// end of the stream is io.ErrUnexpectedEOF; a stream that ends between lines,
// io.EOF.
func readLine(r *bufio.Reader) (string, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if err == nil && long == nil {
			return trimEOL(part), nil
		}
		long = append(long, part...)
		if len(long) > maxReplyLine {
			return "", errLongLine
		}
		switch {
		case err == nil:
			return trimEOL(long), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(long) > 0:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}

func trimEOL(b []byte) string {
	b = b[:len(b)-1]
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return string(b)
}
