package appliance

import (
	"context"
	"net"
	"testing"
	"time"

	"gatepost/appliance/liveness"
)

// A trouble that one check has found stays while another of the same role is
// content: they take no turns on the page and at the lights.
func TestTroublesTakeNoTurns(t *testing.T) {
	p := newInitProcess(InitOptions{})
	self, door := liveness.Check{Role: RoleRelay, Name: "self-test"}, liveness.Check{Role: RoleRelay, Name: "SMTP greeting"}
	p.selfTestFound(door, "no answer")
	p.selfTestFound(self, "")
	if got := p.vitals.trouble(RoleRelay); got != "no answer" {
		t.Errorf("got %q, want the door's trouble", got)
	}
	p.selfTestFound(door, "")
	if got := p.vitals.trouble(RoleRelay); got != "" {
		t.Errorf("got %q, want none", got)
	}
	if got := p.vitals.trouble(RoleWeb); got != "" {
		t.Errorf("page: got %q, want none", got)
	}
}

// Each greeting of an SMTP server is an answer, also one that refuses us; what
// is no greeting is not.
func TestGreetings(t *testing.T) {
	for greeting, want := range map[string]bool{
		"220 gate.example ESMTP\r\n": true, "421 4.3.2 later\r\n": true, "554 5.7.1 No mail is taken from your address here\r\n": true,
		"HTTP/1.1 400 Bad Request\r\n": false, "\r\n": false, "": false,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte(greeting))
				c.Close()
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := askGreeting(ctx, l.Addr().String()); (err == nil) != want {
			t.Errorf("%q: got %v, want accepted %v", greeting, err, want)
		}
		cancel()
		l.Close()
	}
}
