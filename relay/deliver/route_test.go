package deliver

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/verdict"
)

// zone is a Resolver that answers from a map; it stands in for the network in
// tests of the order of hosts.
type zone map[string]any

func (z zone) LookupMX(_ context.Context, domain string) ([]resolver.MX, error) {
	switch a := z[domain].(type) {
	case []resolver.MX:
		return append([]resolver.MX(nil), a...), nil
	case error:
		return nil, &resolver.Error{Name: domain, Type: "MX", Kind: a}
	}
	return nil, &resolver.Error{Name: domain, Type: "MX", Kind: resolver.ErrNXDomain}
}

func (z zone) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, &resolver.Error{Kind: resolver.ErrNoData}
}

func TestRoute(t *testing.T) {
	mx := func(list ...any) []resolver.MX {
		var out []resolver.MX
		for i := 0; i < len(list); i += 2 {
			out = append(out, resolver.MX{Pref: uint16(list[i].(int)), Host: list[i+1].(string)})
		}
		return out
	}
	d := New(Config{Hostname: "gate.office.example", Resolver: zone{
		"ordered.example":  mx(30, "c", 10, "a", 20, "b"),
		"implicit.example": resolver.ErrNoData,
		"broken.example":   resolver.ErrTemporary,
		"null.example":     mx(0, ""),
		"oddnull.example":  mx(0, "", 10, "a"),
		"twonull.example":  mx(0, "", 10, ""),
		"own.example":      mx(10, "a", 20, "GATE.office.example", 20, "b", 30, "c"),
		"ownbest.example":  mx(10, "gate.office.example", 20, "b"),
		"many.example":     mx(1, "a", 2, "b", 3, "c", 4, "d", 5, "e", 6, "f", 7, "g", 8, "h", 9, "i", 10, "j", 11, "k"),
	}})
	for _, c := range []struct {
		domain, hosts string
		outcome       verdict.Outcome
		reason        verdict.Reason
		enhanced      string
	}{
		{"ordered.example", "a b c", "", "", ""},
		{"implicit.example", "implicit.example", "", "", ""},
		{"broken.example", "", verdict.Deferred, verdict.DNSBroken, "4.4.3"},
		{"nothing.example", "", verdict.Returned, verdict.NoRoute, "5.1.2"},
		{"null.example", "", verdict.Returned, verdict.NullMX, "5.1.10"}, // RFC 7505, Section 3
		{"oddnull.example", "a", "", "", ""},
		{"twonull.example", "", verdict.Returned, verdict.NullMX, "5.1.10"},
		{"own.example", "a", "", "", ""}, // RFC 5321, Section 5.1
		{"ownbest.example", "", verdict.Returned, verdict.Loop, "5.4.6"},
		{"many.example", "a b c d e f g h i j k", "", "", ""},
		{"[192.0.2.7]", "192.0.2.7", "", "", ""},
		{"[IPv6:2001:db8::7]", "2001:db8::7", "", "", ""},
		{"[192.0.2]", "", verdict.Returned, verdict.NoRoute, "5.1.2"},
	} {
		a := &attempt{d: d, m: queue.Message{Domain: c.domain}, ev: new(verdict.Evidence)}
		hosts, no := a.hosts(t.Context())
		var names []string
		for _, h := range hosts {
			if h.name == "" {
				h.name = h.addrs[0].String()
			}
			names = append(names, h.name)
		}
		if got := strings.Join(names, " "); got != c.hosts {
			t.Errorf("%s: got hosts %q, want %q", c.domain, got, c.hosts)
		}
		switch {
		case no == nil && c.reason != "":
			t.Errorf("%s: got a route, want %s", c.domain, c.reason)
		case no != nil && (no.outcome != c.outcome || no.reason != c.reason || no.enhanced != c.enhanced):
			t.Errorf("%s: got %+v, want %s %s %s", c.domain, *no, c.outcome, c.reason, c.enhanced)
		}
	}
}

// Equal preferences are shuffled, different ones never change places.
func TestEqualPreferencesAreShuffled(t *testing.T) {
	first := map[string]int{}
	for range 400 {
		mxs := []resolver.MX{{Host: "x", Pref: 5}, {Host: "a", Pref: 1}, {Host: "b", Pref: 1}}
		sortMX(mxs, func(n int, swap func(i, j int)) {
			for i := n - 1; i > 0; i-- {
				swap(i, (len(first)+i)%(i+1))
			}
			first[mxs[0].Host]++
		})
		if mxs[2].Host != "x" {
			t.Fatalf("a worse preference came before a better one: %v", mxs)
		}
	}
	if len(first) < 2 {
		t.Errorf("always the same order: %v", first)
	}
}

func TestMayDial(t *testing.T) {
	for addr, want := range map[string]bool{
		"203.0.113.5": true, "192.168.1.20": true, "2001:db8::1": true,
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "::ffff:127.0.0.1": false,
		"169.254.1.1": false, "fe80::1": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		if got := MayDial(netip.MustParseAddr(addr)); got != want {
			t.Errorf("MayDial(%s): got %v, want %v", addr, got, want)
		}
	}
}
