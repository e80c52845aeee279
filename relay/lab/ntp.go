package lab

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// NTPMode says how the NTP servers behave.
type NTPMode string

// The modes. Unsynchronised servers answer that they do not know the time
// (leap indicator 3, stratum 16: RFC 5905, Section 7.3).
const (
	NTPRight          NTPMode = ""
	NTPSilent         NTPMode = "silent"
	NTPUnsynchronised NTPMode = "unsynchronised"
)

// SetNTP changes how the NTP servers behave.
func (l *Lab) SetNTP(m NTPMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ntp = m
}

func (l *Lab) openNTP(addr netip.AddrPort) error {
	return l.listenPacket(addr, func(_ context.Context, c net.PacketConn, from net.Addr, b []byte) {
		l.mu.Lock()
		mode := l.ntp
		l.mu.Unlock()
		reply, ok := ntpReply(b, mode, l.opts.NTPNow)
		if !ok {
			return
		}
		if _, err := c.WriteTo(reply, from); err == nil && mode == NTPRight {
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
	be := binary.BigEndian
	be.PutUint32(reply[4:], 0x100)         // root delay, 4 ms
	be.PutUint32(reply[8:], 0x100)         // root dispersion
	copy(reply[12:], []byte{127, 0, 0, 1}) // reference id
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
