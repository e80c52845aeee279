package gpio

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"gatepost/board"
	"gatepost/board/led"
)

// Lights are what a player drives.
var _ led.Output = (*Light)(nil)

// fakePin is periph's fake with a line that can be refused and let go.
type fakePin struct {
	gpiotest.Pin
	err    error
	writes []gpio.Level
	closed int
}

func (p *fakePin) Out(l gpio.Level) error {
	if p.err != nil {
		return p.err
	}
	p.writes = append(p.writes, l)
	return p.Pin.Out(l)
}

func (p *fakePin) Read() gpio.Level { panic("Read makes an output an input") }

func (p *fakePin) Close() { p.closed++ }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func fakes(pins map[int]*fakePin) func(board.Line) (pin, error) {
	return func(l board.Line) (pin, error) {
		if p, ok := pins[l.Number]; ok {
			return p, nil
		}
		return nil, ErrNoChip
	}
}

func twoLights() board.Profile {
	return board.Profile{Name: "two", Lights: []board.Light{
		{Name: board.Status, Line: board.Line{Chip: "c", Number: 5}},
		{Name: board.Alert, Line: board.Line{Chip: "c", Number: 6}, ActiveLow: true},
	}}
}

func TestLightsFollowTheProfile(t *testing.T) {
	pins := map[int]*fakePin{5: {}, 6: {}}
	lights, err := open(twoLights(), discard(), fakes(pins))
	if err != nil {
		t.Fatal(err)
	}
	level := func(n int) gpio.Level { return pins[n].L }
	if level(5) != gpio.Low || level(6) != gpio.High {
		t.Errorf("after Open got levels %v %v, want both lights dark: Low High", level(5), level(6))
	}
	all := lights.All()
	if len(all) != 2 || all[0].Name() != board.Status || all[1].Name() != board.Alert {
		t.Fatalf("got lights %v, want status, alert", all)
	}
	for _, l := range all {
		if err := l.Set(true); err != nil {
			t.Fatal(err)
		}
	}
	if level(5) != gpio.High || level(6) != gpio.Low {
		t.Errorf("lit, got levels %v %v, want High Low", level(5), level(6))
	}
	if err := lights.Close(); err != nil {
		t.Fatal(err)
	}
	if level(5) != gpio.Low || level(6) != gpio.High {
		t.Errorf("after Close got levels %v %v, want both lights dark: Low High", level(5), level(6))
	}
	if pins[5].closed != 1 || pins[6].closed != 1 {
		t.Errorf("lines closed %d and %d times, want once each", pins[5].closed, pins[6].closed)
	}
	if err := all[0].Set(true); !errors.Is(err, errClosed) {
		t.Errorf("Set after Close: got %v, want %v", err, errClosed)
	}
	if level(5) != gpio.Low {
		t.Error("Set after Close switched the light on")
	}
}

func TestALineThatIsHeldIsAskedForAgain(t *testing.T) {
	busy := errors.New("device or resource busy")
	pins := map[int]*fakePin{5: {err: busy}, 6: {}}
	lights, err := open(twoLights(), discard(), fakes(pins))
	if err != nil {
		t.Fatalf("one held line must not fail the board: %v", err)
	}
	status := lights.All()[0]
	err = status.Set(true)
	if !errors.Is(err, busy) || !strings.Contains(err.Error(), board.Status) {
		t.Errorf("got %v, want the light's name and %q", err, busy)
	}
	if pins[5].closed != 2 { // once by Open, once by Set
		t.Errorf("the line was let go %d times, want after each failure", pins[5].closed)
	}
	pins[5].err = nil
	if err := status.Set(true); err != nil || pins[5].L != gpio.High {
		t.Errorf("after the line is free: got %v and %v, want lit", err, pins[5].L)
	}
}

func TestAMissingChipFailsTheBoard(t *testing.T) {
	pins := map[int]*fakePin{5: {}}
	lights, err := open(twoLights(), discard(), fakes(pins))
	if !errors.Is(err, ErrNoChip) || lights != nil {
		t.Errorf("got %v, %v, want %v", lights, err, ErrNoChip)
	}
	if pins[5].closed != 1 {
		t.Errorf("the line that was open was let go %d times, want once", pins[5].closed)
	}
}

func TestOpenWithoutTheHardware(t *testing.T) {
	p := board.Profile{Name: "x", Lights: []board.Light{
		{Name: board.Status, Line: board.Line{Chip: "no-such-chip.here", Number: 0}},
	}}
	if _, err := Open(p, nil); err == nil {
		t.Error("a chip that nobody has: got no error")
	}
	lights, err := Open(board.None(), nil)
	if err != nil || len(lights.All()) != 0 || lights.Close() != nil {
		t.Errorf("a board without lights: got %v, %v", lights, err)
	}
}
