package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"gatepost/mtasts"
	"gatepost/relay"
	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// A tryout tells what mail would come to, and is no way to reach what is not
// public: whatever a domain says, nothing of the office or of the box itself is
// dialled.
func TestRehearse(t *testing.T) {
	world := lab.Office()
	bad := []string{
		"127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1",
		"255.255.255.255", "192.0.0.8", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:192.168.1.1", "64:ff9b::7f00:1", "64:ff9b::c0a8:101", "2002:7f00:1::", "2002:c0a8:101::", "::7f00:1", "fec0::1",
	}
	for i, a := range bad {
		kind := "A"
		if strings.Contains(a, ":") {
			kind = "AAAA"
		}
		world.Records = append(world.Records, fmt.Sprintf("bad%d.example. 60 IN MX 1 mx.bad%d.example.", i, i), fmt.Sprintf("mx.bad%d.example. 60 IN %s %s", i, kind, a))
	}
	var mu sync.Mutex
	var dialled []string
	b := newBench(t, world, func(c *relay.Config) {
		dial := c.Dial
		c.AllowPolicyHost = nil // the rule of the box
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":25") {
				mu.Lock()
				dialled = append(dialled, addr)
				mu.Unlock()
			}
			return dial(ctx, network, addr)
		}
	})
	for i, a := range bad {
		v, err := b.machine.Rehearse(t.Context(), fmt.Sprintf("bad%d.example", i))
		if err != nil || v.Outcome == verdict.Delivered || v.Addr != "" {
			t.Errorf("%s: got %s %s, %v; want nothing dialled", a, v.Outcome, v.Addr, err)
		}
	}
	mu.Lock()
	if len(dialled) > 0 {
		t.Errorf("dialled %v", dialled)
	}
	mu.Unlock()
	if v, err := b.machine.Rehearse(t.Context(), "GOOD.example"); err != nil || v.Outcome != verdict.Delivered || v.Protection != verdict.Verified || len(dialled) != 1 {
		t.Errorf("good.example: got %s %s, %v, dialled %v", v.Outcome, v.Protection, err, dialled)
	}
	for _, name := range []string{"", "a..b", "[192.0.2.1]", "x y.example", strings.Repeat("a.", 200)} {
		if _, err := b.machine.Rehearse(t.Context(), name); !errors.Is(err, mtasts.ErrDomain) {
			t.Errorf("%.20q: got %v, want ErrDomain", name, err)
		}
	}
}
