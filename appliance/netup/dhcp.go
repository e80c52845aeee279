package netup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// Wire speaks DHCP on a real interface.
type Wire struct {
	// Hostname is told to the server (option 12); "" for none.
	Hostname string
	// Timeout of the first question, doubled for each of the Tries. 0 means
	// one second and four tries.
	Timeout time.Duration
	Tries   int
}

// broadcastServer is every DHCP server on the wire.
var broadcastServer = net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ServerPort}

// Acquire does DISCOVER, OFFER, REQUEST and ACK.
func (w Wire) Acquire(ctx context.Context, link Link, hint netip.Addr) (Lease, error) {
	c, err := nclient4.New(link.Name, w.options(broadcastServer)...)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer c.Close()
	mods := w.modifiers(link)
	if hint.Is4() {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(hint.AsSlice())))
	}
	offer, err := c.DiscoverOffer(ctx, mods...)
	if err != nil {
		return Lease{}, noAnswer(link, err)
	}
	asked := time.Now()
	got, err := c.RequestFromOffer(ctx, offer, w.modifiers(link)...)
	if err != nil {
		return Lease{}, noAnswer(link, err)
	}
	return leaseFrom(got.ACK, asked)
}

// confirmTries is less than for other questions: a server that does not know
// the network keeps silent (RFC 2131, Section 3.2), and the next question is to
// come soon.
const confirmTries = 2

// Confirm sends a REQUEST with the address wanted, without a server identifier
// and with an empty ciaddr (RFC 2131, Section 4.3.2, INIT-REBOOT).
func (w Wire) Confirm(ctx context.Context, link Link, lease Lease) (Lease, error) {
	w.Tries = confirmTries
	c, err := nclient4.New(link.Name, w.options(broadcastServer)...)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer c.Close()
	return w.request(ctx, c, broadcastServer, link, lease,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(lease.Address.Addr().AsSlice())))
}

// Decline sends a DECLINE to every server, once.
func (w Wire) Decline(_ context.Context, link Link, lease Lease) error {
	m, err := dhcpv4.New(
		dhcpv4.WithHwAddr(link.MAC),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(lease.Address.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lease.Server.AsSlice())),
		dhcpv4.WithOption(clientID(link)))
	if err != nil {
		return err
	}
	conn, err := nclient4.NewRawUDPConn(link.Name, nclient4.ClientPort)
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer conn.Close()
	to := broadcastServer
	if _, err := conn.WriteTo(m.ToBytes(), &to); err != nil {
		return fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	return nil
}

// Renew asks the server of the lease directly, from our own address.
func (w Wire) Renew(ctx context.Context, link Link, lease Lease) (Lease, error) {
	// Bound to the interface and not to the address: a refusal is always sent
	// to everyone (RFC 2131, Section 4.1).
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = unix.BindToDevice(int(fd), link.Name) })
		return errors.Join(err, serr)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", nclient4.ClientPort))
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	server := net.UDPAddr{IP: lease.Server.AsSlice(), Port: nclient4.ServerPort}
	c, err := nclient4.NewWithConn(conn, link.MAC, w.options(server)...)
	if err != nil {
		conn.Close()
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer c.Close()
	return w.request(ctx, c, server, link, lease, dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()))
}

// Rebind asks every server on the wire.
func (w Wire) Rebind(ctx context.Context, link Link, lease Lease) (Lease, error) {
	c, err := nclient4.New(link.Name, w.options(broadcastServer)...)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer c.Close()
	return w.request(ctx, c, broadcastServer, link, lease, dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()))
}

// request asks for a lease that we know, which which names: with our address in
// ciaddr (RFC 2131, Section 4.3.2, RENEWING and REBINDING) or as the one that is
// wanted. There is no server identifier in it.
func (w Wire) request(ctx context.Context, c *nclient4.Client, to net.UDPAddr, link Link, lease Lease, which dhcpv4.Modifier) (Lease, error) {
	req, err := dhcpv4.New(append(w.modifiers(link),
		dhcpv4.WithHwAddr(link.MAC),
		which,
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)))...)
	if err != nil {
		return Lease{}, err
	}
	asked := time.Now()
	resp, err := c.SendAndRead(ctx, &to, req, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return Lease{}, noAnswer(link, err)
	}
	if resp.MessageType() == dhcpv4.MessageTypeNak {
		return Lease{}, ErrNak
	}
	next, err := leaseFrom(resp, asked)
	if err != nil {
		return Lease{}, err
	}
	// Some servers leave out of a renewal what has not changed.
	if !resp.Options.Has(dhcpv4.OptionRouter) && !resp.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		next.Gateway, next.Routes = lease.Gateway, lease.Routes
	}
	if resp.Options.Get(dhcpv4.OptionSubnetMask) == nil {
		next.Address = netip.PrefixFrom(next.Address.Addr(), lease.Address.Bits())
	}
	if resp.Options.Get(dhcpv4.OptionDomainNameServer) == nil {
		next.DNS = lease.DNS
	}
	if resp.Options.Get(dhcpv4.OptionNTPServers) == nil {
		next.NTP = lease.NTP
	}
	if resp.Options.Get(dhcpv4.OptionDomainName) == nil {
		next.Domain = lease.Domain
	}
	return next, nil
}

func (w Wire) options(server net.UDPAddr) []nclient4.ClientOpt {
	timeout, tries := w.Timeout, w.Tries
	if timeout <= 0 {
		timeout = time.Second
	}
	if tries <= 0 {
		tries = 4
	}
	// Not all machines of an office may ask in step after a power cut (RFC
	// 2131, Section 4.1).
	timeout += rand.N(timeout / 4)
	return []nclient4.ClientOpt{nclient4.WithServerAddr(&server), nclient4.WithTimeout(timeout), nclient4.WithRetry(tries)}
}

// clientID is the same for as long as the network card is (RFC 2132, Section
// 9.14): by it a server finds the address that it has reserved for the box.
func clientID(link Link) dhcpv4.Option {
	const ethernet = 1
	return dhcpv4.OptClientIdentifier(append([]byte{ethernet}, link.MAC...))
}

func (w Wire) modifiers(link Link) []dhcpv4.Modifier {
	mods := []dhcpv4.Modifier{
		// Classless routes are asked for before the router (RFC 3442).
		dhcpv4.WithRequestedOptions(
			dhcpv4.OptionClasslessStaticRoute,
			dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
			dhcpv4.OptionNTPServers, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
		),
		dhcpv4.WithOption(clientID(link)),
	}
	if w.Hostname != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(w.Hostname)))
	}
	return mods
}

// noAnswer turns the library's errors into ours.
func noAnswer(link Link, err error) error {
	var nak *nclient4.ErrNak
	switch {
	case errors.As(err, &nak):
		return ErrNak
	case errors.Is(err, nclient4.ErrNoResponse):
		return fmt.Errorf("no DHCP server answers on %s", link.Name)
	}
	return fmt.Errorf("DHCP on %s: %w", link.Name, err)
}
