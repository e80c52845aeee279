package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// validator collects every fault of one file.
type validator struct {
	file    string
	lines   lineIndex
	defined func(key ...string) bool
	faults  []*Error
}

func (v *validator) fault(path, format string, args ...any) {
	v.faults = append(v.faults, &Error{File: v.file, Line: v.lines[path], Text: fmt.Sprintf(format, args...)})
}

func (v *validator) err() error {
	slices.SortStableFunc(v.faults, func(a, b *Error) int { return a.Line - b.Line })
	errs := make([]error, len(v.faults))
	for i, f := range v.faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// unknown reports a key that the schema does not have.
func (v *validator) unknown(k toml.Key) {
	table, key := "", k[len(k)-1]
	if len(k) > 1 {
		table = strings.Join(k[:len(k)-1], ".")
	}
	if _, known := keys[table]; table != "" && !known {
		return // its table is unknown and already reported
	}
	path := k.String()
	for i := 0; v.lines[path] == 0 && v.lines[arrayPath(table, i)] != 0; i++ {
		if p := arrayPath(table, i) + "." + key; v.lines[p] != 0 {
			path = p
		}
	}
	hint := ""
	if m := nearest(key, keys[table]); m != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", m)
	}
	where := ""
	if table != "" {
		where = fmt.Sprintf(" in [%s]", table)
	}
	v.fault(path, "unknown key %q%s%s", key, where, hint)
}

func arrayPath(table string, i int) string { return fmt.Sprintf("%s#%d", table, i) }

// config builds the value, noting each fault on the way.
func (v *validator) config(f file) Config {
	c := Default()
	if f.Version == nil {
		v.fault("version", "the first key must be: version = %d", Version)
	}
	if f.Hostname != nil {
		c.Hostname = *f.Hostname
		if !validName(c.Hostname) {
			v.fault("hostname", "%q is not a full DNS name, such as \"gatepost.office.example\"", c.Hostname)
		}
	}
	v.relay(f.Relay, &c.Relay)
	v.network(f.Network, &c.Network)
	for _, s := range f.Clock.Servers {
		if !validHost(s) {
			v.fault("clock.servers", "%q is not a host name or an address", s)
		}
	}
	c.Clock.Servers = f.Clock.Servers
	if f.Trust.ExtraRoots != nil {
		c.Trust.ExtraRoots = *f.Trust.ExtraRoots
		if err := checkPEM(c.Trust.ExtraRoots); err != nil {
			v.fault("trust.extra_roots", "%v", err)
		}
	}
	v.lights(f.Lights, &c.Lights)
	v.submission(f.Submission, &c.Submission)
	for _, h := range f.Admin.Hosts {
		if !validHost(h) {
			v.fault("admin.hosts", "%q is not a host name or an address", h)
		}
	}
	c.Admin.Hosts = f.Admin.Hosts
	v.inbound(f.Inbound, &c)
	v.smartHost(f.SmartHost, &c)
	v.listen(f.Listen, &c.Listen)
	return c
}

func (v *validator) relay(f fileRelay, c *Relay) {
	for _, s := range f.TrustedNetworks {
		p, err := parsePrefix(s)
		switch {
		case err != nil:
			v.fault("relay.trusted_networks", "%q is not a network, such as \"192.168.1.0/24\"", s)
		case p.Bits() == 0:
			v.fault("relay.trusted_networks", "%q is the whole internet: everyone could send through this box", s)
		default:
			c.TrustedNetworks = append(c.TrustedNetworks, p)
		}
	}
	if f.MaxMessageMB != nil {
		if *f.MaxMessageMB < 1 || *f.MaxMessageMB > 1024 {
			v.fault("relay.max_message_mb", "%d is out of range: 1 to 1024 (megabytes)", *f.MaxMessageMB)
		}
		c.MaxMessage = *f.MaxMessageMB << 20
	}
	v.number("relay.max_recipients", f.MaxRecipients, 100, 10000, &c.MaxRecipients)
	v.number("relay.parallel", f.Parallel, 1, 200, &c.Parallel)
	v.number("relay.per_domain", f.PerDomain, 1, 50, &c.PerDomain)
	if f.Retry != nil {
		c.Retry = nil
		if len(f.Retry) == 0 {
			v.fault("relay.retry", "at least one waiting time is needed, such as [\"1m\", \"30m\"]")
		}
	}
	for _, s := range f.Retry {
		c.Retry = append(c.Retry, v.duration("relay.retry", s, time.Second, 24*time.Hour))
	}
	if f.Lifetime != nil {
		c.Lifetime = v.duration("relay.lifetime", *f.Lifetime, time.Hour, 30*24*time.Hour)
	}
	switch {
	case f.DelayNotice == nil:
	case *f.DelayNotice == "off":
		c.DelayNotice = -1
	default:
		c.DelayNotice = v.duration("relay.delay_notice", *f.DelayNotice, 10*time.Minute, 30*24*time.Hour)
	}
	v.number("relay.rate_per_minute", f.RatePerMinute, 0, 10000, &c.RatePerMinute)
	v.bind(f.Bind, &c.Bind)
}

