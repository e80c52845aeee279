package smtpd

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Every command in every wrong place, and what is no command.
func TestOddCommands(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Errors = 1000 })
	c := f.connect(f.trusted)
	c.want("", "220 gate.office.example ESMTP")
	for _, tt := range []struct{ line, want string }{
		{"MAIL FROM:<a@b.example>", "503 5.5.1 Send EHLO first"},
		{"RCPT TO:<a@b.example>", "503 5.5.1 Send EHLO first"},
		{"DATA", "503 5.5.1 Send EHLO first"},
		{"BDAT 0 LAST", "503 5.5.1 Send EHLO first"},
		{"AUTH PLAIN", "503 5.5.1 Send EHLO first"},
		{"RSET", "250 "},
		{"NOOP", "250 2.0.0 "},
		{"noop with words", "250 2.0.0 "},
		{"VRFY anna", "252 2.5.0 "},
		{"VRFY", "501 5.5.4 "},
		{"EXPN list", "502 5.5.1 "},
		{"HELP", "214 2.0.0 "},
		{"TURN", "502 5.5.1 "},
		{"ETRN office.example", "502 5.5.1 "},
		{"", "500 5.5.2 "},
		{" ", "500 5.5.2 "},
		{" NOOP", "500 5.5.2 "},
		{"NOOP\tx", "500 5.5.2 "},
		{"HELLO", "500 5.5.1 "},
		{"XCLIENT ADDR=192.168.0.1", "500 5.5.1 "},
		{"LHLO x", "500 5.5.1 "},
		{"EHLO", "501 5.5.4 "},
		{"HELO ", "501 5.5.4 "},
		{"DATA x", "503 5.5.1 "},
		{"QUIT now", "501 5.5.4 "},
		{"EHLO client.example and more", "250-"},
		{"RSET now", "501 5.5.4 "},
		{"RCPT TO:<a@b.example>", "503 5.5.1 Send MAIL first"},
		{"DATA", "503 5.5.1 Send MAIL first"},
		{"DATA now", "501 5.5.4 "},
		{"MAIL", "501 5.5.4 "},
		{"MAIL TO:<a@b.example>", "501 5.5.4 "},
		{"MAIL FROM", "501 5.5.4 "},
		{"MAIL FROM:", "501 5.5.4 "},
		{"MAIL FROM:a@b.example>", "553 5.1.7 "},
		{"MAIL FROM:<a@b.example> SIZE=x", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> SIZE=", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> SIZE", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> SIZE=-1", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> SIZE=1 SIZE=2", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> BODY=8BITMIME body=7bit", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> BODY=16BIT", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> BODY=BINARYMIME", "504 5.5.4 "},
		{"MAIL FROM:<a@b.example> SMTPUTF8=yes", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> REQUIRETLS=yes", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> RET=ALL", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> ENVID=+", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> ENVID=a=b", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> AUTH=+", "501 5.5.4 "},
		{"MAIL FROM:<a@b.example> X=1", "555 5.5.4 "},
		{"MAIL FROM:<a@b.example> =1", "501 5.5.4 "},
		{"MAIL FROM: <a@b.example> AUTH=<>", "250 "},
		{"DATA", "554 5.5.1 There is no valid recipient"},
		{"RCPT", "501 5.5.4 "},
		{"RCPT TO:<c@d.example> NOTIFY=SOON", "501 5.5.4 "},
		{"RCPT TO:<c@d.example> NOTIFY=NEVER,DELAY", "501 5.5.4 "},
		{"RCPT TO:<c@d.example> ORCPT=rfc822", "501 5.5.4 "},
		{"RCPT TO:<c@d.example> ORCPT=rfc822;a ORCPT=rfc822;b", "501 5.5.4 "},
		{"RCPT TO:<c@d.example> X", "555 5.5.4 "},
		{"RCPT TO:<c@d.example> NOTIFY=NEVER", "250 "},
		{"AUTH", "501 5.5.4 "},
		{"AUTH PLAIN a b", "501 5.5.4 "},
		{"AUTH PLAIN", "503 5.5.1 No login here"},
		{"EHLO client.example", "250-"},
		{"DATA", "503 5.5.1 Send MAIL first"},
		{"quit", "221 "},
	} {
		c.send(tt.line + "\r\n")
		c.want("", tt.want)
	}
	c.gone()
}

// Old devices end their commands with LF alone; their messages are another
// matter.
func TestBareLFInCommands(t *testing.T) {
	f := start(t, nil)
	c := f.connect(f.trusted)
	c.want("", "220 ")
	for _, tt := range []struct{ line, want string }{
		{"HELO printer\n", "250 "},
		{"MAIL FROM:<bob@office.example>\n", "250 "},
		{"RCPT TO:<anna@good.example>\n", "250 "},
		{"DATA\n", "354 "},
		{"x\n.\n\r\n.\r\n", "550 5.5.2 "},
		{"QUIT\n", "221 "},
	} {
		c.send(tt.line)
		c.want("", tt.want)
	}
}

// The sizes that everybody must take (RFC 5321, Section 4.5.3.1).
func TestLeastSizes(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	local := strings.Repeat("l", 64)
	domain := strings.Repeat(strings.Repeat("d", 61)+".", 3) + "ex" // 188 octets
	c.want("MAIL FROM:<"+local+"@"+domain+"> BODY=8BITMIME RET=FULL ENVID="+strings.Repeat("e", 100), "250 ")
	c.want("RCPT TO:<"+local+"@"+domain+"> ORCPT=rfc822;"+strings.Repeat("o", 486), "250 ")
	for i := range 99 {
		c.want(fmt.Sprintf("RCPT TO:<u%d@good.example>", i), "250 ")
	}
	c.want("DATA", "354 ")
	c.want(strings.Repeat("x", 998)+"\r\n.", "250 ")
	c.want("NOOP "+strings.Repeat("x", 505), "250 ")
	if got := f.all(); len(got) != 1 || len(got[0].env.Rcpts) != 100 || got[0].body.LongLines != 0 {
		t.Errorf("got %d messages", len(got))
	}
}

// A browser that was made to talk to us says its words once.
func TestWebClientIsCutOff(t *testing.T) {
	f := start(t, nil)
	c := f.connect(f.trusted)
	c.want("", "220 ")
	c.send("POST / HTTP/1.1\r\nHost: gate\r\n\r\nEHLO x\r\n" + forged)
	c.want("", "554 5.5.1 This is no web server")
	c.gone()
}

// RFC 5321, Section 4.5.3.1.4: too long is 500, and the session goes on.
func TestLongCommands(t *testing.T) {
	for _, secure := range []bool{false, true} {
		f := start(t, nil)
		c := f.session(secure)
		for _, n := range []int{maxCommand + 1, maxSASL, maxSASL + 1, inputSize, inputSize + 1, 200 << 10, maxFlood - 100} {
			c.want("NOOP "+strings.Repeat("x", n-5), "500 5.5.2 ")
			c.want("NOOP", "250 ")
		}
		c.want("NOOP "+strings.Repeat("x", maxCommand-5), "250 ")
		for _, verb := range []string{"MAIL FROM:<", "RCPT TO:<", "EHLO "} {
			c.want(verb+strings.Repeat("a", 5000), "500 5.5.2 ")
		}
		c.data()
		c.want(".", "250 ")
	}
}

// A line without an end is read in no memory, and not for ever.
func TestEndlessCommand(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	junk := []byte(strings.Repeat("x", 1<<16))
	for range 15 {
		if _, err := c.nc.Write(junk); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 256<<10 {
		t.Errorf("got %d bytes allocated for 960 KiB of one line, want next to none", grown)
	}
	for range 100 {
		if _, err := c.nc.Write(junk); err != nil {
			break
		}
	}
	c.want("", "421 4.7.0 ")
}

// The size is a number of 64 bits and more, and the limit is exact.
func TestSizeParameter(t *testing.T) {
	f := start(t, func(c *Config) { c.MaxSize = 10 << 30; c.Room = func(int64) error { return nil } })
	c, ehlo := f.hello(f.trusted)
	if !strings.Contains(ehlo, fmt.Sprintf("\r\n250-SIZE %d\r\n", int64(10<<30))) {
		t.Errorf("got EHLO %q", ehlo)
	}
	for _, tt := range []struct{ size, want string }{
		{"0", "250 "},
		{"4294967295", "250 "},
		{"4294967296", "250 "},
		{"10737418240", "250 "},
		{"10737418241", "552 5.3.4 "},
		{"9223372036854775807", "552 5.3.4 "},
		{"9223372036854775808", "552 5.3.4 "},
		{"18446744073709551616", "552 5.3.4 "},
		{"99999999999999999999", "552 5.3.4 "},
		{"100000000000000000000", "501 5.5.4 "}, // 21 digits
	} {
		c.want("MAIL FROM:<a@b.example> SIZE="+tt.size, tt.want)
		c.want("RSET", "250 ")
	}
	c.want("MAIL FROM:<a@b.example> SIZE=5000000000", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.want("DATA", "354 ")
	c.want(".", "250 ")
	if got := f.all()[0].env.Declared; got != 5000000000 {
		t.Errorf("got %d", got)
	}
	c.want("MAIL FROM:<a@b.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.want("DATA", "354 ")
	c.want(".", "250 ")
	if got := f.all()[1].env.Declared; got != 0 {
		t.Errorf("got %d left over from the message before", got)
	}
}

// RFC 2920, Section 3.1: EHLO, STARTTLS and DATA end a group; who sends on does
// not wait for replies.
func TestEarlyPipelining(t *testing.T) {
	envelope := "MAIL FROM:<bob@office.example>\r\nRCPT TO:<anna@good.example>\r\n"
	for _, text := range []string{
		"EHLO client.example\r\n" + envelope,
		"HELO client.example\r\n" + envelope,
		"EHLO client.example\r\nx",
		"STARTTLS\r\n" + envelope,
		envelope + "DATA\r\nSubject: early\r\n\r\nx\r\n.\r\n",
		envelope + "DATA\r\n.\r\n",
		// Every recipient is refused, and so would be DATA: its text is commands then.
		"MAIL FROM:<bob@office.example>\r\nRCPT TO:<a..b@good.example>\r\nDATA\r\n" + forged,
		"DATA\r\n" + forged,
	} {
		f := start(t, nil)
		c, _ := f.hello(f.trusted)
		c.send(text)
		all := ""
		for !strings.HasSuffix(all, "EOF") {
			all += c.reply()
		}
		if !strings.Contains(all, "\r\n554 5.5.0 You did not wait") && !strings.HasPrefix(all, "554 5.5.0 ") || strings.Contains(all, "354") {
			t.Errorf("%q: got %q, want 554 and the end", text, all)
		}
		if got := f.all(); len(got) > 0 {
			t.Errorf("%q: got a message from %s", text, got[0].env.From)
		}
	}
	// What RFC 2920 allows is allowed, across messages too.
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.send("RSET\r\nNOOP\r\n" + envelope + "DATA\r\n")
	for _, want := range []string{"250 ", "250 ", "250 ", "250 ", "354 "} {
		c.want("", want)
	}
	c.send("x\r\n.\r\n" + envelope + "DATA\r\n") // the next group goes with the text
	for _, want := range []string{"250 2.0.0 Queued", "250 ", "250 ", "354 "} {
		c.want("", want)
	}
	c.send("y\r\n.\r\nQUIT\r\n")
	c.want("", "250 ")
	c.want("", "221 ")
	if got := f.all(); len(got) != 2 {
		t.Errorf("got %d messages, want 2", len(got))
	}
}

// RFC 3848: the with clause says how the message came.
func TestWithClause(t *testing.T) {
	f := start(t, nil)
	c := f.connect(f.trusted)
	c.want("", "220 ")
	c.want("HELO client.example", "250 gate.office.example\r\n")
	c.data()
	c.want(".", "250 ")
	c.want("EHLO client.example", "250-")
	c.data()
	c.want(".", "250 ")
	c, _ = f.secure(f.trusted)
	c.data()
	c.want(".", "250 ")
	c.want("HELO client.example", "250 ")
	c.data()
	c.want(".", "250 ")
	for i, want := range []string{"SMTP", "ESMTP", "ESMTPS", "SMTP"} {
		m := f.all()[i]
		if !strings.Contains(m.text, " with "+want+" id ") || m.env.Plain != (want == "SMTP") {
			t.Errorf("%d: got %q, want with %s", i, m.text, want)
		}
	}
}

// A session that does nothing but keep itself alive ends.
func TestJunkCommands(t *testing.T) {
	for _, cmd := range []string{"NOOP", "RSET", "VRFY x", "EHLO client.example", "HELP"} {
		f := start(t, nil)
		c, _ := f.hello(f.trusted)
		n := 0
		for ; n < 2*maxJunk; n++ {
			c.send(cmd + "\r\n")
			if strings.HasPrefix(c.reply(), "421 4.7.0 ") {
				break
			}
		}
		if n < maxJunk-2 || n > maxJunk {
			t.Errorf("%s: got the end after %d, want %d", cmd, n, maxJunk)
		}
		c.gone()
	}
	// A client that sends mail in between may reset as often as it likes.
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	for range 30 {
		for range 5 {
			c.want("RSET", "250 ")
		}
		c.data()
		c.want(".", "250 ")
	}
}

func TestRepliesOfAStoppedServer(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.data()
	f.cancel()
	time.Sleep(50 * time.Millisecond)
	// The next message is pipelined behind the one that may finish.
	c.send("x\r\n.\r\nMAIL FROM:<bob@office.example>\r\n")
	c.want("", "250 2.0.0 Queued")
	c.want("", "421 4.3.2 ")
	c.gone()
}

func TestLoginDialogue(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Errors = 1000 })
	for _, tt := range []struct{ line, want string }{
		{strings.Repeat("x", maxSASL+1), "500 5.5.6 "},
		{strings.Repeat("x", 100<<10), "500 5.5.6 "},
		{"a\x00b", "500 5.5.2 "},
		{"no base64!", "501 5.5.2 "},
		{"*", "501 5.7.0 "},
		{"", "535 5.7.8 "},
	} {
		c, _ := f.secure(f.submission)
		c.want("AUTH PLAIN", "334 ")
		c.send(tt.line + "\r\n")
		c.want("", tt.want)
		c.want("NOOP", "250 ") // and not a response
		c.want("AUTH PLAIN ===", "501 5.5.2 ")
		c.want("AUTH PLAIN "+b64("\x00printer\x00secret"), "235 ")
		c.want("NOOP", "250 ")
	}
	// A command in the place of a response is a response.
	c, _ := f.secure(f.submission)
	c.want("AUTH LOGIN", "334 ")
	c.want("QUIT", "334 ") // base64, as it happens
	c.want("RSET", "535 ")
	c.want("RSET", "250 ")
}
