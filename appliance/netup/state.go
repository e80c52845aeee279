package netup

import (
	"context"
	"errors"
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

// State is the connection of the box at one moment.
type State struct {
	Kind      Kind
	Interface string // "" when there is none
	Address   netip.Prefix
	Gateway   netip.Addr // invalid when the network has none
	DNS, NTP  []netip.Addr
	Domain    string
	Expires   time.Time // end of the lease, zero for a fixed address
	Note      string    // why not up, in technical words
}

// Equal reports whether nothing has changed but the end of the lease.
func (s State) Equal(o State) bool {
	return s.Kind == o.Kind && s.Interface == o.Interface && s.Address == o.Address &&
		s.Gateway == o.Gateway && slices.Equal(s.DNS, o.DNS) && slices.Equal(s.NTP, o.NTP) &&
		s.Domain == o.Domain && s.Note == o.Note
}

// Link is a network interface.
type Link struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr
	Ethernet bool // a real Ethernet interface: not loopback, bridge or tunnel
	Carrier  bool // up, with a signal on the cable
}

// Kernel is what netup does to the kernel. One goroutine calls it at a time.
type Kernel interface {
	Links() ([]Link, error)
	// Up switches an interface on; it is harmless when it is on already.
	Up(index int) error
	// Configure makes address and gateway the only ones of IPv4 on the
	// interface. An invalid gateway means none.
	Configure(index int, address netip.Prefix, gateway netip.Addr) error
	// Deconfigure takes every IPv4 address off the interface.
	Deconfigure(index int) error
	// Watch sends after changes of the interfaces until ctx is done. Several
	// changes may be told as one.
	Watch(ctx context.Context) <-chan struct{}
}

// ErrNak means that the server refused the address: the client must stop
// using it at once and start again (RFC 2131, Section 3.1 point 5).
var ErrNak = errors.New("the DHCP server took the address back")

// DHCP is the client's side of the protocol. Each method bounds its own
// retransmissions and ends early when ctx is done.
type DHCP interface {
	// Acquire finds a server and gets a lease (RFC 2131, Section 4.4.1). hint
	// is an address to ask for, invalid for none.
	Acquire(ctx context.Context, link Link, hint netip.Addr) (Lease, error)
	// Renew asks the server of the lease (Section 4.4.5, RENEWING).
	Renew(ctx context.Context, link Link, lease Lease) (Lease, error)
	// Rebind asks any server (Section 4.4.5, REBINDING).
	Rebind(ctx context.Context, link Link, lease Lease) (Lease, error)
}
