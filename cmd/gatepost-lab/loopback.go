package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"gatepost/relay/lab"
)

// onLoopback runs the world on ports of 127.0.0.1 and tells its story.
func onLoopback(ctx context.Context, w io.Writer, world lab.World, o options) error {
	ca, err := authority(o.ca)
	if err != nil {
		return err
	}
	network := lab.NewLoopback()
	opts := lab.Options{CA: ca, NoDHCP: true, Events: lab.NewStory(w, nil).Event}
	if o.guest != "" {
		real, err := netip.ParseAddrPort(o.guest)
		if err != nil {
			return fmt.Errorf("-guest: %w", err)
		}
		network.Map(netip.AddrPortFrom(world.LAN.Guest, 25), real)
		opts.OfficeSends = true
	}
	l, err := lab.New(world, network, opts)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, p := range network.Ports() {
		owner := l.Owner(p.Virtual.Addr())
		if owner == "" {
			owner = "office"
		}
		fmt.Fprintf(&b, "%-18s%-5s%-22v%v\n", owner, p.Network, p.Virtual, p.Real)
	}
	fmt.Fprintf(&b, "\nThe world's root certificate:\n%s", l.CA().PEM())
	if good, ok := l.Domain("good.example"); ok {
		for _, p := range network.Ports() {
			if p.Virtual == netip.AddrPortFrom(good.MX[0].Addr, 25) {
				fmt.Fprintf(&b, "\nTry: swaks --server 127.0.0.1:%d --tls --to sales@good.example --from me@office.example\n\n", p.Real.Port())
			}
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return l.Run(ctx)
}
