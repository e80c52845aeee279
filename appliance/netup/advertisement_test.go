package netup

import (
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var router6 = netip.MustParseAddr("fe80::1%eth0")

// advertisement makes a message with a router lifetime of 1800 s and options
// in hex.
func advertisement(options ...string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll("86000000 40000708 00000000 00000000"+strings.Join(options, ""), " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

const (
	// Lifetime 600 s, one and two servers.
	optOneServer  = "19030000 00000258 20010db8 00000000 00000000 00000053"
	optTwoServers = "19050000 00000258 fe800000 00000000 00000000 00000053 20010db8 00000000 00000000 00000054"
	// "office.example" and "b" for 600 s, padded.
	optDomains = "1f040000 00000258 066f6666 69636507 6578616d 706c6500 01620000 00000000"
	optUnknown = "fe010000 00000000"
)

func TestAdvertisement(t *testing.T) {
	a, err := parseAdvertisement(router6, 255, advertisement(optUnknown, optOneServer, optDomains))
	want := Advertisement{
		Router: router6, Lifetime: 30 * time.Minute,
		DNS:     []TimedAddr{{netip.MustParseAddr("2001:db8::53"), 10 * time.Minute}},
		Domains: []TimedName{{"office.example", 10 * time.Minute}, {"b", 10 * time.Minute}},
	}
	if err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, %v\nwant %+v", a, err, want)
	}
}

// RFC 4861, Section 6.1.2 names the rules.
func TestAdvertisementRefused(t *testing.T) {
	right := advertisement(optOneServer)
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), right...)
		b[at] = to
		return b
	}
	for _, tc := range []struct {
		name   string
		router string
		hops   int
		b      []byte
	}{
		{"a router between", "fe80::1", 254, right},
		{"not from the wire", "2001:db8::1", 255, right},
		{"IPv4", "169.254.0.1", 255, right},
		{"short", "fe80::1", 255, right[:15]},
		{"another type", "fe80::1", 255, change(0, 133)},
		{"another code", "fe80::1", 255, change(1, 1)},
		{"an option of length 0", "fe80::1", 255, change(17, 0)},
		{"an option beyond the end", "fe80::1", 255, change(17, 4)},
		{"half an option", "fe80::1", 255, append(right, 25)},
	} {
		if a, err := parseAdvertisement(netip.MustParseAddr(tc.router), tc.hops, tc.b); err == nil {
			t.Errorf("%s: got %+v, want an error", tc.name, a)
		}
	}
}

// RFC 8106, Section 5: names and servers end with their lifetime, 0 ends them
// at once, and there are never more than a few.
func TestRoutersForget(t *testing.T) {
	now := time.Now()
	tab := newRouters()
	a, _ := parseAdvertisement(router6, 255, advertisement(optTwoServers, optDomains))
	tab.hear(a, now)
	s := tab.state()
	if len(s.dns) != 2 || s.dns[1] != netip.MustParseAddr("fe80::53%eth0") || s.gateway != router6 || s.domain != "b" {
		t.Errorf("got %+v", s)
	}
	if got, want := tab.next(), now.Add(10*time.Minute); !got.Equal(want) {
		t.Errorf("next: got %v, want %v", got, want)
	}
	tab.forget(now.Add(10 * time.Minute))
	if s := tab.state(); len(s.dns) != 0 || s.domain != "" || s.gateway != router6 {
		t.Errorf("after 10 minutes: got %+v", s)
	}
	tab.hear(Advertisement{Router: router6}, now.Add(11*time.Minute))
	if s := tab.state(); s.gateway.IsValid() {
		t.Errorf("the router says that it is none any more: got %+v", s)
	}
	for i := range byte(200) {
		tab.hear(Advertisement{
			Router: netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: i}), Lifetime: time.Hour,
			DNS: []TimedAddr{
				{netip.AddrFrom16([16]byte{0: 0x20, 15: i}), time.Hour},
				{netip.MustParseAddr("ff02::1"), time.Hour},
				{netip.MustParseAddr("::1"), time.Hour},
				{netip.MustParseAddr("::"), time.Hour},
			},
			Domains: []TimedName{{string('a' + rune(i%26)), time.Hour}, {"evil\nnameserver 192.0.2.66", time.Hour}},
		}, now)
	}
	if len(tab.gateways) > maxRouters || len(tab.dns) > maxServers || len(tab.domains) > maxServers {
		t.Errorf("a storm of routers fills the memory: %d, %d, %d", len(tab.gateways), len(tab.dns), len(tab.domains))
	}
	for d := range tab.domains {
		if strings.ContainsAny(d, "\n ") {
			t.Errorf("domain %q", d)
		}
	}
	for a := range tab.dns {
		if a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() {
			t.Errorf("name server %v", a)
		}
	}
}

func TestJoin(t *testing.T) {
	p4, p6 := netip.MustParsePrefix("192.168.77.50/24"), netip.MustParsePrefix("2001:db8::50/64")
	dns4, dns6, own := netip.MustParseAddr("192.168.77.1"), netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("9.9.9.9")
	four := State{Kind: Up, Address: p4, Gateway: dns4, DNS: []netip.Addr{dns4}}
	six := sixState{addresses: []netip.Prefix{p6}, gateway: router6, dns: []netip.Addr{dns6}, domain: "six.example"}
	for _, tc := range []struct {
		name       string
		four       State
		six        sixState
		configured []netip.Addr
		want       State
	}{
		{
			"both", four, six,
			[]netip.Addr{own, dns6},
			State{Kind: Up, Address: p4, Addresses: []netip.Prefix{p4, p6}, Gateway: dns4, DNS: []netip.Addr{own, dns6, dns4}, Domain: "six.example"},
		},
		{
			"IPv6 alone",
			State{Kind: NoLease, Note: Asking},
			six, nil,
			State{Kind: Up, Addresses: []netip.Prefix{p6}, Gateway: router6, DNS: []netip.Addr{dns6}, Domain: "six.example", Note: "only IPv6 is up; IPv4: " + Asking},
		},
		{
			"IPv6 alone, without a name server",
			State{Kind: NoLease, Note: Asking},
			sixState{addresses: six.addresses},
			nil,
			State{Kind: NoLease, Addresses: []netip.Prefix{p6}, Note: Asking},
		},
		{"no cable", State{Kind: NoLink, Note: "no signal"}, six, []netip.Addr{own}, State{Kind: NoLink, Note: "no signal"}},
	} {
		if got := join(tc.four, tc.six, tc.configured); !got.Equal(tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

func FuzzAdvertisement(f *testing.F) {
	f.Add(advertisement())
	f.Add(advertisement(optUnknown, optOneServer, optDomains))
	f.Add(advertisement(optTwoServers))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAdvertisement(router6, 255, b)
		if err != nil {
			return
		}
		tab := newRouters()
		tab.hear(a, time.Unix(0, 0))
		if s := tab.state(); len(s.dns) > maxServers || strings.ContainsAny(s.domain, "\n ") {
			t.Errorf("too much was taken over: %+v", s)
		}
	})
}

func FuzzARP(f *testing.F) {
	m := arpMessage{net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	f.Add(m.encode())
	f.Add(m.encode()[:27])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseARP(b)
		if ok && (len(m.from) != 6 || !m.sender.Is4() || !m.target.Is4()) {
			t.Errorf("got %+v", m)
		}
	})
}
