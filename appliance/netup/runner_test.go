package netup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel has one interface unless told otherwise.
type fakeKernel struct {
	mu      sync.Mutex
	links   []Link
	changes chan struct{}
	address netip.Prefix
	gateway netip.Addr
	six     []netip.Prefix
	ups     int
	fail    error // of Configure
	had     []netip.Prefix
}

func newKernel(links ...Link) *fakeKernel {
	return &fakeKernel{links: links, changes: make(chan struct{}, 8)}
}

func (k *fakeKernel) Links() ([]Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.links), nil
}

func (k *fakeKernel) Up(int) error { k.mu.Lock(); defer k.mu.Unlock(); k.ups++; return nil }

func (k *fakeKernel) Configure(_ int, want IPv4) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.address, k.gateway = want.Address, want.Gateway
	k.had = append(k.had, want.Address)
	return nil
}

func (k *fakeKernel) Deconfigure(_ int, keep netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.address != keep {
		k.address, k.gateway = netip.Prefix{}, netip.Addr{}
	}
	return nil
}

func (k *fakeKernel) Configure6(Link, IPv6) error { return nil }

func (k *fakeKernel) Addresses6(int) ([]netip.Prefix, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.six), nil
}

func (k *fakeKernel) Watch(context.Context) <-chan struct{} { return k.changes }

func (k *fakeKernel) has() netip.Prefix { k.mu.Lock(); defer k.mu.Unlock(); return k.address }

func (k *fakeKernel) set(links ...Link) {
	k.mu.Lock()
	k.links = links
	k.mu.Unlock()
	k.changes <- struct{}{}
}

// fakeDHCP answers by a function and writes down when it was asked for what.
type fakeDHCP struct {
	mu     sync.Mutex
	start  time.Time
	asked  []string
	answer func(what string, n int) (Lease, error)
}

func (d *fakeDHCP) ask(ctx context.Context, what string) (Lease, error) {
	d.mu.Lock()
	d.asked = append(d.asked, fmt.Sprintf("%v %s", time.Since(d.start), what))
	n := len(d.asked)
	d.mu.Unlock()
	l, err := d.answer(what, n)
	l.Obtained = time.Now()
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return l, err
}

func (d *fakeDHCP) Acquire(ctx context.Context, _ Link, hint netip.Addr) (Lease, error) {
	if hint.IsValid() {
		return d.ask(ctx, "acquire "+hint.String())
	}
	return d.ask(ctx, "acquire")
}

func (d *fakeDHCP) Confirm(ctx context.Context, _ Link, l Lease) (Lease, error) {
	return d.ask(ctx, "confirm "+l.Address.Addr().String())
}

func (d *fakeDHCP) Decline(ctx context.Context, _ Link, l Lease) error {
	_, err := d.ask(ctx, "decline "+l.Address.Addr().String())
	return err
}

func (d *fakeDHCP) Renew(ctx context.Context, _ Link, _ Lease) (Lease, error) {
	return d.ask(ctx, "renew")
}

func (d *fakeDHCP) Rebind(ctx context.Context, _ Link, _ Lease) (Lease, error) {
	return d.ask(ctx, "rebind")
}

func (d *fakeDHCP) log() []string { d.mu.Lock(); defer d.mu.Unlock(); return slices.Clone(d.asked) }

// newLease lasts 1000 s: T1 after 500 s, T2 after 875 s.
func newLease(addr string) Lease {
	return Lease{
		Address: netip.MustParsePrefix(addr), Gateway: netip.MustParseAddr("192.168.77.1"),
		DNS:   []netip.Addr{netip.MustParseAddr("192.168.77.1")},
		Renew: 500 * time.Second, Rebind: 875 * time.Second, Lifetime: 1000 * time.Second,
	}
}

var (
	eth0     = Link{Name: "eth0", Index: 2, Ethernet: true, Carrier: true}
	eth0down = Link{Name: "eth0", Index: 2, Ethernet: true}
	usb0     = Link{Name: "usb0", Index: 3, Ethernet: true, Carrier: true}
	lo       = Link{Name: "lo", Index: 1, Carrier: true}
)

