package smtpc

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250 ok\r\n", "250\r\n", "250-a\r\n250-b\r\n250 c\r\n", "250-a\r\n251 b\r\n", "550 5.1.1 no\r\n", "550 5.1.1\r\n", "450 5.1.1 x\r\n",
		"999 x\r\n", "25", "250-\n250 \n", "250\tx\r\n", "250 \xff\x00\x1b[31m\r\n", "-50 x\r\n", "220 " + strings.Repeat("x", 3000) + "\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		rep, err := readReply(r, "x")
		if err != nil {
			return
		}
		if rep.code < 200 || rep.code > 599 || len(rep.lines) == 0 || len(rep.lines) > maxReplyLines {
			t.Errorf("got code %d and %d lines", rep.code, len(rep.lines))
		}
		enhanced, text := rep.text()
		if enhanced != "" && (int(enhanced[0]-'0') != rep.class() || len(enhanced) > 9) {
			t.Errorf("got enhanced %q for %d", enhanced, rep.code)
		}
		if len(text) > maxReplyText || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("got text %q", text)
		}
	})
}

func FuzzEHLO(f *testing.F) {
	for _, s := range []string{
		"mx.example hello\nSTARTTLS\nSIZE 1000", "mx\nsize\nlimits RCPTMAX=5 mailmax=0 x=\nAUTH A B", "\n\n \nSIZE -1\nSIZE 99999999999999999999",
		"\x00\xff\nstarttls \n STARTTLS\nXXXXXXXA\nLIMITS RCPTMAX=9999999",
		"mx\nLIMITS RcptDomainMax=1 MAILMAX=+5 RCPTMAX=007 MAILMAX=20 =3 RCPTMAX=\nAUTH\nAUTH PLAIN",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		e := parseEHLO(strings.Split(in, "\n"))
		if e.MaxSize < 0 || e.RcptMax < 0 || e.RcptMax > 999999 || e.MailMax < 0 || e.MailMax > 999999 || e.RcptDomains < 0 || e.RcptDomains > 999999 || len(e.Auth) > 20 || len(e.Name) > 255 || !utf8.ValidString(e.Name) {
			t.Errorf("got %+v", e)
		}
		if e.StartTLS && !strings.Contains(strings.ToUpper(in), "STARTTLS") {
			t.Error("got STARTTLS from nothing")
		}
	})
}

// FuzzBody checks the dot writer against a plain reading of RFC 5321, Section
// 4.5.2, and that the pieces in which a body arrives make no difference.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", ".", ".\r\n", "a\r\n.\r\nb", "\r\n", "\r", "\n", "a\r\r\n", "..\r\n.\r\n..", "a\r\n\r\n.b\r\n"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		if piece < 1 || piece > 1<<16 {
			return
		}
		var out bytes.Buffer
		err := copyBody(&out, bytes.NewReader(in), make([]byte, piece+maxTail))
		bare := strings.ReplaceAll(string(in), "\r\n", "")
		if bad := strings.ContainsAny(bare, "\r\n"); bad != (err != nil) {
			t.Fatalf("%q: got error %v, want one: %v", in, err, bad)
		}
		if err != nil {
			if strings.Contains(out.String(), "\r\n.\r\n") {
				t.Fatalf("%q: got an end of data in %q", in, out.String())
			}
			return
		}
		// Undo it as a server does.
		var back strings.Builder
		r := bufio.NewReader(&out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: no end of data", in)
			}
			if line == ".\r\n" {
				break
			}
			back.WriteString(strings.TrimPrefix(line, "."))
		}
		want := string(in)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		if rest, _ := io.ReadAll(r); back.String() != want || len(rest) > 0 {
			t.Fatalf("got %q and %q behind it, want %q", back.String(), rest, want)
		}
	})
}
