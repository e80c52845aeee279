package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options are what a Lab is given besides its world. The zero value is fine.
type Options struct {
	CA *CA // nil: a new one
	// Tap is where the network shows what it carries; nil uses the network's
	// own, if it has one.
	Tap *Tap
	// Now is the lab's clock, NTPNow what the NTP servers tell (default Now).
	Now, NTPNow func() time.Time
	// Events takes what happens. It may be called from many goroutines at once
	// and must return quickly. nil drops.
	Events func(Event)
	// Mail, if set, is called with each message that an MX host takes, before
	// the host's 250. It may be called from many goroutines at once.
	Mail func(Mail)
	Log  *slog.Logger
	// GuestSMTP is where the office sends its mail; the default is port 25 of
	// the world's guest.
	GuestSMTP netip.AddrPort
	// OfficeSends makes the office's clients send by themselves while Run
	// runs. [Lab.Send] works without.
	OfficeSends bool
	// NoDHCP leaves the DHCP server out.
	NoDHCP bool
}

// Lab is a running world. All methods may be called concurrently.
type Lab struct {
	world World // as given; what changes is in domains
	net   Network
	opts  Options
	ca    *CA
	tap   *Tap
	log   *slog.Logger
	run   string // random, part of each canary

	services []service
	closers  []func() error

	mu      sync.Mutex
	domains map[string]*domainState
	owner   map[netip.Addr]string // address to domain name
	zone    *zone
	names   []NameFault
	dhcp    DHCPMode
	ntp     map[netip.Addr]NTPBehaviour // those that do not tell the truth
	sent    []Sent
	changed chan struct{} // closed and replaced when mail arrives or is sent
	counter int
	leased  netip.Addr
	lease   time.Duration
}

// service is one thing that Run runs until its context is done.
type service func(ctx context.Context) error

