package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"gatepost/mtasts"
)

// maxHosts bounds the MX hosts that are tried.
const maxHosts = 20

// check asks everything that a sender would ask about a domain.
func (c *checker) check(ctx context.Context, domain string) report {
	r := report{Domain: domain}
	rec, err := mtasts.LookupRecord(ctx, c.resolver, domain)
	if err != nil {
		return r.noRecord(err)
	}
	r.Record = &recordView{rec.ID}
	fetched, err := c.fetcher(domain).Fetch(ctx, domain)
	if err != nil {
		return c.dialled(r.noPolicy(err))
	}
	view := showPolicy(fetched.Policy)
	r.Policy, r.PolicyHost = &view, &fetched.Host
	r = c.dialled(r)
	hosts, err := c.lookupMX(ctx, domain)
	if err != nil {
		r.Trouble = &failure{"dns-broken", err.Error()}
		return r.conclude(unknown, "could not tell: the DNS did not say which hosts take its mail.")
	}
	if len(hosts) == 1 && hosts[0].Host == "." {
		return r.conclude(notSafe, "not protected: it takes no mail (null MX).")
	}
	for _, mx := range hosts[:min(len(hosts), maxHosts)] {
		r.MX = append(r.MX, c.checkMX(ctx, fetched.Policy, mx))
	}
	return r.judgeHosts(fetched.Policy)
}

// dialled puts the address of a mapped policy host right: the Fetcher believes
// that it has dialled port 443.
func (c *checker) dialled(r report) report {
	if to, ok := c.mapped["mta-sts."+r.Domain+":443"]; ok && r.PolicyHost != nil && r.PolicyHost.Addr != "" {
		r.PolicyHost.Addr = to.String()
	}
	return r
}

func (r report) conclude(verdict, sentence string) report {
	r.Verdict, r.Sentence = verdict, sentence
	return r
}

func (r report) noRecord(err error) report {
	r.Trouble = recordFailure(err)
	switch r.Trouble.Error {
	case "no-record":
		return r.conclude(notSafe, "not protected: it has no MTA-STS record.")
	case "multiple-records":
		return r.conclude(broken, "broken: it has more than one MTA-STS record, so that none counts.")
	case "record-syntax":
		return r.conclude(broken, "broken: its MTA-STS record is malformed, so that it does not count.")
	}
	return r.conclude(unknown, "could not tell: the DNS did not say whether it has an MTA-STS record.")
}

func (r report) noPolicy(err error) report {
	var fe *mtasts.FetchError
	if !errors.As(err, &fe) {
		r.Trouble = &failure{mtasts.ReasonFetch, err.Error()}
		return r.conclude(unknown, "could not tell: its policy could not be fetched in time.")
	}
	r.PolicyHost = &fe.Host
	r.Trouble = &failure{fe.Reason, strings.TrimPrefix(fe.Err.Error(), "mtasts: ")}
	var dns *net.DNSError
	switch {
	case fe.Reason == mtasts.ReasonInvalid:
		return r.conclude(broken, "broken: its policy is malformed.")
	case fe.Reason == mtasts.ReasonWebPKI:
		return r.conclude(broken, "broken: the certificate of its policy host is not valid for it.")
	case fe.Status != 0, errors.Is(err, mtasts.ErrAddressRefused), errors.As(err, &dns) && dns.IsNotFound, refused(err):
		return r.conclude(broken, "broken: its policy cannot be fetched.")
	}
	return r.conclude(unknown, "could not tell: its policy could not be fetched, and the fault may be on the way.")
}

// lookupMX gives the MX hosts in the order of their preference, or the domain
// itself where there are none (RFC 5321, Section 5.1).
func (c *checker) lookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	hosts, err := c.resolver.LookupMX(ctx, domain+".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || err == nil && len(hosts) == 0 {
		return []*net.MX{{Host: domain}}, nil
	}
	if len(hosts) > 0 {
		err = nil // some records were unusable, others are not
	}
	return hosts, err
}

func (c *checker) checkMX(ctx context.Context, p mtasts.Policy, mx *net.MX) mxView {
	host := strings.TrimSuffix(mx.Host, ".")
	v := mxView{Host: host, Preference: mx.Pref, Listed: p.Match(host)}
	state, addr, err := c.probe(ctx, host)
	v.Addr = addr
	if err != nil {
		v.unknown, v.Reason, v.Detail = true, "connect-failed", err.Error()
		if p.Mode == mtasts.None || v.Listed {
			return v
		}
	}
	if state.Connection != nil {
		v.TLS = tlsName(state.Connection)
	}
	verdict := mtasts.Judge(p, host, state, c.roots, time.Now())
	v.unknown = false
	v.OK, v.Reason, v.Detail, v.CertNames = verdict.OK, verdict.Reason, verdict.Detail, verdict.CertNames
	return v
}

// judgeHosts gives the verdict from the policy's mode and the MX hosts.
func (r report) judgeHosts(p mtasts.Policy) report {
	bad, silent := 0, 0
	for _, mx := range r.MX {
		switch {
		case mx.unknown:
			silent++
		case !mx.OK:
			bad++
		}
	}
	n := len(r.MX)
	switch {
	case p.Mode == mtasts.None:
		return r.conclude(notSafe, "not protected: its policy has mode none.")
	case bad > 0 && p.Mode == mtasts.Testing:
		return r.conclude(broken, fmt.Sprintf("broken: %s the policy%s, which has mode testing.", hosts(bad, n, "fail"), r.why()))
	case bad > 0:
		return r.conclude(broken, fmt.Sprintf("broken: %s the policy%s and %s no mail from senders that enforce it.",
			hosts(bad, n, "fail"), r.why(), plural(bad, "get")))
	case p.Mode == mtasts.Testing:
		return r.conclude(notSafe, "not protected yet: its policy has mode testing.")
	case silent > 0:
		return r.conclude(unknown, fmt.Sprintf("could not tell: the policy demands TLS, but %s not be asked.", hosts(silent, n, "could")))
	}
	return r.conclude(protected, fmt.Sprintf("protected: the policy demands TLS, and %s it.", hosts(n, n, "meet")))
}

var reasonWords = map[mtasts.Reason]string{
	mtasts.ReasonHostMismatch: "the certificate is for another name",
	mtasts.ReasonExpired:      "the certificate is out of its time",
	mtasts.ReasonNotTrusted:   "the certificate is of no trusted authority",
	mtasts.ReasonSTARTTLS:     "STARTTLS is not offered",
	mtasts.ReasonMXNotListed:  "it does not list the name",
	mtasts.ReasonValidation:   "the TLS handshake failed",
}

// why is the reason of the hosts that fail, in parentheses, where it is one
// for all of them.
func (r report) why() string {
	reason := ""
	for _, mx := range r.MX {
		switch {
		case mx.OK || mx.unknown:
		case reason == "":
			reason = mx.Reason
		case reason != mx.Reason:
			return ""
		}
	}
	if words := reasonWords[reason]; words != "" {
		return " (" + words + ")"
	}
	return ""
}

// hosts says what k of n MX hosts do.
func hosts(k, n int, verb string) string {
	if verb != "could" {
		verb = plural(k, verb)
	}
	switch {
	case n == 1:
		return "its MX host " + verb
	case k == n:
		return fmt.Sprintf("all of its %d MX hosts %s", n, verb)
	}
	return fmt.Sprintf("%d of its %d MX hosts %s", k, n, verb)
}

func plural(k int, verb string) string {
	if k == 1 {
		return verb + "s"
	}
	return verb
}
