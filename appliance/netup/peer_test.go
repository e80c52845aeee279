package netup

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"gatepost/appliance/cable"
)

// office is the other end of the cable, with dnsmasq.
type office struct {
	*cable.Cable
	dir string
	cmd *exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (o *office) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.Write(b)
}

// said returns the server's log and empties it.
func (o *office) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.log.String()
	o.log.Reset()
	return s
}

// serve starts dnsmasq, which gives the one address first.
func (o *office) serve(first string) {
	o.There(func() error {
		o.cmd = exec.Command("dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--user=root",
			"--port=0", "--interface=lan0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--pid-file=",
			"--dhcp-leasefile="+filepath.Join(o.dir, "leases"), "--domain=office.example",
			"--dhcp-range="+first+","+first+",2m", "--dhcp-option=option:T1,5", "--dhcp-option=option:T2,100",
			"--dhcp-option=option:dns-server,192.168.77.1,9.9.9.9", "--dhcp-option=option:ntp-server,192.168.77.1",
			"--dhcp-option=option:classless-static-route,0.0.0.0/0,192.168.77.1,10.8.0.0/16,192.168.77.2",
			"--enable-ra", "--ra-param=lan0,5,60", "--dhcp-range=2001:db8:77::,ra-only,64,2m",
			"--dhcp-option=option6:dns-server,[2001:db8:77::53]", "--dhcp-option=option6:domain-search,six.example")
		o.cmd.Stdout, o.cmd.Stderr = o, o
		return o.cmd.Start()
	})
}

func (o *office) stop() {
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
}

// TestPeerDnsmasq holds the whole life against a server that others wrote:
// Debian's dnsmasq, for DHCP and for IPv6.
func TestPeerDnsmasq(t *testing.T) {
	cable.Program(t, "dnsmasq", "dnsmasq-base")
	if !cable.Alone(t) {
		return
	}
	o := &office{Cable: cable.Lay(t, "192.168.77.1/24", "2001:db8:77::1/64"), dir: t.TempDir()}
	o.serve("192.168.77.50")
	defer func() {
		o.stop()
		if t.Failed() {
			t.Logf("dnsmasq:\n%s", o.said())
		}
	}()

	states := make(chan State, 100)
	leases := make(chan Lease, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	start := func() {
		r := New(Config{
			Kernel: Netlink{}, DHCP: Wire{Hostname: "gatepost"}, Neighbours: ARP{}, Routers: NeighbourDiscovery{},
			Publish: func(s State) { states <- s }, Leased: func(l Lease) { leases <- l },
			Log: slog.New(slog.NewTextHandler(o, nil)),
		})
		go func() { ended <- r.Run(ctx) }()
	}
	start()
	await := func(what string, fits func(State) bool) State {
		t.Helper()
		var last State
		for limit := time.After(20 * time.Second); ; {
			select {
			case last = <-states:
				if fits(last) {
					return last
				}
			case <-limit:
				t.Fatalf("%s: did not come; last %+v", what, last)
			}
		}
	}
	awaitLease := func() Lease {
		t.Helper()
		select {
		case l := <-leases:
			return l
		case <-time.After(20 * time.Second):
			t.Fatal("no lease came")
			return Lease{}
		}
	}

	s := await("both families", func(s State) bool { return s.Kind == Up && len(s.Addresses) == 2 && len(s.DNS) == 3 })
	if s.Address.String() != "192.168.77.50/24" || !netip.MustParsePrefix("2001:db8:77::/64").Contains(s.Addresses[1].Addr()) ||
		s.Gateway.String() != "192.168.77.1" || s.Domain != "office.example" || s.Interface != "wan0" {
		t.Errorf("got %+v", s)
	}
	if b := s.Addresses[1].Addr().As16(); b[11] != 0xff || b[12] != 0xfe {
		t.Errorf("%v is not made from the MAC", s.Addresses[1])
	}
	if want := "[192.168.77.1 9.9.9.9 2001:db8:77::53]"; fmt.Sprint(s.DNS) != want {
		t.Errorf("name servers: got %v, want %s", s.DNS, want)
	}
	first := awaitLease()
	if len(first.Routes) != 1 || first.Witness == nil || first.Renew != shortestRenew {
		t.Errorf("lease: got %+v", first)
	}
	if routes := ways(t); !slices.Contains(routes, "10.8.0.0/16 192.168.77.2") || !slices.Contains(routes, "0.0.0.0/0 192.168.77.1") {
		t.Errorf("routes: got %q", routes)
	}
	given, err := os.ReadFile(filepath.Join(o.dir, "leases"))
	if err != nil || !strings.Contains(string(given), "192.168.77.50 gatepost 01:"+s.MAC.String()) {
		t.Errorf("the server's lease: got %q, %v; want our name and client identifier", given, err)
	}

	renewed := awaitLease()
	if log := o.said(); strings.Count(log, "DHCPDISCOVER") != 1 || strings.Count(log, "DHCPREQUEST") < 2 || !renewed.Obtained.After(first.Obtained) {
		t.Errorf("renewal: got %+v, server: %s", renewed, log)
	}

	// The same network after the cable was pulled: one question, no search.
	wan0, err := netlink.LinkByName("wan0")
	if err != nil {
		t.Fatal(err)
	}
	o.Plug(false)
	await("no link", func(s State) bool { return s.Kind == NoLink })
	for len(leases) > 0 {
		<-leases
	}
	o.said()
	o.Plug(true)
	await("confirmed", func(s State) bool { return s.Kind == Up })
	awaitLease()
	if log := o.said(); strings.Contains(log, "DHCPDISCOVER") || !strings.Contains(log, "DHCPACK") {
		t.Errorf("after the cable was back: %s", log)
	}

	// The server forgets the box and gives another address: it says no.
	o.stop()
	if err := os.Remove(filepath.Join(o.dir, "leases")); err != nil {
		t.Fatal(err)
	}
	o.serve("192.168.77.60")
	s = await("the new address", func(s State) bool { return s.Kind == Up && s.Address.String() == "192.168.77.60/24" })
	if log := o.said(); !strings.Contains(log, "DHCPNAK") {
		t.Errorf("server: %s", log)
	}
	if addrs, err := netlink.AddrList(wan0, netlink.FAMILY_V4); err != nil || len(addrs) != 1 {
		t.Errorf("addresses on the interface: got %v, %v", addrs, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// ways lists the routes as "network gateway".
func ways(t *testing.T) []string {
	t.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, rt := range routes {
		out = append(out, fmt.Sprint(toPrefix(rt.Dst), " ", rt.Gw))
	}
	return out
}
