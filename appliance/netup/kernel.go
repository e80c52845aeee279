package netup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
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

// Configure sets the new address and routes before it takes the old ones away,
// so that connections over an unchanged address live on.
func (k Netlink) Configure(index int, want IPv4) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(want.Address)}); err != nil {
		return fmt.Errorf("address %v: %w", want.Address, err)
	}
	ways := want.Routes
	if want.Gateway.IsValid() {
		ways = append([]Route{{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: want.Gateway}}, ways...)
	}
	for _, w := range ways {
		route := &netlink.Route{LinkIndex: index, Dst: ipNet(w.To), Protocol: unix.RTPROT_DHCP}
		if w.Gateway.IsValid() {
			route.Gw = w.Gateway.AsSlice()
			if !want.Address.Contains(w.Gateway) {
				route.SetFlag(netlink.FLAG_ONLINK)
			}
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %v through %v: %w", w.To, w.Gateway, err)
		}
	}
	// An address in the network of the one before it is a second one to the
	// kernel, which takes it away together with the first unless it is told not to.
	promote := "/proc/sys/net/ipv4/conf/" + link.Attrs().Name + "/promote_secondaries"
	if err := os.WriteFile(promote, []byte("1\n"), 0); err != nil {
		return fmt.Errorf("address %v: %w", want.Address, err)
	}
	return removeOthers(link, want.Address, ways)
}

// Deconfigure takes the addresses off; their routes go with them.
func (Netlink) Deconfigure(index int, keep netip.Prefix) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	if keep.IsValid() {
		return removeAddresses(link, keep)
	}
	return removeOthers(link, keep, nil)
}

// removeOthers takes away what was set before: the default routes and those
// that were set like ours, but for those in ways, and the addresses but keep.
func removeOthers(link netlink.Link, keep netip.Prefix, ways []Route) error {
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var errs []error
	for _, rt := range routes {
		if rt.Protocol != unix.RTPROT_DHCP && !isDefault(rt.Dst) {
			continue // the kernel's own
		}
		gw, _ := netip.AddrFromSlice(rt.Gw.To4())
		if !slices.ContainsFunc(ways, func(w Route) bool { return w.Gateway == gw && toPrefix(rt.Dst) == w.To }) {
			errs = append(errs, netlink.RouteDel(&rt))
		}
	}
	return errors.Join(append(errs, removeAddresses(link, keep))...)
}

// removeAddresses takes every address off but keep.
func removeAddresses(link netlink.Link, keep netip.Prefix) error {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range addrs {
		if keep.IsValid() && a.IPNet.String() == ipNet(keep).String() {
			continue
		}
		errs = append(errs, netlink.AddrDel(link, &a))
	}
	return errors.Join(errs...)
}

// Configure6 sets the kernel's rules first; with them it does the rest of RFC
// 4862 by itself.
func (Netlink) Configure6(l Link, want IPv6) error {
	if err := setSysctls("/proc/sys/net", l.Name, want); err != nil {
		return err
	}
	link, err := netlink.LinkByIndex(l.Index)
	if err != nil || want.Off {
		return err
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return nil // a kernel without IPv6
	}
	if want.Address.IsValid() {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(want.Address)}); err != nil {
			return fmt.Errorf("address %v: %w", want.Address, err)
		}
	}
	if want.Gateway.IsValid() {
		route := &netlink.Route{LinkIndex: l.Index, Gw: want.Gateway.AsSlice(), Protocol: unix.RTPROT_STATIC, Priority: staticMetric}
		if !want.Address.Contains(want.Gateway) {
			route.SetFlag(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route through %v: %w", want.Gateway, err)
		}
	}
	return removeOthers6(link, want)
}

// staticMetric puts a configured route before that of an advertisement, 1024.
const staticMetric = 512

// removeOthers6 takes away fixed addresses and routes of before. Those that the
// routers gave end by themselves; where a fixed address is wanted, they are
// taken away too.
func removeOthers6(link netlink.Link, want IPv6) error {
	var errs []error
	routes, err := netlink.RouteList(link, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	for _, rt := range routes {
		gw, _ := netip.AddrFromSlice(rt.Gw)
		if isDefault(rt.Dst) && (want.Gateway.IsValid() || rt.Protocol == unix.RTPROT_STATIC) && gw.WithZone("") != want.Gateway.WithZone("") {
			errs = append(errs, netlink.RouteDel(&rt))
		}
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		fixed := a.Flags&unix.IFA_F_PERMANENT != 0
		if toPrefix(a.IPNet) == want.Address || a.IP.IsLinkLocalUnicast() || !fixed && !want.Address.IsValid() {
			continue
		}
		errs = append(errs, netlink.AddrDel(link, &a))
	}
	return errors.Join(errs...)
}

// Addresses6 leaves out those that are link-local or not known to be ours
// alone yet. Public ones come before those of the office (RFC 4193), and both
// before those that a router takes back.
func (Netlink) Addresses6(index int) ([]netip.Prefix, error) {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	rank := map[netip.Prefix]int{}
	var out []netip.Prefix
	for _, a := range addrs {
		p := toPrefix(a.IPNet)
		if !p.Addr().IsGlobalUnicast() || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		if p.Addr().IsPrivate() {
			rank[p] = 1
		}
		if a.Flags&unix.IFA_F_DEPRECATED != 0 {
			rank[p] = 2
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), a.Addr().Compare(b.Addr()))
	})
	return out, nil
}

func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	ip := n.IP
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	a, _ := netip.AddrFromSlice(ip)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones)
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

// Watch tells of changes of interfaces and addresses. When the kernel's messages
// overflow, it subscribes again and tells of a change, because one may have been
// missed.
func (Netlink) Watch(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	tell := func() {
		select {
		case out <- struct{}{}:
		default:
		}
	}
	follow := func(subscribe func() error) {
		for ctx.Err() == nil {
			_ = subscribe() // tried again, and told below
			tell()
			sleep(ctx, time.Second)
		}
	}
	go follow(func() error {
		updates := make(chan netlink.LinkUpdate, 16)
		err := netlink.LinkSubscribe(updates, ctx.Done())
		for err == nil {
			if _, open := <-updates; !open {
				return nil
			}
			tell()
		}
		return err
	})
	go follow(func() error {
		updates := make(chan netlink.AddrUpdate, 16)
		err := netlink.AddrSubscribe(updates, ctx.Done())
		for err == nil {
			if _, open := <-updates; !open {
				return nil
			}
			tell()
		}
		return err
	})
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
