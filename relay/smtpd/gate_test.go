package smtpd

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/relay/event"
)

// from dials from another loopback address.
func (f *fixture) from(ip, addr string) *client {
	f.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
	c := &client{t: f.t, nc: nc}
	c.br = newReader(nc)
	return c
}

func TestStrangersAreTurnedAway(t *testing.T) {
	var mu sync.Mutex
	var refused []event.Refused
	f := start(t, func(c *Config) {
		c.Events = func(e event.Event) {
			if r, ok := e.(event.Refused); ok {
				mu.Lock()
				refused = append(refused, r)
				mu.Unlock()
			}
		}
	})
	c := f.from("127.0.0.9", f.trusted)
	c.want("", "554 5.7.1 ")
	c.want("EHLO client.example", "503 ")
	c.want("MAIL FROM:<bob@office.example>", "503 ")
	c.want("quit", "221 ")
	c.gone()
	mu.Lock()
	if len(refused) != 1 || refused[0].Client != "127.0.0.9" || refused[0].Code != 554 {
		t.Errorf("got events %+v, want one 554", refused)
	}
	mu.Unlock()

	// A stranger that talks without end is not listened to without end.
	c = f.from("127.0.0.9", f.trusted)
	c.want("", "554 ")
	_, _ = c.nc.Write([]byte(strings.Repeat("MAIL FROM:<x@y.example>\r\n", 1000)))
	for !strings.HasSuffix(c.reply(), "EOF") {
	}

	// On the submission port it may come, but only log in.
	c = f.from("127.0.0.9", f.submission)
	c.want("", "220 ")
	c.want("EHLO client.example", "250-")
	c.want("MAIL FROM:<bob@office.example>", "530 5.7.0 ")
	if got := f.all(); len(got) > 0 {
		t.Errorf("got a message from a stranger: %+v", got[0].env)
	}
}

// The second wall: without the gate a stranger gets no recipient through.
// A box without usable settings trusts nobody, the office included: a 554 would
// make the office's server return its mail.
func TestStrangersComeBackWhileClosed(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Ready = func() error { return Reply{421, [3]int{4, 3, 2}, "No settings yet"} }
	})
	c := f.from("127.0.0.9", f.trusted)
	c.want("", "421 4.3.2 No settings yet")
	c.gone()
}

func TestNoRelayForStrangers(t *testing.T) {
	s := New(Config{TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}})
	for _, tt := range []struct {
		peer string
		role Role
		user string
		want bool
	}{
		{"192.168.77.10", Trusted, "", true},
		{"192.0.2.66", Trusted, "", false},
		{"192.0.2.66", Trusted, "printer", false},
		{"192.168.77.10", Submission, "", false},
		{"192.0.2.66", Submission, "printer", true},
		{"::1", Trusted, "", false},
		{"192.0.2.66", Internet, "", false},
		{"192.168.77.10", Internet, "", false},
		{"192.0.2.66", Role(9), "printer", false},
	} {
		d := &dialog{conn: &conn{srv: s, peer: netip.MustParseAddr(tt.peer), role: tt.role}}
		if tt.role == Submission {
			d.tls = &tls.Conn{}
		}
		ses := &session{srv: s, d: d, user: tt.user, tx: &transaction{}}
		if got := ses.mayReach(false); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
		err := ses.Rcpt("a@other.example", &smtp.RcptOptions{})
		if tt.want && err != nil || !tt.want && (err == nil || !strings.Contains(err.Error(), "550: Relaying denied")) {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}

func TestAddrOf(t *testing.T) {
	for in, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 1}:                  "192.0.2.1",
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}:             "fe80::1",
		&net.UnixAddr{Name: "/x"}:                                                   "invalid IP",
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:25")):        "2001:db8::1",
		net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.2]:2525")): "192.0.2.2",
	} {
		if got := addrOf(in); got.String() != want {
			t.Errorf("%v: got %v, want %s", in, got, want)
		}
	}
	if addrOf(nil).IsValid() {
		t.Error("got an address from nil")
	}
}

