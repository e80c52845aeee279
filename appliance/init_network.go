package appliance

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"gatepost/appliance/control"
	"gatepost/appliance/netup"
	"gatepost/appliance/statefile"
)

// addressName is the file with the last address that a DHCP server gave.
const addressName = "address"

func (p *initProcess) startNetwork(life context.Context) {
	p.state.setNetwork(control.Network{State: control.NetworkStarting, Mode: p.current().Network.Mode})
	p.keep(life, "network", func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := p.runNetwork(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// applyNetwork makes the network start again with the settings in force. It
// does not wait for that. The old address stays until there is a new one.
func (p *initProcess) applyNetwork() {
	select {
	case p.netAgain <- struct{}{}:
	default: // it has not begun with the last wish yet
	}
}

// runNetwork is the network with the settings in force, until ctx is done or
// applyNetwork is called.
func (p *initProcess) runNetwork(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.guard("network", func() error { return p.networkRunner().Run(ctx) }) }()
	select {
	case err := <-done:
		return err
	case <-p.netAgain:
		cancel()
		return <-done
	}
}

// networkRunner is made anew from the settings in force.
func (p *initProcess) networkRunner() *netup.Runner {
	s := p.current()
	c := netup.Config{
		Kernel:  netup.Netlink{},
		DHCP:    netup.Wire{Hostname: firstLabel(s.Hostname)},
		DNS:     s.Network.DNS,
		Hint:    lastAddress(p.system),
		Publish: p.networkChanged,
		Leased:  func(l netup.Lease) { p.warn("network", saveAddress(p.system, l.Address.Addr())) },
		Log:     p.log,
	}
	if s.Network.Mode == "static" {
		c.Static, c.Gateway = s.Network.Address, s.Network.Gateway
	}
	return netup.New(c)
}

// networkChanged acts on a state of the network: names, console, clock.
func (p *initProcess) networkChanged(s netup.State) {
	n := control.Network{
		State: string(s.Kind), Mode: p.current().Network.Mode, Interface: s.Interface,
		Gateway: s.Gateway, DNS: s.DNS, NTP: s.NTP, Domain: s.Domain, Note: s.Note,
	}
	if s.Address.IsValid() {
		n.Addresses = []netip.Prefix{s.Address}
	}
	if !s.Expires.IsZero() {
		// The clock may have been set since: count from now.
		n.Expires = time.Now().Add(time.Until(s.Expires)).Round(time.Second)
	}
	before := p.state.setNetwork(n)
	switch {
	case s.Kind == netup.Up:
		p.warn("names", writeResolvConf(resolvConf, s.DNS, s.Domain))
		if !before.Up() || len(before.Addresses) == 0 || before.Addresses[0] != s.Address {
			p.say("network: up %v on %s", s.Address, s.Interface)
		}
		p.state.kickClock()
	case s.Note == netup.Asking:
	case string(s.Kind) != before.State || s.Note != before.Note:
		p.say("network: %s: %s", s.Kind, s.Note)
	}
}

// writeResolvConf tells Go's resolver, in every process of the box, where to
// ask. The file is in memory.
func writeResolvConf(path string, servers []netip.Addr, domain string) error {
	var b bytes.Buffer
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %v\n", a)
	}
	if domain != "" {
		fmt.Fprintf(&b, "search %s\n", domain)
	}
	if err := os.WriteFile(path+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func firstLabel(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label
}

// lastAddress is what we ask a DHCP server for; invalid when we do not know.
func lastAddress(system *os.Root) netip.Addr {
	if system == nil {
		return netip.Addr{}
	}
	text, err := statefile.Read(system, addressName, 100)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil || !a.Is4() {
		return netip.Addr{}
	}
	return a
}

// saveAddress writes only when the address is a new one.
func saveAddress(system *os.Root, a netip.Addr) error {
	if system == nil || lastAddress(system) == a {
		return nil
	}
	return statefile.Write(system, addressName, []byte(a.String()+"\n"), 0o600)
}
