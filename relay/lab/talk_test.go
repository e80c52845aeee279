package lab

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk speaks a line protocol by hand.
type talk struct {
	t *testing.T
	c net.Conn
}

func newTalk(t *testing.T, c net.Conn) *talk { return &talk{t, c} }

// want reads one reply, which must begin with prefix, and returns it.
func (k *talk) want(prefix string) string {
	k.t.Helper()
	_ = k.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var all strings.Builder
	for {
		line, err := k.line()
		if err != nil {
			k.t.Fatalf("got %q and %v, want %q", all.String(), err, prefix)
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, prefix) {
			k.t.Fatalf("got reply %q, want %q", line, prefix)
		}
		return all.String()
	}
}

// line reads byte by byte, so that nothing behind it is lost to TLS.
func (k *talk) line() (string, error) {
	var b strings.Builder
	var one [1]byte
	for {
		if _, err := io.ReadFull(k.c, one[:]); err != nil {
			return b.String(), err
		}
		b.WriteByte(one[0])
		if one[0] == '\n' {
			return b.String(), nil
		}
	}
}

func (k *talk) say(line, want string) string {
	k.t.Helper()
	if _, err := io.WriteString(k.c, line+"\r\n"); err != nil {
		k.t.Fatal(err)
	}
	return k.want(want)
}
