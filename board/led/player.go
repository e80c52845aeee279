package led

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// An Output is one light that can be switched. Set is called from one
// goroutine at a time.
type Output interface {
	// Set switches the light. An error means that the light may show
	// something else; the player tries again.
	Set(lit bool) error
}

// retry is how long the player waits after an output failed.
const retry = time.Second

// A Player drives outputs by a Machine. Set and Mail may be called from any
// goroutine, before and while Run runs; they never block for long.
type Player struct {
	outputs []Output
	log     *slog.Logger
	kick    chan struct{}

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
	return &Player{outputs: outputs, log: log, kick: make(chan struct{}, 1), machine: m}, nil
}

// Set tells the conditions from now on.
func (p *Player) Set(c Conditions) {
	p.mu.Lock()
	p.machine.Set(c, time.Now())
	p.mu.Unlock()
	p.wake()
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
	shown := make([]state, len(p.outputs))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.dark())
		case <-p.kick:
		case <-timer.C:
		}
		now := time.Now()
		p.mu.Lock()
		lit, next := p.machine.Levels(now)
		p.mu.Unlock()
		wait := forever
		if !next.IsZero() {
			wait = next.Sub(now)
		}
		if !p.show(lit, shown) {
			wait = min(wait, retry)
		}
		timer.Reset(wait)
	}
}

// state is what an output is known to show.
type state uint8

const (
	unknown state = iota
	shownDark
	shownLit
	failing
)

// show sets the outputs that have to change. It tells whether all is shown.
func (p *Player) show(lit []bool, shown []state) bool {
	all := true
	for i, on := range lit {
		want := shownDark
		if on {
			want = shownLit
		}
		if shown[i] == want {
			continue
		}
		if err := p.outputs[i].Set(on); err != nil {
			if shown[i] != failing {
				p.log.Warn("a light cannot be switched", "light", i, "error", err)
			}
			shown[i], all = failing, false
			continue
		}
		if shown[i] == failing {
			p.log.Info("a light can be switched again", "light", i)
		}
		shown[i] = want
	}
	return all
}

// dark switches every light off.
func (p *Player) dark() error {
	var errs []error
	for i, o := range p.outputs {
		if err := o.Set(false); err != nil {
			errs = append(errs, fmt.Errorf("led: light %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}
