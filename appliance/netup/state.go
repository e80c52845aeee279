package netup

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Kind is how far the box has come.
type Kind string

// Kinds, from nothing to everything.
const (
	NoLink  Kind = "no-link"  // no interface, or no signal on the cable
	NoLease Kind = "no-lease" // a signal, but no address
	Up      Kind = "up"
)

// State is the connection of the box at one moment. It is up with an IPv4
// address, or with IPv6 addresses and a name server.
type State struct {
	Kind      Kind
	Interface string // "" when there is none
	MAC       net.HardwareAddr
	Address   netip.Prefix   // of IPv4, invalid when there is none
	Addresses []netip.Prefix // all: that of IPv4, then those of IPv6 that last longest
	Gateway   netip.Addr     // of IPv4, else of IPv6; invalid when the network has none
	DNS, NTP  []netip.Addr   // in the order in which they are to be asked
	Domain    string
	Expires   time.Time // end of the lease; zero for a fixed address, and for one that has run out
	Note      string    // why not up, or what is wrong all the same, in technical words
}

// Equal reports whether nothing has changed but the end of the lease.
func (s State) Equal(o State) bool {
	return s.Kind == o.Kind && s.Interface == o.Interface && s.Address == o.Address &&
		slices.Equal(s.Addresses, o.Addresses) && s.Gateway == o.Gateway &&
		slices.Equal(s.DNS, o.DNS) && slices.Equal(s.NTP, o.NTP) && s.Domain == o.Domain && s.Note == o.Note
}

// Link is a network interface.
type Link struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr
	Ethernet bool // a real Ethernet interface: not loopback, bridge or tunnel
	Carrier  bool // up, with a signal on the cable
}

// IPv4 is what an interface is to have of IPv4.
type IPv4 struct {
	Address netip.Prefix
	Gateway netip.Addr // invalid means none; it need not be in Address
	Routes  []Route    // beside the default route
}

// Route is a way to a network; an invalid Gateway means that the network is on
// the same wire.
type Route struct {
	To      netip.Prefix `json:"to"`
	Gateway netip.Addr   `json:"gateway"`
}

// IPv6 is how an interface is to get its IPv6 addresses.
type IPv6 struct {
	// Off switches IPv6 off, link-local addresses included.
	Off bool
	// Address is a fixed one; invalid means those that the routers' networks
	// give (RFC 4862), made from the MAC so that they stay the same.
	Address netip.Prefix
	// Gateway of the fixed address; invalid means the routers that advertise
	// themselves.
	Gateway netip.Addr
}

// Kernel is what netup does to the kernel. One goroutine calls it at a time.
type Kernel interface {
	Links() ([]Link, error)
	// Up switches an interface on; it is harmless when it is on already.
	Up(index int) error
	// Configure makes want the only thing of IPv4 on the interface.
	Configure(index int, want IPv4) error
	// Deconfigure takes every IPv4 address off the interface but keep, which
	// may be invalid.
	Deconfigure(index int, keep netip.Prefix) error
	// Configure6 sets IPv6 up on the interface. Fixed addresses that are not
	// in want are taken away.
	Configure6(link Link, want IPv6) error
	// Addresses6 are the IPv6 addresses of the interface by which others can
	// reach it from beyond the wire, those that are to be used first in front.
	Addresses6(index int) ([]netip.Prefix, error)
	// Watch sends after changes of the interfaces and their addresses until
	// ctx is done. Several changes may be told as one.
	Watch(ctx context.Context) <-chan struct{}
}

// DHCP is the client's side of the protocol. Each method bounds its own
// retransmissions and ends early when ctx is done. A refusal is ErrNak: the
// client must stop using the address at once and start again (RFC 2131,
// Section 3.1 point 5).
type DHCP interface {
	// Acquire finds a server and gets a lease (RFC 2131, Section 4.4.1). hint
	// is an address to ask for, invalid for none.
	Acquire(ctx context.Context, link Link, hint netip.Addr) (Lease, error)
	// Confirm asks every server whether a lease of before the start, or of
	// before the cable was pulled, still holds (Section 4.4.2, INIT-REBOOT).
	Confirm(ctx context.Context, link Link, lease Lease) (Lease, error)
	// Renew asks the server of the lease (Section 4.4.5, RENEWING).
	Renew(ctx context.Context, link Link, lease Lease) (Lease, error)
	// Rebind asks any server (Section 4.4.5, REBINDING).
	Rebind(ctx context.Context, link Link, lease Lease) (Lease, error)
	// Decline tells the server that another machine has the address (Section
	// 4.4.1). There is no answer to it.
	Decline(ctx context.Context, link Link, lease Lease) error
}

// Neighbours asks and watches the other machines on the wire (ARP).
type Neighbours interface {
	// Ask returns the MAC of the machine that has addr, nil when none says so
	// in time. Our own does not count.
	Ask(ctx context.Context, link Link, addr netip.Addr) (net.HardwareAddr, error)
	// Guard tells everyone that addr is ours and watches for another machine
	// that uses it (RFC 5227, Sections 2.3 and 2.4). It returns that machine
	// at the first sign of it, or, with defend, when it insists after it was
	// told. It returns an error only when it cannot watch or ctx is done.
	Guard(ctx context.Context, link Link, addr netip.Addr, defend bool) (net.HardwareAddr, error)
}

// Routers listens to the routers of IPv6.
type Routers interface {
	// Listen asks for advertisements (RFC 4861, Section 6.3.7) and hands each
	// to heard, from one goroutine, until ctx is done or it cannot go on.
	Listen(ctx context.Context, link Link, heard func(Advertisement)) error
}
