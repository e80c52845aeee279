package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Config describes one wire.
type Config struct {
	// Router is the gateway's address with the LAN's prefix length, e.g.
	// 192.168.77.1/24. It is the source of what has no other, such as DHCP.
	Router netip.Prefix
	// MAC is the hardware address of everything that is not the guest; the
	// default is 02:67:70:00:00:01.
	MAC net.HardwareAddr
	// Frame is shown every frame in the order in which it passes; nil is
	// fine. It must return quickly and must not keep the slice.
	Frame func(fromGuest bool, frame []byte)
	// Plugged is called when a guest is plugged in (true) and when none is any
	// more.
	Plugged func(in bool)
	Log     *slog.Logger
}

const (
	nic = tcpip.NICID(1)
	// mtu is that of Ethernet, maxFrame what fits with its header.
	mtu      = 1500
	maxFrame = 64 << 10
	queue    = 2048 // frames that wait for the guest
)

// Wire is the wire and every machine on it but the guest. All methods may be
// called concurrently.
type Wire struct {
	cfg   Config
	stack *stack.Stack
	link  *channel.Endpoint
	once  sync.Once

	mu      sync.Mutex
	claimed map[netip.Addr]bool
	guest   net.Conn // nil: nothing is plugged in
}

// New makes a wire. Its addresses can be used at once; packets reach the guest
// while [Wire.Run] runs.
func New(cfg Config) (*Wire, error) {
	if !cfg.Router.Addr().Is4() {
		return nil, fmt.Errorf("wire: the router needs an IPv4 address, not %v", cfg.Router)
	}
	if cfg.MAC == nil {
		cfg.MAC = net.HardwareAddr{0x02, 0x67, 0x70, 0, 0, 1}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Wire{
		cfg: cfg,
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
		}),
		link:    channel.New(queue, mtu+header.EthernetMinimumSize, tcpip.LinkAddress(cfg.MAC)),
		claimed: make(map[netip.Addr]bool),
	}
	if err := w.stack.CreateNIC(nic, ethernet.New(w.link)); err != nil {
		return nil, fmt.Errorf("wire: %v", err)
	}
	sack := tcpip.TCPSACKEnabled(true)
	if err := w.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack); err != nil {
		return nil, fmt.Errorf("wire: %v", err)
	}
	if err := w.claim(cfg.Router, stack.CanBePrimaryEndpoint); err != nil {
		return nil, err
	}
	w.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return w, nil
}

// Claim gives the wire's machines an address.
func (w *Wire) Claim(addr netip.Addr) error {
	return w.claim(netip.PrefixFrom(addr, 32), stack.NeverPrimaryEndpoint)
}

func (w *Wire) claim(addr netip.Prefix, primary stack.PrimaryEndpointBehavior) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claimed[addr.Addr()] {
		return nil
	}
	if !addr.Addr().Is4() || addr.Addr().IsUnspecified() {
		return fmt.Errorf("wire: %v cannot be a machine's address", addr.Addr())
	}
	err := w.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{
			Address:   tcpip.AddrFrom4(addr.Addr().As4()),
			PrefixLen: addr.Bits(),
		},
	}, stack.AddressProperties{PEB: primary})
	if err != nil {
		return fmt.Errorf("wire: %v: %v", addr, err)
	}
	w.claimed[addr.Addr()] = true
	return nil
}

// Close ends the stack with every connection in it. Run does not: the lab may
// still be closing its own. Call it last, also when Run was never called.
func (w *Wire) Close() { w.once.Do(w.stack.Destroy) }

// Run takes the guest's connections from ln (a unix socket) until ctx is
// done; then it closes ln, pulls the guest out and returns nil.
func (w *Wire) Run(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { w.transmit(ctx) })
	defer func() {
		w.plug(nil)
		wg.Wait()
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wire: %w", err)
		}
		w.plug(c)
		wg.Go(func() {
			if err := w.receive(c); err != nil && ctx.Err() == nil {
				w.cfg.Log.Warn("wire: guest pulled out", "error", err)
			}
			w.unplug(c)
		})
	}
}

// plug puts c in the place of the guest before.
func (w *Wire) plug(c net.Conn) {
	w.mu.Lock()
	old := w.guest
	w.guest = c
	w.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	if c != nil && w.cfg.Plugged != nil {
		w.cfg.Plugged(true)
	}
}

func (w *Wire) unplug(c net.Conn) {
	_ = c.Close()
	w.mu.Lock()
	last := w.guest == c
	if last {
		w.guest = nil
	}
	w.mu.Unlock()
	if last && w.cfg.Plugged != nil {
		w.cfg.Plugged(false)
	}
}

// receive puts the guest's frames into the stack until the connection ends.
func (w *Wire) receive(c net.Conn) error {
	r := newFrameReader(c)
	for {
		frame, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if w.cfg.Frame != nil {
			w.cfg.Frame(true, frame)
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		w.link.InjectInbound(0, pkt) // the protocol is read from the frame
		pkt.DecRef()
	}
}

// transmit sends the stack's frames to the guest; without one they are lost.
func (w *Wire) transmit(ctx context.Context) {
	for {
		pkt := w.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		view := pkt.ToView()
		pkt.DecRef()
		frame := view.AsSlice()
		w.mu.Lock()
		c := w.guest
		w.mu.Unlock()
		if c != nil {
			if w.cfg.Frame != nil {
				w.cfg.Frame(false, frame)
			}
			if err := writeFrame(c, frame); err != nil {
				_ = c.Close() // receive sees it and unplugs
			}
		}
		view.Release()
	}
}
