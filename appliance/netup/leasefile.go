package netup

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// MaxLeaseFile bounds what ParseLease is given, in bytes.
const MaxLeaseFile = 16 << 10

// savedLease is a lease as it lies on the disk. It has no date: at the start
// the box does not know the time, so what is left of a lease is never taken
// from the disk but always asked for.
type savedLease struct {
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway"`
	Routes  []Route      `json:"routes,omitempty"`
	DNS     []netip.Addr `json:"dns,omitempty"`
	NTP     []netip.Addr `json:"ntp,omitempty"`
	Domain  string       `json:"domain,omitempty"`
	Server  netip.Addr   `json:"server"`
	Seconds int64        `json:"seconds"` // the lifetime that was given
	Witness string       `json:"witness,omitempty"`
}

// Marshal is the lease for the disk. Two leases that differ in their times of
// grant alone give the same bytes.
func (l Lease) Marshal() []byte {
	text, err := json.MarshalIndent(savedLease{
		l.Address, l.Gateway, l.Routes, l.DNS, l.NTP, l.Domain, l.Server, int64(l.Lifetime / time.Second), l.Witness.String(),
	}, "", "\t")
	if err != nil {
		return nil // plain values: it cannot happen
	}
	return append(text, '\n')
}

// ParseLease reads a lease of before the start. Its Obtained is zero. The
// error says that the bytes are not those of a lease; the caller goes on
// without one.
func ParseLease(text []byte) (Lease, error) {
	var s savedLease
	if len(text) > MaxLeaseFile {
		return Lease{}, errors.New("saved lease: too long")
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return Lease{}, fmt.Errorf("saved lease: %w", err)
	}
	l := Lease{
		Address: s.Address, Gateway: s.Gateway, Routes: s.Routes, Domain: domainName(s.Domain), Server: s.Server,
		DNS: firstOnes(s.DNS, maxServers), NTP: firstOnes(s.NTP, maxServers),
		Lifetime: time.Duration(min(max(s.Seconds, 0), 1<<32-1)) * time.Second,
	}
	l.setTimes(0, 0)
	bad := func(a netip.Addr) bool { return !unicast(a) }
	if err := checkAddress(l.Address); err != nil || slices.ContainsFunc(l.DNS, bad) || slices.ContainsFunc(l.NTP, bad) || bad(l.Server) {
		return Lease{}, errors.New("saved lease: it holds an address that cannot be used")
	}
	if l.Gateway.IsValid() && !isHost(l.Gateway, l.Address) || len(l.Routes) > maxRoutes ||
		slices.ContainsFunc(l.Routes, func(r Route) bool { return !r.valid() }) {
		return Lease{}, errors.New("saved lease: it holds a route that cannot be used")
	}
	if s.Witness != "" {
		mac, err := net.ParseMAC(s.Witness)
		if err != nil || len(mac) != 6 {
			return Lease{}, fmt.Errorf("saved lease: %q is not a MAC", s.Witness)
		}
		l.Witness = mac
	}
	return l, nil
}
