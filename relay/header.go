package relay

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"
)

const (
	maxHeader  = 16 << 10 // bytes of a message in which fields are looked for
	maxSubject = 200      // bytes kept of the subject
	maxField   = 4 * maxSubject
)

// fields is what the machine wants to know of a message's own header.
type fields struct {
	subject     string
	tlsOptional bool // TLS-Required: No, once (RFC 8689, Section 3)
}

// readHeader reads the top header of a message, the first lines of which are
// head. It changes nothing and believes nothing: both values are a stranger's.
func readHeader(head []byte) fields {
	var f fields
	var seen, no int
	haveSubject := false
	for name, value := range unfolded(head) {
		switch {
		case !haveSubject && strings.EqualFold(name, "Subject"):
			f.subject, haveSubject = decodeSubject(value), true
		case strings.EqualFold(name, "TLS-Required"):
			seen++
			if strings.EqualFold(strings.TrimSpace(value), "No") {
				no++
			}
		}
	}
	// More than one field, or any other value, has no effect.
	f.tlsOptional = seen == 1 && no == 1
	return f
}

// unfolded gives the fields of a header in their order, each unfolded and cut
// to maxField bytes. A field that head cuts short is given as far as it goes.
func unfolded(head []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		var name string
		var value []byte
		for line := range bytes.Lines(head) {
			l := bytes.TrimRight(line, "\r\n")
			if len(l) == 0 {
				break
			}
			if l[0] == ' ' || l[0] == '\t' {
				if name != "" && len(value) < maxField {
					value = append(value, l...)
				}
				continue
			}
			if name != "" && !yield(name, string(value)) {
				return
			}
			n, v, ok := bytes.Cut(l, []byte(":"))
			name, value = "", nil
			if ok {
				name, value = string(bytes.TrimSpace(n)), bytes.Clone(bytes.TrimSpace(v[:min(len(v), maxField)]))
			}
		}
		if name != "" {
			yield(name, string(value))
		}
	}
}

// decodeSubject decodes RFC 2047 words and bounds the result.
func decodeSubject(s string) string {
	if d, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		s = d
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > maxSubject {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
