package netup

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(t *testing.T, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.IPv4(192, 168, 77, 50)),
		dhcpv4.WithServerIP(net.IPv4(192, 168, 77, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 77, 1))),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	// As it comes from the wire.
	parsed, err := dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func seconds(code dhcpv4.OptionCode, d time.Duration) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.Option{Code: code, Value: dhcpv4.Duration(d)})
}

func TestLeaseFrom(t *testing.T) {
	router := net.IPv4(192, 168, 77, 1)
	l, err := leaseFrom(ack(t,
		dhcpv4.WithNetmask(net.CIDRMask(25, 32)), dhcpv4.WithRouter(router), dhcpv4.WithDNS(router, router, net.IPv4(9, 9, 9, 9), net.IPv4zero),
		dhcpv4.WithOption(dhcpv4.OptNTPServers(router)), dhcpv4.WithDomainSearchList("x"), dhcpv4.WithOption(dhcpv4.OptDomainName("Office.Example.")),
		dhcpv4.WithLeaseTime(600),
	), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gw := netip.MustParseAddr("192.168.77.1")
	if l.Address != netip.MustParsePrefix("192.168.77.50/25") || l.Gateway != gw || l.Server != gw || l.Domain != "office.example" {
		t.Errorf("got %+v", l)
	}
	if want := []netip.Addr{gw, netip.MustParseAddr("9.9.9.9")}; !slices.Equal(l.DNS, want) {
		t.Errorf("DNS: got %v, want %v", l.DNS, want)
	}
	if !slices.Equal(l.NTP, []netip.Addr{gw}) {
		t.Errorf("NTP: got %v", l.NTP)
	}
	if l.Lifetime != 600*time.Second || l.Renew != 300*time.Second || l.Rebind != 525*time.Second {
		t.Errorf("times: got %v, %v, %v; want 10m, 5m, 8m45s", l.Lifetime, l.Renew, l.Rebind)
	}
}

func TestLeaseTimes(t *testing.T) {
	t1, t2, life := dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue, dhcpv4.OptionIPAddressLeaseTime
	s := time.Second
	for _, tc := range []struct {
		name     string
		mods     []dhcpv4.Modifier
		renew    time.Duration
		rebind   time.Duration
		lifetime time.Duration
	}{
		{"none", nil, 30 * time.Minute, 3150 * s, time.Hour},
		{"all", []dhcpv4.Modifier{seconds(life, 100*s), seconds(t1, 20*s), seconds(t2, 60*s)}, 20 * s, 60 * s, 100 * s},
		{"T2 after the end", []dhcpv4.Modifier{seconds(life, 80*s), seconds(t2, 90*s)}, 40 * s, 70 * s, 80 * s},
		{"T1 after T2", []dhcpv4.Modifier{seconds(life, 80*s), seconds(t1, 75*s), seconds(t2, 20*s)}, 20 * s, 20 * s, 80 * s},
		{"zero", []dhcpv4.Modifier{seconds(life, 0), seconds(t1, 0), seconds(t2, 0)}, 5 * s, 8750 * time.Millisecond, 10 * s},
		{"for ever", []dhcpv4.Modifier{seconds(life, (1<<32-1)*s)}, (1<<32 - 1) * s / 2, (1<<32 - 1) * s / 8 * 7, (1<<32 - 1) * s},
	} {
		l, err := leaseFrom(ack(t, tc.mods...), time.Now())
		if err != nil || l.Renew != tc.renew || l.Rebind != tc.rebind || l.Lifetime != tc.lifetime {
			t.Errorf("%s: got %v, %v, %v, %v; want %v, %v, %v", tc.name, l.Renew, l.Rebind, l.Lifetime, err, tc.renew, tc.rebind, tc.lifetime)
		}
	}
}

func TestLeaseRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		mods []dhcpv4.Modifier
		want string
	}{
		{"no address", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4zero)}, "cannot be used"},
		{"multicast", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1))}, "cannot be used"},
		{"loopback", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))}, "cannot be used"},
		{"broadcast", []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4bcast)}, "cannot be used"},
		{"holes in the mask", []dhcpv4.Modifier{dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0))}, "network mask"},
		{"empty mask", []dhcpv4.Modifier{dhcpv4.WithNetmask(net.IPv4Mask(0, 0, 0, 0))}, "network mask"},
		{"no server", []dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier)}, "who it is"},
	} {
		if _, err := leaseFrom(ack(t, tc.mods...), time.Now()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
	// A server that names the client itself as its router gives no route.
	l, err := leaseFrom(ack(t, dhcpv4.WithRouter(net.IPv4(192, 168, 77, 50))), time.Now())
	if err != nil || l.Gateway.IsValid() {
		t.Errorf("own address as router: got %v, %v", l.Gateway, err)
	}
}

func TestDomainName(t *testing.T) {
	for in, want := range map[string]string{
		"office.example": "office.example", "OFFICE.example.": "office.example", "a-b_c": "a-b_c",
		"": "", ".": "", "a..b": "", "evil\nnameserver 192.0.2.66": "", "white space": "", "ümlaut": "",
		strings.Repeat("a", 64): "", strings.Repeat("a.", 127) + "a": "",
	} {
		if got := domainName(in); got != want {
			t.Errorf("domainName(%q): got %q, want %q", in, got, want)
		}
	}
}

func FuzzLeaseFrom(f *testing.F) {
	m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 2)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(8, 32)), dhcpv4.WithLeaseTime(60), dhcpv4.WithOption(dhcpv4.OptDomainName("example")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		l, err := leaseFrom(m, time.Now())
		if err != nil {
			return
		}
		if !l.Address.IsValid() || !l.Server.IsValid() || l.Renew < shortestRenew || l.Rebind < l.Renew || l.Lifetime < l.Renew {
			t.Errorf("a lease that cannot be kept: %+v", l)
		}
		if strings.ContainsAny(l.Domain, "\n ") || len(l.DNS) > maxServers || len(l.NTP) > maxServers {
			t.Errorf("too much was taken over: %+v", l)
		}
	})
}

