package appliance

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"gatepost/appliance/control"
	"gatepost/appliance/netup"
)

func TestLocalNameFollowsTheNetwork(t *testing.T) {
	p := &initProcess{}
	p.state.init()
	p.local.init()
	up := netup.State{
		Kind: netup.Up, Interface: "nothere0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x3c, 0x1a, 0x2b},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24")},
	}
	again := func() bool {
		select {
		case <-p.local.again:
			return true
		default:
			return false
		}
	}
	p.followNetwork(up)
	if got := p.local.get(); got != "gatepost-1a2b.local" || !again() {
		t.Errorf("up: got %q; the name must be there at once", got)
	}
	p.followNetwork(up)
	if again() {
		t.Error("nothing has changed, but the name is looked for again")
	}
	first := p.local.responder
	p.followNetwork(netup.State{Kind: netup.NoLink})
	up.Addresses[0] = netip.MustParsePrefix("192.168.77.51/24")
	p.followNetwork(up)
	if !again() || p.local.responder != first {
		t.Error("a new address: the same responder must look again, since it knows whether it was renamed")
	}
	up.MAC = net.HardwareAddr{0x52, 0x54, 0, 0x3c, 0x1a, 0x2c}
	p.followNetwork(netup.State{Kind: netup.NoLink})
	p.followNetwork(up)
	if got := p.local.get(); got != "gatepost-1a2c.local" {
		t.Errorf("another card: got %q", got)
	}
}

func TestPageKnowsTheLocalName(t *testing.T) {
	b := control.Box{Network: control.Network{
		LocalName: "gatepost-1a2b.local",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24"), netip.MustParsePrefix("2001:db8::50/64")},
	}}
	in := RoleInput{}
	in.Config.Hostname = "gatepost.office.example"
	want := []string{"gatepost.office.example", "gatepost-1a2b.local", "192.168.77.50", "2001:db8::50"}
	if got := pageHosts(in, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A certificate that changes when IPv6 comes would make browsers warn again.
	if got := certifiedAddresses(b); len(got) != 1 || !got[0].Is4() {
		t.Errorf("in the certificate: got %v", got)
	}
	b.Network.Addresses = b.Network.Addresses[1:]
	if got := certifiedAddresses(b); len(got) != 1 || !got[0].Is6() {
		t.Errorf("with IPv6 alone: got %v", got)
	}
}
