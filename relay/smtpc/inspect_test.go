package smtpc

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestInspect(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	tests := []struct {
		name, text string
		eight      bool
		header     bool
	}{
		{"empty", "", false, false},
		{"ASCII", "Subject: hi\r\n\r\nhi\r\n", false, false},
		{"8-bit body", "Subject: hi\r\n\r\ngrüße\r\n", true, false},
		{"Latin-1 body", "Subject: hi\r\n\r\ngr\xfc\xdfe\r\n", true, false},
		{"header", "Subject: grüße\r\n\r\nhi\r\n", true, true},
		{"header without a body", "Subject: grüße\r\n", true, true},
		{"folded header", "Subject: hi\r\n grüße\r\n\r\nhi\r\n", true, true},
		{"no line end", "Subject: grüße", true, true},
		{"blank line within the body", "Subject: hi\r\n\r\na\r\n\r\ngrüße\r\n", true, false},
		{"header of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=\"grüße.txt\"\r\n\r\nhi\r\n--b--\r\n", true, true},
		{"text of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ngrüße\r\n--b--\r\n", true, false},
		{"header of an attached message", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: Message/rfc822\r\n\r\nSubject: grüße\r\n\r\nhi\r\n--b--\r\n", true, true},
		{"text of an attached message", "Content-Type: message/rfc822\r\n\r\nSubject: hi\r\n\r\ngrüße\r\n", true, false},
		{"after a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: hi\r\n\r\na\r\n--b\r\nContent-Type: text/plain\r\n\r\ngrüße\r\n", true, false},
		{"the signature's hyphens", "Subject: hi\r\n\r\nhi\r\n-- \r\ngrüße\r\n", true, false},
		{"hyphens in a text", "Subject: hi\r\n\r\n--grüße\r\n", true, false},
		{"hyphens in a part", "Content-Type: multipart/mixed;\r\n boundary=\"b c\"\r\n\r\n--b c\r\n\r\n--x\r\ngrüße\r\n--b c--\r\n", true, false},
		{"folded boundary", "Content-Type: multipart/mixed;\r\n BOUNDARY=\"b c\"; x=y\r\n\r\n--b c\r\nX: grüße\r\n\r\n--b c--\r\n", true, true},
		{"token boundary", "Content-Type: multipart/mixed; boundary=bc; x=y\r\n\r\n--bc\r\nX: grüße\r\n\r\n--bc--\r\n", true, true},
		{"boundary in pieces", "Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\r\n\r\n--bc\r\nX: grüße\r\n\r\n--bc--\r\n", true, true},
		{"inner multipart", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=c\r\n\r\n--c\r\nX: grüße\r\n\r\nhi\r\n--c--\r\n--b--\r\n", true, true},
		{"long header line", "X: " + long + "\r\nSubject: hi\r\n\r\nhi\r\n\r\ngrüße\r\n", true, false},
		{"8-bit far in a header line", "X: " + long + "ü\r\n\r\nhi\r\n", true, true},
		{"8-bit far in a body line", "Subject: hi\r\n\r\n" + long + "ü", true, false},
	}
	for _, tt := range tests {
		for _, slow := range []bool{false, true} {
			var r io.Reader = strings.NewReader(tt.text)
			if slow {
				r = iotest.OneByteReader(r)
			}
			got, err := Inspect(r)
			if err != nil || got.EightBit != tt.eight || got.HeaderUTF8 != tt.header {
				t.Errorf("%s: got %+v, %v; want 8-bit %v, header %v", tt.name, got, err, tt.eight, tt.header)
			}
		}
	}
	broken := errors.New("disk gone")
	if _, err := Inspect(io.MultiReader(strings.NewReader("a: b\r\n"), errReader{broken})); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}
