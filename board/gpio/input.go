package gpio

import (
	"fmt"
	"io"
	"log/slog"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"

	"gatepost/board"
)

// An Input is a line that is watched. It is periph's gpio.PinIn; Close lets the
// line go and must not be called while WaitForEdge runs (Halt ends that).
type Input struct{ *gpioioctl.GPIOLine }

var (
	_ gpio.PinIn = Input{}
	_ io.Closer  = Input{}
)

// Close lets the line go. Its error is always nil.
func (i Input) Close() error {
	i.GPIOLine.Close()
	return nil
}

// OpenInput opens the line of a button. An error means that the line is not
// there or is held by somebody else; the caller goes on without the button. A
// nil log discards.
func OpenInput(b board.Button, logger *slog.Logger) (Input, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	line, err := find(b.Line, logger)
	if err != nil {
		return Input{}, fmt.Errorf("gpio: button: %w", err)
	}
	pull := gpio.PullNoChange // a chip that cannot pull refuses to be asked
	if b.PullUp {
		pull = gpio.PullUp
	}
	if err := line.In(pull, gpio.BothEdges); err != nil {
		line.Close()
		return Input{}, fmt.Errorf("gpio: button: %w", err)
	}
	return Input{line}, nil
}
