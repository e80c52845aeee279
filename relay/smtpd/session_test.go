package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestEnvelopeAndReceived(t *testing.T) {
	f := start(t, nil)
	c, ehlo := f.hello(f.trusted)
	for _, ext := range []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "STARTTLS", "SMTPUTF8", "DSN", "SIZE ", "LIMITS RCPTMAX=1000"} {
		if !strings.Contains(ehlo, "-"+ext) && !strings.Contains(ehlo, " "+ext) {
			t.Errorf("got EHLO %q without %s", ehlo, ext)
		}
	}
	for _, ext := range []string{"REQUIRETLS", "AUTH", "BINARYMIME"} {
		if strings.Contains(ehlo, ext) {
			t.Errorf("got EHLO %q with %s in clear", ehlo, ext)
		}
	}
	c.want("MAIL FROM:<Bob@office.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb", "250 ")
	c.want("RCPT TO:<anna@good.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;anna+2Bx@good.example", "250 ")
	c.want("DATA", "354 ")
	c.want("Subject: x\r\n\r\nhi\r\n.", "250 2.0.0 Queued as id1")
	c.want("QUIT", "221 ")
	c.gone()

	s, ehlo := f.secure(f.trusted)
	if !strings.Contains(ehlo, "REQUIRETLS") || strings.Contains(ehlo, "STARTTLS") || strings.Contains(ehlo, "AUTH") {
		t.Errorf("got EHLO %q inside TLS on the trusted port", ehlo)
	}
	s.want("MAIL FROM:<> REQUIRETLS SMTPUTF8", "250 ")
	s.want("RCPT TO:<anna@good.example>", "250 ")
	s.want("RCPT TO:<jürgen@good.example>", "250 ")
	s.want("DATA", "354 ")
	s.want("Subject: x\r\n\r\nhi\r\n.", "250 ")

	got := f.all()
	if len(got) != 2 {
		t.Fatalf("got %d messages, want 2", len(got))
	}
	e := got[0].env
	want := Envelope{
		From: "Bob@office.example", Received: e.Received, TraceID: e.TraceID, Client: e.Client, Hello: "client.example",
		Rcpts:    []Rcpt{{Addr: "anna@good.example", Notify: []string{"FAILURE", "DELAY"}, ORcpt: "rfc822;anna+x@good.example"}},
		Declared: 10, EightBit: true, Ret: "HDRS", EnvelopeID: "a+b",
	}
	if !reflect.DeepEqual(e, want) || e.Client.String() != "127.0.0.1" || len(e.TraceID) != 16 {
		t.Errorf("got envelope %+v, want %+v", e, want)
	}
	received, rest := got[0].split()
	wantField := "Received: from client.example ([127.0.0.1])\r\n\tby gate.office.example with ESMTP id " + e.TraceID +
		"\r\n\tfor <anna@good.example>;\r\n\tMon, 23 Nov 2026 18:00:00 +0000\r\n"
	if received != wantField || rest != "Subject: x\r\n\r\nhi\r\n" {
		t.Errorf("got %q and %q, want %q first", received, rest, wantField)
	}

	e = got[1].env
	if e.From != "" || !e.RequireTLS || !e.SMTPUTF8 || e.TLSVersion != "TLS 1.3" || e.TLSCipher == "" || len(e.Rcpts) != 2 {
		t.Errorf("got envelope %+v", e)
	}
	received, _ = got[1].split()
	wantField = "Received: from client.example ([127.0.0.1])\r\n\tby gate.office.example with UTF8SMTPS id " + e.TraceID +
		"\r\n\ttls " + e.TLSCipher + " X25519MLKEM768 (TLS 1.3);\r\n\tMon, 23 Nov 2026 18:00:00 +0000\r\n"
	if received != wantField {
		t.Errorf("got %q, want %q", received, wantField)
	}
}

