package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// dialogue is an SMTP session said by hand.
type dialogue struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func newDialogue(t *testing.T, c net.Conn) *dialogue { return &dialogue{t, c, bufio.NewReader(c)} }

// say sends a line ("" sends nothing) and returns the reply, which must begin
// with want.
func (d *dialogue) say(line, want string) string {
	d.t.Helper()
	if line != "" {
		if _, err := io.WriteString(d.c, line+"\r\n"); err != nil {
			d.t.Fatalf("%.60q: %v", line, err)
		}
	}
	var reply strings.Builder
	for {
		l, err := d.r.ReadString('\n')
		if err != nil {
			d.t.Fatalf("after %.60q: %v", line, err)
		}
		reply.WriteString(l)
		if len(l) < 4 || l[3] != '-' {
			break
		}
	}
	if !strings.HasPrefix(reply.String(), want) {
		d.t.Fatalf("%.60q: got %q, want %s", line, reply.String(), want)
	}
	return reply.String()
}
