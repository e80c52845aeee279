//go:build e2e

package main

import (
	"context"
	"fmt"
	"time"

	"gatepost/image/qemu"
)

// lightLines are the GPIO lines of a board's four lights: status, network, mail,
// alert.
type lightLines [4]int

// The lines as the profiles have them.
var (
	virtLights  = lightLines{0, 1, 2, 4}
	raspiLights = lightLines{17, 27, 22, 23}
)

// watchLights looks at the lights from outside for a while, levels and
// directions, about ten times a second.
func watchLights(ctx context.Context, m *qemu.Machine, d time.Duration) ([]qemu.GPIO, error) {
	var seen []qemu.GPIO
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		g, err := m.GPIO(ctx)
		if err != nil {
			return seen, err
		}
		seen = append(seen, g)
		select {
		case <-ctx.Done():
			return seen, ctx.Err()
		case <-tick.C:
		}
	}
	return seen, nil
}

// lightShape says what one light did: "on", "off" or "blinks", and how often it
// went from dark to lit. driven is false when the line was not always an
// output: what it shows then means nothing.
type lightShape struct {
	word    string
	flashes int
	driven  bool
}

func (l lightLines) shapes(seen []qemu.GPIO) [4]lightShape {
	var out [4]lightShape
	for i, line := range l {
		s := lightShape{driven: len(seen) > 0}
		lit, dark := 0, 0
		for n, g := range seen {
			if !g.Driven(line) {
				s.driven = false
			}
			if g.Lit(line) {
				lit++
				if n > 0 && !seen[n-1].Lit(line) {
					s.flashes++
				}
			} else {
				dark++
			}
		}
		switch {
		case dark == 0:
			s.word = "on"
		case lit == 0:
			s.word = "off"
		default:
			s.word = "blinks"
		}
		out[i] = s
	}
	return out
}

func (s lightShape) String() string {
	if !s.driven {
		return s.word + " (not driven)"
	}
	if s.word == "blinks" {
		return fmt.Sprintf("blinks %dx", s.flashes)
	}
	return s.word
}

// groupsOf counts the flashes of the alert light between its long pauses: the
// number that a person counts. It gives the most frequent one.
func (l lightLines) groupsOf(seen []qemu.GPIO, every time.Duration) int {
	const pause = 1200 * time.Millisecond
	line := l[3]
	count := map[int]int{}
	flashes, darkFor := 0, time.Duration(0)
	started := false // the first group may have begun before we looked
	for i, g := range seen {
		if g.Lit(line) {
			if i > 0 && !seen[i-1].Lit(line) && started {
				flashes++
			}
			darkFor = 0
			continue
		}
		darkFor += every
		if darkFor >= pause {
			if started && flashes > 0 {
				count[flashes]++
			}
			started, flashes = true, 0
		}
	}
	best, times := 0, 0
	for n, c := range count {
		if c > times {
			best, times = n, c
		}
	}
	return best
}
