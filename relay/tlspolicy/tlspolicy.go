// Package tlspolicy decides what an MX host must show before a message may be
// given to it, and whether it has shown it. It is pure: values in, values out,
// no network, no clock of its own.
//
// In force today: MTA-STS (RFC 8461) and REQUIRETLS (RFC 8689); without either,
// TLS is used when it is offered and works (RFC 7435). DANE comes before
// MTA-STS (RFC 8461, Section 2) and will be put in front here.
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/verdict"
)

// Demand is what holds for one message and one recipient domain.
type Demand struct {
	policy     mtasts.Policy
	hasPolicy  bool
	requireTLS bool
}

// New makes the demand from the policy in force, if there is one, and the
// message's REQUIRETLS tag.
func New(p mtasts.Policy, inForce, requireTLS bool) Demand {
	return Demand{policy: p, hasPolicy: inForce, requireTLS: requireTLS}
}

// Equal reports whether two demands lead to the same decisions.
func (d Demand) Equal(o Demand) bool {
	return d.requireTLS == o.requireTLS && d.hasPolicy == o.hasPolicy &&
		d.policy.Mode == o.policy.Mode && slices.Equal(d.policy.MX, o.policy.MX)
}

// Optional reports whether nobody demands or watches TLS: there is neither the
// tag nor a policy in mode enforce or testing.
func (d Demand) Optional() bool {
	return !d.requireTLS && (!d.hasPolicy || d.policy.Mode == mtasts.None)
}

// MustVerify reports whether the message may only go to a host whose name and
// certificate have been checked.
func (d Demand) MustVerify() bool {
	return d.requireTLS || d.hasPolicy && d.policy.Mode == mtasts.Enforce
}

// Decision is what to do with one MX host.
type Decision struct {
	// Send: the message may be given to the host over this session.
	Send bool
	// TryClear: this session must be closed, but the host may be asked again
	// without TLS, because nobody demands it. Only set when Send is false.
	TryClear bool
	// Permanent: waiting does not help, the message is to be returned when no
	// other host takes it. Enhanced is then the RFC 3463 code to return it with.
	// Only set when Send is false.
	Permanent bool
	Enhanced  string
	// Pattern is the mx pattern of the policy that lists the host, "" when none
	// does or there is no policy. Only Host sets it.
	Pattern string
	// Reason and Rule say why not, or, with Send, what is amiss without being
	// decisive (a policy in testing mode).
	Reason verdict.Reason
	Rule   string
	Detail string
	// Protection is what the session gives.
	Protection verdict.Protection

	CertNames    []string
	CertIssuer   string
	CertNotAfter time.Time
}

// Rules that decide.
const (
	ruleListed      = "RFC 8461, Section 4.1"
	ruleCertificate = "RFC 8461, Section 4.2"
	ruleEnforce     = "RFC 8461, Section 5"
	ruleRequireTLS  = "RFC 8689, Section 4.2.1"
	ruleOptional    = "RFC 7435"
)

// Host decides before the dial whether an MX host may be used at all. Send is
// true when it may.
func (d Demand) Host(mx string) Decision {
	if dec, ok := d.nobodyVouches(); ok {
		return dec
	}
	if !d.hasPolicy {
		return Decision{Send: true}
	}
	v := mtasts.JudgeMX(d.policy, mx)
	if v.OK {
		return Decision{Send: true, Pattern: d.pattern(mx)}
	}
	return Decision{Send: v.Deliver, Reason: verdict.Reason(v.Reason), Detail: v.Detail, Rule: ruleListed}
}

