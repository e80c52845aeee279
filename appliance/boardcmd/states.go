package boardcmd

import (
	"time"

	"gatepost/board/button"
	"gatepost/board/led"
)

// A state is what a box can be in, for a person who wants to see it.
type state struct {
	name, about string
	conditions  led.Conditions
	mail        bool // messages pass
	press       bool // the button is pressed and held
}

// up is a box with a network.
func up(change func(*led.Conditions)) led.Conditions {
	c := led.Conditions{Link: true, Lease: true}
	if change != nil {
		change(&c)
	}
	return c
}

func states() []state {
	return []state{
		{name: "booting", about: "starting, or waiting for the time", conditions: led.Conditions{Booting: true, Link: true}},
		{name: "healthy", about: "all is well", conditions: up(nil)},
		{name: "mail", about: "all is well, and messages pass", conditions: up(nil), mail: true},
		{name: "held", about: "mail is held for safety", conditions: up(func(c *led.Conditions) { c.Held = true })},
		{name: "backlog", about: "the queue backs up", conditions: up(func(c *led.Conditions) { c.Backlog = true })},
		{name: "disk-full", about: "the disk is nearly full", conditions: up(func(c *led.Conditions) { c.DiskFull = true })},
		{name: "rolled-back", about: "the box has gone around a fault", conditions: up(func(c *led.Conditions) { c.RolledBack = true })},
		{name: "no-network", about: "a cable, but no address, no way out or no names", conditions: led.Conditions{NoNetwork: true, Link: true}},
		{name: "no-cable", about: "no signal on the cable", conditions: led.Conditions{NoNetwork: true}},
		{name: "two-alarms", about: "mail is held, and the disk is nearly full", conditions: up(func(c *led.Conditions) { c.Held, c.DiskFull = true, true })},
		{name: "dead", about: "no mail passes", conditions: up(func(c *led.Conditions) { c.Dead = true })},
		{name: "update-ready", about: "an update waits", conditions: up(func(c *led.Conditions) { c.UpdateReady = true })},
		{name: "updating", about: "an update is written", conditions: up(func(c *led.Conditions) { c.Updating = true })},
		{name: "find", about: "this is the box that is looked for", conditions: up(func(c *led.Conditions) { c.Find = true })},
		{name: "night", about: "all is well at night", conditions: up(func(c *led.Conditions) { c.Mode = led.Night })},
		{name: "button", about: "the reset button is held for 20 seconds", conditions: up(nil), press: true},
	}
}

func stateNames() []string {
	var names []string
	for _, s := range states() {
		names = append(names, s.name)
	}
	return names
}

// length is how long a state is shown by itself.
func (s state) length() time.Duration {
	switch {
	case s.press:
		return 24 * time.Second
	case s.name == "update-ready", s.name == "two-alarms":
		return 12 * time.Second
	}
	return 6 * time.Second
}

// Times of what happens in a state.
const (
	mailEvery = 1300 * time.Millisecond
	pressAt   = time.Second
	pressFor  = 20 * time.Second
)

// play tells the machine what has happened up to age, the time since the
// state began, of which before was told.
func (s state) play(m *led.Machine, start time.Time, before, age time.Duration) {
	if s.mail {
		for at := before - before%mailEvery + mailEvery; at <= age; at += mailEvery {
			m.Mail(start.Add(at))
		}
	}
	c := s.conditions
	if held := age - pressAt; s.press && held >= 0 && held < pressFor {
		c.Button = button.StageAfter(held)
	}
	if c != m.Conditions() {
		m.Set(c, start.Add(age))
	}
}