type rig struct {
	kernel *fakeKernel
	dhcp   *fakeDHCP
	start  time.Time
	mu     sync.Mutex
	states []string
	stop   func()
}

// story returns the states as "time kind interface address".
func (r *rig) story() []string { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.states) }

func run(t *testing.T, k *fakeKernel, answer func(what string, n int) (Lease, error), change func(*Config)) *rig {
	t.Helper()
	r := &rig{kernel: k, start: time.Now()}
	r.dhcp = &fakeDHCP{start: r.start, answer: answer}
	c := Config{Kernel: k, DHCP: r.dhcp, Publish: func(s State) {
		r.mu.Lock()
		defer r.mu.Unlock()
		text := string(s.Kind)
		if s.Address.IsValid() {
			text += " " + s.Address.String()
		}
		if s.Kind == Up && s.Address.IsValid() && s.Expires.IsZero() && s.Note != "" {
			text += " (lingers)"
		}
		if n := len(r.states); n == 0 || !strings.HasSuffix(r.states[n-1], "s "+text) {
			r.states = append(r.states, fmt.Sprintf("%v %s", time.Since(r.start), text))
		}
	}}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := New(c).Run(ctx); err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	return r
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestLeaseIsRenewedAtT1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, newKernel(lo, eth0), func(string, int) (Lease, error) { return newLease("192.168.77.50/24"), nil }, nil)
		time.Sleep(1100 * time.Second)
		r.stop()
		equal(t, "asked", r.dhcp.log(), []string{"0s acquire", "8m20s renew", "16m40s renew"})
		if r.kernel.has() != netip.MustParsePrefix("192.168.77.50/24") {
			t.Errorf("address: got %v", r.kernel.has())
		}
	})
}

func TestLeaseIsReboundAtT2AndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := errors.New("no answer")
		r := run(t, newKernel(eth0), func(what string, n int) (Lease, error) {
			if what == "acquire" {
				return newLease("192.168.77.50/24"), nil
			}
			return Lease{}, silent
		}, nil)
		time.Sleep(999 * time.Second)
		if !r.kernel.has().IsValid() {
			t.Error("the address was given up before the lease ran out")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.kernel.has().IsValid() {
			t.Error("the address is still in use after the lease ran out")
		}
		r.stop()
		// T1 500 s; half of what is left to T2, at least a minute; T2 875 s.
		equal(t, "asked", r.dhcp.log()[:9], []string{
			"0s acquire",
			"8m20s renew", "11m27.5s renew", "13m1.25s renew", "14m1.25s renew",
			"14m35s rebind", "15m37.5s rebind", "16m37.5s rebind", "16m40s confirm 192.168.77.50",
		})
	})
}

func TestNakStartsAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, newKernel(eth0), func(what string, n int) (Lease, error) {
			switch {
			case what == "renew" && n == 2:
				return Lease{}, ErrNak
			case n > 2:
				return newLease("10.0.0.9/24"), nil
			}
			return newLease("192.168.77.50/24"), nil
		}, nil)
		time.Sleep(501 * time.Second)
		r.stop()
		equal(t, "states", r.story(), []string{"0s no-lease", "0s up 192.168.77.50/24", "8m20s no-lease", "8m20s up 10.0.0.9/24"})
		if r.kernel.has() != netip.MustParsePrefix("10.0.0.9/24") {
			t.Errorf("address: got %v", r.kernel.has())
		}
	})
}

func TestNoServerIsAskedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, newKernel(eth0), func(what string, n int) (Lease, error) {
			if n < 8 {
				return Lease{}, errors.New("no DHCP server answers on eth0")
			}
			return newLease("192.168.77.50/24"), nil
		}, nil)
		time.Sleep(3 * time.Minute)
		r.stop()
		equal(t, "asked", r.dhcp.log(), []string{
			"0s acquire", "1s acquire", "3s acquire", "7s acquire",
			"15s acquire", "31s acquire", "1m1s acquire", "1m31s acquire",
		})
	})
}

func TestCablePulledAndPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(lo, eth0down)
		r := run(t, k, func(string, int) (Lease, error) { return newLease("192.168.77.50/24"), nil }, nil)
		time.Sleep(9 * time.Second)
		k.set(lo, eth0)
		time.Sleep(11 * time.Second)
		k.set(lo, eth0down)
		time.Sleep(12 * time.Second)
		if !k.has().IsValid() {
			t.Error("the address was taken away while the lease holds")
		}
		k.set(lo, eth0)
		time.Sleep(11 * time.Second)
		r.stop()
		equal(t, "states", r.story(), []string{
			"1s no-link", "9.05s no-lease", "9.05s up 192.168.77.50/24", "21.05s no-link", "32.05s up 192.168.77.50/24",
		})
		equal(t, "asked", r.dhcp.log(), []string{"9.05s acquire", "32.05s confirm 192.168.77.50"})
		if k.ups == 0 {
			t.Error("the interface was never switched on")
		}
	})
}

func TestLeaseRunsOutWhileTheCableIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(eth0)
		r := run(t, k, func(what string, n int) (Lease, error) {
			if n == 1 {
				return newLease("192.168.77.50/24"), nil
			}
			return Lease{}, errors.New("silence")
		}, nil)
		time.Sleep(time.Second)
		k.set(eth0down)
		time.Sleep(2000 * time.Second)
		k.set(eth0)
		time.Sleep(time.Second)
		r.stop()
		if k.has().IsValid() {
			t.Error("an address whose lease ran out is in use")
		}
	})
}

func TestOtherInterfaceTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(lo)
		r := run(t, k, func(string, int) (Lease, error) { return newLease("192.168.77.50/24"), nil }, nil)
		time.Sleep(7 * time.Second)
		k.set(lo, usb0)
		time.Sleep(time.Second)
		k.set(lo, eth0down, usb0)
		time.Sleep(time.Second)
		r.stop()
		equal(t, "states", r.story(), []string{"1s no-link", "7.05s no-lease", "7.05s up 192.168.77.50/24"})
	})
}

func TestStaticAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(eth0)
		k.fail = errors.New("not yet")
		time.AfterFunc(2500*time.Millisecond, func() { k.mu.Lock(); k.fail = nil; k.mu.Unlock() })
		r := run(t, k, nil, func(c *Config) {
			c.Static = netip.MustParsePrefix("10.1.2.3/16")
			c.Gateway = netip.MustParseAddr("10.1.0.1")
		})
		time.Sleep(time.Minute)
		r.stop()
		equal(t, "states", r.story(), []string{"0s no-lease", "3s up 10.1.2.3/16"})
		if k.gateway != netip.MustParseAddr("10.1.0.1") {
			t.Errorf("gateway: got %v", k.gateway)
		}
	})
}

func TestPick(t *testing.T) {
	bridge := Link{Name: "br0", Index: 9, Carrier: true}
	for _, tc := range []struct {
		name    string
		links   []Link
		current int
		want    string
	}{
		{"nothing", nil, 0, ""},
		{"only loopback and a bridge", []Link{lo, bridge}, 0, ""},
		{"a USB interface is as good", []Link{lo, usb0}, 0, "usb0"},
		{"the one with a signal", []Link{eth0down, usb0}, 0, "usb0"},
		{"the first of two", []Link{usb0, eth0}, 0, "eth0"},
		{"the one in use stays", []Link{eth0, usb0}, 3, "usb0"},
		{"unless its cable is out", []Link{eth0, {Name: "usb0", Index: 3, Ethernet: true}}, 3, "eth0"},
	} {
		got, ok := pick(tc.links, tc.current)
		if got.Name != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: got %q, %v; want %q", tc.name, got.Name, ok, tc.want)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDHCP{start: time.Now(), answer: func(string, int) (Lease, error) { panic("short packet") }}
		err := New(Config{Kernel: newKernel(eth0), DHCP: d, Publish: func(State) {}}).Run(t.Context())
		if err == nil || err.Error() != "network: panic: short packet" {
			t.Errorf("got %v, want the panic as an error", err)
		}
	})
}