// New builds the world on the network: it makes the certificates and opens
// every address, but serves nothing before [Lab.Run], which also closes what
// New opened. Connections made in between wait. A Lab that is never run must
// be closed with [Lab.Close].
func New(world World, network Network, opts Options) (*Lab, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.NTPNow == nil {
		opts.NTPNow = opts.Now
	}
	if opts.Events == nil {
		opts.Events = func(Event) {}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if !opts.GuestSMTP.IsValid() {
		opts.GuestSMTP = netip.AddrPortFrom(world.LAN.Guest, 25)
	}
	if opts.Tap == nil {
		if t, ok := network.(tapped); ok {
			opts.Tap = t.Tap()
		} else {
			opts.Tap = NewTap(TapConfig{Now: opts.Now})
		}
	}
	if opts.CA == nil {
		ca, err := NewCA(opts.Now())
		if err != nil {
			return nil, err
		}
		opts.CA = ca
	}
	l := &Lab{
		world: world, net: network, opts: opts, ca: opts.CA, tap: opts.Tap, log: opts.Log,
		run:     randomID(),
		domains: make(map[string]*domainState),
		owner:   make(map[netip.Addr]string),
		names:   append([]NameFault(nil), world.Names...),
		changed: make(chan struct{}),
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// build makes the domains and opens their addresses.
func (l *Lab) build() error {
	for i := range l.world.Domains {
		if err := l.addDomain(l.world.Domains[i].clone()); err != nil {
			return err
		}
	}
	if l.world.Attacker.Domain != "" {
		a := l.world.Attacker
		d := Domain{Name: a.Domain, MX: []MX{{Host: a.Host, Pref: 10, Addr: a.Addr, TLS: true}}}
		if err := l.addDomain(d); err != nil {
			return err
		}
	}
	if err := l.rebuildZone(); err != nil {
		return err
	}
	l.tap.OnRefused(l.connectionRefused)
	for _, c := range l.world.Clients {
		if err := l.net.Claim(c.Addr); err != nil {
			return err
		}
	}
	if err := l.openLAN(); err != nil {
		return err
	}
	for _, d := range l.domains {
		if err := l.openDomain(d); err != nil {
			return err
		}
	}
	return nil
}

// openLAN opens the office network's own services.
func (l *Lab) openLAN() error {
	lan := l.world.LAN
	if err := l.openDNS(netip.AddrPortFrom(lan.Router, 53)); err != nil {
		return err
	}
	for _, addr := range lan.NTP {
		if err := l.openNTP(netip.AddrPortFrom(addr, 123)); err != nil {
			return err
		}
	}
	if l.opts.NoDHCP {
		return nil
	}
	if lan.Lease < time.Second {
		return fmt.Errorf("lab: a lease of %v is too short", lan.Lease)
	}
	return l.openDHCP()
}

// Run serves the world until ctx is done or a service fails; then it closes
// and joins everything. It returns nil when ctx ended it.
func (l *Lab) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range l.services {
		g.Go(func() error { return s(ctx) })
	}
	for _, d := range l.world.Domains {
		if d.MendAfter > 0 {
			left := l.domains[d.Name].left
			g.Go(func() error { return l.mendInTime(ctx, d.Name, d.MendAfter, left) })
		}
	}
	l.tellAttacks()
	if l.opts.OfficeSends {
		for _, c := range l.world.Clients {
			g.Go(func() error { return l.sendOnSchedule(ctx, c) })
		}
	}
	g.Go(func() error {
		<-ctx.Done()
		return l.Close()
	})
	return g.Wait()
}

// Close closes what New opened. Run does it too.
func (l *Lab) Close() error {
	var errs []error
	for _, c := range l.closers {
		if err := c(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CA returns the world's certificate authority.
func (l *Lab) CA() *CA { return l.ca }

// Tap returns what sees the guest's traffic.
func (l *Lab) Tap() *Tap { return l.tap }

// Resolver is the address of the world's DNS server, UDP and TCP.
func (l *Lab) Resolver() netip.AddrPort { return netip.AddrPortFrom(l.world.LAN.Router, 53) }

// GuestSMTP is where the office hands over its mail: a relay under test
// listens there.
func (l *Lab) GuestSMTP() netip.AddrPort { return l.opts.GuestSMTP }

// DialContext dials as the guest does: give it to the relay under test.
func (l *Lab) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return Dialer(l.net, l.world.LAN.Guest)(ctx, network, address)
}

// Tell passes an event on to Options.Events; it is for those who run the wire.
func (l *Lab) Tell(e Event) { l.opts.Events(e) }

func (l *Lab) stamp() Stamp { return Stamp{l.opts.Now()} }

// listen opens a TCP service: serve is called for each connection in a
// goroutine of its own and must close it.
func (l *Lab) listen(addr netip.AddrPort, serve func(ctx context.Context, c net.Conn)) error {
	ln, err := l.net.Listen(addr)
	if err != nil {
		return fmt.Errorf("lab: listen on %v: %w", addr, err)
	}
	l.closers = append(l.closers, ln.Close)
	l.services = append(l.services, func(ctx context.Context) error { return acceptLoop(ctx, ln, serve) })
	return nil
}

// listenPacket opens a UDP service: answer is called for each datagram.
func (l *Lab) listenPacket(addr netip.AddrPort, answer func(ctx context.Context, c net.PacketConn, from net.Addr, b []byte)) error {
	pc, err := l.net.ListenPacket(addr)
	if err != nil {
		return fmt.Errorf("lab: listen on %v: %w", addr, err)
	}
	l.closers = append(l.closers, pc.Close)
	l.services = append(l.services, func(ctx context.Context) error { return packetLoop(ctx, pc, answer) })
	return nil
}

// maxAtOnce bounds connections and datagrams in work for each socket.
const maxAtOnce = 512

func acceptLoop(ctx context.Context, ln net.Listener, serve func(ctx context.Context, c net.Conn)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	slots := make(chan struct{}, maxAtOnce)
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("lab: accept on %v: %w", ln.Addr(), err)
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			cut := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer cut()
			defer func() { _ = c.Close() }()
			serve(ctx, c)
		})
	}
}

func packetLoop(ctx context.Context, pc net.PacketConn, answer func(ctx context.Context, c net.PacketConn, from net.Addr, b []byte)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	defer stop()
	slots := make(chan struct{}, maxAtOnce)
	buf := make([]byte, 64<<10)
	for failed := 0; ; {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			// A single error may be about an earlier datagram.
			if failed++; failed > 100 || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("lab: read on %v: %w", pc.LocalAddr(), err)
			}
			continue
		}
		failed = 0
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		wg.Go(func() {
			defer func() { <-slots }()
			answer(ctx, pc, from, b)
		})
	}
}

func randomID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
