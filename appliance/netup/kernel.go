package netup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Netlink is the real Kernel. It needs the right to change the network.
type Netlink struct{}

// Links lists the interfaces.
func (Netlink) Links() ([]Link, error) {
	list, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list of interfaces: %w", err)
	}
	out := make([]Link, 0, len(list))
	for _, l := range list {
		a := l.Attrs()
		out = append(out, Link{
			Name:  a.Name,
			Index: a.Index,
			MAC:   a.HardwareAddr,
			// "device" is what the kernel says of hardware; a veth is what a
			// container has.
			Ethernet: a.EncapType == "ether" && a.Flags&net.FlagLoopback == 0 && (l.Type() == "device" || l.Type() == "veth"),
			Carrier:  a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
		})
	}
	return out, nil
}

// Up switches an interface on.
func (Netlink) Up(index int) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	return netlink.LinkSetUp(link)
}

// Configure sets the new address and route before it takes the old ones away,
// so that connections over an unchanged address live on.
func (k Netlink) Configure(index int, address netip.Prefix, gateway netip.Addr) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("address %v: %w", address, err)
	}
	if gateway.IsValid() {
		route := &netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Protocol: unix.RTPROT_DHCP}
		if !address.Contains(gateway) {
			route.SetFlag(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route through %v: %w", gateway, err)
		}
	}
	return k.removeOthers(link, address, gateway)
}

// Deconfigure takes all addresses off; their routes go with them.
func (k Netlink) Deconfigure(index int) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	return k.removeOthers(link, netip.Prefix{}, netip.Addr{})
}

func (Netlink) removeOthers(link netlink.Link, keep netip.Prefix, gateway netip.Addr) error {
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var errs []error
	for _, rt := range routes {
		if !isDefault(rt.Dst) {
			continue
		}
		if gw, ok := netip.AddrFromSlice(rt.Gw.To4()); ok && gw == gateway {
			continue
		}
		errs = append(errs, netlink.RouteDel(&rt))
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if keep.IsValid() && a.IPNet.String() == ipNet(keep).String() {
			continue
		}
		errs = append(errs, netlink.AddrDel(link, &a))
	}
	return errors.Join(errs...)
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Watch tells of changes of interfaces. When the kernel's messages overflow,
// it subscribes again and tells of a change, because one may have been missed.
func (Netlink) Watch(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	tell := func() {
		select {
		case out <- struct{}{}:
		default:
		}
	}
	go func() {
		for ctx.Err() == nil {
			updates := make(chan netlink.LinkUpdate, 16)
			if err := netlink.LinkSubscribe(updates, ctx.Done()); err == nil {
				for range updates {
					tell()
				}
			}
			tell()
			sleep(ctx, time.Second)
		}
	}()
	return out
}

// Loopback switches the loopback interface on.
func Loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}
