// Package gpio drives a board's lights through the kernel's GPIO character
// device, by periph's gpioioctl.
//
// It is the one package that imports periph's host drivers. It decides
// nothing (package led does), reads no line, and takes only the lines that
// the profile names as lights.
package gpio

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"

	"gatepost/board"
)

// ErrNoChip says that the GPIO chip that a profile names is not there: the
// wrong profile, or a chip whose driver was loaded after the first Open.
var ErrNoChip = errors.New("no such GPIO chip")

// A pin is what this package asks of a line. Never Read or Func: on an output
// periph would make it an input first, and the light would go out.
type pin interface {
	Out(gpio.Level) error
	Close()
}

// Lights are the open lights of a board.
type Lights struct {
	lights []*Light
}

// Open opens the lights of a profile, dark. The devices must be there: the
// chips are looked for once in the life of the process.
//
// An error means that the board has no lights to offer; the caller says so
// and goes on without them. A single line that cannot be had (someone else
// holds it) is no error of Open: that light's Set tells, and tries again.
// The caller closes what it gets. A nil log discards.
func Open(p board.Profile, logger *slog.Logger) (*Lights, error) {
	if len(p.Lights) == 0 {
		return &Lights{}, nil
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := findChips(logger); err != nil {
		return nil, fmt.Errorf("gpio: %w", err)
	}
	return open(p, logger, hardwarePin)
}

// open opens the lights with find as the way to the lines.
func open(p board.Profile, logger *slog.Logger, find func(board.Line) (pin, error)) (*Lights, error) {
	all := &Lights{}
	for _, l := range p.Lights {
		line, err := find(l.Line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("gpio: light %s: %w", l.Name, err), all.Close())
		}
		light := &Light{name: l.Name, pin: line, activeLow: l.ActiveLow}
		if err := light.Set(false); err != nil {
			logger.Warn("a light cannot be switched", "light", l.Name, "error", err)
		}
		all.lights = append(all.lights, light)
	}
	return all, nil
}

// All gives the lights in the profile's order.
func (l *Lights) All() []*Light { return l.lights }

// Close switches every light off and lets its line go. Lights must not be
// used afterwards.
func (l *Lights) Close() error {
	var errs []error
	for _, light := range l.lights {
		errs = append(errs, light.close())
	}
	return errors.Join(errs...)
}

// A Light is one light on a GPIO line. Its methods may be called from several
// goroutines.
type Light struct {
	name      string
	activeLow bool

	mu     sync.Mutex
	pin    pin
	closed bool
}

// Name is the light's name in the profile.
func (l *Light) Name() string { return l.name }

// errClosed says that a light was used after Close.
var errClosed = errors.New("the light is closed")

// Set switches the light. After an error the line is let go, and the next Set
// asks the kernel for it again.
func (l *Light) Set(lit bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("gpio: light %s: %w", l.name, errClosed)
	}
	return l.set(lit)
}

func (l *Light) set(lit bool) error {
	if err := l.pin.Out(gpio.Level(lit != l.activeLow)); err != nil {
		// periph takes a line that it could not request for an output all
		// the same, and would write to descriptor 0 from now on.
		l.pin.Close()
		return fmt.Errorf("gpio: light %s: %w", l.name, err)
	}
	return nil
}

func (l *Light) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	err := l.set(false)
	l.pin.Close()
	return err
}

// findChips lets periph look for the machine's GPIO chips; it does so only at
// the first call. periph complains to the standard logger, which is turned
// into ours for the time being.
func findChips(logger *slog.Logger) error {
	before := log.Writer()
	log.SetOutput(complaints{logger})
	defer log.SetOutput(before)
	_, err := driverreg.Init()
	return err
}

// complaints hands what periph logs to a slog.Logger.
type complaints struct{ logger *slog.Logger }

var _ io.Writer = complaints{}

func (c complaints) Write(p []byte) (int, error) {
	c.logger.Debug("gpio driver", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}

// hardwarePin finds a line by its chip's label, since chip numbers may change
// with the order of drivers.
func hardwarePin(l board.Line) (pin, error) {
	for _, chip := range gpioioctl.Chips {
		if chip.Label() != l.Chip {
			continue
		}
		if l.Number < 0 || l.Number >= chip.LineCount() {
			return nil, fmt.Errorf("chip %s has %d lines, none is number %d", l.Chip, chip.LineCount(), l.Number)
		}
		return chip.ByNumber(l.Number), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoChip, l.Chip)
}
