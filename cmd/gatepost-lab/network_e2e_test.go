//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay/lab"
)

// wireLog is what the network test watches on the wire.
type wireLog struct {
	mu               sync.Mutex
	renewals, naks   int
	named, solicited bool
}

func (w *wireLog) event(e lab.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := e.(type) {
	case lab.LeaseGiven:
		if e.Renewal {
			w.renewals++
		}
	case lab.LeaseRefused:
		w.naks++
	}
}

// frame looks for the box's words to the group of multicast DNS, and for its
// question for a router.
func (w *wireLog) frame(fromGuest bool, f []byte) {
	if !fromGuest || len(f) < 60 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Equal(f[:6], []byte{0x01, 0x00, 0x5e, 0, 0, 0xfb}) && bytes.Contains(f, []byte("\x0dgatepost-7001\x05local")) {
		w.named = true
	}
	if bytes.Equal(f[:6], []byte{0x33, 0x33, 0, 0, 0, 2}) {
		w.solicited = true
	}
}

// until waits for something on the wire.
func (w *wireLog) until(fits func() bool) bool {
	for end := time.Now().Add(stepLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		w.mu.Lock()
		ok := fits()
		w.mu.Unlock()
		if ok {
			return true
		}
	}
	return false
}

// TestE2ELease is the life of the box's addresses: a short lease is renewed, the
// server takes it back and gives another one, the cable is pulled, an IPv6
// router comes, and the box has its name on the wire all the time.
func TestE2ELease(t *testing.T) {
	world := lab.Office()
	world.LAN.Lease = 20 * time.Second
	var w wireLog
	o := boot(t, setup{World: world, Events: w.event, Frame: w.frame})
	l, ok := o.console("gatepost: network: up " + world.LAN.Guest.String() + "/24")
	if !check(t, ok && strings.HasSuffix(l.Text, "name gatepost-7001.local"), "console: %s", l.Text) {
		t.FailNow()
	}
	check(t, w.until(func() bool { return w.renewals > 0 }), "the lease is renewed")
	check(t, w.until(func() bool { return w.named }), "the name gatepost-7001.local is told on the wire")

	second := netip.MustParseAddr("192.168.77.51")
	o.Lab.SetLease(second, 20*time.Second)
	l, ok = o.console(fmt.Sprintf("gatepost: network: up %v/24", second))
	check(t, ok && w.until(func() bool { return w.naks > 0 }), "after a NAK: %s", l.Text)

	if err := o.Machine.Cable(o.ctx, false); err != nil {
		t.Fatal(err)
	}
	l, ok = o.console("gatepost: network: no-link: no signal on the cable")
	check(t, ok, "the cable is pulled: %s", l.Text)
	if err := o.Machine.Cable(o.ctx, true); err != nil {
		t.Fatal(err)
	}
	check(t, o.counts(fmt.Sprintf("network: up %v/24", second), 2), "the cable is back, and the address too")

	check(t, w.until(func() bool { return w.solicited }), "the box asks for routers of IPv6")
	if err := o.Wire.Advertise(netip.MustParsePrefix("2001:db8:77::/64"), netip.MustParseAddr("2001:db8:77::53")); err != nil {
		t.Fatal(err)
	}
	// 52:54:00:67:70:01 as EUI-64.
	l, ok = o.console("2001:db8:77:0:5054:ff:fe67:7001/64")
	check(t, ok, "both families: %s", l.Text)
	o.off()
}
