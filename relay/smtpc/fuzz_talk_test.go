package smtpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// scriptConn stands for a server that says the next of its lines after each
// write of ours, whatever we wrote.
type scriptConn struct {
	net.Conn // nil: what is not overridden must not be called
	says     []string
	now      *strings.Reader
	heard    bytes.Buffer
}

func newScript(s string) *scriptConn {
	return &scriptConn{says: strings.Split(s, "\x00"), now: strings.NewReader("")}
}

func (c *scriptConn) Read(p []byte) (int, error) { return c.now.Read(p) }

func (c *scriptConn) Write(p []byte) (int, error) {
	c.heard.Write(p)
	if len(c.says) > 0 {
		rest, _ := io.ReadAll(c.now)
		c.now = strings.NewReader(string(rest) + c.says[0])
		c.says = c.says[1:]
	}
	return len(p), nil
}

func (c *scriptConn) Close() error                    { return nil }
func (c *scriptConn) SetDeadline(time.Time) error     { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error { return nil }

// conn is a connection to the script that is past its greeting.
func (c *scriptConn) conn(ext Extensions, secure bool) *Conn {
	conn := &Conn{host: "mx", hello: "gate", t: Timeouts{}.withDefaults(), wire: c, ext: ext}
	conn.use(c)
	conn.br = bufio.NewReader(c)
	if secure {
		conn.state = &tls.ConnectionState{}
	}
	return conn
}

// FuzzSend makes two transactions with a server that says anything. Nobody has
// the message unless its end was sent and answered with 2yz; it is sent only
// after 354; and the results are complete.
func FuzzSend(f *testing.F) {
	for _, s := range []string{
		"250 a\r\n250 b\r\n250 c\r\n354 d\r\n\x00250 taken\r\n\x00250 a\r\n550 b\r\n550 c\r\n354 d\r\n\x00554 none\r\n",
		"550 a\r\n503 b\r\n503 c\r\n503 d\r\n\x00421 bye\r\n",
		"250 a\r\n552 b\r\n421 c\r\n",
		"250-a\r\n250 a\r\n250 b\r\n250 c\r\n451 d\r\n\x00250 reset\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n\x00550 no\r\n",
		"250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n", "250 a\r\n\x00250 b\r\n\x00550 c\r\n\x00354 d\r\n\x00250 ok\r\n", "",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in string, pipelining bool) {
		script := newScript(in)
		c := script.conn(Extensions{Pipelining: pipelining}, false)
		for range 2 {
			script.heard.Reset()
			results, err := c.Send(context.Background(), Transaction{From: "b@office.example", Rcpts: rcpts("a@x.example", "b@x.example")}, strings.NewReader("canary\r\n"))
			heard := script.heard.String()
			whole := strings.HasSuffix(heard, "canary\r\n.\r\n")
			if strings.Contains(heard, "canary") && !strings.Contains(in, "3") {
				t.Errorf("got the message sent without a 354: %q", heard)
			}
			for i, r := range results {
				if r.Err == nil && (r.Code/100 != 2 || !whole) || r.Err != nil && r.Code/100 == 2 {
					t.Errorf("recipient %d: got %+v after %q", i, r, heard)
				}
			}
			if err != nil && c.usable() {
				t.Errorf("got %v and a connection that goes on", err)
			}
			if len(results) != 2 || c.Sent() > 2 {
				t.Errorf("got %d results, %d transactions", len(results), c.Sent())
			}
		}
	})
}

// FuzzLogin logs in at a server that says anything. The login is good only
// after 2yz to the last step; the password is in no error; the talk ends.
func FuzzLogin(f *testing.F) {
	for _, s := range []string{
		"235 ok\r\n", "334 \r\n\x00235 ok\r\n", "334 VXNlcm5hbWU6\r\n\x00334 UGFzc3dvcmQ6\r\n\x00235 ok\r\n", "535 5.7.8 correct horse\r\n",
		"334\r\n\x00334\r\n\x00334\r\n\x00334\r\n", "421 bye\r\n", "235 ok\r\n235 ok\r\n", "334 " + strings.Repeat("A", 3000), "334-a\r\n334 \xff\r\n\x00501 no\r\n",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in string, plain bool) {
		script := newScript(in)
		ext := Extensions{Auth: []string{"LOGIN"}}
		steps := 3
		if plain {
			ext.Auth, steps = []string{"PLAIN"}, 1
		}
		c := script.conn(ext, true)
		err := c.Login(context.Background(), testUser, testPassword)
		lines := strings.Count(script.heard.String(), "\r\n")
		if lines > steps+1 || err == nil && (lines != steps || !strings.Contains(in, "2")) {
			t.Errorf("got %v after %q", err, script.heard.String())
		}
		enc := base64.StdEncoding.EncodeToString([]byte(testPassword))
		if s := fmt.Sprintf("%v %#v", err, err); strings.Contains(s, testPassword) || strings.Contains(s, enc) {
			t.Errorf("got the password in %q", s)
		}
	})
}

// FuzzInspect compares with a plain reading: what it says about the whole
// message is exact, and a byte above 127 in the first header is always seen.
func FuzzInspect(f *testing.F) {
	for _, s := range []string{
		"Subject: hi\r\n\r\nhi\r\n", "Subject: \xfc\r\n\r\n", "\r\n\xfc", "a: b\r\n\r\n--\r\nx: \xfc\r\n", "Content-Type: message/rfc822\r\n\r\nx: \xfc\r\n", "--\n\n\xfc",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Inspect(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(in, "\r\n\r\n")
		if got.EightBit != !ascii([]byte(in)) || got.HeaderUTF8 && !got.EightBit {
			t.Errorf("%q: got %+v", in, got)
		}
		// A blank line may end the header earlier where its lines end in LF alone,
		// or where it is empty; such messages are not let in.
		bare := strings.ReplaceAll(in, "\r\n", "")
		if !strings.ContainsAny(bare, "\r\n") && !strings.HasPrefix(in, "\r\n") && !ascii([]byte(header)) && !got.HeaderUTF8 {
			t.Errorf("%q: got %+v, want the header seen", in, got)
		}
	})
}