// nobodyVouches is the decision about a message that asks for verified TLS
// where the name of the host came by unsigned DNS and no policy in mode enforce
// names it (RFC 8689, Section 4.2.1; a policy in testing mode vouches for
// nobody). ok is false when there is such a policy, or no such wish.
func (d Demand) nobodyVouches() (dec Decision, ok bool) {
	if !d.requireTLS || d.hasPolicy && d.policy.Mode == mtasts.Enforce {
		return dec, false
	}
	detail := "the message asks for verified TLS, and the domain publishes no policy that names its hosts"
	if d.hasPolicy {
		detail = "the message asks for verified TLS, and the policy of the domain is in mode " + string(d.policy.Mode) + " and vouches for no host"
	}
	return Decision{
		Permanent: true, Enhanced: "5.7.10",
		Reason: verdict.RequireTLS, Rule: ruleRequireTLS, Detail: detail,
	}, true
}

// pattern finds the pattern that lists the host.
func (d Demand) pattern(mx string) string {
	for _, p := range d.policy.MX {
		if ok, err := mtasts.MatchPattern(p, mx); ok && err == nil {
			return p
		}
	}
	return ""
}

// Session decides after the greeting and, where it was tried, the handshake.
// mx is the name in the MX record. st says what the host offered and showed.
func (d Demand) Session(mx string, st mtasts.TLSState, roots *x509.CertPool, now time.Time) Decision {
	if !d.hasPolicy || d.policy.Mode == mtasts.None {
		return d.optional(st)
	}
	v := mtasts.Judge(d.policy, mx, st, roots, now)
	dec := Decision{
		Send: v.Deliver, Reason: verdict.Reason(v.Reason), Detail: v.Detail,
		CertNames: v.CertNames, CertIssuer: v.CertIssuer, CertNotAfter: v.CertNotAfter,
		Protection: protection(st.Connection),
	}
	if v.OK {
		dec.Reason, dec.Detail = "", ""
		dec.Rule = ruleEnforce
		if dec.Protection == verdict.Encrypted {
			dec.Protection = verdict.Verified
		}
	} else {
		dec.Rule = rule(dec.Reason)
	}
	if d.requireTLS && (!v.OK || d.policy.Mode != mtasts.Enforce) {
		dec.Send, dec.Rule = false, ruleRequireTLS
		return d.refuse(dec)
	}
	if dec.Send && st.HandshakeErr != nil {
		// Testing mode delivers as without a policy: the session is lost, the
		// host may be asked again in clear.
		dec.Send, dec.TryClear = false, true
	}
	return dec
}

// optional is delivery without a policy: TLS when it works, clear otherwise.
func (d Demand) optional(st mtasts.TLSState) Decision {
	dec := Decision{Send: true, Rule: ruleOptional, Protection: protection(st.Connection)}
	if st.HandshakeErr != nil {
		dec.Send, dec.TryClear = false, true
		dec.Reason, dec.Detail = verdict.ValidationFailure, st.HandshakeErr.Error()
	}
	if st.Connection != nil && len(st.Connection.PeerCertificates) > 0 {
		leaf := st.Connection.PeerCertificates[0]
		dec.CertNames, dec.CertIssuer, dec.CertNotAfter = leaf.DNSNames, leaf.Issuer.String(), leaf.NotAfter
		if len(dec.CertNames) > 20 {
			dec.CertNames = dec.CertNames[:20]
		}
	}
	return d.refuse(dec)
}

// refuse takes the leave to send away where nobody vouches for the host.
func (d Demand) refuse(dec Decision) Decision {
	if no, ok := d.nobodyVouches(); ok {
		dec.Send, dec.TryClear = false, false
		dec.Permanent, dec.Enhanced = no.Permanent, no.Enhanced
		dec.Reason, dec.Rule, dec.Detail = no.Reason, no.Rule, no.Detail
	}
	return dec
}

func rule(r verdict.Reason) string {
	switch r {
	case verdict.MXNotListed:
		return ruleListed
	case verdict.CertificateExpired, verdict.CertificateHostMismatch, verdict.CertificateNotTrusted:
		return ruleCertificate
	}
	return ruleEnforce
}

func protection(cs *tls.ConnectionState) verdict.Protection {
	if cs == nil || !cs.HandshakeComplete {
		return verdict.Clear
	}
	return verdict.Encrypted
}
