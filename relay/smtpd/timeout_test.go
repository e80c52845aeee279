package smtpd

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// after opens a session on the trusted port, in clear or inside STARTTLS.
func (f *fixture) session(secure bool) *client {
	f.t.Helper()
	if secure {
		c, _ := f.secure(f.trusted)
		return c
	}
	c, _ := f.hello(f.trusted)
	return c
}

const forged = "MAIL FROM:<forged@office.example>\r\nRCPT TO:<victim@other.example>\r\nDATA\r\nSubject: forged\r\n\r\nx\r\n.\r\n"

// The first probe: a body that stalls beyond the time-out, and whose rest is a
// forged transaction. Nothing of it may become a command.
func TestTimeoutInBodyEndsTheSession(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, verb := range []string{"DATA", "BDAT", "BDAT LAST"} {
			t.Run(fmt.Sprintf("secure=%v/%s", secure, verb), func(t *testing.T) {
				f := start(t, func(c *Config) { c.Limits.Read = 200 * time.Millisecond })
				c := f.session(secure)
				switch verb {
				case "DATA":
					c.data()
					c.send("Subject: one\r\n\r\nfirst\r\n")
				default:
					c.want("MAIL FROM:<bob@office.example>", "250 ")
					c.want("RCPT TO:<anna@good.example>", "250 ")
					_, last, _ := strings.Cut(verb, " ")
					c.send("BDAT 5000 " + last + "\r\nSubject: one\r\n\r\nfirst\r\n")
				}
				time.Sleep(500 * time.Millisecond)
				// The server has given up; what is sent now goes nowhere.
				_, _ = c.nc.Write([]byte("second\r\n.\r\n" + forged + forged))
				for range 10 {
					r := c.reply()
					if strings.HasSuffix(r, "EOF") {
						break
					}
					if r[0] != '4' && r[0] != '5' {
						t.Errorf("got %q after the time-out, want refusals only", r)
					}
				}
				if err := f.stop(); err != nil {
					t.Errorf("Run: %v", err)
				}
				if got := f.all(); len(got) > 0 {
					t.Errorf("got %d messages, the first from %q; want none", len(got), got[0].env.From)
				}
			})
		}
	}
}

// The time limit is one for each piece, not for the whole body.
func TestSlowSteadyBodyIsAccepted(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			f := start(t, func(c *Config) { c.Limits.Read = 400 * time.Millisecond })
			c := f.session(secure)
			c.data()
			for i := range 10 {
				c.send(fmt.Sprintf("line %d\r\n", i))
				time.Sleep(100 * time.Millisecond)
			}
			c.want(".", "250 2.0.0 Queued as id1")
		})
	}
}

// A connection that ends inside of the last BDAT chunk leaves half a message,
// which go-smtp takes for a whole one.
func TestTruncatedChunkIsNotAMessage(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			f := start(t, nil)
			c := f.session(secure)
			c.want("MAIL FROM:<bob@office.example>", "250 ")
			c.want("RCPT TO:<anna@good.example>", "250 ")
			c.send("BDAT 5000 LAST\r\nSubject: half\r\n\r\npay 100\r\n")
			if err := c.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if r := c.reply(); strings.HasPrefix(r, "2") {
				t.Errorf("got %q for half a message", r)
			}
			if err := f.stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			if got := f.all(); len(got) > 0 {
				t.Errorf("got a message of %q", got[0].text)
			}
		})
	}
}

// A chunk ends where its size says, and the next command begins there.
func TestPipelinedBehindLastChunk(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			f := start(t, nil)
			c := f.session(secure)
			text := "Subject: whole\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 300) // more than one TLS record
			c.send(fmt.Sprintf("MAIL FROM:<bob@office.example>\r\nRCPT TO:<anna@good.example>\r\nBDAT %d LAST\r\n%s", len(text), text) +
				"MAIL FROM:<eve@office.example>\r\nRCPT TO:<anna@good.example>\r\nBDAT 3\r\na\r\nBDAT 2\r\n\r\nBDAT 0 LAST\r\nQUIT\r\n")
			for _, want := range []string{"250 ", "250 ", "250 2.0.0 Queued", "250 ", "250 ", "250 2.0.0 Chunk", "250 2.0.0 Chunk", "250 2.0.0 Queued", "221 ", "EOF"} {
				c.want("", want)
			}
			got := f.all()
			if len(got) != 2 {
				t.Fatalf("got %d messages, want 2", len(got))
			}
			for i, want := range []string{text, "a\r\n\r\n"} {
				if _, rest := got[i].split(); rest != want {
					t.Errorf("got %q, want %q", rest, want)
				}
			}
		})
	}
}

func TestIdleSessionIsTold(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			f := start(t, func(c *Config) { c.Limits.Read = 200 * time.Millisecond })
			c := f.session(secure)
			c.want("", "421 4.4.2 ")
			c.gone()
		})
	}
}

func TestSessionHasAnEnd(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Session = 300 * time.Millisecond })
	c := f.session(false)
	for range 20 {
		c.send("NOOP\r\n")
		if r := c.reply(); !strings.HasPrefix(r, "250") {
			if !strings.HasPrefix(r, "421 ") {
				t.Errorf("got %q, want 421", r)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the session has no end")
}
