package lab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// reassembler turns Ethernet frames into the flows that the guest opens.
// Connections towards the guest, such as the office's, are not followed: a
// message that comes to the guest may be in clear. Its Tap's lock is held.
type reassembler struct {
	tap   *Tap
	flows map[wireKey]*wireFlow
}

// wireKey names a connection by the guest's end and the other one.
type wireKey struct{ guest, other netip.AddrPort }

type wireFlow struct {
	*FlowTap
	next     uint32            // next sequence number of the guest
	ahead    map[uint32][]byte // segments behind a hole
	aheadLen int
	last     time.Time
}

const (
	maxWireFlows = 4096
	maxAhead     = 4 << 20 // bytes behind a hole, for each flow
)

func (r *reassembler) init(t *Tap) {
	r.tap = t
	r.flows = make(map[wireKey]*wireFlow)
}

// Frame takes one Ethernet frame of the wire. Frames must be shown in the
// order in which they pass.
func (t *Tap) Frame(fromGuest bool, frame []byte) {
	t.mu.Lock()
	call := t.wire.frame(fromGuest, frame)
	t.mu.Unlock()
	if call != nil {
		call()
	}
}

func (r *reassembler) frame(fromGuest bool, frame []byte) func() {
	p, ok := parseIPv4(frame)
	switch {
	case ok && p.tcp != nil && fromGuest:
		r.fromGuest(p)
	case ok && p.tcp != nil:
		return r.toGuest(p)
	case fromGuest:
		// UDP, fragments, ARP, IPv6, anything: no mail belongs there.
		r.tap.datagram(p.from, p.to, frame)
	}
	return nil
}

func (r *reassembler) fromGuest(p packet) {
	key := wireKey{p.from, p.to}
	f := r.flows[key]
	if p.tcp.syn() && !p.tcp.ack() {
		if f != nil && f.next == p.tcp.seq()+1 {
			return // the same SYN again
		}
		if len(r.flows) >= maxWireFlows {
			r.forgetOldest()
		}
		f = &wireFlow{FlowTap: r.tap.open(p.from, p.to), next: p.tcp.seq() + 1, ahead: make(map[uint32][]byte), last: r.tap.cfg.Now()}
		r.flows[key] = f
		return
	}
	if f == nil {
		// An answer on a connection towards the guest, or a stream that is
		// older than the tap: each segment is searched by itself.
		r.tap.datagram(p.from, p.to, p.tcp.payload())
		return
	}
	f.last = r.tap.cfg.Now()
	f.segment(p.tcp.seq(), p.tcp.payload())
	if p.tcp.rst() || p.tcp.fin() && len(f.ahead) == 0 {
		f.end()
	}
}

func (r *reassembler) toGuest(p packet) func() {
	f := r.flows[wireKey{p.to, p.from}]
	if f == nil {
		return nil
	}
	f.flow.Down += int64(len(p.tcp.payload()))
	switch {
	case p.tcp.syn() && p.tcp.ack():
		f.flow.Accepted = true
	case p.tcp.rst():
		return f.refused()
	}
	return nil
}

func (r *reassembler) forgetOldest() {
	var oldest wireKey
	var when time.Time
	for k, f := range r.flows {
		if when.IsZero() || f.last.Before(when) {
			oldest, when = k, f.last
		}
	}
	delete(r.flows, oldest)
}

// segment takes one TCP segment in whatever order they come.
func (f *wireFlow) segment(seq uint32, b []byte) {
	if len(b) == 0 {
		return
	}
	switch d := int32(seq - f.next); {
	case d > 0:
		if have, ok := f.ahead[seq]; ok && len(have) >= len(b) {
			return
		}
		if f.aheadLen+len(b) > maxAhead {
			f.flow.Incomplete = true
			return
		}
		f.aheadLen += len(b) - len(f.ahead[seq])
		f.ahead[seq] = append([]byte(nil), b...)
		return
	case -int64(d) >= int64(len(b)):
		return // all of it seen before
	default:
		b = b[-int64(d):]
	}
	f.next += uint32(len(b))
	f.sent(b)
	for again := true; again; {
		again = false
		for seq, b := range f.ahead {
			if d := int32(seq - f.next); d <= 0 {
				f.aheadLen -= len(b)
				delete(f.ahead, seq)
				if skip := -int64(d); skip < int64(len(b)) {
					f.next += uint32(len(b[skip:]))
					f.sent(b[skip:])
				}
				again = true
				break
			}
		}
	}
}

// packet is what the tap reads of a frame.
type packet struct {
	from, to netip.AddrPort
	tcp      segment // nil when it is not a whole TCP segment
}

// segment is a TCP segment with its header (RFC 9293, Section 3.1).
type segment []byte

func (s segment) seq() uint32     { return binary.BigEndian.Uint32(s[4:]) }
func (s segment) payload() []byte { return s[int(s[12]>>4)*4:] }
func (s segment) fin() bool       { return s[13]&0x01 != 0 }
func (s segment) syn() bool       { return s[13]&0x02 != 0 }
func (s segment) rst() bool       { return s[13]&0x04 != 0 }
func (s segment) ack() bool       { return s[13]&0x10 != 0 }

// parseIPv4 reads an Ethernet frame with an IPv4 packet (RFC 791, Section
// 3.1). It reports false for everything else and for what is cut short.
func parseIPv4(frame []byte) (packet, bool) {
	const etherLen, ipv4 = 14, 0x0800
	if len(frame) < etherLen+20 || binary.BigEndian.Uint16(frame[12:]) != ipv4 {
		return packet{}, false
	}
	ip := frame[etherLen:]
	head, total := int(ip[0]&0x0f)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || head < 20 || total < head || total > len(ip) {
		return packet{}, false
	}
	src, dst := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	body := ip[head:total]
	p := packet{from: netip.AddrPortFrom(src, 0), to: netip.AddrPortFrom(dst, 0)}
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || len(body) < 8 {
		return p, true // a fragment
	}
	const tcp, udp = 6, 17
	if proto := ip[9]; proto == tcp || proto == udp {
		p.from = netip.AddrPortFrom(src, binary.BigEndian.Uint16(body))
		p.to = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(body[2:]))
		if proto == tcp && len(body) >= 20 {
			if off := int(body[12]>>4) * 4; off >= 20 && off <= len(body) {
				p.tcp = body
			}
		}
	}
	return p, true
}
