package netup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// How the other machines are asked. RFC 5227, Section 1.1 would take five to
// seven seconds for it, in which no mail passes; on a cable an answer takes
// less than one thousandth of a second. What this misses, Guard finds.
const (
	arpProbes   = 3
	arpInterval = 100 * time.Millisecond
	arpAnswer   = 200 * time.Millisecond // after the last probe
)

// How an address is defended (RFC 5227, Section 1.1).
const (
	announcements    = 2
	announceInterval = 2 * time.Second
	defendInterval   = 10 * time.Second
)

// arpSize is the length of an ARP message for IPv4 over Ethernet (RFC 826).
const arpSize = 28

// arpMessage is as much of ARP as is needed here.
type arpMessage struct {
	from   net.HardwareAddr
	sender netip.Addr // unspecified in a probe
	target netip.Addr
}

// encode makes a request.
func (m arpMessage) encode() []byte {
	b := make([]byte, arpSize)
	binary.BigEndian.PutUint16(b, unix.ARPHRD_ETHER)
	binary.BigEndian.PutUint16(b[2:], unix.ETH_P_IP)
	b[4], b[5], b[7] = 6, 4, 1
	copy(b[8:14], m.from)
	copy(b[14:18], m.sender.AsSlice())
	copy(b[24:28], m.target.AsSlice())
	return b
}

// parseARP reads a request or a reply; it is false for anything else.
func parseARP(b []byte) (arpMessage, bool) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b) != unix.ARPHRD_ETHER || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP ||
		b[4] != 6 || b[5] != 4 || b[6] != 0 || b[7] != 1 && b[7] != 2 {
		return arpMessage{}, false
	}
	return arpMessage{
		from:   bytes.Clone(b[8:14]),
		sender: netip.AddrFrom4([4]byte(b[14:18])), target: netip.AddrFrom4([4]byte(b[24:28])),
	}, true
}

// ARP is the real Neighbours. It needs the right to open packet sockets.
type ARP struct{}

// Ask sends probes, which no machine takes for a claim of ours.
func (ARP) Ask(ctx context.Context, link Link, addr netip.Addr) (net.HardwareAddr, error) {
	c, err := openARP(ctx, link, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for i := range arpProbes {
		if err := c.send(arpMessage{link.MAC, netip.IPv4Unspecified(), addr}); err != nil {
			return nil, err
		}
		limit := arpInterval
		if i == arpProbes-1 {
			limit = arpAnswer
		}
		if mac, err := c.claim(time.Now().Add(limit)); mac != nil || err != nil {
			return mac, err
		}
	}
	return nil, nil
}

// Guard announces and watches.
func (ARP) Guard(ctx context.Context, link Link, addr netip.Addr, defend bool) (net.HardwareAddr, error) {
	c, err := openARP(ctx, link, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var defended time.Time
	for n := 0; ; {
		if n < announcements {
			if err := c.send(arpMessage{link.MAC, addr, addr}); err != nil {
				return nil, err
			}
			n++
		}
		until := time.Time{}
		if n < announcements {
			until = time.Now().Add(announceInterval)
		}
		by, err := c.claim(until)
		switch {
		case err != nil:
			return nil, err
		case by == nil:
			continue
		case !defend || !defended.IsZero() && time.Since(defended) < defendInterval:
			return by, nil
		}
		defended = time.Now()
		if err := c.send(arpMessage{link.MAC, addr, addr}); err != nil {
			return nil, err
		}
	}
}

// arpConn sends to everyone, and receives what is sent in the name of addr.
type arpConn struct {
	*packet.Conn
	ctx  context.Context
	link Link
	addr netip.Addr
	stop func() bool
}

func openARP(ctx context.Context, link Link, addr netip.Addr) (*arpConn, error) {
	if !addr.Is4() {
		return nil, fmt.Errorf("ARP on %s: %v is not an IPv4 address", link.Name, addr)
	}
	// The kernel passes on only messages whose sender is addr, so that a busy
	// network costs nothing.
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 14, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(addr.AsSlice()), SkipFalse: 1},
		bpf.RetConstant{Val: 64},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(&net.Interface{Index: link.Index, Name: link.Name}, packet.Datagram, unix.ETH_P_ARP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("ARP on %s: %w", link.Name, err)
	}
	c := &arpConn{Conn: conn, ctx: ctx, link: link, addr: addr}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	return c, nil
}

func (c *arpConn) Close() {
	c.stop()
	_ = c.Conn.Close()
}

func (c *arpConn) send(m arpMessage) error {
	_, err := c.WriteTo(m.encode(), &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
	if err != nil {
		return fmt.Errorf("ARP on %s: %w", c.link.Name, err)
	}
	return nil
}

// claim returns the MAC of another machine that says that it has the address,
// or nil at the time until; the zero time means never.
func (c *arpConn) claim(until time.Time) (net.HardwareAddr, error) {
	if err := c.SetReadDeadline(until); err != nil {
		return nil, err
	}
	b := make([]byte, 64)
	for {
		// After the deadline above, or it would undo that of the end.
		if c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
		n, _, err := c.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, c.ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("ARP on %s: %w", c.link.Name, err)
		}
		if m, ok := parseARP(b[:n]); ok && m.sender == c.addr && !bytes.Equal(m.from, c.link.MAC) {
			return m.from, nil
		}
	}
}
