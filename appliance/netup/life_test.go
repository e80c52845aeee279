package netup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errSilent = errors.New("no DHCP server answers on eth0")

// fakeNeighbours are the other machines: who has which address.
type fakeNeighbours struct {
	mu     sync.Mutex
	have   map[netip.Addr]net.HardwareAddr
	claims chan net.HardwareAddr // one for each machine that insists on our address
}

func neighbours(have ...string) *fakeNeighbours {
	n := &fakeNeighbours{have: map[netip.Addr]net.HardwareAddr{}, claims: make(chan net.HardwareAddr, 4)}
	for _, h := range have {
		addr, mac, _ := strings.Cut(h, " ")
		n.set(addr, mac)
	}
	return n
}

func (n *fakeNeighbours) set(addr, mac string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hw, _ := net.ParseMAC(mac)
	n.have[netip.MustParseAddr(addr)] = hw
}

func (n *fakeNeighbours) Ask(ctx context.Context, _ Link, addr netip.Addr) (net.HardwareAddr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.have[addr], ctx.Err()
}

func (n *fakeNeighbours) Guard(ctx context.Context, _ Link, _ netip.Addr, _ bool) (net.HardwareAddr, error) {
	select {
	case mac := <-n.claims:
		return mac, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const (
	routerMAC = "02:00:00:00:00:01"
	otherMAC  = "02:00:00:00:00:99"
)

// known is the lease of before the start.
func known() Lease {
	l := newLease("192.168.77.50/24")
	l.Server = l.Gateway
	l.Witness, _ = net.ParseMAC(routerMAC)
	return l
}

// script answers each question by its first word, and counts them.
func script(answers map[string]func(n int) (Lease, error)) func(string, int) (Lease, error) {
	count := map[string]int{}
	return func(what string, _ int) (Lease, error) {
		word, _, _ := strings.Cut(what, " ")
		count[word]++
		if f := answers[word]; f != nil {
			return f(count[word])
		}
		return Lease{}, errSilent
	}
}

func gives(addr string) func(int) (Lease, error) {
	return func(int) (Lease, error) { return newLease(addr), nil }
}

func naks(int) (Lease, error) { return Lease{}, ErrNak }

// The whole life of an address, as a table: what the server does, what the box
// asks and what it then has. Times are from the start; a lease lasts 1000 s with
// T1 at 500 s and T2 at 875 s.
func TestLifeOfALease(t *testing.T) {
	router := "192.168.77.1 " + routerMAC
	for _, tc := range []struct {
		name       string
		rule       string
		last       Lease
		neighbours *fakeNeighbours
		answers    map[string]func(int) (Lease, error)
		wait       time.Duration
		asked      []string
		states     []string
	}{
		{
			name: "the last lease is confirmed", rule: "RFC 2131, Section 3.2",
			last: known(), neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){"confirm": gives("192.168.77.50/24")},
			wait:    time.Minute,
			asked:   []string{"0s confirm 192.168.77.50"},
			states:  []string{"0s no-lease", "0s up 192.168.77.50/24"},
		},
		{
			name: "the last lease is refused", rule: "RFC 2131, Section 3.2 point 3: back to INIT",
			last: known(), neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){"confirm": naks, "acquire": gives("10.0.0.9/24")},
			wait:    time.Minute,
			asked:   []string{"0s confirm 192.168.77.50", "0s acquire"},
			states:  []string{"0s no-lease", "0s up 10.0.0.9/24"},
		},
		{
			name: "a new server does not know the last lease", rule: "RFC 2131, Section 4.3.2: it keeps silent",
			last: known(), neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){"acquire": gives("10.0.0.9/24")},
			wait:    time.Minute,
			asked:   []string{"0s confirm 192.168.77.50", "0s acquire 192.168.77.50"},
			states:  []string{"0s no-lease", "0s up 10.0.0.9/24"},
		},
		{
			name: "no server, but the network is the same", rule: "the last lease is used; RFC 4436: the gateway is the witness",
			last: known(), neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){"acquire": func(n int) (Lease, error) {
				if n < 3 {
					return Lease{}, errSilent
				}
				return newLease("192.168.77.50/24"), nil
			}},
			wait:   65 * time.Second,
			asked:  []string{"0s confirm 192.168.77.50", "0s acquire 192.168.77.50", "30s acquire 192.168.77.50", "1m0s acquire 192.168.77.50"},
			states: []string{"0s no-lease", "0s up 192.168.77.50/24 (lingers)", "1m0s up 192.168.77.50/24"},
		},
		{
			name: "no server, and another gateway", rule: "a lease of another network is not used",
			last: known(), neighbours: neighbours("192.168.77.1 " + otherMAC),
			wait:   500 * time.Millisecond,
			asked:  []string{"0s confirm 192.168.77.50", "0s acquire 192.168.77.50"},
			states: []string{"0s no-lease"},
		},
		{
			name: "no server, and the address is taken", rule: "the other machine keeps it",
			last: known(), neighbours: neighbours(router, "192.168.77.50 "+otherMAC),
			wait:   500 * time.Millisecond,
			asked:  []string{"0s confirm 192.168.77.50", "0s acquire 192.168.77.50"},
			states: []string{"0s no-lease"},
		},
		{
			name: "the server goes away and comes back", rule: "RFC 2131, Section 4.4.5, and beyond the end with a note",
			neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){"acquire": func(n int) (Lease, error) {
				if n == 2 {
					return Lease{}, errSilent
				}
				return newLease("192.168.77.50/24"), nil
			}},
			wait: 1065 * time.Second,
			asked: []string{
				"0s acquire", "8m20s renew", "11m27.5s renew", "13m1.25s renew", "14m1.25s renew",
				"14m35s rebind", "15m37.5s rebind", "16m37.5s rebind",
				"17m10s acquire 192.168.77.50", "17m40s acquire 192.168.77.50",
			},
			states: []string{"0s no-lease", "0s up 192.168.77.50/24", "16m40s up 192.168.77.50/24 (lingers)", "17m40s up 192.168.77.50/24"},
		},
		{
			name: "refused while it is rebound", rule: "RFC 2131, Section 4.4.5",
			neighbours: neighbours(router),
			answers: map[string]func(int) (Lease, error){
				"rebind": naks,
				"acquire": func(n int) (Lease, error) {
					return newLease([]string{"192.168.77.50/24", "10.0.0.9/24"}[n-1]), nil
				},
			},
			wait: 876 * time.Second,
			asked: []string{
				"0s acquire", "8m20s renew", "11m27.5s renew", "13m1.25s renew", "14m1.25s renew", "14m35s rebind", "14m35s acquire",
			},
			states: []string{"0s no-lease", "0s up 192.168.77.50/24", "14m35s no-lease", "14m35s up 10.0.0.9/24"},
		},
		{
			name: "refused while it is asked for", rule: "RFC 2131, Section 3.1 point 5: not in a loop",
			neighbours: neighbours(router),
			answers:    map[string]func(int) (Lease, error){"acquire": naks},
			wait:       8 * time.Second,
			asked:      []string{"0s acquire", "1s acquire", "3s acquire", "7s acquire"},
			states:     []string{"0s no-lease"},
		},
		{
			name: "another machine has the offered address", rule: "RFC 2131, Section 4.4.1: DECLINE, ten seconds",
			neighbours: neighbours(router, "192.168.77.50 "+otherMAC),
			answers: map[string]func(int) (Lease, error){"acquire": func(n int) (Lease, error) {
				return newLease([]string{"192.168.77.50/24", "192.168.77.51/24"}[n-1]), nil
			}},
			wait:   time.Minute,
			asked:  []string{"0s acquire", "0s decline 192.168.77.50", "10s acquire"},
			states: []string{"0s no-lease", "10s up 192.168.77.51/24"},
		},
		{
			name: "the server moves the box at a renewal", rule: "RFC 2131, Section 4.4.5",
			neighbours: neighbours(router),
			answers:    map[string]func(int) (Lease, error){"acquire": gives("192.168.77.50/24"), "renew": gives("192.168.77.60/24")},
			wait:       1001 * time.Second,
			asked:      []string{"0s acquire", "8m20s renew", "16m40s renew"},
			states:     []string{"0s no-lease", "0s up 192.168.77.50/24", "8m20s up 192.168.77.60/24"},
		},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.neighbours.claims = make(chan net.HardwareAddr) // of this bubble
				r := run(t, newKernel(eth0), script(tc.answers), func(c *Config) { c.Last, c.Neighbours = tc.last, tc.neighbours })
				time.Sleep(tc.wait)
				r.stop()
				equal(t, tc.rule+"\nasked", r.dhcp.log(), tc.asked)
				equal(t, tc.rule+"\nstates", r.story(), tc.states)
			})
		})
	}
}