func route(to string, via ...byte) dhcpv4.Modifier {
	_, dest, _ := net.ParseCIDR(to)
	return dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: dest, Router: net.IP(via)}))
}

// RFC 3442: with classless routes the router option does not count.
func TestClasslessRoutes(t *testing.T) {
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	_, branch, _ := net.ParseCIDR("10.8.0.0/16")
	_, wire, _ := net.ParseCIDR("172.16.5.0/24")
	_, many, _ := net.ParseCIDR("224.0.0.0/4")
	via := net.IP{192, 168, 77, 254}
	l, err := leaseFrom(ack(t, dhcpv4.WithRouter(net.IPv4(192, 168, 77, 1)), dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
		&dhcpv4.Route{Dest: branch, Router: via}, &dhcpv4.Route{Dest: all, Router: via},
		&dhcpv4.Route{Dest: wire, Router: net.IPv4zero.To4()}, &dhcpv4.Route{Dest: many, Router: via},
	))), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gw := netip.MustParseAddr("192.168.77.254")
	if l.Gateway != gw {
		t.Errorf("gateway: got %v, want %v", l.Gateway, gw)
	}
	want := []Route{{netip.MustParsePrefix("10.8.0.0/16"), gw}, {netip.MustParsePrefix("172.16.5.0/24"), netip.Addr{}}}
	if !slices.Equal(l.Routes, want) {
		t.Errorf("routes: got %v, want %v", l.Routes, want)
	}
	// Without a default route among them there is none at all.
	l, err = leaseFrom(ack(t, dhcpv4.WithRouter(net.IPv4(192, 168, 77, 1)), route("10.8.0.0/16", 192, 168, 77, 254)), time.Now())
	if err != nil || l.Gateway.IsValid() || len(l.Routes) != 1 {
		t.Errorf("no default route: got %v, %v, %v", l.Gateway, l.Routes, err)
	}
}

func TestGateway(t *testing.T) {
	for _, tc := range []struct{ name, router, want string }{
		{"in the network", "192.168.77.1", "192.168.77.1"},
		{"outside it, as some providers have it", "10.0.0.1", "10.0.0.1"},
		{"the box itself", "192.168.77.50", "invalid IP"},
		{"the network's own address", "192.168.77.0", "invalid IP"},
		{"broadcast", "192.168.77.255", "invalid IP"},
		{"multicast", "224.0.0.1", "invalid IP"},
		{"nothing", "0.0.0.0", "invalid IP"},
	} {
		l, err := leaseFrom(ack(t, dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.ParseIP(tc.router))), time.Now())
		if err != nil || l.Gateway.String() != tc.want {
			t.Errorf("%s: got %v, %v; want %s", tc.name, l.Gateway, err, tc.want)
		}
	}
}

// Options whose length cannot be right do no harm.
func TestOptionLengths(t *testing.T) {
	for code := range uint8(255) {
		for _, n := range []int{0, 1, 3, 5, 7, 255} {
			value := make([]byte, n)
			for i := range value {
				value[i] = 0xff
			}
			m := ack(t, dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value))
			l, err := leaseFrom(m, time.Now())
			if err == nil && (l.Renew < shortestRenew || len(l.DNS) > maxServers || len(l.Routes) > maxRoutes) {
				t.Errorf("option %d with %d bytes: got %+v", code, n, l)
			}
		}
	}
}
