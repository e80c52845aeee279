package appliance

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gatepost/appliance/control"
	"gatepost/appliance/mdns"
	"gatepost/appliance/netup"
)

// localName is the part of PID 1 that has the name of the box on the wire.
type localName struct {
	mu        sync.Mutex
	on        net.Interface // Index 0: no network
	addresses []netip.Prefix
	responder *mdns.Responder // of the MAC of on
	name      string          // "" while there is none
	again     chan struct{}
}

// init must be called before anything else.
func (n *localName) init() { n.again = make(chan struct{}, 1) }

// followNetwork takes a new state of the network over. The name is there at once, so
// that the page's certificate has it from the start; whether another machine
// has it too turns out later.
func (p *initProcess) followNetwork(s netup.State) {
	on := net.Interface{}
	if s.Kind == netup.Up {
		on = net.Interface{Name: s.Interface, HardwareAddr: s.MAC}
		if i, err := net.InterfaceByName(s.Interface); err == nil {
			on = *i
		}
	}
	n := &p.local
	n.mu.Lock()
	defer n.mu.Unlock()
	if on.Name == n.on.Name && on.Index == n.on.Index && slices.Equal(n.addresses, s.Addresses) {
		return
	}
	if on.Name != "" && (n.responder == nil || !slices.Equal(n.responder.MAC, on.HardwareAddr)) {
		n.responder = mdns.New(mdns.Config{MAC: on.HardwareAddr, Named: p.named, Log: p.log})
		n.name = n.responder.Name()
	}
	n.on, n.addresses = on, s.Addresses
	select {
	case n.again <- struct{}{}:
	default:
	}
}

// named is called by the responder.
func (p *initProcess) named(name, note string) {
	p.local.mu.Lock()
	before := p.local.name
	p.local.name = name
	p.local.mu.Unlock()
	if note != "" {
		p.say("name on the network: %s", note)
	}
	if name != before {
		p.state.update(func(b *control.Box) { b.Network.LocalName = name })
	}
}

func (n *localName) get() string { n.mu.Lock(); defer n.mu.Unlock(); return n.name }

// runLocalName answers for the name on one network after the other.
func (p *initProcess) runLocalName(ctx context.Context) error {
	for {
		p.local.mu.Lock()
		on, addresses, responder := p.local.on, p.local.addresses, p.local.responder
		p.local.mu.Unlock()
		session, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		if on.Name != "" {
			go func() {
				done <- p.guard("name on the network", func() error { return responder.Run(session, on, addresses) })
			}()
		}
		var err error
		select {
		case <-ctx.Done():
		case <-p.local.again:
		case err = <-done:
			cancel()
			return err
		}
		cancel()
		if on.Name != "" {
			err = <-done
		}
		if ctx.Err() != nil {
			return err
		}
	}
}
