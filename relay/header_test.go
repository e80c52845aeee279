package relay

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// RFC 8689, Section 3: the only value is No, and only one field counts.
func TestTLSRequiredField(t *testing.T) {
	for _, c := range []struct {
		head string
		want bool
	}{
		{"TLS-Required: No\r\n\r\n", true},
		{"tls-required:no\r\n", true},
		{"Subject: x\r\nTLS-Required:\r\n  NO \r\nFrom: a@b\r\n\r\n", true},
		{"TLS-Required: Yes\r\n\r\n", false},
		{"TLS-Required: No, really\r\n\r\n", false},
		{"TLS-Required:\r\n\r\n", false},
		{"TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false},
		{"TLS-Required: No\r\nTLS-Required: Yes\r\n\r\n", false},
		{"Subject: x\r\n\r\nTLS-Required: No\r\n\r\n", false},
		{"X-TLS-Required: No\r\n\r\n", false},
		{" TLS-Required: No\r\n\r\n", false},
		{"Subject: a\r\n TLS-Required: No\r\n\r\n", false},
	} {
		if got := readHeader([]byte(c.head)).tlsOptional; got != c.want {
			t.Errorf("readHeader(%q).tlsOptional = %v, want %v", c.head, got, c.want)
		}
	}
}

func TestSubjectField(t *testing.T) {
	for _, c := range []struct{ head, want string }{
		{"Subject: hello\r\n\r\n", "hello"},
		{"subject:\r\n hello\r\n  there\r\n\r\n", " hello  there"},
		{"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n", "Grüße"},
		{"Subject: one\r\nSubject: two\r\n\r\n", "one"},
		{"From: a\r\n\r\nSubject: body\r\n", ""},
		{"no header at all", ""},
	} {
		if got := readHeader([]byte(c.head)).subject; strings.TrimSpace(got) != strings.TrimSpace(c.want) {
			t.Errorf("subject of %q = %q, want %q", c.head, got, c.want)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("Subject: =?utf-8?b?4pyT?=\r\n\tmore\r\nTLS-Required: No\r\n\r\nbody"))
	f.Add([]byte(":\r\n :\n\xff\xfe: x"))
	f.Fuzz(func(t *testing.T, head []byte) {
		got := readHeader(head)
		if len(got.subject) > maxSubject || !utf8.ValidString(got.subject) {
			t.Errorf("subject %q: %d bytes, valid %v", got.subject, len(got.subject), utf8.ValidString(got.subject))
		}
	})
}
