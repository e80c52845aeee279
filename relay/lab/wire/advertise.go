package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// errNoGuest means that nothing is plugged in.
var errNoGuest = errors.New("wire: no guest is plugged in")

// advertiseFor is the lifetime, in seconds, of what a router says.
const advertiseFor = 1800

// Advertise says once, as a router of IPv6 does (RFC 4861, Section 4.2; RFC
// 8106), that prefix is the network and dns its name server. The wire answers
// nothing else in IPv6: the guest gets addresses and nobody to talk to.
func (w *Wire) Advertise(prefix netip.Prefix, dns netip.Addr) error {
	frame, err := w.advertisement(prefix, dns)
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	w.mu.Lock()
	guest := w.guest
	w.mu.Unlock()
	if guest == nil {
		return errNoGuest
	}
	if w.cfg.Frame != nil {
		w.cfg.Frame(false, frame)
	}
	return writeFrame(guest, frame)
}

func (w *Wire) advertisement(prefix netip.Prefix, dns netip.Addr) ([]byte, error) {
	router, all := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1")
	body := binary.BigEndian.AppendUint16([]byte{64, 0}, advertiseFor)
	body = append(body, make([]byte, 8)...)
	// Prefix information: on this wire, and for addresses.
	body = append(body, 3, 4, byte(prefix.Bits()), 0xc0)
	body = binary.BigEndian.AppendUint32(body, advertiseFor)
	body = binary.BigEndian.AppendUint32(body, advertiseFor)
	body = append(append(body, 0, 0, 0, 0), prefix.Masked().Addr().AsSlice()...)
	body = append(body, 25, 3, 0, 0)
	body = binary.BigEndian.AppendUint32(body, advertiseFor)
	body = append(body, dns.AsSlice()...)
	m := icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: body}}
	payload, err := m.Marshal(icmp.IPv6PseudoHeader(router.AsSlice(), all.AsSlice()))
	if err != nil {
		return nil, err
	}
	frame := append([]byte{0x33, 0x33, 0, 0, 0, 1}, w.cfg.MAC...)
	frame = binary.BigEndian.AppendUint16(frame, uint16(header.IPv6ProtocolNumber))
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(payload)))
	frame = append(frame, byte(header.ICMPv6ProtocolNumber), 255)
	frame = append(append(frame, router.AsSlice()...), all.AsSlice()...)
	return append(frame, payload...), nil
}
