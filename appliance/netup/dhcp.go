package netup

import (
	"context"
	"errors"
	"fmt"
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
	mods := w.modifiers()
	if hint.Is4() {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(hint.AsSlice())))
	}
	offer, err := c.DiscoverOffer(ctx, mods...)
	if err != nil {
		return Lease{}, noAnswer(link, err)
	}
	asked := time.Now()
	got, err := c.RequestFromOffer(ctx, offer, w.modifiers()...)
	if err != nil {
		return Lease{}, noAnswer(link, err)
	}
	return leaseFrom(got.ACK, asked)
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
	return w.extend(ctx, c, server, link, lease)
}

// Rebind asks every server on the wire.
func (w Wire) Rebind(ctx context.Context, link Link, lease Lease) (Lease, error) {
	c, err := nclient4.New(link.Name, w.options(broadcastServer)...)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", link.Name, err)
	}
	defer c.Close()
	return w.extend(ctx, c, broadcastServer, link, lease)
}

// extend sends a REQUEST with our address in ciaddr and neither server
// identifier nor requested address (RFC 2131, Section 4.3.2, RENEWING and
// REBINDING).
func (w Wire) extend(ctx context.Context, c *nclient4.Client, to net.UDPAddr, link Link, lease Lease) (Lease, error) {
	req, err := dhcpv4.New(append(w.modifiers(),
		dhcpv4.WithHwAddr(link.MAC),
		dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()),
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
	if resp.Options.Get(dhcpv4.OptionRouter) == nil {
		next.Gateway = lease.Gateway
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
	return []nclient4.ClientOpt{nclient4.WithServerAddr(&server), nclient4.WithTimeout(timeout), nclient4.WithRetry(tries)}
}

func (w Wire) modifiers() []dhcpv4.Modifier {
	mods := []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionNTPServers, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	)}
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