func TestConnectionCaps(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Limits.ConnsPerAddr, c.Limits.Conns = 2, 3
		c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	a, _ := f.hello(f.trusted)
	b, _ := f.hello(f.trusted)
	c := f.connect(f.trusted)
	c.want("", "421 4.7.0 ")
	c.gone()
	other := f.from("127.0.0.2", f.trusted)
	other.want("", "220 ")
	last := f.from("127.0.0.3", f.trusted)
	last.want("", "421 4.3.2 ")
	a.want("QUIT", "221 ")
	a.gone()
	waitFor(t, func() bool {
		c := f.connect(f.trusted)
		defer c.nc.Close()
		return strings.HasPrefix(c.reply(), "220")
	})
	b.want("NOOP", "250 ")
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 200 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("waited in vain")
}

// Strangers cannot take the last connections from the office, nor those on
// port 25 the last ones from people who want to log in.
func TestRoomForTheOffice(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.Conns, c.Local = 8, ownDomains("") })
	for range 4 {
		f.from("127.0.0.9", f.trusted).want("", "220 ")
	}
	f.from("127.0.0.10", f.trusted).want("", "421 4.3.2 ")
	for range 2 {
		f.from("127.0.0.11", f.submission).want("", "220 ")
	}
	f.from("127.0.0.12", f.submission).want("", "421 4.3.2 ")
	for range 2 {
		f.hello(f.trusted)
	}
	f.connect(f.trusted).want("", "421 4.3.2 ")
}

func TestRates(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.RatePerMinute = 3; c.Limits.MessagesPerMinute = 2 })
	c, _ := f.hello(f.trusted)
	for range 2 {
		c.want("MAIL FROM:<bob@office.example>", "250 ")
		c.want("RSET", "250 ")
	}
	c.want("MAIL FROM:<bob@office.example>", "451 4.7.1 ")
	f.hello(f.trusted)
	f.hello(f.trusted)
	c = f.connect(f.trusted)
	c.want("", "421 4.7.0 ")
	c.gone()
}

func TestLimiterForgets(t *testing.T) {
	l := newLimiter(Limits{Conns: 1 << 30, ConnsPerAddr: 1 << 30, RatePerMinute: 60})
	now := time.Now()
	held := netip.MustParseAddr("192.0.2.1")
	if _, ok := l.connect(held, office, now); !ok {
		t.Fatal("the first connection was refused")
	}
	a := netip.MustParseAddr("2001:db8::1").As16()
	for i := range 3 * maxSources {
		a[4], a[5], a[6] = byte(i>>16), byte(i>>8), byte(i)
		addr := netip.AddrFrom16(a)
		if _, ok := l.connect(addr, people, now); !ok {
			t.Fatalf("source %d was refused", i)
		}
		l.disconnect(addr, people)
		if len(l.sources) > maxSources+2 {
			t.Fatalf("got %d sources, want at most %d", len(l.sources), maxSources+2)
		}
	}
	if s := l.sources[sourceOf(held)]; s == nil || s.open != 1 {
		t.Error("a source with an open connection was forgotten")
	}
	// One /64 is one source.
	one, two := netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::ffff")
	if sourceOf(one) != sourceOf(two) || sourceOf(one) == sourceOf(netip.MustParseAddr("2001:db8:2::1")) {
		t.Error("IPv6 sources are not /64 networks")
	}
}

func TestEarlyTalkers(t *testing.T) {
	f := start(t, func(c *Config) { c.Limits.GreetDelay = 300 * time.Millisecond })
	c := f.connect(f.trusted)
	c.send("EHLO client.example\r\n" + forged)
	c.want("", "554 5.5.1 ")
	c.gone()
	c = f.connect(f.trusted)
	c.want("", "220 ")
	c.want("NOOP", "250 ")
	if got := f.all(); len(got) > 0 {
		t.Error("got a message from an early talker")
	}
}

// Without a pause only what is there at once counts, and looking takes nothing
// of it away.
func TestSpokeFirst(t *testing.T) {
	l := listenTest(t)
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := &conn{nc: in}
	if c.spokeFirst(0) {
		t.Error("got words from a silent client")
	}
	if _, err := nc.Write([]byte("EHLO")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return c.spokeFirst(0) })
	b := make([]byte, 8)
	if n, err := in.Read(b); string(b[:n]) != "EHLO" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}
