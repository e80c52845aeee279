// Package gpio drives a board's lights and reads its button through the
// kernel's GPIO character device, by periph's gpioioctl.
//
// It is the one package that imports periph's host drivers. It decides
// nothing (packages led and button do) and takes only the lines that it is
// told to take.
package gpio

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/host/v3/gpioioctl"

	"gatepost/board"
)

// Errors of finding a line. The wrong profile, or a chip whose driver was
// loaded after the first call of this package; the caller goes on without the
// light.
var (
	ErrNoChip = errors.New("no such GPIO chip")
	ErrNoLine = errors.New("no such GPIO line")
)

// find finds a line in the chips of this machine, which periph looks for once
// in the life of the process: the devices must be there.
func find(l board.Line, logger *slog.Logger) (*gpioioctl.GPIOLine, error) {
	if err := findChips(logger); err != nil {
		return nil, err
	}
	return search(gpioioctl.Chips, l)
}

// search finds a line by its chip's label, since chip numbers may change with
// the order of drivers, or by its name.
func search(chips []*gpioioctl.GPIOChip, l board.Line) (*gpioioctl.GPIOLine, error) {
	seen := false
	for _, chip := range chips {
		if l.Chip != "" && chip.Label() != l.Chip {
			continue
		}
		seen = true
		switch {
		case l.Name != "":
			if line := chip.ByName(l.Name); line != nil {
				return line, nil
			}
		case l.Number < 0 || l.Number >= chip.LineCount():
			return nil, fmt.Errorf("%w: chip %s has %d lines, none is number %d", ErrNoLine, l.Chip, chip.LineCount(), l.Number)
		default:
			return chip.ByNumber(l.Number), nil
		}
	}
	if !seen {
		return nil, fmt.Errorf("%w: %s", ErrNoChip, l.Chip)
	}
	return nil, fmt.Errorf("%w: none is called %q", ErrNoLine, l.Name)
}

// Chips describes the GPIO chips of this machine, one a line, for a person who
// writes a profile. A nil log discards.
func Chips(logger *slog.Logger) []string {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := findChips(logger); err != nil {
		return nil
	}
	var out []string
	for _, c := range gpioioctl.Chips {
		named := 0
		for _, l := range c.Lines() {
			if l.Name() != "" {
				named++
			}
		}
		out = append(out, fmt.Sprintf("%s: %d lines, %d of them with a name", c.Label(), c.LineCount(), named))
	}
	return out
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
