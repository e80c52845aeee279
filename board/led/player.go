package led

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// An Output is one light that can be switched. Its methods are called from
// one goroutine at a time.
type Output interface {
	// Set switches the light. What the light cannot do (shine dimly, or in
	// another colour) it leaves out. An error means that the light may show
	// something else; the player tries again.
	Set(Level) error
}

// A Scheduler is an output that plays by itself what it is given, so that the
// program need not wake for every change.
type Scheduler interface {
	Output
	// Schedule plays the steps from now on, in place of what it plays. After
	// the last step the light goes dark by itself, also when the program has
	// died meanwhile. No steps are more than a few hundred.
	Schedule([]Step) error
}

// Times of the player.
const (
	retry  = time.Second      // how long it waits after an output failed
	ahead  = 10 * time.Second // how much a Scheduler is given
	rearms = 5 * time.Second  // how often
)

// A Player drives outputs by a Machine. Set and Mail may be called from any
// goroutine, before and while Run runs; they never block for long.
type Player struct {
	outputs   []Output
	scheduled bool // one of them plays by itself
	log       *slog.Logger
	kick      chan struct{}

	mu      sync.Mutex
	machine *Machine
}

// NewPlayer makes the player of a board with 4, 2, 1 or no outputs, from left
// to right. A nil log discards.
func NewPlayer(outputs []Output, log *slog.Logger) (*Player, error) {
	m, err := NewMachine(len(outputs), time.Now())
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Player{outputs: outputs, log: log, kick: make(chan struct{}, 1), machine: m}
	p.scheduled = slices.ContainsFunc(outputs, func(o Output) bool { _, ok := o.(Scheduler); return ok })
	return p, nil
}

// Set tells the conditions from now on. To tell the same again costs nothing.
func (p *Player) Set(c Conditions) {
	p.mu.Lock()
	same := p.machine.Conditions() == c
	if !same {
		p.machine.Set(c, time.Now())
	}
	p.mu.Unlock()
	if !same {
		p.wake()
	}
}

// Mail tells that a message passes.
func (p *Player) Mail() {
	p.mu.Lock()
	p.machine.Mail(time.Now())
	p.mu.Unlock()
	p.wake()
}

// Patterns gives what each light shows, from left to right, for a page that
// shows them, too.
func (p *Player) Patterns() []Pattern {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine.Patterns()
}

func (p *Player) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run drives the outputs until ctx is done, and then switches every light
// off. An output that fails is tried again each second and never ends Run;
// the returned error is ctx's, joined with those of switching off.
func (p *Player) Run(ctx context.Context) error {
	shown := make([]shown, len(p.outputs))
	var armAt time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		kicked := false
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.dark())
		case <-p.kick:
			kicked = true
		case <-timer.C:
		}
		now := time.Now()
		arm := kicked || !now.Before(armAt)
		if arm {
			armAt = now.Add(rearms)
		}
		p.mu.Lock()
		levels, next := p.machine.Levels(now)
		var steps [][]Step
		if arm && p.scheduled {
			steps = p.machine.Ahead(now, ahead)
		}
		p.mu.Unlock()
		wait, failed := forever, false
		for i, o := range p.outputs {
			s := &shown[i]
			switch o := o.(type) {
			case Scheduler:
				if arm {
					p.note(i, s, levels[i], s.schedule(o, steps[i]))
				}
				wait = min(wait, armAt.Sub(now))
			default:
				if s.state != known || s.level != levels[i] {
					p.note(i, s, levels[i], o.Set(levels[i]))
				}
				if !next.IsZero() {
					wait = min(wait, next.Sub(now))
				}
			}
			failed = failed || s.state == failing
		}
		if failed {
			wait = min(wait, retry)
			armAt = now.Add(wait)
		}
		timer.Reset(wait)
	}
}

// shown is what an output is known to show.
type shown struct {
	state
	level Level
	dark  bool // a Scheduler was told to be dark, and stays so by itself
}

type state uint8

const (
	unknown state = iota
	known
	failing
)

// schedule arms a light that plays by itself, unless it is dark for good.
func (s *shown) schedule(o Scheduler, steps []Step) error {
	dark := !slices.ContainsFunc(steps, func(st Step) bool { return st.Lit })
	if dark && s.dark && s.state == known {
		return nil
	}
	s.dark = dark
	if dark {
		return o.Set(Level{})
	}
	return o.Schedule(steps)
}

// note remembers how it went with output i, and says when that changes.
func (p *Player) note(i int, s *shown, level Level, err error) {
	switch {
	case err != nil && s.state != failing:
		p.log.Warn("a light cannot be switched", "light", i, "error", err)
	case err == nil && s.state == failing:
		p.log.Info("a light can be switched again", "light", i)
	}
	s.state, s.level = known, level
	if err != nil {
		s.state = failing
	}
}

// dark switches every light off.
func (p *Player) dark() error {
	var errs []error
	for i, o := range p.outputs {
		if err := o.Set(Level{}); err != nil {
			errs = append(errs, fmt.Errorf("led: light %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}
