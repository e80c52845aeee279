package netup

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newNamespace moves this thread into a network of its own; the thread is
// thrown away with the goroutine.
func newNamespace(t *testing.T) int {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("NOT TESTED: no network namespace may be made here: %v", err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// lan is a DHCP server at the other end of a cable.
type lan struct {
	mu    sync.Mutex
	nak   bool
	asked []string // message type and sender; one without an address counts as broadcast
}

func (l *lan) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("%v from %v", m.MessageType(), peer.(*net.UDPAddr).IP)
	if m.Options.Has(dhcpv4.OptionRequestedIPAddress) {
		line += fmt.Sprintf(" for %v", m.RequestedIPAddress())
	}
	if m.Options.Has(dhcpv4.OptionServerIdentifier) {
		line += fmt.Sprintf(" of %v", m.ServerIdentifier())
	}
	l.asked = append(l.asked, line)
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) != 7 || id[0] != 1 || !bytes.Equal(id[1:], m.ClientHWAddr) {
		l.asked = append(l.asked, fmt.Sprintf("client identifier %x", id))
	}
	if m.MessageType() == dhcpv4.MessageTypeDecline {
		return
	}
	kind := dhcpv4.MessageTypeAck
	switch {
	case m.MessageType() == dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case l.nak:
		kind = dhcpv4.MessageTypeNak
	}
	me := net.IPv4(192, 168, 77, 1)
	reply, err := dhcpv4.NewReplyFromRequest(m,
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(192, 168, 77, 50)), dhcpv4.WithServerIP(me),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(me)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(me),
		dhcpv4.WithDNS(me), dhcpv4.WithOption(dhcpv4.OptNTPServers(me)), dhcpv4.WithLeaseTime(120))
	if err != nil {
		return
	}
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	if !m.ClientIPAddr.IsUnspecified() && kind == dhcpv4.MessageTypeAck {
		to.IP = m.ClientIPAddr
	}
	conn.WriteTo(reply.ToBytes(), to)
}

// await waits for a message of a kind.
func (l *lan) await(t *testing.T, kind string) {
	t.Helper()
	for range 500 {
		l.mu.Lock()
		here := slices.ContainsFunc(l.asked, func(s string) bool { return strings.HasPrefix(s, kind) })
		l.mu.Unlock()
		if here {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the server got no %s", kind)
}

// TestWireAndNetlink speaks real DHCP over a real (virtual) cable between two
// network namespaces of its own.
func TestWireAndNetlink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: DHCP over a virtual cable needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread keeps the namespace
	server := newNamespace(t)
	var cable lan
	k := Netlink{}
	if err := Loopback(); err != nil {
		t.Fatal(err)
	}
	client := newNamespace(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(Loopback())
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "lan0", PeerNamespace: netlink.NsFd(server)}))

	must(unix.Setns(server, unix.CLONE_NEWNET))
	lan0, err := netlink.LinkByName("lan0")
	must(err)
	must(netlink.LinkSetUp(lan0))
	must(k.Configure(lan0.Attrs().Index, IPv4{Address: netip.MustParsePrefix("192.168.77.1/24")}))
	srv, err := server4.NewServer("lan0", nil, cable.handle)
	must(err)
	go srv.Serve()
	defer srv.Close()

	must(unix.Setns(client, unix.CLONE_NEWNET))
	var link Link
	find := func() Link {
		links, err := k.Links()
		must(err)
		l, ok := pick(links, 0)
		if !ok || l.Name != "wan0" {
			t.Fatalf("picked %+v of %+v, want wan0", l, links)
		}
		return l
	}
	must(k.Up(find().Index))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if link = find(); link.Carrier {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cable never came up")
		}
	}

	ctx := context.Background()
	w := Wire{Hostname: "gate"}
	lease, err := w.Acquire(ctx, link, netip.MustParseAddr("192.168.77.50"))
	must(err)
	if lease.Address != netip.MustParsePrefix("192.168.77.50/24") || lease.Lifetime != 2*time.Minute || len(lease.NTP) != 1 {
		t.Errorf("lease: got %+v", lease)
	}
	must(k.Configure(link.Index, IPv4{Address: netip.MustParsePrefix("10.9.9.9/8"), Gateway: netip.MustParseAddr("10.0.0.1")})) // must go
	must(k.Configure(link.Index, lease.ipv4()))
	must(k.Configure(link.Index, lease.ipv4())) // again changes nothing
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	must(err)
	if len(addrs) != 2 { // and 127.0.0.1
		t.Errorf("addresses: got %v, want the lease and loopback", addrs)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	must(err)
	gateways := 0
	for _, rt := range routes {
		if isDefault(rt.Dst) {
			gateways++
			if !rt.Gw.Equal(net.IPv4(192, 168, 77, 1)) {
				t.Errorf("default route: got %v", rt)
			}
		}
	}
	if gateways != 1 {
		t.Errorf("default routes: got %d, want 1: %v", gateways, routes)
	}

	renewed, err := w.Renew(ctx, link, lease)
	must(err)
	if renewed.Address != lease.Address || !renewed.Obtained.After(lease.Obtained) {
		t.Errorf("renewed: got %+v", renewed)
	}
	rebound, err := w.Rebind(ctx, link, renewed)
	must(err)
	if rebound.Address != lease.Address {
		t.Errorf("rebound: got %+v", rebound)
	}
	confirmed, err := w.Confirm(ctx, link, rebound)
	must(err)
	if confirmed.Address != lease.Address {
		t.Errorf("confirmed: got %+v", confirmed)
	}
	must(w.Decline(ctx, link, rebound))
	cable.await(t, "DECLINE")
	cable.mu.Lock()
	cable.nak = true
	got := fmt.Sprint(slices.Compact(cable.asked)) // a question may be asked twice
	cable.mu.Unlock()
	// RFC 2131, Section 4.3.2 has the fields of each kind of REQUEST, Section
	// 4.4.1 those of DECLINE.
	want := "[DISCOVER from 255.255.255.255 for 192.168.77.50" +
		" REQUEST from 255.255.255.255 for 192.168.77.50 of 192.168.77.1" + // SELECTING
		" REQUEST from 192.168.77.50" + // RENEWING
		" REQUEST from 255.255.255.255" + // REBINDING
		" REQUEST from 255.255.255.255 for 192.168.77.50" + // INIT-REBOOT
		" DECLINE from 255.255.255.255 for 192.168.77.50 of 192.168.77.1]"
	if got != want {
		t.Errorf("the server saw %v, want %v", got, want)
	}
	if _, err := w.Confirm(ctx, link, rebound); err != ErrNak {
		t.Errorf("NAK: got %v, want %v", err, ErrNak)
	}
	if _, err := w.Renew(ctx, link, rebound); err != ErrNak {
		t.Errorf("NAK: got %v, want %v", err, ErrNak)
	}

	must(k.Deconfigure(link.Index, netip.Prefix{}))
	if addrs, err = netlink.AddrList(nil, netlink.FAMILY_V4); err != nil || len(addrs) != 1 {
		t.Errorf("addresses at the end: got %v, %v; want loopback only", addrs, err)
	}
	srv.Close()
	quick := Wire{Timeout: 50 * time.Millisecond, Tries: 2}
	if _, err := quick.Acquire(ctx, link, netip.Addr{}); err == nil || err.Error() != "no DHCP server answers on wan0" {
		t.Errorf("no server: got %v", err)
	}
}
