package smtpd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A chunk is swallowed to its last octet when its command is refused, and
// nothing in it is a command (RFC 3030, Section 2).
func TestRefusedChunkIsSwallowed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		f := start(t, nil)
		c := f.session(secure)
		chunk := func(last string) string { return fmt.Sprintf("BDAT %d%s\r\n%s", len(forged), last, forged) }
		c.send(chunk("") + chunk(" LAST") + "NOOP\r\n")
		c.want("", "503 5.5.1 Send MAIL first")
		c.want("", "503 5.5.1 Send MAIL first")
		c.want("", "250 ")
		c.want("MAIL FROM:<bob@office.example>", "250 ")
		c.send(chunk("") + "BDAT 0 LAST\r\nNOOP\r\n")
		c.want("", "554 5.5.1 ")
		c.want("", "554 5.5.1 ")
		c.want("", "250 ")
		if got := f.all(); len(got) > 0 {
			t.Errorf("got a message from %s", got[0].env.From)
		}
	}
}

// A chunk that fails takes the message with it; the chunks that are under way
// already are swallowed.
func TestFailedChunk(t *testing.T) {
	f := start(t, func(c *Config) { c.MaxSize = 1000 })
	c, _ := f.hello(f.trusted)
	for _, bad := range []string{"a\nb\r\n" + forged, strings.Repeat("x", 998) + "\r\n" + strings.Repeat("MAIL FROM:<eve@office.example>\r\n", 100)} {
		c.want("MAIL FROM:<bob@office.example>", "250 ")
		c.want("RCPT TO:<anna@good.example>", "250 ")
		c.send(fmt.Sprintf("BDAT 4\r\nab\r\nBDAT %d\r\n%sBDAT %d\r\n%sBDAT 6 LAST\r\nNOOP\r\n", len(bad), bad, len(forged), forged))
		c.want("", "250 2.0.0 Chunk")
		if r := c.reply(); !strings.HasPrefix(r, "550 5.5.2 ") && !strings.HasPrefix(r, "552 5.3.4 ") {
			t.Errorf("got %q", r)
		}
		c.want("", "503 5.5.1 Send MAIL first")
		c.want("", "503 5.5.1 Send MAIL first")
		c.want("NOOP", "250 ")
	}
	if got := f.all(); len(got) > 0 {
		t.Errorf("got a message from %s", got[0].env.From)
	}
}

// Accept may give up before the end of a chunk.
func TestChunkNobodyReads(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Accept = func(_ context.Context, _ Envelope, r io.Reader) (string, error) {
			_, _ = io.ReadFull(r, make([]byte, 10))
			return "", Reply{452, [3]int{4, 3, 1}, "The disk is full"}
		}
	})
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.send(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", len(forged), forged, len(forged), forged))
	c.want("", "452 4.3.1 ")
	c.want("", "503 5.5.1 ")
	c.want("NOOP", "250 ")
}

// What comes between two chunks.
func TestBetweenChunks(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Errors = 1000 })
	c, _ := f.hello(f.trusted)
	begin := func() {
		c.want("MAIL FROM:<bob@office.example>", "250 ")
		c.want("RCPT TO:<anna@good.example>", "250 ")
		c.send("BDAT 3\r\na\r\n")
		c.want("", "250 2.0.0 Chunk")
	}
	begin()
	for _, tt := range []struct{ line, want string }{
		{"NOOP", "250 "},
		{"MAIL FROM:<eve@office.example>", "503 5.5.1 A message is being sent in chunks"},
		{"RCPT TO:<eve@good.example>", "503 5.5.1 A message"},
		{"DATA", "503 5.5.1 A message"},
		{"AUTH PLAIN", "503 5.5.1 A message"},
		{"STARTTLS", "503 5.5.1 A message"},
		{"VRFY x", "252 "},
		{"WHAT", "500 5.5.1 "},
		{"a\x01", "500 5.5.2 "},
		{"NOOP " + strings.Repeat("x", 100<<10), "500 5.5.2 "},
	} {
		c.want(tt.line, tt.want)
	}
	c.send("BDAT 3 last\r\nb\r\n")
	c.want("", "250 2.0.0 Queued")
	begin()
	c.want("RSET", "250 2.0.0 Session reset")
	c.send("BDAT 3 LAST\r\nx\r\n")
	c.want("", "503 5.5.1 Send MAIL first")
	begin()
	c.want("EHLO client.example", "250-gate")
	c.want("DATA", "503 5.5.1 Send MAIL first")
	begin()
	c.want("QUIT", "221 ")
	c.gone()
	got := f.all()
	if len(got) != 1 {
		t.Fatalf("got %d messages, want 1", len(got))
	}
	if _, rest := got[0].split(); rest != "a\r\nb\r\n" || len(got[0].env.Rcpts) != 1 || got[0].env.From != "bob@office.example" {
		t.Errorf("got %q of %+v", rest, got[0].env)
	}
}
