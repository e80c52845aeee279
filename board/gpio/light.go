package gpio

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"periph.io/x/conn/v3/gpio"

	"gatepost/board"
	"gatepost/board/led"
)

// A pin is what a light asks of a line. Never Read or Func: on an output
// periph would make it an input first, and the light would go out.
type pin interface {
	Out(gpio.Level) error
	Close()
}

// A Light is one light on a GPIO line, or on two lines when it has two colours.
// Its methods may be called from several goroutines.
type Light struct {
	name      string
	activeLow bool

	mu     sync.Mutex
	main   pin
	second pin // nil for a light with one colour
	closed bool
}

var _ led.Output = (*Light)(nil)

// OpenLight opens a light, dark. An error means that its line is not there. A
// line that cannot be had (someone else holds it) is no error of OpenLight:
// Set tells, and tries again. The caller closes what it gets. A nil log
// discards.
func OpenLight(l board.Light, logger *slog.Logger) (*Light, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return openLight(l, func(line board.Line) (pin, error) { return find(line, logger) })
}

func openLight(l board.Light, find func(board.Line) (pin, error)) (*Light, error) {
	main, err := find(l.Line)
	if err != nil {
		return nil, fmt.Errorf("gpio: light %s: %w", l.Name, err)
	}
	light := &Light{name: l.Name, activeLow: l.ActiveLow, main: main}
	if l.Second != (board.Line{}) {
		if light.second, err = find(l.Second); err != nil {
			return nil, fmt.Errorf("gpio: light %s, second colour: %w", l.Name, err)
		}
	}
	return light, nil
}

// errClosed says that a light was used after Close.
var errClosed = errors.New("the light is closed")

// Set switches the light; it cannot be dimmed. After an error the line is let
// go, and the next Set asks the kernel for it again.
func (l *Light) Set(level led.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("gpio: light %s: %w", l.name, errClosed)
	}
	return l.set(level)
}

// set puts out one colour before it lights the other.
func (l *Light) set(level led.Level) error {
	if l.second == nil {
		return l.out(l.main, level.Lit)
	}
	if level.Alarm {
		return errors.Join(l.out(l.main, false), l.out(l.second, level.Lit))
	}
	return errors.Join(l.out(l.second, false), l.out(l.main, level.Lit))
}

func (l *Light) out(p pin, lit bool) error {
	if err := p.Out(gpio.Level(lit != l.activeLow)); err != nil {
		// periph takes a line that it could not request for an output all
		// the same, and would write to descriptor 0 from now on.
		p.Close()
		return fmt.Errorf("gpio: light %s: %w", l.name, err)
	}
	return nil
}

// Close switches the light off and lets its lines go. It may be called again.
func (l *Light) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	err := l.set(led.Level{})
	l.main.Close()
	if l.second != nil {
		l.second.Close()
	}
	return err
}
