package appliance

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"gatepost/appliance/config"
	"gatepost/appliance/netup"
	"gatepost/appliance/statefile"
)

// leaseName is the file with the last lease that a DHCP server gave.
const leaseName = "lease.json"

// netupConfig is the network that the settings s want. What it does on the wire
// is in docs/network.md.
func (p *initProcess) netupConfig(s config.Config) netup.Config {
	c := netup.Config{
		Kernel:     netup.Netlink{},
		DHCP:       netup.Wire{Hostname: firstLabel(s.Hostname)},
		Neighbours: netup.ARP{},
		Routers:    netup.NeighbourDiscovery{},
		DNS:        s.Network.DNS,
		IPv6:       netup.IPv6{Off: s.Network.IPv6 == config.IPv6Off, Address: s.Network.Address6, Gateway: s.Network.Gateway6},
		Publish:    p.networkChanged,
		Log:        p.log,
	}
	if s.Network.Mode == "static" {
		c.Static, c.Gateway = s.Network.Address, s.Network.Gateway
		return c
	}
	var err error
	c.Last, err = lastLease(p.system)
	p.warn("network", err)
	c.Leased = func(l netup.Lease) { p.warn("network", saveLease(p.system, l)) }
	return c
}

// lastLease is the lease that we ask a DHCP server about; the zero value when we
// have none.
func lastLease(system *os.Root) (netup.Lease, error) {
	if system == nil {
		return netup.Lease{}, nil
	}
	text, err := statefile.Read(system, leaseName, netup.MaxLeaseFile)
	if errors.Is(err, fs.ErrNotExist) {
		return netup.Lease{}, nil
	}
	if err != nil {
		return netup.Lease{}, err
	}
	return netup.ParseLease(text)
}

// saveLease writes only when the lease says something new, and not at each
// renewal.
func saveLease(system *os.Root, l netup.Lease) error {
	if system == nil {
		return nil
	}
	text := l.Marshal()
	if old, err := statefile.Read(system, leaseName, netup.MaxLeaseFile); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return statefile.Write(system, leaseName, text, 0o600)
}
