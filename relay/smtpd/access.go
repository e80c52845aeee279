package smtpd

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/event"
	"gatepost/relay/smtpc/address"
)

// Who may send to whom (RFC 5321, Section 7.9).

// verifyTime is how long Config.Verify may take. The client waits five minutes
// for the answer to RCPT (RFC 5321, Section 4.5.3.2.3).
const verifyTime = time.Minute

var (
	replyRelay   = Reply{550, [3]int{5, 7, 1}, "Relaying denied"}
	replyRouting = Reply{550, [3]int{5, 7, 1}, "Relaying denied: no routes inside of addresses"}
	replyClear   = Reply{530, [3]int{5, 7, 0}, "This recipient's mail must come through TLS, send STARTTLS first"}
)

// admit decides about a recipient, a checked address, and returns it in the form
// in which it is kept: the domain of an own address as Local was asked for it, so
// that whoever routes the message cannot take it for another domain.
func (s *session) admit(to string) (string, error) {
	local, domain, _ := address.Split(to)
	name, own, ok := s.srv.own(domain)
	if !s.mayReach(ok) {
		return "", replyRelay
	}
	if !ok {
		return to, nil
	}
	to = local + "@" + name
	if s.d.role == Internet {
		// The office's server trusts us, and may take user%other@own and
		// other!user@own for orders to send the mail on.
		if strings.ContainsAny(local, "%!") {
			return "", replyRouting
		}
		if err := s.tlsRule(own, local, name, to); err != nil {
			return "", err
		}
	}
	if s.srv.cfg.Verify == nil {
		return to, nil
	}
	ctx, cancel := context.WithTimeout(s.srv.hard, verifyTime)
	defer cancel()
	if err := s.srv.cfg.Verify(ctx, Question{From: s.tx.From, Rcpt: to, Client: s.d.peer, Role: s.d.role}); err != nil {
		// A list of the office with names that are gone is no attack on the office.
		s.d.pardon = s.d.role != Internet
		return "", err
	}
	return to, nil
}

// mayReach is the one rule: the trusted networks and those who have logged in
// send to anywhere, everybody else to own domains only.
func (s *session) mayReach(own bool) bool {
	switch s.d.role {
	case Trusted:
		return s.srv.trusted(s.d.peer)
	case Submission:
		return s.user != "" && s.d.tls != nil
	case Internet:
		return own
	}
	return false
}

// own asks Local about a domain as it stands in an address: in any case of
// letters, with U-labels or A-labels. name is the domain in the form in which
// Local was asked. An address literal is never an own domain.
func (s *Server) own(domain string) (name string, l Local, ok bool) {
	if s.cfg.Local == nil {
		return "", Local{}, false
	}
	name, err := mtasts.PolicyDomain(domain)
	if err != nil {
		return "", Local{}, false
	}
	l, ok = s.cfg.Local(name)
	return name, l, ok
}

// tlsRule is the own domain's rule for strangers in clear (RFC 3207, Section 4).
func (s *session) tlsRule(own Local, local, domain, rcpt string) error {
	if s.d.tls != nil {
		return nil
	}
	switch own.TLS {
	case TLSRequired:
		if slices.ContainsFunc(own.Reports, func(r string) bool { return strings.EqualFold(r, local) }) {
			return nil
		}
		return replyClear
	case TLSWatch:
		if !slices.ContainsFunc(s.tx.watched, func(w watched) bool { return w.domain == domain }) {
			s.tx.watched = append(s.tx.watched, watched{domain, rcpt})
		}
	}
	return nil
}

// tellWatched tells of a message that came in clear, once for each domain.
func (s *Server) tellWatched(tx *transaction) {
	for _, w := range tx.watched {
		s.cfg.Events(event.InboundClear{Time: s.cfg.Now(), Client: tx.Client.String(), Domain: w.domain, Rcpt: w.rcpt})
	}
}

// postmasterOf is the address that <postmaster> stands for, see Config.
func (s *Server) postmasterOf() string {
	if s.cfg.Postmaster != "" {
		return s.cfg.Postmaster
	}
	for name := s.cfg.Hostname; name != ""; {
		if domain, _, ok := s.own(name); ok {
			return "postmaster@" + domain
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return "postmaster@" + s.cfg.Hostname
}
