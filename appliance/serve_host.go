package appliance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/boot"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
)

// maxResolvConf is how much of the file with the name servers is read, in bytes.
const maxResolvConf = 64 << 10

// namesEvery is how often the host is asked for its name servers and addresses.
const namesEvery = 10 * time.Second

// hostBox is an ordinary machine in the place of PID 1: it tells the roles the
// state of the box that they expect. Its clock counts as right, its network as
// up, it has no lights, and both roles are this process.
type hostBox struct {
	out  io.Writer
	data string
	api  *api.Client
	hub  *control.Hub
	// configDNS: the settings name the servers, the host's are not asked.
	configDNS bool
}

func newHostBox(o ServeOptions, c config.Config) *hostBox {
	now := time.Now()
	roles := []control.Role{{Name: RoleRelay, Up: true, PID: os.Getpid(), Since: now}}
	web := control.Role{Name: RoleWeb, Up: true, PID: os.Getpid(), Since: now}
	h := &hostBox{
		out: o.Stdout, data: o.DataDir, api: api.NewClient(o.Socket), configDNS: len(c.Network.DNS) > 0,
		hub: control.NewHub(control.Box{
			Version: o.Version, Hostname: c.Hostname, Booted: now,
			Clock:   control.Clock{Trusted: true, Source: "the clock of this machine"},
			Storage: control.Storage{State: control.StorageOK, Device: o.DataDir},
			Config:  control.Config{State: string(health.ConfigFile)},
			Network: control.Network{State: control.NetworkUp, Mode: "host"},
			// A page that is switched off is not missed.
			Roles:  append(roles, web),
			Health: health.State{Level: health.Busy},
		}),
	}
	h.ask()
	return h
}

// watch is RoleInput.Watch.
func (h *hostBox) watch(ctx context.Context, changed func(control.Box)) error {
	for {
		b, next := h.hub.Box()
		changed(b)
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

// ask reads what the host itself knows and may change.
func (h *hostBox) ask() {
	b, _ := h.hub.Box()
	b.Network.Addresses = hostAddresses()
	if !h.configDNS {
		b.Network.DNS = nil
		if f, err := os.Open(resolvConf); err == nil {
			b.Network.DNS = readResolvConf(f)
			f.Close()
		}
	}
	if total, free, err := boot.DiskSpace(h.data); err == nil {
		b.Storage.TotalBytes, b.Storage.FreeBytes = total, free
	}
	h.hub.Publish(b)
}

// run judges the health once a second, as PID 1 does, and says ready when the
// relay answers, until ctx is done.
func (h *hostBox) run(ctx context.Context, ready string) error {
	now := time.Now()
	// The network was there before us: what the name servers say counts at once.
	o := &observer{started: now, upSince: now.Add(-namesGrace)}
	said := false
	voice := newTeller()
	tick := time.NewTicker(lookEvery / 20) // until it is ready
	defer tick.Stop()
	asked := now
	for {
		limited, cancel := context.WithTimeout(ctx, statusLimit)
		s, err := h.api.Status(limited)
		cancel()
		now := time.Now()
		if err == nil {
			o.status, o.heard = s, now
			if !said {
				said = true
				fmt.Fprintln(h.out, ready)
				tick.Reset(lookEvery)
			}
		}
		if now.Sub(asked) >= namesEvery {
			asked = now
			h.ask()
		}
		if said {
			b, _ := h.hub.Box()
			b.Health = o.judge(b, now)
			h.hub.Publish(b)
			for _, line := range voice.tell(b.Health, now) {
				fmt.Fprintln(h.out, line)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// hostAddresses are the addresses of this machine by which others reach it.
func hostAddresses() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out
}

// readResolvConf gives the name servers of a resolv.conf, at most three as other
// programs do (resolv.conf(5)).
func readResolvConf(r io.Reader) []netip.Addr {
	var out []netip.Addr
	sc := bufio.NewScanner(io.LimitReader(r, maxResolvConf))
	for sc.Scan() && len(out) < 3 {
		line, _, _ := bytes.Cut(sc.Bytes(), []byte("#"))
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, a)
		}
	}
	return out
}