// What the library lets through, the session does not.
func TestAddresses(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Errors = 1000 })
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	for _, tt := range []struct{ arg, want string }{
		{`<"victim@other.example> NOTIFY=NEVER X"@allowed.example>`, "553 5.1.3 "},
		{`<"a b"@good.example>`, "553 5.1.3 "},
		{`<"a@b"@good.example>`, "553 5.1.3 "},
		{`<"a\"b"@good.example>`, "553 5.1.3 "},
		{"<a\rb@good.example>", "500 5.5.2 "},
		{"<a\x00b@good.example>", "500 5.5.2 "},
		{"<a@good\x7f.example>", "500 5.5.2 "},
		{"<a@[1.2.3.4>", "553 5.1.3 "},
		{"<a@good.example.>", "553 5.1.3 "},
		{"<a@b@good.example>", "553 5.1.3 "},
		{"<a..b@good.example>", "553 5.1.3 "},
		{"<a@-good.example>", "553 5.1.3 "},
		{"<jürgen@good.example>", "553 5.6.7 "},
		{"<" + strings.Repeat("a", 65) + "@good.example>", "553 5.1.3 "},
		{"<a@good.example> ORCPT=utf-8;a\\x{01}b@good.example", "501 5.5.4 "},
		{"<>", "501 "},
		{"<@other.example:route@good.example>", "250 "}, // a source route is taken off (RFC 5321, appendix C)
		{`<"quoted"@good.example>`, "250 "},             // the same mailbox without quotes
		{"<user%other.example@good.example>", "250 "},   // a local part like any other
		{"<a@[192.0.2.1]>", "250 "},
	} {
		c.want("RCPT TO:"+tt.arg, tt.want)
	}
	c.want("DATA", "354 ")
	c.want(".", "250 ")
	got := f.all()[0].env.Rcpts
	var addrs []string
	for _, r := range got {
		addrs = append(addrs, r.Addr)
	}
	if s := strings.Join(addrs, " "); s != "route@good.example quoted@good.example user%other.example@good.example a@[192.0.2.1]" {
		t.Errorf("got recipients %s", s)
	}
	for _, from := range []string{`<"a> SIZE=1"@office.example>`, "<a\rb@office.example>", "<jürgen@office.example>"} {
		if r := c.want("MAIL FROM:"+from, "5"); strings.Contains(r, "office") {
			t.Errorf("got %q, which repeats the address", r)
		}
	}
}

func TestNestedMail(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.want("MAIL FROM:<eve@office.example>", "503 5.5.1 ")
	c.want("EHLO client.example", "250-")
	c.want("RCPT TO:<anna@good.example>", "503 ")
	c.want("MAIL FROM:<eve@office.example>", "250 ")
	c.want("RCPT TO:<other@good.example>", "250 ")
	c.want("DATA", "354 ")
	c.want(".", "250 ")
	if got := f.all(); len(got) != 1 || got[0].env.From != "eve@office.example" || len(got[0].env.Rcpts) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestRequireTLSInClear(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example> REQUIRETLS", "530 5.7.10 ")
	c.want("MAIL FROM:<bob@office.example>", "250 ")
}

func TestHelloIsCleaned(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("EHLO a\rX-Evil:1", "500 5.5.2 ")
	c.want("EHLO a\x00X-Evil:1", "500 5.5.2 ")
	c.want("EHLO <script>\xff", "250-gate.office.example greets ?script??\r\n")
	c.data()
	c.want(".", "250 ")
	for i, want := range []string{"?script??"} {
		m := f.all()[i]
		if !strings.HasPrefix(m.env.Hello, want[:5]) || bytes.ContainsAny([]byte(m.env.Hello), "\r\n<>\x01") || !isASCII(m.env.Hello) {
			t.Errorf("got hello %q, want like %q", m.env.Hello, want)
		}
		if !strings.HasPrefix(m.text, "Received: from [127.0.0.1] ([127.0.0.1])\r\n\tby ") {
			t.Errorf("got %q, want the address in place of the name", m.text)
		}
	}
}

// Every error leaves as one of ours; the cause stays inside.
func TestErrorsAreMapped(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"wrapped system error", fmt.Errorf("write /data/q: %w", syscall.ENOSPC), "451 4.3.0 Local error, please try again later\r\n"},
		{"wrapped reply", fmt.Errorf("spool: %w", Reply{452, [3]int{4, 3, 1}, "The disk is full"}), "452 4.3.1 The disk is full\r\n"},
		{"pointer", &Reply{552, [3]int{5, 3, 4}, "Too big"}, "552 5.3.4 Too big\r\n"},
		{"line in the text", Reply{550, [3]int{5, 7, 1}, "No\r\n250 2.0.0 Yes\xff"}, "550 5.7.1 No??250 2.0.0 Yes?\r\n"},
		{"class of the enhanced code", Reply{450, [3]int{5, 1, 1}, "x"}, "450 4.0.0 x\r\n"},
		{"a success is not an error", Reply{250, [3]int{2, 0, 0}, "x"}, "451 4.3.0 Local error, please try again later\r\n"},
		{"end of file", io.EOF, "451 4.3.0 Local error, please try again later\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, func(c *Config) {
				c.Accept = func(_ context.Context, _ Envelope, r io.Reader) (string, error) {
					_, _ = io.Copy(io.Discard, r)
					return "", tt.err
				}
			})
			c, _ := f.hello(f.trusted)
			c.data()
			c.want(".", tt.want)
			c.want("MAIL FROM:<bob@office.example>", "250 ")
			c.want("RCPT TO:<anna@good.example>", "250 ")
			c.send("BDAT 4 LAST\r\nhi\r\n")
			c.want("", tt.want)
			c.want("NOOP", "250 ")
		})
	}
}

