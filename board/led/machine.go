package led

import (
	"fmt"
	"slices"
	"time"
)

// Flash limit: no light may come on more often than maxFlashes times within
// flashWindow (WCAG 2.3.1).
const (
	maxFlashes  = 3
	flashWindow = time.Second
)

// A Level is what one light shows at one moment. Levels can be compared with
// ==; the zero value is dark.
type Level struct {
	Lit bool
	// Dim asks for little light from a light that can give it.
	Dim bool
	// Alarm asks for the second colour of a light that has two.
	Alarm bool
}

// A Machine turns conditions into the levels of the lights over time. It has
// no clock of its own: each call tells the time, which must not go backwards.
// It is for one goroutine at a time.
type Machine struct {
	start      time.Time // of the even rhythms
	conditions Conditions
	lights     []light
	next       time.Time // when a level may change next; zero means never

	winkAt  time.Time // beginning of the last gap for a message
	pending bool      // another one is due winkApart after it
}

// A light is the state of one light.
type light struct {
	pattern Pattern
	since   time.Time             // when the pattern began
	level   Level                 // as last told
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
	m.catchUp(now)
	if c.Button != ButtonFree && m.conditions.Button == ButtonFree {
		m.start = now // whoever presses the button counts seconds by the blinking
	}
	m.conditions = c
	m.resolve(now)
}

// Conditions gives what was set last.
func (m *Machine) Conditions() Conditions { return m.conditions }

// Mail tells that a message passes. Where the lights show it, they do so at
// most every half second; of a burst, the rest goes unseen.
func (m *Machine) Mail(now time.Time) {
	m.catchUp(now)
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

// Levels gives what each light shows at now, and when to ask next; the zero
// time means not before the next Set or Mail.
func (m *Machine) Levels(now time.Time) (levels []Level, next time.Time) {
	m.catchUp(now)
	return m.levels(now)
}

func (m *Machine) levels(now time.Time) ([]Level, time.Time) {
	wait := forever
	gap, until := m.gap(now)
	dim := m.conditions.Mode == Dim && calm(m.conditions.Top())
	out := make([]Level, len(m.lights))
	for i := range m.lights {
		l := &m.lights[i]
		lit, change := l.pattern.at(max(now.Sub(l.since), 0), now.Sub(m.start))
		if early := l.since.Sub(now); early > 0 { // a code that waits for darkness
			lit, change = false, early
		}
		if l.pattern.kind == wink {
			lit, change = lit && !gap, until
		}
		if hold := l.hold(lit, now); hold > 0 {
			lit, change = false, hold
		}
		if lit {
			out[i] = Level{Lit: true, Dim: dim, Alarm: l.pattern.kind == code || l.pattern.kind == onThenOff}
		}
		l.note(out[i], now)
		wait = min(wait, change)
	}
	m.next = time.Time{}
	if wait != forever {
		m.next = now.Add(wait)
	}
	return out, m.next
}

// maxCatchUp bounds how much of the past is played for the flash limit.
const maxCatchUp = time.Minute

// catchUp plays what the lights did by themselves since they were last asked:
// the flash limit counts all that was seen.
func (m *Machine) catchUp(now time.Time) {
	for !m.next.IsZero() && m.next.Before(now) {
		if now.Sub(m.next) > maxCatchUp {
			m.next = time.Time{}
			return
		}
		m.levels(m.next)
	}
}

// A Step is one part of what a light shows over time.
type Step struct {
	Level
	For time.Duration
}

// Ahead gives what each light will show in the time from now to now+d, if
// nothing is told meanwhile. It changes nothing.
func (m *Machine) Ahead(now time.Time, d time.Duration) [][]Step {
	m.catchUp(now)
	future := *m
	future.lights = slices.Clone(m.lights)
	steps := make([][]Step, len(m.lights))
	for t, end := now, now.Add(d); t.Before(end); {
		levels, next := future.levels(t)
		if next.IsZero() || next.After(end) {
			next = end
		}
		for i, level := range levels {
			if n := len(steps[i]); n > 0 && steps[i][n-1].Level == level {
				steps[i][n-1].For += next.Sub(t)
				continue
			}
			steps[i] = append(steps[i], Step{level, next.Sub(t)})
		}
		t = next
	}
	return steps
}

// resolve gives each light the pattern that the conditions ask for. A light
// that keeps its pattern keeps its rhythm.
func (m *Machine) resolve(now time.Time) {
	patterns := make([]Pattern, len(m.lights)) // dark
	if m.conditions.Top() != RowNight {
		patterns = resolve(active(m.conditions), len(m.lights), m.conditions)
	}
	for i, p := range patterns {
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
	m.next = now
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
	if !want || l.level.Lit || l.rises[0].IsZero() {
		return 0
	}
	return flashWindow - now.Sub(l.rises[0])
}

// note remembers what a light shows from now on.
func (l *light) note(level Level, now time.Time) {
	if level.Lit && !l.level.Lit {
		copy(l.rises[:], l.rises[1:])
		l.rises[maxFlashes-1] = now
	}
	if l.level.Lit || level.Lit {
		l.litEnd = now
	}
	l.level = level
}
