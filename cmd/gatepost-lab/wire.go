package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/relay/lab"
	"gatepost/relay/lab/wire"
)

const pcapLimit = 256 << 20

// onWire runs the world on a wire with the office at work and tells its story.
func onWire(ctx context.Context, w io.Writer, world lab.World, o options) (err error) {
	ca, err := authority(o.ca)
	if err != nil {
		return err
	}
	tap := lab.NewTap(lab.TapConfig{})
	show := tap.Frame
	if o.pcap != "" {
		file, err := os.Create(o.pcap)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		capture, err := lab.NewPcap(file, pcapLimit)
		if err != nil {
			return err
		}
		show = func(fromGuest bool, frame []byte) {
			tap.Frame(fromGuest, frame)
			_ = capture.Write(time.Now(), frame) // a full disk must not stop the lab
		}
	}
	story := lab.NewStory(w, nil)
	cable, err := wire.New(wire.Config{
		Router: netip.PrefixFrom(world.LAN.Router, world.LAN.Prefix.Bits()),
		Frame:  show,
		Plugged: func(in bool) {
			if in {
				story.Event(lab.GuestConnected{Stamp: lab.Stamp{Time: time.Now()}})
			} else {
				story.Event(lab.GuestGone{Stamp: lab.Stamp{Time: time.Now()}})
			}
		},
	})
	if err != nil {
		return err
	}
	defer cable.Close()
	l, err := lab.New(world, cable, lab.Options{CA: ca, Tap: tap, Events: story.Event, OfficeSends: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	socket, err := listenUnix(o.wire)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	ports := make([]net.Listener, len(o.forward))
	for i, f := range o.forward {
		if ports[i], err = net.Listen("tcp", f.host); err != nil {
			return err
		}
		defer func() { _ = ports[i].Close() }()
	}
	if _, err := fmt.Fprintf(w, "Plug a guest in: -netdev stream,id=n0,server=off,addr.type=unix,addr.path=%s\n", o.wire); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error { return cable.Run(ctx, socket) })
	for i, f := range o.forward {
		g.Go(func() error {
			return cable.Forward(ctx, ports[i], world.LAN.Host, netip.AddrPortFrom(world.LAN.Guest, f.guest))
		})
	}
	return g.Wait()
}

// listenUnix listens on a socket file, in place of one that an earlier run
// left behind.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s is in use by another program", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}
