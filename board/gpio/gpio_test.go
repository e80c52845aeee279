package gpio

import (
	"errors"
	"strings"
	"testing"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"gatepost/board"
	"gatepost/board/led"
)

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

func fakes(pins map[int]*fakePin) func(board.Line) (pin, error) {
	return func(l board.Line) (pin, error) {
		if p, ok := pins[l.Number]; ok {
			return p, nil
		}
		return nil, ErrNoChip
	}
}

func line(n int) board.Line { return board.Line{Chip: "c", Number: n} }

var lit = led.Level{Lit: true}

func TestALightFollows(t *testing.T) {
	for _, activeLow := range []bool{false, true} {
		p := &fakePin{}
		light, err := openLight(board.Light{Name: board.Status, Line: line(5), ActiveLow: activeLow}, fakes(map[int]*fakePin{5: p}))
		if err != nil {
			t.Fatal(err)
		}
		on := gpio.Level(!activeLow)
		if err := light.Set(lit); err != nil || p.L != on {
			t.Errorf("active low %v: lit, got level %v, %v, want %v", activeLow, p.L, err, on)
		}
		if err := light.Set(led.Level{}); err != nil || p.L == on {
			t.Errorf("active low %v: dark, got level %v, %v", activeLow, p.L, err)
		}
		if err := light.Set(led.Level{Lit: true, Dim: true, Alarm: true}); err != nil || p.L != on {
			t.Errorf("active low %v: what the light cannot do is left out: got level %v, %v", activeLow, p.L, err)
		}
		if err := light.Close(); err != nil || p.L == on || p.closed != 1 {
			t.Errorf("active low %v: closed, got level %v, let go %d times, %v; want it dark and free", activeLow, p.L, p.closed, err)
		}
		if err := light.Close(); err != nil || p.closed != 1 {
			t.Errorf("closed again: %v, let go %d times", err, p.closed)
		}
		if err := light.Set(lit); !errors.Is(err, errClosed) || p.L == on {
			t.Errorf("Set after Close: got %v, want %v", err, errClosed)
		}
	}
}

// A light with two colours never shows both.
func TestALightWithTwoColours(t *testing.T) {
	pins := map[int]*fakePin{1: {}, 2: {}}
	light, err := openLight(board.Light{Name: board.Status, Line: line(1), Second: line(2)}, fakes(pins))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		level        led.Level
		main, second gpio.Level
	}{
		{lit, gpio.High, gpio.Low},
		{led.Level{Lit: true, Alarm: true}, gpio.Low, gpio.High},
		{led.Level{Lit: true, Alarm: true}, gpio.Low, gpio.High},
		{led.Level{}, gpio.Low, gpio.Low},
		{lit, gpio.High, gpio.Low},
	} {
		if err := light.Set(step.level); err != nil || pins[1].L != step.main || pins[2].L != step.second {
			t.Errorf("%+v: got %v and %v, %v, want %v and %v", step.level, pins[1].L, pins[2].L, err, step.main, step.second)
		}
	}
	if err := light.Close(); err != nil || pins[1].L || pins[2].L || pins[1].closed != 1 || pins[2].closed != 1 {
		t.Errorf("closed: got %v and %v, %v", pins[1], pins[2], err)
	}
	if _, err := openLight(board.Light{Line: line(1), Second: line(3)}, fakes(pins)); !errors.Is(err, ErrNoChip) {
		t.Errorf("no second line: got %v", err)
	}
}

func TestALineThatIsHeldIsAskedForAgain(t *testing.T) {
	busy := errors.New("device or resource busy")
	p := &fakePin{err: busy}
	status, err := openLight(board.Light{Name: board.Status, Line: line(5)}, fakes(map[int]*fakePin{5: p}))
	if err != nil {
		t.Fatalf("a held line must not fail the light: %v", err)
	}
	err = status.Set(lit)
	if !errors.Is(err, busy) || !strings.Contains(err.Error(), board.Status) {
		t.Errorf("got %v, want the light's name and %q", err, busy)
	}
	if p.closed != 1 {
		t.Errorf("the line was let go %d times, want after the failure", p.closed)
	}
	p.err = nil
	if err := status.Set(lit); err != nil || p.L != gpio.High {
		t.Errorf("after the line is free: got %v and %v, want lit", err, p.L)
	}
}

func TestWithoutTheHardware(t *testing.T) {
	for _, l := range []board.Line{{Chip: "no-such-chip.here"}, {Name: "no-such-line-here"}} {
		if _, err := OpenLight(board.Light{Name: board.Status, Line: l}, nil); err == nil {
			t.Errorf("light on %v, which nobody has: got no error", l)
		}
		if _, err := OpenInput(board.Button{Line: l}, nil); err == nil {
			t.Errorf("button on %v, which nobody has: got no error", l)
		}
	}
	for _, c := range Chips(nil) {
		t.Log(c)
	}
}