// Accept may be wrong; the sender must not be told 250 then.
func TestAcceptMisbehaves(t *testing.T) {
	t.Run("ignores the end", func(t *testing.T) {
		f := start(t, func(c *Config) {
			c.Accept = func(context.Context, Envelope, io.Reader) (string, error) { return "id", nil }
		})
		c, _ := f.hello(f.trusted)
		c.data()
		c.want("hi\r\n.", "451 4.3.0 ")
	})
	t.Run("ignores an error", func(t *testing.T) {
		f := start(t, func(c *Config) {
			c.Accept = func(_ context.Context, _ Envelope, r io.Reader) (string, error) {
				_, _ = io.ReadAll(r)
				return "id", nil
			}
		})
		c, _ := f.hello(f.trusted)
		c.data()
		c.want("hi\nho\r\n.", "550 5.5.2 ")
	})
	t.Run("panics", func(t *testing.T) {
		f := start(t, func(c *Config) {
			c.Accept = func(context.Context, Envelope, io.Reader) (string, error) { panic("boom") }
		})
		c, _ := f.hello(f.trusted)
		c.data()
		if r := c.want("hi\r\n.", "421 "); strings.Contains(r, "boom") {
			t.Errorf("got %q, which tells the cause", r)
		}
		c.gone()
		c, _ = f.hello(f.trusted)
		c.want("NOOP", "250 ")
	})
}

func TestTooManyRecipients(t *testing.T) {
	f := start(t, func(c *Config) { c.MaxRcpts = 3 })
	c, ehlo := f.hello(f.trusted)
	if !strings.Contains(ehlo, "LIMITS RCPTMAX=3") {
		t.Errorf("got EHLO %q without the limit", ehlo)
	}
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	for i := range 5 {
		want := "250 "
		if i >= 3 {
			want = "452 4.5.3 "
		}
		c.want(fmt.Sprintf("RCPT TO:<u%d@good.example>", i), want)
	}
	c.want("DATA", "354 ")
	c.want(".", "250 ")
	if got := f.all(); len(got[0].env.Rcpts) != 3 {
		t.Errorf("got %d recipients, want 3", len(got[0].env.Rcpts))
	}
}

func TestTooManyErrorsEndTheSession(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Errors = 5 })
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	for range 4 {
		c.want("RCPT TO:<a..b@good.example>", "553 ")
	}
	c.want("RCPT TO:<a..b@good.example>", "421 4.7.0 ")
	c.gone()
}

