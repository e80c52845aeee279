package lab

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// NTPMode says how an NTP server behaves.
type NTPMode string

// The modes. Unsynchronised servers answer that they do not know the time
// (leap indicator 3, stratum 16: RFC 5905, Section 7.3); a server that kisses
// wants to be asked less often (Section 7.4).
const (
	NTPRight          NTPMode = ""
	NTPSilent         NTPMode = "silent"
	NTPUnsynchronised NTPMode = "unsynchronised"
	NTPKisses         NTPMode = "kisses"
)

// NTPBehaviour is what an NTP server does. The zero value tells the truth.
type NTPBehaviour struct {
	Mode NTPMode
	// Wrong is added to the time that it tells: its lie.
	Wrong time.Duration
}

// SetNTP changes how all NTP servers behave.
func (l *Lab) SetNTP(m NTPMode) {
	for _, addr := range l.world.LAN.NTP {
		l.SetNTPServer(addr, NTPBehaviour{Mode: m})
	}
}

// SetNTPServer changes how one of the world's NTP servers behaves.
func (l *Lab) SetNTPServer(addr netip.Addr, b NTPBehaviour) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ntp == nil {
		l.ntp = map[netip.Addr]NTPBehaviour{}
	}
	l.ntp[addr] = b
}

func (l *Lab) openNTP(addr netip.AddrPort) error {
	return l.listenPacket(addr, func(_ context.Context, c net.PacketConn, from net.Addr, b []byte) {
		l.mu.Lock()
		behaviour := l.ntp[addr.Addr()]
		l.mu.Unlock()
		now := func() time.Time { return l.opts.NTPNow().Add(behaviour.Wrong) }
		reply, ok := ntpReply(b, behaviour.Mode, now)
		if !ok {
			return
		}
		if _, err := c.WriteTo(reply, from); err == nil && behaviour.Mode == NTPRight {
			l.opts.Events(TimeGiven{l.stamp(), addr.Addr(), addrPortOf(from).Addr()})
		}
	})
}

const ntpSize = 48

// ntpReply answers a client's packet (RFC 5905, Section 7.3; the short form
// of RFC 4330). It reports false when there is no answer.
func ntpReply(b []byte, mode NTPMode, now func() time.Time) ([]byte, bool) {
	const clientMode, serverMode = 3, 4
	if len(b) < ntpSize || b[0]&7 != clientMode || mode == NTPSilent {
		return nil, false
	}
	arrived := now()
	reply := make([]byte, ntpSize)
	version := b[0] >> 3 & 7
	reply[0] = version<<3 | serverMode
	reply[1] = 2    // stratum
	reply[2] = b[2] // poll interval
	reply[3] = 0xec // precision, 2^-20 s
	if mode == NTPUnsynchronised {
		reply[0] |= 3 << 6
		reply[1] = 16
	}
	if mode == NTPKisses {
		reply[1] = 0
	}
	be := binary.BigEndian
	be.PutUint32(reply[4:], 0x100)         // root delay, 4 ms
	be.PutUint32(reply[8:], 0x100)         // root dispersion
	copy(reply[12:], []byte{127, 0, 0, 1}) // reference id
	if mode == NTPKisses {
		copy(reply[12:], "RATE")
	}
	be.PutUint64(reply[16:], ntpTime(arrived.Add(-10*time.Second)))
	copy(reply[24:32], b[40:48]) // the client's transmit time is our origin
	be.PutUint64(reply[32:], ntpTime(arrived))
	be.PutUint64(reply[40:], ntpTime(now()))
	return reply, true
}

// ntpTime is seconds since 1900 in 32.32 fixed point; it wraps in 2036 as the
// protocol does (RFC 5905, Section 6).
func ntpTime(t time.Time) uint64 {
	const since1900 = 2208988800
	seconds := uint64(t.Unix()+since1900) & 0xffffffff
	return seconds<<32 | uint64(t.Nanosecond())<<32/1e9
}
