package led

import (
	"fmt"
	"slices"
	"time"
)

// suppressAfter is how long the network must be away before held and waiting
// mail are shown no more: they follow from it.
const suppressAfter = 60 * time.Second

// Flash limit: no light may come on more often than maxFlashes times within
// flashWindow (WCAG 2.3.1).
const (
	maxFlashes  = 3
	flashWindow = time.Second
)

// A Machine turns conditions into the levels of the lights over time. It has
// no clock of its own: each call tells the time, which must not go backwards.
// It is for one goroutine at a time.
type Machine struct {
	start      time.Time
	conditions Conditions
	awaySince  time.Time // when NoNetwork became true
	lights     []light

	winkAt  time.Time // beginning of the last gap for a message
	pending bool      // another one is due winkApart after it
}

// A light is the state of one light.
type light struct {
	pattern Pattern
	since   time.Time             // when the pattern began
	lit     bool                  // as last told
	litEnd  time.Time             // when it was last seen lit
	rises   [maxFlashes]time.Time // when it last came on, oldest first
}

// NewMachine makes the machine of a board with 4, 2, 1 or 0 lights. It begins
// with the zero Conditions.
func NewMachine(lights int, now time.Time) (*Machine, error) {
	if !slices.Contains([]int{0, 1, 2, 4}, lights) {
		return nil, fmt.Errorf("led: %d lights: a board has 4, 2, 1 or none", lights)
	}
	m := &Machine{start: now, lights: make([]light, lights)}
	m.resolve(now)
	return m, nil
}

// Set tells the conditions from now on.
func (m *Machine) Set(c Conditions, now time.Time) {
	if c.NoNetwork && !m.conditions.NoNetwork {
		m.awaySince = now
	}
	m.conditions = c
	m.resolve(now)
}

// Mail tells that a message passes. Where the lights show it, they do so at
// most every half second; of a burst, the rest goes unseen.
func (m *Machine) Mail(now time.Time) {
	if m.winkAt.IsZero() || now.Sub(m.winkAt) >= winkApart {
		m.winkAt, m.pending = now, false
		return
	}
	m.pending = true
}

// Patterns gives what each light shows, from left to right.
func (m *Machine) Patterns() []Pattern {
	var ps []Pattern
	for _, l := range m.lights {
		ps = append(ps, l.pattern)
	}
	return ps
}

// Levels gives whether each light is lit at now, and when to ask next; the
// zero time means not before the next Set or Mail.
func (m *Machine) Levels(now time.Time) (lit []bool, next time.Time) {
	wait := forever
	if until := m.awaySince.Add(suppressAfter).Sub(now); m.conditions.NoNetwork {
		if until > 0 {
			wait = until
		}
		m.resolve(now)
	}
	gap, until := m.gap(now)
	lit = make([]bool, len(m.lights))
	for i := range m.lights {
		l := &m.lights[i]
		want, change := l.pattern.at(max(now.Sub(l.since), 0), now.Sub(m.start))
		if early := l.since.Sub(now); early > 0 { // a code that waits for darkness
			want, change = false, early
		}
		if l.pattern.kind == wink {
			want, change = want && !gap, until
		}
		if hold := l.hold(want, now); hold > 0 {
			want, change = false, hold
		}
		l.note(want, now)
		lit[i] = want
		wait = min(wait, change)
	}
	if wait == forever {
		return lit, time.Time{}
	}
	return lit, now.Add(wait)
}

// resolve gives each light the pattern that the conditions ask for. A light
// that keeps its pattern keeps its rhythm.
func (m *Machine) resolve(now time.Time) {
	c := m.conditions
	long := c.NoNetwork && now.Sub(m.awaySince) >= suppressAfter
	for i, p := range resolve(active(c, long), len(m.lights), c) {
		l := &m.lights[i]
		if l.pattern == p && !l.since.IsZero() {
			continue
		}
		l.pattern, l.since = p, now
		// Before a code there is darkness, so that nobody counts what was
		// there before it.
		if dark := l.litEnd.Add(codeDark); p.kind == code && dark.After(now) {
			l.since = dark
		}
	}
}

// gap tells whether a message makes a light wink now, and how long that or
// its absence lasts.
func (m *Machine) gap(now time.Time) (bool, time.Duration) {
	if m.winkAt.IsZero() {
		return false, forever
	}
	age := now.Sub(m.winkAt)
	if m.pending && age >= winkApart {
		m.winkAt, m.pending, age = now, false, 0
	}
	switch {
	case age < winkOff:
		return true, winkOff - age
	case m.pending:
		return false, winkApart - age
	}
	return false, forever
}

// hold gives how long a light that wants to come on has to stay dark for the
// flash limit.
func (l *light) hold(want bool, now time.Time) time.Duration {
	if !want || l.lit || l.rises[0].IsZero() {
		return 0
	}
	return flashWindow - now.Sub(l.rises[0])
}

// note remembers what a light shows from now on.
func (l *light) note(lit bool, now time.Time) {
	if lit && !l.lit {
		copy(l.rises[:], l.rises[1:])
		l.rises[maxFlashes-1] = now
	}
	if l.lit || lit {
		l.litEnd = now
	}
	l.lit = lit
}