// RFC 5227, Section 2.4: another machine takes our address while we use it.
func TestAddressIsLostToAnotherMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := neighbours("192.168.77.1 " + routerMAC)
		n.claims = make(chan net.HardwareAddr, 1)
		k := newKernel(eth0)
		r := run(t, k, script(map[string]func(int) (Lease, error){"acquire": func(n int) (Lease, error) {
			return newLease([]string{"192.168.77.50/24", "192.168.77.51/24"}[n-1]), nil
		}}), func(c *Config) { c.Neighbours = n })
		time.Sleep(100 * time.Second)
		n.claims <- net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
		synctest.Wait()
		if k.has().IsValid() {
			t.Error("the address is still in use")
		}
		time.Sleep(11 * time.Second)
		r.stop()
		equal(t, "asked", r.dhcp.log(), []string{"0s acquire", "1m40s decline 192.168.77.50", "1m50s acquire"})
		equal(t, "states", r.story(), []string{"0s no-lease", "0s up 192.168.77.50/24", "1m40s no-lease", "1m50s up 192.168.77.51/24"})
	})
}

// A lease with time left holds on over a pulled cable though no server answers
// (RFC 2131, Section 3.2 point 4).
func TestLeaseWithTimeLeftHoldsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(eth0)
		r := run(t, k, script(map[string]func(int) (Lease, error){"acquire": func(n int) (Lease, error) {
			if n > 1 {
				return Lease{}, errSilent
			}
			return newLease("192.168.77.50/24"), nil
		}}), nil)
		time.Sleep(61 * time.Second)
		k.set(eth0down)
		time.Sleep(time.Minute)
		k.set(eth0)
		time.Sleep(time.Minute)
		if !k.has().IsValid() {
			t.Error("the address was given up")
		}
		r.stop()
		equal(t, "states", r.story(), []string{"0s no-lease", "0s up 192.168.77.50/24", "1m2.05s no-link", "2m1.05s up 192.168.77.50/24"})
		equal(t, "asked", r.dhcp.log(), []string{"0s acquire", "2m1.05s confirm 192.168.77.50", "2m1.05s acquire 192.168.77.50"})
	})
}

func TestFixedAddressIsKeptAndTheOtherMachineTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := neighbours()
		n.claims = make(chan net.HardwareAddr, 1)
		k := newKernel(eth0)
		var notes []string
		r := run(t, k, nil, func(c *Config) {
			c.Static, c.Neighbours = netip.MustParsePrefix("10.1.2.3/16"), n
			c.Publish = func(s State) { notes = append(notes, fmt.Sprint(s.Kind, " ", s.Note)) }
		})
		time.Sleep(time.Minute)
		n.claims <- net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
		time.Sleep(5 * time.Minute)
		r.stop()
		equal(t, "notes", notes, []string{"up ", "up the machine 02:00:00:00:00:99 uses the address 10.1.2.3 too", "up "})
		if k.has() != netip.MustParsePrefix("10.1.2.3/16") {
			t.Errorf("address: got %v", k.has())
		}
	})
}