func (v *validator) number(path string, f *int64, low, high int64, into *int) {
	if f == nil {
		return
	}
	if *f < low || *f > high {
		v.fault(path, "%d is out of range: %d to %d", *f, low, high)
		return
	}
	*into = int(*f)
}

// duration reads a time such as "30m" or "5d".
func (v *validator) duration(path, s string, low, high time.Duration) time.Duration {
	t := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		t = days + "h"
	}
	d, err := time.ParseDuration(t)
	if err == nil && t != s {
		d *= 24
	}
	if err != nil || d < low || d > high {
		v.fault(path, "%q is not a time from %s to %s; write it like \"90s\", \"30m\", \"4h\" or \"5d\"", s, short(low), short(high))
		return 0
	}
	return d
}

func short(d time.Duration) string {
	if d >= 24*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}

func (v *validator) network(f fileNetwork, c *Network) {
	if f.Mode != nil {
		c.Mode = *f.Mode
		if c.Mode != "dhcp" && c.Mode != "static" {
			v.fault("network.mode", "%q is not a mode: write \"dhcp\" or \"static\"", c.Mode)
		}
	}
	if f.Address != nil {
		p, err := netip.ParsePrefix(*f.Address)
		if err != nil {
			v.fault("network.address", "%q is not an address with its network size, such as \"192.168.1.30/24\"", *f.Address)
		} else if !p.Addr().Is4() {
			v.fault("network.address", "%q is not an IPv4 address; write: ipv6 = %q", *f.Address, *f.Address)
		} else if why := unfit(p); why != "" {
			v.fault("network.address", "%q cannot be the address of this box: %s", *f.Address, why)
		}
		c.Address = p
	}
	if f.Gateway != nil {
		a, err := netip.ParseAddr(*f.Gateway)
		if err != nil {
			v.fault("network.gateway", "%q is not an address, such as \"192.168.1.1\"", *f.Gateway)
		} else if c.Address.IsValid() && !c.Address.Contains(a) {
			v.fault("network.gateway", "%s is not in the network %s", a, c.Address.Masked())
		} else if a == c.Address.Addr() {
			v.fault("network.gateway", "%s is this box itself; the gateway is the router", a)
		}
		c.Gateway = a
	}
	for _, s := range f.DNS {
		a, err := netip.ParseAddr(s)
		if err != nil {
			v.fault("network.dns", "%q is not an address, such as \"192.168.1.1\"", s)
			continue
		}
		if a.IsUnspecified() || a.IsMulticast() || a == broadcast {
			v.fault("network.dns", "%q is not the address of a name server", s)
			continue
		}
		c.DNS = append(c.DNS, a)
	}
	v.ipv6(f, c)
	if c.Mode == "static" {
		if f.Address == nil {
			v.fault("network", "mode \"static\" needs an address, such as: address = \"192.168.1.30/24\"")
		}
		if len(f.DNS) == 0 {
			v.fault("network", "mode \"static\" needs a name server, such as: dns = [\"192.168.1.1\"]")
		}
	}
}

// broadcast is everybody in the own network.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// unfit says why no box can have this address, "" when one can.
func unfit(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a == broadcast:
		return "it is not the address of one machine"
	case a.IsLoopback():
		return "it never leaves the machine"
	case p.Bits() == 0:
		return "a network of size 0 is the whole internet"
	case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
		return "it is the name of the network itself"
	case a.Is4() && p.Bits() < 31 && a == lastOf(p):
		return "it is the broadcast address of its network"
	}
	return ""
}

// lastOf is the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func (v *validator) submission(f fileSubmission, c *Submission) {
	seen := map[string]bool{}
	for i, d := range f.Devices {
		path := arrayPath("submission.devices", i)
		switch {
		case d.Name == "" || len(d.Name) > 64 || strings.ContainsAny(d.Name, " \t\r\n\x00"):
			v.fault(path, "name %q: a device needs a name of 1 to 64 letters without spaces", d.Name)
		case seen[d.Name]:
			v.fault(path, "the device %q is there twice", d.Name)
		}
		seen[d.Name] = true
		if !strings.HasPrefix(d.PasswordHash, "$argon2id$") {
			v.fault(path, "device %q: password_hash must be made by \"gatepost password\"", d.Name)
		}
		for _, s := range d.Senders {
			if at := strings.LastIndexByte(s, '@'); at < 1 || !validName(s[at+1:]) {
				v.fault(path, "device %q: the sender %q is not a mail address", d.Name, s)
			}
		}
		c.Devices = append(c.Devices, Device(d))
	}
}

func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// validName reports whether s is a DNS name of at least two labels.
func validName(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > 253 || len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, r := range l {
			if !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
				return false
			}
		}
	}
	return true
}

// validHost reports whether s is an address, "localhost" or a DNS name.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s == "localhost" || validName(s)
}

func checkPEM(s string) error {
	n := 0
	for rest := []byte(s); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return fmt.Errorf("holds a %q block; only CERTIFICATE is expected", b.Type)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("certificate %d cannot be read: %v", n+1, err)
		}
		n++
	}
	if n == 0 && strings.TrimSpace(s) != "" {
		return errors.New("holds no certificate in PEM form")
	}
	return nil
}
