package smtpd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// dribble sends text a byte at a time until the server has had enough, and
// returns what it said.
func (c *client) dribble(text string, pause time.Duration) (said string, took time.Duration) {
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		for {
			r := c.reply()
			said += r
			if strings.HasSuffix(r, "EOF") {
				took = time.Since(began)
				return
			}
		}
	}()
	for i := range len(text) {
		select {
		case <-done:
			return said, took
		case <-time.After(pause):
			_, _ = c.nc.Write([]byte{text[i]})
		}
	}
	<-done
	return said, took
}

// A client that sends a byte now and then holds its place no longer than one
// that sends nothing.
func TestDribbles(t *testing.T) {
	begin := "MAIL FROM:<bob@office.example>\r\nRCPT TO:<anna@good.example>\r\n"
	for _, secure := range []bool{false, true} {
		for _, tt := range []struct{ name, first, text string }{
			{"command", "", strings.Repeat("x", 100)},
			{"DATA", begin + "DATA\r\n", strings.Repeat("x\r\n", 100)},
			{"BDAT", begin + "BDAT 4000 LAST\r\n", strings.Repeat("x\r\n", 100)},
			{"small chunks", begin, strings.Repeat("BDAT 1\r\nx", 100)},
			{"refused chunk", "BDAT 4000 LAST\r\n", strings.Repeat("x\r\n", 100)},
		} {
			t.Run(fmt.Sprintf("secure=%v/%s", secure, tt.name), func(t *testing.T) {
				t.Parallel()
				f := start(t, func(c *Config) { c.Limits.Read, c.Limits.BodyRate = 300*time.Millisecond, 1000 })
				c := f.session(secure)
				c.send(tt.first)
				said, took := c.dribble(tt.text, 20*time.Millisecond)
				if !strings.Contains(said, "421 4.4.2 ") || took > 1500*time.Millisecond {
					t.Errorf("got %q after %v, want 421 after 300 ms", said, took)
				}
				if got := f.all(); len(got) > 0 {
					t.Error("got a message")
				}
			})
		}
	}
}

// A handshake has one limit of time, however many pieces it comes in.
func TestDribbledHandshake(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Read = 300 * time.Millisecond })
	for _, addr := range []string{f.trusted, f.implicit} {
		c := f.connect(addr)
		if addr == f.trusted {
			c.want("", "220 ")
			c.want("STARTTLS", "220 ")
		}
		if _, took := c.dribble("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("x", 100), 20*time.Millisecond); took > 1500*time.Millisecond {
			t.Errorf("got the end after %v, want 300 ms", took)
		}
	}
}

// Many slow strangers cost others a moment, and not the service.
func TestDribblersCannotExhaustThePool(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Local = ownDomains("")
		c.Limits.Conns, c.Limits.BodyRate = 16, 1 // 8 for strangers
		c.Limits.Read = time.Minute
		c.Limits.Strangers = StrangerLimits{Squeeze: 200 * time.Millisecond}
	})
	for i := range 8 {
		c := f.from(fmt.Sprintf("127.0.0.%d", 10+i), f.trusted)
		switch i % 4 {
		case 1: // waits after EHLO
			c.want("", "220 ")
			c.want("EHLO slow.example", "250-")
		case 2, 3: // dribbles a message
			c.want("", "220 ")
			c.want("EHLO slow.example", "250-")
			c.want("MAIL FROM:<a@slow.example>", "250 ")
			c.want("RCPT TO:<anna@office.example>", "250 ")
			c.want("DATA", "354 ")
			go c.dribble(strings.Repeat("x\r\n", 200), 30*time.Millisecond)
		default: // says nothing
		}
	}
	f.from("127.0.0.30", f.trusted).want("", "421 4.3.2 ")
	// The office does not notice.
	c, _ := f.hello(f.trusted)
	c.data()
	c.want(".", "250 ")
	// And soon there is room for a stranger with mail.
	waitFor(t, func() bool {
		c := f.from("127.0.0.31", f.trusted)
		defer c.nc.Close()
		return strings.HasPrefix(c.reply(), "220")
	})
	c = f.stranger()
	c.want("MAIL FROM:<a@fast.example>", "250 ")
	c.want("RCPT TO:<anna@office.example>", "250 ")
	c.want("DATA", "354 ")
	c.want("Subject: x\r\n\r\nx\r\n.", "250 ")
}

func TestStrangersPerNetwork(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Local = ownDomains("")
		c.Limits.Strangers = StrangerLimits{ConnsPerAddr: 2, ConnsPerNet: 3}
	})
	f.from("127.0.0.9", f.trusted).want("", "220 ")
	f.from("127.0.0.9", f.trusted).want("", "220 ")
	f.from("127.0.0.9", f.trusted).want("", "421 4.7.0 Too many connections from your address")
	f.from("127.0.0.10", f.trusted).want("", "220 ")
	f.from("127.0.0.11", f.trusted).want("", "421 4.7.0 Too many connections from your network")
	f.from("127.0.1.9", f.trusted).want("", "220 ")
	for range 5 {
		f.hello(f.trusted) // the office's own address is in the same /24
	}

	now := time.Now()
	for _, tt := range []struct {
		name   string
		limits StrangerLimits
		addrs  []string
		from   class
		want   string // y for each connection that is let in
	}{
		{"IPv4 address", StrangerLimits{RatePerMinute: 2}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}, internet, "yyny"},
		{"IPv4 network", StrangerLimits{RatePerNet: 2}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1"}, internet, "yyny"},
		{"IPv6 address", StrangerLimits{RatePerMinute: 2}, []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"}, internet, "yyny"},
		{"IPv6 network", StrangerLimits{RatePerNet: 2}, []string{"2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:1::1"}, internet, "yyny"},
		{"open, address", StrangerLimits{ConnsPerAddr: 1}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.2"}, internet, "yny"},
		{"open, network", StrangerLimits{ConnsPerNet: 1}, []string{"192.0.2.1", "192.0.2.2", "192.0.3.2"}, internet, "yny"},
		{"trusted", StrangerLimits{ConnsPerNet: 1, ConnsPerAddr: 1, RatePerMinute: 1, RatePerNet: 1}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, office, "yyy"},
		{"none", StrangerLimits{ConnsPerNet: -1, ConnsPerAddr: -1, RatePerMinute: -1, RatePerNet: -1}, make([]string, 100), people, strings.Repeat("y", 100)},
	} {
		l := newLimiter(Limits{Strangers: tt.limits}.withDefaults())
		got := ""
		for _, a := range tt.addrs {
			if a == "" {
				a = "192.0.2.1"
			}
			if _, ok := l.connect(netip.MustParseAddr(a), tt.from, now); ok {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMessagesOfStrangers(t *testing.T) {
	now := time.Now()
	l := newLimiter(Limits{Strangers: StrangerLimits{MessagesPerMinute: 2, MessagesPerNet: 3}}.withDefaults())
	got := ""
	for _, a := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.3.1"} {
		if l.message(netip.MustParseAddr(a), true, now) == nil {
			got += "y"
		} else {
			got += "n"
		}
		if err := l.message(netip.MustParseAddr(a), false, now); err != nil {
			t.Errorf("trusted: got %v", err)
		}
	}
	if got != "yynyy" {
		t.Errorf("got %s, want yynyy", got)
	}
	if l.message(netip.MustParseAddr("192.0.2.3"), true, now) == nil {
		t.Error("got a fourth message from the network")
	}
	if l.message(netip.MustParseAddr("192.0.2.1"), true, now.Add(time.Minute)) != nil {
		t.Error("got no message a minute later")
	}
}
