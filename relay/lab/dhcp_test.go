package lab

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// leaser is a DHCP client in the guest.
type leaser struct {
	t   *testing.T
	c   net.PacketConn
	mac net.HardwareAddr
}

// ask sends a message and returns the reply, nil when there is none.
func (l *leaser) ask(to string, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	l.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(l.mac), dhcpv4.WithOption(dhcpv4.OptHostName("gatepost"))}, mods...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.c.WriteTo(m.ToBytes(), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
		l.t.Fatal(err)
	}
	_ = l.c.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 2000)
	n, _, err := l.c.ReadFrom(b)
	if err != nil {
		return nil
	}
	reply, err := dhcpv4.FromBytes(b[:n])
	if err != nil || reply.TransactionID != m.TransactionID {
		l.t.Fatalf("got %v, %v", reply, err)
	}
	return reply
}

func TestDHCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMemory()
		world := Office()
		world.LAN.Lease = 30 * time.Second
		r := start(t, world, network, Options{})
		nobody, err := network.ListenPacket(netip.MustParseAddrPort("0.0.0.0:68"))
		if err != nil {
			t.Fatal(err)
		}
		defer nobody.Close()
		client := &leaser{t, nobody, net.HardwareAddr{2, 0, 0, 0, 0, 9}}
		const all = "255.255.255.255:67"

		offer := client.ask(all, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
		if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer || offer.YourIPAddr.String() != "192.168.77.50" {
			t.Fatalf("offer: got %v", offer)
		}
		request := []dhcpv4.Modifier{
			dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())),
		}
		got := client.ask(all, request...)
		if got == nil || got.MessageType() != dhcpv4.MessageTypeAck {
			t.Fatalf("request: got %v", got)
		}
		t1, t2 := got.IPAddressRenewalTime(0), got.IPAddressRebindingTime(0)
		if lease := got.IPAddressLeaseTime(0); lease != 30*time.Second || t1 != 15*time.Second || t2 != 26*time.Second {
			t.Errorf("lease %v, T1 %v, T2 %v; want 30s, 15s, 26s", lease, t1, t2)
		}
		if got.Router()[0].String() != "192.168.77.1" || got.DNS()[0].String() != "192.168.77.1" || len(got.NTPServers()) != 3 ||
			net.IP(got.SubnetMask()).String() != "255.255.255.0" || got.DomainName() != "office.example" {
			t.Errorf("options: got %s", got.Summary())
		}

		leased, err := network.ListenPacket(netip.MustParseAddrPort("192.168.77.50:68"))
		if err != nil {
			t.Fatal(err)
		}
		defer leased.Close()
		renewer := &leaser{t, leased, client.mac}
		renew := []dhcpv4.Modifier{
			dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(net.IPv4(192, 168, 77, 50)),
		}
		if got := renewer.ask("192.168.77.1:67", renew...); got == nil || got.MessageType() != dhcpv4.MessageTypeAck {
			t.Errorf("renewal: got %v", got)
		}
		r.SetDHCP(DHCPSilent)
		if got := renewer.ask("192.168.77.1:67", renew...); got != nil {
			t.Errorf("a silent server: got %v", got)
		}
		r.SetDHCP(DHCPRefuses)
		if got := client.ask(all, request...); got == nil || got.MessageType() != dhcpv4.MessageTypeNak || !got.YourIPAddr.IsUnspecified() {
			t.Errorf("a refusing server: got %v", got)
		}
		r.SetDHCP(DHCPAnswers)
		r.SetLease(netip.MustParseAddr("192.168.77.60"), time.Hour)
		if got := client.ask(all, request...); got == nil || got.MessageType() != dhcpv4.MessageTypeNak {
			t.Errorf("asking for the old address: got %v", got)
		}
		if got := client.ask(all, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover)); got == nil ||
			got.YourIPAddr.String() != "192.168.77.60" || got.IPAddressLeaseTime(0) != time.Hour {
			t.Errorf("after the change: got %v", got)
		}
		other := append(request[:2:2], dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 77, 9))))
		if got := client.ask(all, other...); got != nil {
			t.Errorf("a request to another server: got %v", got)
		}
		given := happened[LeaseGiven](r)
		if len(given) != 2 || given[0].Renewal || !given[1].Renewal || given[0].Host != "gatepost" || given[0].MAC != "02:00:00:00:00:09" {
			t.Errorf("events: got %+v", given)
		}
		if got := len(happened[LeaseRefused](r)); got != 2 {
			t.Errorf("%d refusals were told, want 2", got)
		}
	})
}
