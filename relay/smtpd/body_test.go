package smtpd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBodyIsByteExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var body strings.Builder
		body.WriteString("Subject: x\r\n\r\n")
		for range rng.IntN(200) {
			line := make([]byte, rng.IntN(120))
			for i := range line {
				for line[i] == 0 || line[i] == '\r' || line[i] == '\n' {
					line[i] = "..\tabc \xfc\xe4=\x01\x7f"[rng.IntN(12)]
				}
			}
			body.WriteString(string(line) + "\r\n")
		}
		want := body.String()
		for _, verb := range []string{"DATA", "BDAT"} {
			f := start(t, nil)
			c, _ := f.hello(f.trusted)
			if verb == "DATA" {
				c.data()
				stuffed := strings.ReplaceAll("\r\n"+want, "\r\n.", "\r\n..")[2:]
				c.want(stuffed+".", "250 ")
			} else {
				c.want("MAIL FROM:<bob@office.example> BODY=8BITMIME", "250 ")
				c.want("RCPT TO:<anna@good.example>", "250 ")
				half := len(want) / 2
				c.send(fmt.Sprintf("BDAT %d\r\n%s", half, want[:half]))
				c.want("", "250 ")
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(want)-half, want[half:]))
				c.want("", "250 2.0.0 Queued as id1")
			}
			got := f.all()
			if len(got) != 1 {
				t.Fatalf("%s: got %d messages, want 1", verb, len(got))
			}
			if _, rest := got[0].split(); rest != want {
				t.Fatalf("%s: got %q, want %q", verb, rest, want)
			}
			if got[0].body.Size != int64(len(want)) || got[0].body.EightBit == isASCII(want) {
				t.Errorf("%s: got size %d 8-bit %v, want %d %v", verb, got[0].body.Size, got[0].body.EightBit, len(want), !isASCII(want))
			}
		}
	}
}

func isASCII(s string) bool { return ascii([]byte(s)) }

// Only CR LF . CR LF ends a message, and whatever else looks like an end makes
// the message refused as a whole; the session goes on behind the true end.
func TestLineEnds(t *testing.T) {
	tests := []struct{ name, body, text string }{
		{"LF.LF", "a\n.\nb\r\n", "LF without CR"},
		{"LF.CRLF", "a\n.\r\nb\r\n", "LF without CR"},
		{"CRLF.LF", "a\r\n.\nb\r\n", "LF without CR"},
		{"CRLF.CR", "a\r\n.\rb\r\nc\rd\r\n", "CR without LF"}, // the dot and its CR are lost in the library, the second CR is not
		{"CR.CR", "a\r.\rb\r\n", "CR without LF"},
		{"CR.CRLF", "a\r.\r\nb\r\n", "CR without LF"},
		{"CR at the end of a line", "a\r\r\n", "CR without LF"},
		{"NUL", "a\x00b\r\n", "NUL"},
		{"bare LF in the header", "Subject: x\nX: y\r\n\r\n", "LF without CR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, nil)
			c, _ := f.hello(f.trusted)
			c.data()
			c.send(tt.body + "NOOP\r\n.\r\n")
			if got := c.want("", "550 5.5.2 "); !strings.Contains(got, tt.text) {
				t.Errorf("got %q, want words about %q", got, tt.text)
			}
			c.data()
			c.want("fine\r\n.", "250 ")
			if !strings.HasPrefix(tt.name, "CRLF.CR") { // in a chunk nothing is parsed, so this one is the same
				c.want("MAIL FROM:<bob@office.example>", "250 ")
				c.want("RCPT TO:<anna@good.example>", "250 ")
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(tt.body), tt.body))
				c.want("", "550 5.5.2 ")
			}
			c.want("QUIT", "221 ")
			if got := f.all(); len(got) != 1 {
				t.Errorf("got %d messages, want the one good", len(got))
			}
		})
	}
}

// CR CR LF . CR LF is an end to those who take CR CR LF for the end of a line,
// and none to others. The message is refused either way, and what follows is
// neither text nor commands: the session ends.
func TestDoubtfulEndClosesTheSession(t *testing.T) {
	for _, body := range []string{"a\r\r\n.\r\n", "\r\r\n.\r\n"} {
		for _, size := range []int{1 << 20, 1} {
			f := start(t, nil)
			c, _ := f.hello(f.trusted)
			c.data()
			for piece := range slices.Chunk([]byte(body+forged), size) {
				if _, err := c.nc.Write(piece); err != nil {
					break
				}
			}
			c.want("", "550 5.5.2 ")
			c.gone()
			if got := f.all(); len(got) > 0 {
				t.Errorf("%q: got a message from %q", body, got[0].env.From)
			}
		}
	}
}

func TestChunkEndsInCR(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.send("BDAT 2 LAST\r\na\r")
	c.want("", "550 5.5.2 ")
}

