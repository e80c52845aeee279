package smtpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func listenTest(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestGracefulStop(t *testing.T) {
	f := start(t, nil)
	idle, _ := f.hello(f.trusted)
	idleTLS, _ := f.secure(f.trusted)
	between, _ := f.hello(f.trusted)
	between.want("MAIL FROM:<bob@office.example>", "250 ")
	busy, _ := f.hello(f.trusted)
	busy.data()
	busy.send("Subject: in flight\r\n\r\nfirst\r\n")
	chunks, _ := f.secure(f.trusted)
	chunks.want("MAIL FROM:<bob@office.example>", "250 ")
	chunks.want("RCPT TO:<anna@good.example>", "250 ")
	chunks.send("BDAT 7\r\nfirst\r\n")
	chunks.want("", "250 ")

	f.cancel()
	idle.want("", "421 4.3.2 ")
	idle.gone()
	idleTLS.want("", "421 ")
	between.want("", "421 4.3.2 ")
	if nc, err := net.Dial("tcp", f.trusted); err == nil {
		nc.Close()
		t.Error("got a new connection while stopping")
	}
	busy.want("second\r\n.", "250 2.0.0 Queued as id1")
	busy.want("", "421 4.3.2 ")
	busy.gone()
	chunks.send("BDAT 8 LAST\r\nsecond\r\n")
	chunks.want("", "250 2.0.0 Queued as id1")
	if err := f.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	got := f.all()
	if len(got) != 2 {
		t.Fatalf("got %d messages, want the two in flight", len(got))
	}
}

// A restart: the new server takes the port over while a message still comes in
// at the old one.
func TestGracefulRestart(t *testing.T) {
	old := start(t, nil)
	c, _ := old.hello(old.trusted)
	c.data()
	c.send("Subject: in flight\r\n\r\nfirst\r\n")
	old.cancel()
	var l net.Listener
	waitFor(t, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", old.trusted)
		return err == nil
	})
	next := start(t, func(c *Config) { c.Listeners = []Listener{{Listener: l}} })
	n, _ := next.hello(l.Addr().String())
	n.data()
	n.want("Subject: new\r\n\r\n.", "250 ")
	c.want("second\r\n.", "250 2.0.0 Queued as id1")
	c.want("", "421 4.3.2 ")
	if err := old.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if a, b := old.all(), next.all(); len(a) != 1 || len(b) != 1 {
		t.Errorf("got %d messages at the old server and %d at the new, want one each", len(a), len(b))
	}
}

// A sender that does not come to an end is cut off; Accept's context ends.
func TestStopHasABound(t *testing.T) {
	ended := make(chan error, 1)
	f := start(t, func(c *Config) {
		c.Limits.Stop = 200 * time.Millisecond
		c.Accept = func(ctx context.Context, _ Envelope, r io.Reader) (string, error) {
			_, err := io.Copy(io.Discard, r)
			ended <- ctx.Err()
			return "", err
		}
	})
	c, _ := f.hello(f.trusted)
	c.data()
	c.send("first\r\n")
	began := time.Now()
	if err := f.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("got a stop of %v, want about 200 ms", took)
	}
	if err := <-ended; err == nil {
		t.Error("the context of Accept did not end")
	}
	if r := c.reply(); strings.HasPrefix(r, "2") {
		t.Errorf("got %q for a message that was cut off", r)
	}
}

func TestListenerFailure(t *testing.T) {
	l := listenTest(t)
	other := listenTest(t)
	s := New(Config{Listeners: []Listener{{Listener: l}, {Listener: other}}})
	l.Close()
	if err := s.Run(context.Background()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want the listener that failed", err)
	}
	if nc, err := net.Dial("tcp", other.Addr().String()); err == nil {
		nc.Close()
		t.Error("the other listener is still open")
	}
}

// A pipelined group is answered in one packet.
func TestRepliesAreCollected(t *testing.T) {
	f := start(t, nil)
	c, _ := f.hello(f.trusted)
	c.send("MAIL FROM:<bob@office.example>\r\nRCPT TO:<a@good.example>\r\nRCPT TO:<b@good.example>\r\nDATA\r\n")
	buf := make([]byte, 4096)
	n, err := c.nc.Read(buf)
	if err != nil || strings.Count(string(buf[:n]), "\r\n") != 4 {
		t.Errorf("got %q, %v in one read, want four replies", buf[:n], err)
	}
}
