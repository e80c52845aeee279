package wire

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const guestMAC = "\x52\x54\x00\x12\x34\x56"

// guest is a machine with a network stack of its own behind QEMU's framing,
// in QEMU's place.
type guest struct {
	t     *testing.T
	addr  netip.Addr
	stack *stack.Stack
	sock  net.Conn

	mu     sync.Mutex
	frames [][]byte // that came from the wire
}

// plugIn connects a guest with the address addr to the wire's socket.
func plugIn(t *testing.T, path string, addr, router netip.Addr) *guest {
	t.Helper()
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	link := channel.New(queue, mtu+header.EthernetMinimumSize, tcpip.LinkAddress(guestMAC))
	g := &guest{t: t, addr: addr, sock: sock, stack: stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})}
	if err := g.stack.CreateNIC(nic, ethernet.New(link)); err != nil {
		t.Fatal(err)
	}
	subnet, _ := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{192, 168, 77, 0}), tcpip.MaskFrom("\xff\xff\xff\x00"))
	if err := g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24},
	}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: subnet, NIC: nic},
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(router.As4()), NIC: nic},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		r := newFrameReader(sock)
		for {
			frame, err := r.next()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.frames = append(g.frames, append([]byte(nil), frame...))
			g.mu.Unlock()
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
			link.InjectInbound(0, pkt)
			pkt.DecRef()
		}
	})
	wg.Go(func() {
		for {
			pkt := link.ReadContext(ctx)
			if pkt == nil {
				return
			}
			v := pkt.ToView()
			pkt.DecRef()
			if err := writeFrame(sock, v.AsSlice()); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = sock.Close()
		wg.Wait()
		g.stack.Destroy()
	})
	return g
}

func (g *guest) dial(to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, full(netip.MustParseAddrPort(to)), ipv4.ProtocolNumber)
}

func (g *guest) dialUDP(to string) net.Conn {
	g.t.Helper()
	remote := full(netip.MustParseAddrPort(to))
	c, err := gonet.DialUDP(g.stack, nil, &remote, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g *guest) listen(port uint16) net.Listener {
	g.t.Helper()
	ln, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.addr, port)), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// seen waits for a frame from the wire that want accepts.
func (g *guest) seen(want func(frame []byte) bool) []byte {
	g.t.Helper()
	for range 300 {
		g.mu.Lock()
		for _, f := range g.frames {
			if want(f) {
				g.mu.Unlock()
				return f
			}
		}
		g.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	g.t.Fatal("the frame did not come within three seconds")
	return nil
}

// dialUDP returns a UDP socket of the guest with a port of its choice.
func dialUDP(g *guest, local, remote tcpip.FullAddress) (net.Conn, error) {
	return gonet.DialUDP(g.stack, &local, &remote, ipv4.ProtocolNumber)
}
