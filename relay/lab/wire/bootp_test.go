package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// bootp is a DHCP message as far as these tests need it (RFC 2131).
type bootp struct {
	kind   byte // option 53
	xid    uint32
	mine   netip.Addr // ciaddr
	yours  netip.Addr // yiaddr
	wanted netip.Addr // option 50
}

const cookie = "\x63\x82\x53\x63"

func (m bootp) encode() []byte {
	b := make([]byte, 236, 300)
	b[0], b[1], b[2] = 1, 1, 6
	binary.BigEndian.PutUint32(b[4:], m.xid)
	if m.mine.IsValid() {
		copy(b[12:], m.mine.AsSlice())
	}
	copy(b[28:], guestMAC)
	b = append(append(b, cookie...), 53, 1, m.kind)
	if m.wanted.IsValid() {
		b = append(append(b, 50, 4), m.wanted.AsSlice()...)
	}
	return append(b, 255)
}

// decode reads a reply; the kind is 0 when it is none.
func decode(b []byte) bootp {
	if len(b) < 240 || b[0] != 2 || string(b[236:240]) != cookie {
		return bootp{}
	}
	m := bootp{xid: binary.BigEndian.Uint32(b[4:]), yours: netip.AddrFrom4([4]byte(b[16:20]))}
	for o := b[240:]; len(o) > 2 && o[0] != 255; o = o[2+int(o[1]):] {
		if o[0] == 53 {
			m.kind = o[2]
		}
		if len(o) < 2+int(o[1]) {
			return bootp{}
		}
	}
	return m
}

// exchange broadcasts a message as a client without an address does, and
// returns the reply that is broadcast.
func (g *guest) exchange(m bootp) bootp {
	g.t.Helper()
	payload := m.encode()
	frame := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.UDPMinimumSize, 1000)
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(guestMAC), DstAddr: header.EthernetBroadcastAddress, Type: header.IPv4ProtocolNumber,
	})
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + header.UDPMinimumSize + len(payload)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: header.IPv4Any, DstAddr: header.IPv4Broadcast,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.UDP(ip[header.IPv4MinimumSize:]).Encode(&header.UDPFields{
		SrcPort: 68, DstPort: 67, Length: uint16(header.UDPMinimumSize + len(payload)),
	})
	if err := writeFrame(g.sock, append(frame, payload...)); err != nil {
		g.t.Fatal(err)
	}
	const start = header.EthernetMinimumSize + header.IPv4MinimumSize
	var reply bootp
	got := g.seen(func(f []byte) bool {
		if len(f) < start+header.UDPMinimumSize || binary.BigEndian.Uint16(f[start:]) != 67 || binary.BigEndian.Uint16(f[start+2:]) != 68 {
			return false
		}
		reply = decode(f[start+header.UDPMinimumSize:])
		return reply.kind != 0 && reply.xid == m.xid
	})
	if src := netip.AddrFrom4([4]byte(got[26:30])); src != netip.MustParseAddr("192.168.77.1") || !bytes.Equal(got[:6], bytes.Repeat([]byte{0xff}, 6)) {
		g.t.Errorf("the reply comes from %v to %x, want the router and broadcast", src, got[:6])
	}
	return reply
}
