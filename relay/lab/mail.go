package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Mail is a message as an MX host got it.
type Mail struct {
	Time   time.Time
	Domain string // whose MX host it is
	Host   string
	Client netip.AddrPort // as the network shows it
	Hello  string         // name given with EHLO or HELO
	From   string         // "" for the null return path
	Rcpts  []string
	// MailParams are the parameters of MAIL FROM as sent, e.g. "SIZE=812".
	MailParams string
	// Data is the message exactly as sent, after the dot-unstuffing of RFC
	// 5321, Section 4.5.2, without the final dot line.
	Data []byte
	// TLS is "" for a session in clear, else e.g. "TLS 1.3" with the cipher
	// suite and the server name that the client sent.
	TLS    string
	Cipher string
	SNI    string
	// Stripped says that the attacker sat in the middle of the session.
	Stripped bool
	Canaries []string // found in Data
}

// What one domain keeps; older messages are dropped first.
const (
	maxMails     = 2000
	maxMailBytes = 64 << 20
)

// Received returns the messages that the domain's MX hosts have, oldest
// first. For the attacker use the name World.Attacker.Domain.
func (l *Lab) Received(domain string) []Mail {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st := l.domains[domain]; st != nil {
		return append([]Mail(nil), st.mails...)
	}
	return nil
}

// WaitReceived waits until the domain's MX hosts have got at least n messages
// in all and returns those that are kept.
func (l *Lab) WaitReceived(ctx context.Context, domain string, n int) ([]Mail, error) {
	var total int
	err := l.wait(ctx, func() bool {
		if st := l.domains[domain]; st != nil {
			total = st.total
		}
		return total >= n
	})
	if err != nil {
		return l.Received(domain), fmt.Errorf("lab: %s has %d of %d messages: %w", domain, total, n, err)
	}
	return l.Received(domain), nil
}

// wait calls ready with the lock held after each arrival until it is true.
func (l *Lab) wait(ctx context.Context, ready func() bool) error {
	for {
		l.mu.Lock()
		ok, changed := ready(), l.changed
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signal wakes those who wait; l.mu is held.
func (l *Lab) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// enoughMail is after how many messages an attack that waits for the policy
// to be fetched starts all the same: a sender that was restarted may have the
// policy from before.
const enoughMail = 3

// receive stores a message and starts the attack that waited for it.
func (l *Lab) receive(m Mail) {
	l.mu.Lock()
	st := l.domains[m.Domain]
	st.mails = append(st.mails, m)
	st.mailBytes += len(m.Data)
	st.total++
	for len(st.mails) > maxMails || st.mailBytes > maxMailBytes && len(st.mails) > 1 {
		st.mailBytes -= len(st.mails[0].Data)
		st.mails = slices.Delete(st.mails, 0, 1)
	}
	attack := st.d.Attack.Start == AfterFirstMail && !st.tripped && (st.fetched || st.total >= enoughMail)
	st.tripped = st.tripped || attack
	kind := st.d.Attack.Kind
	l.signal()
	l.mu.Unlock()

	if l.opts.Mail != nil {
		l.opts.Mail(m)
	}
	e := MXReceived{
		Stamp: l.stamp(), Domain: m.Domain, Host: m.Host, From: m.From, Rcpts: m.Rcpts,
		Bytes: len(m.Data), TLS: m.TLS, SNI: m.SNI,
	}
	if len(m.Canaries) > 0 {
		e.Canary = m.Canaries[0]
	}
	l.opts.Events(e)
	if attack {
		_ = l.StartAttack(m.Domain, kind) // the domain exists
	}
}

// Leak is a message of the office that was seen in clear on its way out.
type Leak struct {
	Sighting
	Domain string // whose MX host, or other machine, it was sent to; "" if nobody's
	// Intended is the domain for which the message was; "" when the canary is
	// not one of the office's.
	Intended string
	// Allowed says that the world expects mail for Intended to go in clear to
	// its own machines, and so it did.
	Allowed bool
}

// Leaks returns what left the guest in clear, allowed or not. See
// [Tap.Incomplete] for what the tap could not see.
func (l *Lab) Leaks() []Leak {
	sightings := l.tap.Sightings()
	l.mu.Lock()
	defer l.mu.Unlock()
	intended := make(map[string]string)
	for _, s := range l.sent {
		intended[s.Canary] = s.Domain
	}
	leaks := make([]Leak, 0, len(sightings))
	for _, s := range sightings {
		if s.From.Addr() != l.world.LAN.Guest {
			continue // the office's own way to the guest
		}
		k := Leak{Sighting: s, Domain: l.owner[s.To.Addr()], Intended: intended[s.Canary]}
		if st := l.domains[k.Intended]; st != nil && k.Domain == k.Intended {
			for _, e := range st.d.Expect {
				k.Allowed = k.Allowed || e.Protection == "clear"
			}
		}
		leaks = append(leaks, k)
	}
	return leaks
}
