package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// domainState is a domain as it is now. Lab.mu guards it.
type domainState struct {
	d          Domain
	mxCerts    map[string]*tls.Certificate // by host
	policyCert *tls.Certificate
	attack     AttackKind // under way
	fetched    bool       // the policy was served once
	tripped    bool       // the attack that waits has started once
	mails      []Mail
	mailBytes  int
	total      int                  // mails ever received
	greylist   map[string]time.Time // recipient to first attempt
	hasLeft    bool                 // a client left without handing over mail
	left       chan struct{}        // closed when hasLeft becomes true
}

// addDomain makes the state of a domain; only New calls it.
func (l *Lab) addDomain(d Domain) error {
	if d.Name == "" || l.domains[d.Name] != nil {
		return fmt.Errorf("lab: domain %q: a domain needs a name of its own", d.Name)
	}
	st := &domainState{d: d, greylist: make(map[string]time.Time), left: make(chan struct{})}
	if err := l.issue(st); err != nil {
		return err
	}
	if d.Attack.Start == FromTheStart {
		st.attack = d.Attack.Kind
	}
	l.domains[d.Name] = st
	for _, mx := range d.MX {
		l.owner[mx.Addr] = d.Name
	}
	if d.Policy != nil {
		l.owner[d.Policy.Addr] = d.Name
	}
	return nil
}

// issue makes the domain's certificates anew.
func (l *Lab) issue(st *domainState) error {
	now := l.opts.Now()
	st.mxCerts = make(map[string]*tls.Certificate)
	for _, mx := range st.d.MX {
		cert, err := l.ca.Issue(mx.Host, mx.Cert, now)
		if err != nil {
			return err
		}
		st.mxCerts[mx.Host] = cert
	}
	if p := st.d.Policy; p != nil {
		cert, err := l.ca.Issue(st.d.PolicyHost(), p.Cert, now)
		if err != nil {
			return err
		}
		st.policyCert = cert
	}
	return nil
}

// openDomain opens the domain's addresses.
func (l *Lab) openDomain(st *domainState) error {
	name := st.d.Name
	for _, mx := range st.d.MX {
		host := mx.Host
		serve := func(ctx context.Context, c net.Conn) { l.serveMX(ctx, c, name, host) }
		if err := l.openPort(mx.Presence, netip.AddrPortFrom(mx.Addr, 25), serve); err != nil {
			return err
		}
	}
	if p := st.d.Policy; p != nil {
		return l.openPolicy(name, p.Presence, netip.AddrPortFrom(p.Addr, 443))
	}
	return nil
}

func (l *Lab) openPort(p Presence, addr netip.AddrPort, serve func(ctx context.Context, c net.Conn)) error {
	switch p {
	case Silent:
		return nil
	case Refuses:
		return l.net.Claim(addr.Addr())
	}
	return l.listen(addr, serve)
}

// Domain returns the domain as it is now, with what was changed, and whether
// there is one of that name.
func (l *Lab) Domain(name string) (Domain, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st, ok := l.domains[name]
	if !ok {
		return Domain{}, false
	}
	return st.d.clone(), true
}

// Owner returns the domain whose machine has the address, or "".
func (l *Lab) Owner(addr netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owner[addr]
}

// Change alters a domain while it is served: certificates, DNS records and
// policy follow at once. Addresses, the number of machines and their Presence
// are fixed by New; changes to those are not seen.
func (l *Lab) Change(name string, change func(*Domain)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	st, ok := l.domains[name]
	if !ok {
		return fmt.Errorf("lab: there is no domain %q", name)
	}
	old := st.d
	st.d = old.clone()
	change(&st.d)
	st.d.Name = old.Name
	if err := l.issue(st); err != nil {
		st.d = old
		return err
	}
	return l.rebuildZone()
}

// Repair mends every fault of the domain's certificates and of its policy
// host, and offers STARTTLS on every MX host.
func (l *Lab) Repair(name string) error {
	err := l.Change(name, func(d *Domain) {
		for i := range d.MX {
			d.MX[i].Cert = Cert{}
			d.MX[i].TLS = true
			d.MX[i].Inject = ""
		}
		if p := d.Policy; p != nil {
			p.Cert, p.Status, p.Body, p.ContentType, p.Delay, p.Location = Cert{}, 0, "", "", 0, ""
		}
	})
	if err == nil {
		l.opts.Events(Repaired{l.stamp(), name})
	}
	return err
}

// mendInTime repairs the domain once its time has come.
func (l *Lab) mendInTime(ctx context.Context, name string, after time.Duration, left <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-left:
	}
	t := time.NewTimer(after)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-t.C:
	}
	return l.Repair(name)
}

// clientLeft tells that a client left an MX host without handing over mail.
func (l *Lab) clientLeft(e MXLeft) {
	l.mu.Lock()
	st := l.domains[e.Domain]
	if !st.hasLeft {
		st.hasLeft = true
		close(st.left)
	}
	l.mu.Unlock()
	l.opts.Events(e)
}

// connectionRefused tells of a refused connection to a machine of a domain.
func (l *Lab) connectionRefused(f Flow) {
	if name := l.Owner(f.To.Addr()); name != "" && f.From.Addr() == l.world.LAN.Guest {
		l.opts.Events(ConnectionRefused{l.stamp(), name, f.To})
	}
}