func TestReadyAndRoom(t *testing.T) {
	var state atomic.Pointer[error]
	setReady := func(err error) { state.Store(&err) }
	room := fmt.Errorf("spool: %w", Reply{452, [3]int{4, 3, 1}, "No room for that"})
	setReady(Reply{452, [3]int{4, 3, 1}, "The disk is full"})
	f := start(t, func(c *Config) {
		c.Ready = func() error { return *state.Load() }
		c.Room = func(size int64) error {
			if size > 1000 {
				return room
			}
			return nil
		}
	})
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "452 4.3.1 The disk is full")
	setReady(nil)
	c.want("MAIL FROM:<bob@office.example> SIZE=2000", "452 4.3.1 No room")
	c.want("MAIL FROM:<bob@office.example> SIZE=20", "250 ")
	c.want("RSET", "250 ")
	setReady(errors.New("spool: broken"))
	c.want("MAIL FROM:<bob@office.example>", "451 4.3.0 Local error")
	setReady(Reply{421, [3]int{4, 3, 2}, "Not open yet"})
	c.want("MAIL FROM:<bob@office.example>", "421 4.3.2 Not open yet")
	c.gone()
	c = f.connect(f.trusted)
	c.want("", "421 4.3.2 Not open yet")
	c.gone()
	c = f.connect(f.implicit)
	c.handshake()
	c.want("", "421 4.3.2 Not open yet")
	c.gone()
}

// RSET while a chunk is being taken in: the old transaction and the new one
// must not touch each other. Meant for the race detector.
func TestResetWithinChunks(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	for i := range 100 {
		c.want(fmt.Sprintf("MAIL FROM:<old%d@office.example>", i), "250 ")
		c.want("RCPT TO:<old@good.example>", "250 ")
		c.send("BDAT 5\r\nold\r\n")
		c.want("", "250 ")
		c.send(fmt.Sprintf("RSET\r\nMAIL FROM:<new%d@office.example>\r\nRCPT TO:<new@good.example>\r\nBDAT 5\r\nnew\r\nRSET\r\n", i))
		for range 5 {
			c.want("", "250 ")
		}
		c.want("MAIL FROM:<last@office.example>", "250 ")
		c.want("RCPT TO:<last@good.example>", "250 ")
		c.send("BDAT 6 LAST\r\nlast\r\n")
		c.want("", "250 ")
	}
	got := f.all()
	if len(got) != 100 {
		t.Fatalf("got %d messages, want 100", len(got))
	}
	for _, m := range got {
		if _, rest := m.split(); m.env.From != "last@office.example" || rest != "last\r\n" || m.env.Rcpts[0].Addr != "last@good.example" || len(m.env.Rcpts) != 1 {
			t.Fatalf("got %+v with %q", m.env, rest)
		}
	}
}

// The octets of a chunk whose size nobody knows are neither text nor commands.
func TestMalformedChunkEndsTheSession(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, cmd := range []string{"BDAT 28 LASTX", "BDAT x", "BDAT -1", "BDAT +1", "BDAT 28 LAST x", "BDAT", "BDAT 0x1c", "BDAT 1_0", "BDAT 99999999999999999999", "BDAT LAST", "BDAT 28,LAST"} {
			for _, first := range []string{"", "BDAT 3\r\na\r\n"} {
				f := start(t, nil)
				c := f.session(secure)
				c.want("MAIL FROM:<bob@office.example>", "250 ")
				c.want("RCPT TO:<anna@good.example>", "250 ")
				c.send(first + cmd + "\r\nRSET\r\n" + forged)
				if first != "" {
					c.want("", "250 2.0.0 Chunk")
				}
				c.want("", "501 5.5.4 ")
				c.gone()
				if got := f.all(); len(got) > 0 {
					t.Errorf("%s: got a message from %s", cmd, got[0].env.From)
				}
				if err := f.stop(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
