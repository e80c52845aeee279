// Package panel is the front of the box: it opens the lights and the button of
// a board's profile, whatever drives them, and says what it found.
//
// What cannot be opened is left out and reported; nothing here fails the box.
// The package decides nothing: board/led says what the lights show, and
// board/button what a press means.
package panel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"gatepost/board"
	"gatepost/board/gpio"
	"gatepost/board/kled"
	"gatepost/board/led"
)

// Config says what to open.
type Config struct {
	Profile board.Profile
	// Sys is /sys, for kernel LEDs and for nothing else; nil means that there
	// are none.
	Sys kled.Files
	// NoButton leaves the button alone.
	NoButton bool
	// Log is told of lights that fail later; nil discards.
	Log *slog.Logger
}

// A Finding is what became of one part of the profile.
type Finding struct {
	What  string // "light status", "button"
	Where string // how it is driven, in a few words
	Err   error  // why it cannot be used; nil when it can
}

func (f Finding) String() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %s: NOT USABLE: %v", f.What, f.Where, f.Err)
	}
	return fmt.Sprintf("%s: %s", f.What, f.Where)
}

// opened is a light that was opened.
type opened interface {
	led.Output
	Close() error
}

// A Panel is the open front of a box. Set, Mail and Lights may be called from
// any goroutine; Run is called once.
type Panel struct {
	profile  board.Profile
	findings []Finding
	players  []*led.Player // the board's lights, and the one on the board
	lights   []string      // names of those that players[0] drives
	open     []opened
	input    *gpio.Input
}

// Open opens what the profile names. Every light is dark until Run. The caller
// calls Run, which also lets go, or Close.
func Open(c Config) *Panel {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Panel{profile: c.Profile}
	p.group(c, c.Profile.Lights, "light")
	if c.Profile.Onboard != (board.Light{}) {
		p.group(c, []board.Light{c.Profile.Onboard}, "light on the board")
	}
	if name := c.Profile.FaultLED; name != "" {
		err := errNoSys
		if c.Sys != nil {
			err = kled.Panic(c.Sys, name)
		}
		p.find("light of the kernel's own death", "kernel LED "+name, err)
	}
	p.openButton(c)
	return p
}

var errNoSys = errors.New("kernel LEDs cannot be reached")

func (p *Panel) find(what, where string, err error) {
	p.findings = append(p.findings, Finding{what, where, err})
}

// group opens lights that show one state together. The place of one that is
// missing is kept, so that the others keep their meaning.
func (p *Panel) group(c Config, lights []board.Light, what string) {
	outputs := make([]led.Output, len(lights))
	usable := 0
	for i, l := range lights {
		o, err := openLight(c, l)
		if err == nil {
			p.open = append(p.open, o)
			outputs[i] = o
			// A line that somebody else holds is asked for again later.
			err = o.Set(led.Level{})
			usable++
		} else {
			outputs[i] = missing{}
		}
		p.find(what+" "+l.Name, l.Where(), err)
	}
	if usable == 0 {
		return
	}
	player, err := led.NewPlayer(outputs, c.Log)
	if err != nil {
		p.find(what, "", err)
		return
	}
	if len(p.players) == 0 {
		for _, l := range lights {
			p.lights = append(p.lights, l.Name)
		}
	}
	p.players = append(p.players, player)
}

func openLight(c Config, l board.Light) (opened, error) {
	switch {
	case l.LED == "":
		return gpio.OpenLight(l, c.Log)
	case c.Sys == nil:
		return nil, errNoSys
	}
	return kled.Open(c.Sys, l)
}

// missing is a light that is not there.
type missing struct{}

func (missing) Set(led.Level) error { return nil }

// Findings tell what became of each part of the profile.
func (p *Panel) Findings() []Finding { return p.findings }

// Set tells the conditions from now on.
func (p *Panel) Set(c led.Conditions) {
	for _, player := range p.players {
		player.Set(c)
	}
}

// Mail tells that a message passes.
func (p *Panel) Mail() {
	for _, player := range p.players {
		player.Mail()
	}
}

// A Shown is what one light shows.
type Shown struct {
	Name    string
	Pattern led.Pattern
}

// Lights tell what the lights show, from left to right; none when no light
// could be opened.
func (p *Panel) Lights() []Shown {
	if len(p.players) == 0 {
		return nil
	}
	var out []Shown
	for i, pattern := range p.players[0].Patterns() {
		out = append(out, Shown{p.lights[i], pattern})
	}
	return out
}

// Run drives the lights until ctx is done. Then all are dark and nothing is
// held any more. The error is ctx's, joined with those of letting go.
func (p *Panel) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, player := range p.players {
		// Its errors are those of going dark, which Close repeats.
		wg.Go(func() { _ = player.Run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return errors.Join(ctx.Err(), p.Close())
}

// Close darkens the lights and lets them go. It must not be called while Run
// runs.
func (p *Panel) Close() error {
	var errs []error
	for _, o := range p.open {
		errs = append(errs, o.Close())
	}
	p.open = nil
	return errors.Join(errs...)
}
