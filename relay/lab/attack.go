package lab

import "fmt"

// StartAttack lets the attacker loose on a domain, in place of what he was
// doing to it before.
func (l *Lab) StartAttack(domain string, kind AttackKind) error {
	if kind != Strip && kind != Forge {
		return fmt.Errorf("lab: there is no attack %q", kind)
	}
	return l.setAttack(domain, kind)
}

// EndAttack ends whatever the attacker does to the domain.
func (l *Lab) EndAttack(domain string) error { return l.setAttack(domain, NoAttack) }

// Attacked returns what the attacker is doing to the domain.
func (l *Lab) Attacked(domain string) AttackKind {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st := l.domains[domain]; st != nil {
		return st.attack
	}
	return NoAttack
}

func (l *Lab) setAttack(domain string, kind AttackKind) error {
	l.mu.Lock()
	st := l.domains[domain]
	if st == nil {
		l.mu.Unlock()
		return fmt.Errorf("lab: there is no domain %q", domain)
	}
	old := st.attack
	st.attack = kind
	err := l.rebuildZone()
	l.mu.Unlock()
	switch {
	case err != nil || old == kind:
	case kind == NoAttack:
		l.opts.Events(AttackEnded{l.stamp(), old, domain})
	default:
		l.opts.Events(AttackStarted{l.stamp(), kind, domain})
	}
	return err
}

// tellAttacks tells of the attacks that were under way from the start.
func (l *Lab) tellAttacks() {
	for _, d := range l.world.Domains {
		if d.Attack.Start == FromTheStart {
			l.opts.Events(AttackStarted{l.stamp(), d.Attack.Kind, d.Name})
		}
	}
}
