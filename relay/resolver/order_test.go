package resolver

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// mute takes questions and never answers.
func mute(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 1500); ; asked.Add(1) {
			if _, _, err := c.ReadFrom(b); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), &asked
}

// A dead first name server costs one wait, is passed over for a while and gets
// its place back then.
func TestDeadFirstServerIsPassedOver(t *testing.T) {
	live := world(t)
	dead, asked := mute(t)
	now := time.Now()
	r := live.resolver()
	second := r.cfg.Servers()[0]
	r.cfg.Servers = func() []netip.AddrPort { return []netip.AddrPort{dead, second} }
	r.cfg.Timeout, r.cfg.Now = 200*time.Millisecond, func() time.Time { return now }
	look := func(name string) {
		t.Helper()
		_, err := r.LookupTXT(t.Context(), name)
		if known, ok := r.Working(); !known || !ok {
			t.Errorf("%s: not working: %v", name, err)
		}
	}
	for _, name := range []string{"a.example", "b.example", "c.example", "d.example"} {
		look(name)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the dead server was asked %d times for four names, want once", n)
	}
	now = now.Add(avoidFor)
	look("e.example")
	if n := asked.Load(); n != 2 {
		t.Errorf("the dead server was asked %d times in all, want to be tried again", n)
	}
}

func TestOrder(t *testing.T) {
	a, b, c := netip.MustParseAddrPort("10.0.0.1:53"), netip.MustParseAddrPort("10.0.0.2:53"), netip.MustParseAddrPort("10.0.0.3:53")
	now := time.Now()
	all := []netip.AddrPort{a, b, c}
	var o order
	o.note(a, false, all, now)
	if got := o.of(all, now); got[0] != b || got[1] != c || got[2] != a {
		t.Errorf("a failed: got %v", got)
	}
	o.note(a, true, all, now)
	if got := o.of(all, now); got[0] != a {
		t.Errorf("a answered again: got %v", got)
	}
	o.note(b, false, all, now)
	o.note(a, false, []netip.AddrPort{a}, now)
	if len(o.failed) != 1 {
		t.Errorf("a server that is gone is remembered: %v", o.failed)
	}
}
