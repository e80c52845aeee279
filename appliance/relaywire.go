package appliance

import (
	"net"
	"net/netip"
	"slices"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/relay"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpd"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// relayConfig turns the settings into what the mail machine needs, but for what
// must be opened first: storage, certificate, authorities and story.
func relayConfig(in RoleInput, box *latestBox) relay.Config {
	r := in.Config.Relay
	cfg := relay.Config{
		Version: in.Version, Hostname: in.Config.Hostname,
		Listeners:       smtpListeners(in.Listeners),
		TrustedNetworks: r.TrustedNetworks,
		MaxMessage:      r.MaxMessage, MaxRecipients: r.MaxRecipients,
		Retry: r.Retry, Lifetime: r.Lifetime, DelayNotice: r.DelayNotice,
		Parallel: r.Parallel, PerDomain: r.PerDomain, RatePerMinute: r.RatePerMinute,
		Bind4: r.Bind.V4, Bind6: r.Bind.V6,
		Inside:      insideDomains(in.Config.Inbound),
		NameServers: func() []netip.AddrPort { return nameServers(box.get(), in.Config) },
		Own:         func(a netip.Addr) bool { return ownAddress(box.get(), a) },
		Ready:       func() bool { b := box.get(); return b.Clock.Trusted && b.Network.Up() },
		// Until PID 1 has said so, the time is unknown.
		ClockTrusted: box.clockTrusted,
		Sentence:     sentence, Log: in.Log,
	}
	if h := in.Config.SmartHost; h != nil {
		hop := nextHop(*h)
		cfg.SmartHost = &hop
	}
	if in.ConfigUse == string(health.ConfigDefault) {
		cfg.Closed = "This mail gateway has no usable settings; please try again later"
	}
	cfg.Auth, cfg.MaySend = submissionRights(in.Config.Submission.Devices)
	return cfg
}

// insideDomains are the office's own domains.
func insideDomains(list []config.Inbound) map[string]relay.Inside {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]relay.Inside, len(list))
	for _, in := range list {
		i := relay.Inside{
			Hop: nextHop(in.Server), Ask: in.Recipients == config.RecipientsAsk,
			TLS: smtpd.TLSRule(in.TLSRule), Reports: in.ReportAddresses,
		}
		if in.Recipients == config.RecipientsList {
			// Never nil: that would be everyone.
			i.Recipients = append([]string{}, in.List...)
		}
		out[in.Domain] = i
	}
	return out
}

// nextHop is a server of the settings as the relay uses it.
func nextHop(s config.Server) nexthop.Hop {
	return nexthop.Hop{
		Host: s.Host, Port: s.Port, TLS: nexthop.TLSRule(s.TLS), Implicit: s.ImplicitTLS,
		Name: s.CertificateName, User: s.User, Password: string(s.Password), Final: s.Final,
	}
}

// ownAddress reports whether an address is one of this machine's.
func ownAddress(b control.Box, a netip.Addr) bool {
	return slices.ContainsFunc(b.Network.Addresses, func(p netip.Prefix) bool { return p.Addr().Unmap() == a })
}

// smtpListeners gives the handed-down listeners their roles.
func smtpListeners(have map[string]net.Listener) []smtpd.Listener {
	var out []smtpd.Listener
	for _, l := range []struct {
		name     string
		role     smtpd.Role
		implicit bool
	}{
		{ListenSMTP, smtpd.Trusted, false},
		{ListenSubmissions, smtpd.Submission, true},
		{ListenSubmission, smtpd.Submission, false},
	} {
		if ln, ok := have[l.name]; ok {
			out = append(out, smtpd.Listener{Listener: ln, Role: l.role, ImplicitTLS: l.implicit})
		}
	}
	return out
}

// nameServers are those of the settings first, then those of the network.
func nameServers(b control.Box, c config.Config) []netip.AddrPort {
	var out []netip.AddrPort
	for _, list := range [][]netip.Addr{c.Network.DNS, b.Network.DNS} {
		for _, a := range list {
			if ap := netip.AddrPortFrom(a, dnsPort); !slices.Contains(out, ap) {
				out = append(out, ap)
			}
		}
	}
	return out
}
