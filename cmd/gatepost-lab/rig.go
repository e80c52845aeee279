package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/image"
	"gatepost/image/qemu"
	"gatepost/relay/lab"
	"gatepost/relay/lab/wire"
)

// rigConfig says what to put together.
type rigConfig struct {
	Image string // folder of the image's artefacts
	Board string // of qemu.Config
	DTB   string // of qemu.Config
	Disk  string // data disk, "" for none
	NBD   string // socket of the data disk's server, in place of Disk
	// Off leaves the guest switched off until SwitchOn.
	Off bool
	// Firmware and Vars are of qemu.Config: the disk is started by them.
	Firmware, Vars string
	CA             *lab.CA
	World          lab.World
	// OfficeSends lets the office's machines send by themselves.
	OfficeSends bool
	Events      func(lab.Event)
	Mail        func(lab.Mail)
	OnLine      func(qemu.Line)
	Append      string   // of qemu.Config
	Extra       []string // of qemu.Config
	MemoryMB    int
	Time        time.Time // the guest's clock at the start; zero: the host's
	Pcap        io.Writer // nil: no capture
	PcapLimit   int64
	// Prepare is called after the lab is built and before the guest starts.
	Prepare func(*lab.Lab)
}

// rig is an appliance in QEMU, plugged into the simulated internet.
type rig struct {
	Wire    *wire.Wire
	Lab     *lab.Lab
	Machine *qemu.Machine

	boot  qemu.Config
	guest netip.Addr
	host  netip.Addr
	group *errgroup.Group
	ctx   context.Context
	stop  context.CancelFunc
	dir   string
}

// startRig builds the world, plugs the wire and switches the guest on. The
// caller must call Close.
func startRig(ctx context.Context, c rigConfig) (*rig, error) {
	dir, err := os.MkdirTemp("", "gatepost-lab-")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	g, gctx := errgroup.WithContext(ctx)
	r := &rig{guest: c.World.LAN.Guest, host: c.World.LAN.Host, group: g, ctx: gctx, stop: stop, dir: dir}
	fail := func(err error) (*rig, error) {
		return nil, errors.Join(err, r.Close())
	}

	lan := c.World.LAN
	tap := lab.NewTap(lab.TapConfig{})
	var pcap *lab.Pcap
	if c.Pcap != nil {
		if pcap, err = lab.NewPcap(c.Pcap, c.PcapLimit); err != nil {
			return fail(err)
		}
	}
	r.Wire, err = wire.New(wire.Config{
		Router: netip.PrefixFrom(lan.Router, lan.Prefix.Bits()),
		Frame: func(fromGuest bool, frame []byte) {
			tap.Frame(fromGuest, frame)
			if pcap != nil {
				// A full disk ends the capture, not the lab.
				_ = pcap.Write(time.Now(), frame)
			}
		},
		Plugged: func(in bool) {
			if r.Lab == nil {
				return
			}
			now := lab.Stamp{Time: time.Now()}
			if in {
				r.Lab.Tell(lab.GuestConnected{Stamp: now})
			} else {
				r.Lab.Tell(lab.GuestGone{Stamp: now})
			}
		},
	})
	if err != nil {
		return fail(err)
	}
	r.Lab, err = lab.New(c.World, r.Wire, lab.Options{
		CA: c.CA, Tap: tap, Events: c.Events, Mail: c.Mail, OfficeSends: c.OfficeSends,
	})
	if err != nil {
		return fail(err)
	}
	if c.Prepare != nil {
		c.Prepare(r.Lab)
	}
	socket := filepath.Join(dir, "wire")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return fail(err)
	}
	g.Go(func() error { return r.Wire.Run(gctx, ln) })
	g.Go(func() error { return r.Lab.Run(gctx) })
	r.boot = qemu.Config{
		Board: c.Board, DTB: c.DTB, Append: c.Append, Extra: c.Extra, Firmware: c.Firmware, Vars: c.Vars,
		Kernel: filepath.Join(c.Image, image.KernelName), Initrd: filepath.Join(c.Image, image.InitrdName),
		MemoryMB: c.MemoryMB, Network: socket, Disk: c.Disk, NBD: c.NBD, Time: c.Time, OnLine: c.OnLine,
	}
	if !c.Off {
		if err := r.SwitchOn(); err != nil {
			return fail(err)
		}
	}
	return r, nil
}

// SwitchOn starts the guest, the next one when it has ended before.
func (r *rig) SwitchOn() (err error) {
	r.Machine, err = qemu.Start(r.ctx, r.boot)
	return err
}

// Forward opens 127.0.0.1:want, or any port when want is taken, and passes its
// connections to a port of the guest. It returns the address.
func (r *rig) Forward(want, port uint16) (string, error) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", want))
	if err != nil {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	to := netip.AddrPortFrom(r.guest, port)
	r.group.Go(func() error { return r.Wire.Forward(r.ctx, ln, r.host, to) })
	return ln.Addr().String(), nil
}

// PowerOff presses the power key and waits for the guest to switch itself off;
// when it does not within limit, the power is cut.
func (r *rig) PowerOff(ctx context.Context, limit time.Duration) (qemu.End, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.Machine.PowerButton(ctx); err != nil {
		return qemu.End{}, err
	}
	return r.Machine.Wait(ctx)
}

// Close switches everything off and joins it.
func (r *rig) Close() error {
	if r.Machine != nil {
		r.Machine.Kill()
	}
	r.stop()
	err := r.group.Wait()
	if r.Lab != nil {
		err = errors.Join(err, r.Lab.Close())
	}
	if r.Wire != nil {
		r.Wire.Close()
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}
