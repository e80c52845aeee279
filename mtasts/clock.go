package mtasts

import (
	"fmt"
	"sync"
	"time"
)

// moment is one reading of the clocks.
type moment struct {
	wall    time.Time     // what the wall clock says
	mono    time.Duration // since the cache was made; never leaps
	trusted bool
	// life is the time by which policies end: the wall clock, unless it has
	// leapt forward a short while ago. Who moves a sender's clock must not end
	// its policies.
	life time.Time
	// late is the later of the two while a leap is doubted: a policy that is
	// fetched then must not end too early when the clock has been put right.
	late time.Time
}

const (
	leapTolerance = 10 * time.Minute // and one per cent of the time that has passed
	leapDoubt     = 24 * time.Hour   // how long a leap is doubted
)

// steadyClock compares the wall clock with the monotonic one.
type steadyClock struct {
	start   time.Time
	now     func() time.Time
	trusted func() bool

	mu       sync.Mutex
	based    bool
	baseWall time.Time     // the wall clock when it was last believed anew
	baseMono time.Duration // the monotonic clock then
	doubting bool
	since    time.Duration // when the doubt began, monotonic
}

// read gives the moment; leap describes a leap that this reading found.
func (c *steadyClock) read() (m moment, leap string) {
	m = moment{wall: c.now(), mono: time.Since(c.start), trusted: c.trusted()}
	m.life, m.late = m.wall, m.wall
	c.mu.Lock()
	defer c.mu.Unlock()
	if !m.trusted {
		c.based = false
		return m, ""
	}
	if !c.based {
		c.based, c.doubting = true, false
		c.baseWall, c.baseMono = m.wall.Round(0), m.mono
		return m, ""
	}
	passed := m.mono - c.baseMono
	expected := c.baseWall.Add(passed)
	off := m.wall.Round(0).Sub(expected)
	if off.Abs() <= leapTolerance+passed/100 {
		c.doubting = false
		return m, ""
	}
	if !c.doubting {
		c.doubting, c.since = true, m.mono
		leap = fmt.Sprintf("the clock leapt by %s", off.Round(time.Second))
	}
	if m.mono-c.since >= leapDoubt {
		// It has stayed there for a day: believe it.
		c.doubting = false
		c.baseWall, c.baseMono = m.wall.Round(0), m.mono
		return m, leap
	}
	if expected.Before(m.life) {
		m.life = expected
	} else {
		m.late = expected
	}
	return m, leap
}
