package appliance

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"gatepost/appliance/control"
	"gatepost/appliance/netup"
)

func (p *initProcess) startNetwork(life context.Context) {
	p.state.setNetwork(control.Network{State: control.NetworkStarting, Mode: p.current().Network.Mode})
	p.keep(life, "name on the network", p.runLocalName)
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
	return netup.New(p.netupConfig(p.current()))
}

// networkChanged acts on a state of the network: names, console, clock.
func (p *initProcess) networkChanged(s netup.State) {
	n := control.Network{
		State: string(s.Kind), Mode: p.current().Network.Mode, Interface: s.Interface,
		Addresses: s.Addresses, Gateway: s.Gateway, DNS: s.DNS, NTP: s.NTP, Domain: s.Domain, Note: s.Note,
	}
	if !s.Expires.IsZero() {
		// The clock may have been set since: count from now.
		n.Expires = time.Now().Add(time.Until(s.Expires)).Round(time.Second)
	}
	p.followNetwork(s)
	if s.Kind == netup.Up {
		n.LocalName = p.local.get()
	}
	before := p.state.setNetwork(n)
	switch {
	case s.Kind == netup.Up:
		p.warn("names", writeResolvConf(resolvConf, s.DNS, s.Domain))
		moved := !before.Up() || !slices.Equal(before.Addresses, n.Addresses)
		if moved {
			p.say("network: up %s on %s, name %s", spaced(n.Addresses), s.Interface, cmp.Or(n.LocalName, "none"))
		}
		if s.Note != "" && s.Note != before.Note {
			p.say("network: %s", s.Note)
		}
		if moved || !slices.Equal(before.NTP, n.NTP) || !slices.Equal(before.DNS, n.DNS) {
			p.state.kickClock()
		}
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

// spaced writes addresses one after the other.
func spaced(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

func firstLabel(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label
}
