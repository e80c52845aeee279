package config

import (
	"net/netip"
	"os"
	"testing"
)

func TestIPv6(t *testing.T) {
	text, err := os.ReadFile("testdata/good/ipv6.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		text string
		want Network
	}{
		{"version = 1\n", Network{IPv6: IPv6Auto}},
		{"version = 1\n[network]\nipv6 = \"off\"\n", Network{IPv6: IPv6Off}},
		{string(text), Network{IPv6: IPv6Static, Address6: netip.MustParsePrefix("2001:db8:1::30/64"), Gateway6: netip.MustParseAddr("fe80::1")}},
	} {
		c, err := Parse("config.toml", []byte(tc.text))
		n := c.Network
		if err != nil || n.IPv6 != tc.want.IPv6 || n.Address6 != tc.want.Address6 || n.Gateway6 != tc.want.Gateway6 {
			t.Errorf("%q: got %+v, %v; want %+v", tc.text, n, err, tc.want)
		}
	}
}