func TestSizeLimitIsExact(t *testing.T) {
	const limit = 10000
	body := func(n int) string {
		return strings.Repeat(strings.Repeat("x", 98)+"\r\n", n/100) + strings.Repeat("y", n%100)
	}
	f := start(t, func(c *Config) { c.MaxSize = limit })
	c, ehlo := f.hello(f.trusted)
	if !strings.Contains(ehlo, "SIZE 1000") {
		t.Errorf("got EHLO %q without SIZE", ehlo)
	}
	c.want(fmt.Sprintf("MAIL FROM:<a@b.example> SIZE=%d", limit+1), "552 5.3.4 ")
	c.want(fmt.Sprintf("MAIL FROM:<a@b.example> SIZE=%d", limit), "250 ")
	c.want("RSET", "250 ")
	c.data()
	c.want(body(limit-2)+"\r\n.", "250 ")
	c.data()
	c.want(body(limit-1)+"\r\n.", "552 5.3.4 ")
	for _, n := range []int{limit, limit + 1, limit + 2, limit * 3} {
		c.want("MAIL FROM:<bob@office.example>", "250 ")
		c.want("RCPT TO:<anna@good.example>", "250 ")
		want := "552 5.3.4 "
		if n == limit {
			want = "250 "
		}
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", n, body(n-2)+"\r\n"))
		c.want("", want)
	}
	if got := f.all(); len(got) != 2 || got[0].body.Size != limit || got[1].body.Size != limit {
		t.Errorf("got %d messages, want two of %d bytes", len(got), limit)
	}
}

func TestLongLines(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.data()
	line := strings.Repeat("x", 60000)
	c.want(line+"\r\n"+strings.Repeat("y", 998)+"\r\n.", "250 ")
	if got := f.all(); len(got) != 1 || got[0].body.LongLines != 1 || !strings.Contains(got[0].text, line) {
		t.Error("the long line did not come through")
	}
	c.want("MAIL FROM:<bob@office.example>", "250 ")
	c.want("RCPT TO:<anna@good.example>", "250 ")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n%s\r\nNOOP\r\n", len(line)+2, line))
	c.want("", "250 2.0.0 Queued")
	c.want("", "250 ")
	c.data()
	c.send(strings.Repeat("x", maxLine+10) + "\r\nNOOP\r\n.\r\n")
	c.want("", "554 5.6.0 ")
	if got := f.all(); len(got) != 2 {
		t.Errorf("got %d messages, want 2", len(got))
	}
}

func TestLoopIsFound(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	for _, n := range []int{100, 101} {
		c.data()
		hops := strings.Repeat("rEceived: from a by b\r\n\twith SMTP\r\n", n)
		want := "250 "
		if n > 100 {
			want = "554 5.4.6 "
		}
		// Lines in the body are not hops.
		c.want(hops+"Subject: x\r\n\r\n"+strings.Repeat("Received: x\r\n", 50)+".", want)
	}
}

// A stranger that never stops is answered in flat memory.
func TestEndlessInputKeepsMemoryFlat(t *testing.T) {
	f := start(t, func(c *Config) { c.MaxSize = 1 << 20 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, _ := f.hello(f.trusted)
	c.data()
	block := strings.Repeat("Header: "+strings.Repeat("x", 90)+"\r\n", 1000)
	for range 640 { // 64 MB of header
		c.send(block)
	}
	c.want(".", "552 5.3.4 ")
	c2, _ := f.hello(f.trusted)
	junk := strings.Repeat("x", 1<<16)
	for range 1000 {
		if _, err := io.WriteString(c2.nc, junk); err != nil {
			break // told 500 and closed
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("got %d bytes more heap, want at most 16 MB", grown)
	}
}

// FuzzBody checks the reader against a plain reading of the rules, whole and
// in single bytes.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "a\r\n", "a", "\r", "\n", "a\r\r\n", "a\nb\r\n", "\r\n\r\n", "x\x00", "Received: a\r\nReceived: b\r\n\r\nReceived: c\r\n", "\xff\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		bareText := strings.ReplaceAll(in, "\r\n", "")
		bad := strings.ContainsAny(bareText, "\r\n\x00")
		for _, src := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			b := &Body{src: src, max: 1 << 20, head: []byte("H: x\r\n")}
			got, err := io.ReadAll(b)
			if (err != nil) != bad {
				t.Fatalf("%q: got error %v, want one: %v", in, err, bad)
			}
			if err == nil && string(got) != "H: x\r\n"+in {
				t.Fatalf("got %q, want %q", got, in)
			}
			if err == nil && (b.EightBit == isASCII(in) || b.Size != int64(len(in))) {
				t.Fatalf("%q: got 8-bit %v size %d", in, b.EightBit, b.Size)
			}
		}
	})
}
