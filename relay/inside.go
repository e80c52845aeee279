package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gatepost/mtasts"
	"gatepost/relay/callahead"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpd"
	"gatepost/relay/verdict"
)

// Inside is one of the office's own domains: where its mail goes, who is there
// and what the senders outside must do.
type Inside struct {
	// Hop is the office's own mail server for the domain.
	Hop nexthop.Hop
	// Ask says that the server is asked whether a recipient exists before a
	// message for it is taken, so that no notice goes to a forged sender later.
	Ask bool
	// Recipients, when not nil, are the only ones that exist: addresses, or
	// local parts of the domain, compared without regard to case.
	Recipients []string
	// TLS is what senders outside must do; Reports are the local parts that are
	// exempt from it, so that reports about broken TLS can arrive.
	TLS     smtpd.TLSRule
	Reports []string
}

var replyUnknown = smtpd.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "No such recipient here"}

// inside finds the own domain of a name in any form.
func (m *Machine) inside(domain string) (Inside, bool) {
	if len(m.cfg.Inside) == 0 {
		return Inside{}, false
	}
	in, ok := m.cfg.Inside[asciiDomain(domain)]
	return in, ok
}

// asciiDomain is the lower-case A-label form; what is no domain name stays.
func asciiDomain(domain string) string {
	if name, err := mtasts.PolicyDomain(domain); err == nil {
		return name
	}
	return strings.ToLower(domain)
}

// local answers the server which domains are the office's own.
func (m *Machine) local(domain string) (smtpd.Local, bool) {
	in, ok := m.inside(domain)
	return smtpd.Local{TLS: in.TLS, Reports: in.Reports}, ok
}

// verify answers at RCPT whether a recipient in an own domain exists.
func (m *Machine) verify(ctx context.Context, q smtpd.Question) error {
	at := strings.LastIndexByte(q.Rcpt, '@')
	if at < 0 {
		return nil
	}
	in, ok := m.inside(q.Rcpt[at+1:])
	if !ok {
		return nil
	}
	if in.Recipients != nil && !listed(in.Recipients, q.Rcpt[:at], asciiDomain(q.Rcpt[at+1:])) {
		return replyUnknown
	}
	if !in.Ask {
		return nil
	}
	err := m.asker.Ask(ctx, q.Rcpt)
	var unknown *callahead.UnknownError
	if errors.As(err, &unknown) {
		return refusal(unknown)
	}
	// A server that cannot be asked just now is no reason to refuse: the
	// message waits here until it can be handed over.
	if err != nil {
		m.cfg.Log.Debug("a recipient could not be checked", "rcpt", q.Rcpt, "err", err)
	}
	return nil
}

// refusal is what a sender is told when the inner server takes no mail for a
// recipient: its own words only where they say more than that there is nobody
// (RFC 6531's 553 5.6.7, a policy's 550 5.7.1).
func refusal(u *callahead.UnknownError) smtpd.Reply {
	var e [3]int
	if n, err := fmt.Sscanf(u.Enhanced, "%d.%d.%d", &e[0], &e[1], &e[2]); err != nil || n != 3 || e[0] != 5 || e[1] == 1 {
		return replyUnknown
	}
	return smtpd.Reply{Code: u.Code, Enhanced: e, Text: u.Text}
}

// listed compares with a list of addresses and local parts. postmaster always
// exists (RFC 5321, Section 4.5.1).
func listed(list []string, local, domain string) bool {
	if strings.EqualFold(local, "postmaster") {
		return true
	}
	return slices.ContainsFunc(list, func(s string) bool {
		if at := strings.LastIndexByte(s, '@'); at >= 0 {
			return strings.EqualFold(s[:at], local) && asciiDomain(s[at+1:]) == domain
		}
		return strings.EqualFold(s, local)
	})
}

// postmaster is the address for RCPT TO:<postmaster> (RFC 5321, Section 4.5.1):
// "" leaves it to the server where our own name lies in an own domain, else it
// is that of the first own domain by name.
func (m *Machine) postmaster() string {
	for name := asciiDomain(m.cfg.Hostname); name != ""; {
		if _, ok := m.cfg.Inside[name]; ok {
			return ""
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return "postmaster@" + slices.Min(slices.Collect(maps.Keys(m.cfg.Inside)))
}

// route answers the deliverer which next hop the settings name for a domain.
func (m *Machine) route(domain string) (nexthop.Hop, verdict.Route, bool) {
	if in, ok := m.inside(domain); ok {
		return in.Hop, verdict.RouteInside, true
	}
	if m.cfg.SmartHost != nil {
		return *m.cfg.SmartHost, verdict.RouteSmartHost, true
	}
	return nexthop.Hop{}, "", false
}

// insideHop is route for own domains alone.
func (m *Machine) insideHop(domain string) (nexthop.Hop, bool) {
	in, ok := m.inside(domain)
	return in.Hop, ok
}

// own reports whether an address is one that this machine listens on, so that
// mail is never handed round in a circle (RFC 5321, Section 5.1).
func (m *Machine) own(a netip.Addr) bool {
	return m.cfg.Own != nil && m.cfg.Own(a.Unmap())
}
