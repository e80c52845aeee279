// Package config is the schema of config.toml, the one file that says how a
// Gatepost behaves: versioned, validated whole, with errors that name the line
// and the nearest right word.
//
// It reads bytes and returns values. It opens no file, applies nothing and
// knows no defaults of other packages: what a component gets is decided in
// appliance. It imports mtasts for the form of domain names.
package config

import (
	"net/netip"
	"time"
)

// Version is the schema version of today. Earlier ones are rewritten by Upgrade.
const Version = 1

// Config is a whole, valid configuration. Get one from Parse or Default.
type Config struct {
	// Hostname is the name that the box says in EHLO, in Received and in its
	// certificate: a fully qualified DNS name.
	Hostname   string
	Relay      Relay
	Network    Network
	Clock      Clock
	Trust      Trust
	Lights     Lights
	Submission Submission
	Admin      Admin
	// Inbound are the office's own domains. Empty: no mail comes in from others.
	Inbound []Inbound
	// SmartHost takes all mail that goes out; nil means that it goes to the
	// servers of each recipient's domain.
	SmartHost *Server
	Listen    Listen
}

// Relay is the mail machine.
type Relay struct {
	// TrustedNetworks may send to anyone through port 25. Empty: nobody may.
	TrustedNetworks []netip.Prefix
	MaxMessage      int64 // bytes, 1 KiB to 1 GiB
	MaxRecipients   int   // per message, 100 to 10000 (RFC 5321, Section 4.5.3.1.8)
	// Retry is the time from one attempt to the next; the last repeats.
	Retry    []time.Duration
	Lifetime time.Duration // a message older than this is returned
	Parallel int           // deliveries at the same time
	// PerDomain bounds the deliveries to one domain at the same time.
	PerDomain int
	// DelayNotice is when the sender of a message that waits is told; negative
	// means never.
	DelayNotice time.Duration
	// RatePerMinute bounds the messages to one domain in a minute; 0 means that
	// there is no bound.
	RatePerMinute int
	Bind          Bind
}

// Network is how the box gets its address.
type Network struct {
	Mode    string // "dhcp" or "static"
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr // beside or instead of those from DHCP
	// IPv6 is IPv6Auto, IPv6Off or IPv6Static; Address6 is set with the last one
	// alone.
	IPv6     string
	Address6 netip.Prefix
	// Gateway6 is the router; invalid means those that advertise themselves.
	Gateway6 netip.Addr
}

// Values of Network.IPv6.
const (
	IPv6Auto   = "auto"   // addresses from the routers of the network
	IPv6Off    = "off"    // no IPv6
	IPv6Static = "static" // Address6; the file has the address itself
)

// Clock is where the time comes from.
type Clock struct {
	Servers []string // host names or addresses, beside those from DHCP
}

// Trust is which authorities are believed beside the built-in list.
type Trust struct {
	ExtraRoots string // PEM
}

// Submission is who may send with a password on ports 465 and 587.
type Submission struct {
	Devices []Device
}

// Device is a person, printer or program that logs in to send.
type Device struct {
	Name         string
	PasswordHash string   // argon2id, as printed by "gatepost password"
	Senders      []string // addresses it may send from; empty: any
}

// Admin is the page.
type Admin struct {
	// Hosts are names by which the page may be reached beside the box's own
	// name and addresses.
	Hosts []string
}

// Default is the configuration of a box that has none: it gets an address,
// shows its page and relays for nobody.
func Default() Config {
	return Config{
		Hostname: "gatepost.local",
		Relay: Relay{
			MaxMessage:    50 << 20,
			MaxRecipients: 1000,
			Retry: []time.Duration{
				time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
				30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour,
			},
			Lifetime:  5 * 24 * time.Hour,
			Parallel:  20,
			PerDomain: 4,

			DelayNotice: 4 * time.Hour,
		},
		Network: Network{Mode: "dhcp", IPv6: IPv6Auto},
		Lights:  Lights{Profile: ProfileAuto, Mode: LightsFull, Button: true},
	}
}
