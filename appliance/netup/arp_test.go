package netup

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"gatepost/appliance/cable"
)

// Two real kernels on a cable: who has an address, and who takes it.
func TestARPOverACable(t *testing.T) {
	if !cable.Alone(t) {
		return
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	o := cable.Lay(t, "192.168.77.1/24")
	k := Netlink{}
	links, err := k.Links()
	if err != nil {
		t.Fatal(err)
	}
	us, _ := pick(links, 0)
	if err := k.Up(us.Index); err != nil {
		t.Fatal(err)
	}
	var they Link
	o.There(func() error {
		l, err := netlink.LinkByName("lan0")
		if err == nil {
			they = Link{Name: "lan0", Index: l.Attrs().Index, MAC: l.Attrs().HardwareAddr}
		}
		return err
	})
	addr := netip.MustParseAddr("192.168.77.1")
	var mac net.HardwareAddr
	for range 50 { // the cable needs a moment
		if mac, err = (ARP{}).Ask(ctx, us, addr); err != nil || mac != nil {
			break
		}
	}
	if err != nil || mac.String() != they.MAC.String() {
		t.Errorf("who has the router's address: got %v, %v; want %v", mac, err, they.MAC)
	}
	if mac, err := (ARP{}).Ask(t.Context(), us, netip.MustParseAddr("192.168.77.9")); err != nil || mac != nil {
		t.Errorf("who has a free address: got %v, %v; want nobody", mac, err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (ARP{}).Ask(done, us, addr); err == nil {
		t.Error("asked after the end: got no error")
	}

	// RFC 5227, Section 2.4 (b): told once, and then the other insists.
	ours := netip.MustParseAddr("192.168.77.50")
	guard := func(defend bool) chan net.HardwareAddr {
		lost := make(chan net.HardwareAddr, 1)
		go func() {
			by, err := (ARP{}).Guard(ctx, us, ours, defend)
			if err != nil && ctx.Err() == nil {
				t.Errorf("guard: %v", err)
			}
			lost <- by
		}()
		return lost
	}
	claim := func() net.HardwareAddr {
		var answer net.HardwareAddr
		o.There(func() error {
			c, err := openARP(ctx, they, ours)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.send(arpMessage{they.MAC, ours, ours}); err != nil {
				return err
			}
			answer, err = c.claim(time.Now().Add(time.Second))
			return err
		})
		return answer
	}
	for _, defend := range []bool{true, false} {
		lost, answered := guard(defend), 0
		for by := net.HardwareAddr(nil); by == nil; {
			if mac := claim(); mac != nil {
				answered++
				if mac.String() != us.MAC.String() {
					t.Errorf("the answer came from %v, want %v", mac, us.MAC)
				}
			}
			select {
			case by = <-lost:
				if by.String() != they.MAC.String() {
					t.Errorf("lost to %v, want %v", by, they.MAC)
				}
			case <-ctx.Done():
				t.Fatal("never lost")
			default:
			}
		}
		if defend && answered == 0 {
			t.Error("the address was given up without a word")
		}
	}
}

func TestSysctls(t *testing.T) {
	if !cable.Alone(t) {
		return
	}
	cable.Lay(t)
	k := Netlink{}
	links, _ := k.Links()
	us, _ := pick(links, 0)
	if err := k.Up(us.Index); err != nil {
		t.Fatal(err)
	}
	all := func() []string {
		l, err := netlink.LinkByIndex(us.Index)
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				out = append(out, a.IPNet.String())
			}
		}
		return out
	}
	fixed := IPv6{Address: netip.MustParsePrefix("2001:db8:77::30/64"), Gateway: netip.MustParseAddr("fe80::1")}
	for _, tc := range []struct {
		name string
		want IPv6
		has  []string
	}{
		{"fixed", fixed, []string{"2001:db8:77::30/64"}},
		{"another one", IPv6{Address: netip.MustParsePrefix("2001:db8:77::31/64")}, []string{"2001:db8:77::31/64"}},
		{"auto", IPv6{}, nil},
		{"off", IPv6{Off: true}, nil},
		{"on again", fixed, []string{"2001:db8:77::30/64"}},
	} {
		if err := k.Configure6(us, tc.want); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		equal(t, tc.name, all(), tc.has)
	}
	if err := setSysctls("/proc/sys/net", "../all", IPv6{}); err == nil {
		t.Error("a name with a path in it: got no error")
	}
}
