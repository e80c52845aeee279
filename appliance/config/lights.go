package config

import (
	"fmt"
	"strings"

	"gatepost/board"
)

// ProfileAuto lets the box find out which board it is.
const ProfileAuto = "auto"

// How brightly the lights shine while nothing is wrong.
const (
	LightsFull  = "full"
	LightsDim   = "dim"
	LightsNight = "night" // dark
)

// Lights is the front of the box.
type Lights struct {
	// Profile is ProfileAuto, or a name that board.Lookup knows, or
	// board.CustomName: then Custom is the board.
	Profile string
	Mode    string // one of the constants
	Button  bool   // false: the reset button does nothing
	Custom  board.Profile
}

type fileLights struct {
	Profile *string     `toml:"profile"`
	Mode    *string     `toml:"mode"`
	Button  *bool       `toml:"button"`
	Light   []fileLight `toml:"light"`
	Reset   *fileReset  `toml:"reset_button"`
}

type fileLight struct {
	Name       string `toml:"name"`
	Chip       string `toml:"chip"`
	Line       *int64 `toml:"line"`
	LineName   string `toml:"line_name"`
	SecondLine *int64 `toml:"second_line"`
	ActiveLow  bool   `toml:"active_low"`
	LED        string `toml:"led"`
	Colour     string `toml:"colour"`
}

var lightKeys = []string{"name", "chip", "line", "line_name", "second_line", "active_low", "led", "colour"}

type fileReset struct {
	Chip      string `toml:"chip"`
	Line      *int64 `toml:"line"`
	LineName  string `toml:"line_name"`
	ActiveLow bool   `toml:"active_low"`
	PullUp    bool   `toml:"pull_up"`
	Key       *int64 `toml:"key"`
}

// Bounds of what a person may write for a board.
const (
	maxLine    = 1023 // the largest chips have a few hundred lines
	maxKey     = 767  // linux/input-event-codes.h
	maxWording = 64   // bytes of a name
)

func (v *validator) lights(f fileLights, c *Lights) {
	if f.Mode != nil {
		c.Mode = *f.Mode
		if c.Mode != LightsFull && c.Mode != LightsDim && c.Mode != LightsNight {
			v.fault("lights.mode", "%q is not a mode: write \"full\", \"dim\" or \"night\"", c.Mode)
		}
	}
	if f.Button != nil {
		c.Button = *f.Button
	}
	custom := len(f.Light) > 0 || f.Reset != nil
	if custom {
		c.Profile = board.CustomName
	}
	if f.Profile != nil {
		c.Profile = *f.Profile
		v.profile(c.Profile, custom)
	}
	if !custom {
		return
	}
	c.Custom = board.Profile{Name: board.CustomName, Title: "the board of the settings"}
	used := map[board.Line]string{}
	take := func(path string, l board.Line, by string) {
		if by2 := used[l]; by2 != "" {
			v.fault(path, "%s is already the %s", l, by2)
		}
		used[l] = by
	}
	var names []string
	for i, l := range f.Light {
		path := arrayPath("lights.light", i)
		light := v.light(path, l)
		for _, line := range []board.Line{light.Line, light.Second} {
			if line != (board.Line{}) {
				take(path, line, "light "+light.Name)
			}
		}
		c.Custom.Lights = append(c.Custom.Lights, light)
		names = append(names, l.Name)
	}
	if len(f.Light) > 0 && !board.IsLayout(names) {
		v.fault("lights.light", "the lights are %s: a board has status; or status, alert; or status, network, mail, alert, in this order", strings.Join(names, ", "))
	}
	if f.Reset != nil {
		c.Custom.Button = v.reset(*f.Reset)
		if line := c.Custom.Button.Line; line != (board.Line{}) {
			take("lights.reset_button", line, "reset button")
		}
	}
}

func (v *validator) profile(name string, custom bool) {
	_, known := board.Lookup(name)
	switch {
	case custom && name != board.CustomName:
		v.fault("lights.profile", "%q has lights of its own: leave profile out, or write \"custom\", to use those of the settings", name)
	case !custom && name == board.CustomName:
		v.fault("lights.profile", "\"custom\" needs the board's lights, each as [[lights.light]]")
	case !custom && !known && name != ProfileAuto:
		names := append([]string{ProfileAuto}, board.Names()...)
		hint := ""
		if m := nearest(name, names); m != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", m)
		}
		v.fault("lights.profile", "%q is no board%s: there are %s", name, hint, strings.Join(names, ", "))
	}
}

func (v *validator) light(path string, f fileLight) board.Light {
	l := board.Light{Name: f.Name, ActiveLow: f.ActiveLow, LED: f.LED, Colour: f.Colour}
	for _, text := range []string{f.LED, f.Colour, f.Name} {
		v.wording(path, text)
	}
	if f.LED != "" {
		if f.Chip != "" || f.Line != nil || f.LineName != "" || f.SecondLine != nil || f.ActiveLow {
			v.fault(path, "light %q: led is driven by the kernel, which knows its line", f.Name)
		}
		if strings.Contains(f.LED, "/") {
			v.fault(path, "light %q: led %q is not a name in /sys/class/leds", f.Name, f.LED)
		}
		return l
	}
	l.Line = v.line(path, fmt.Sprintf("light %q", f.Name), f.Chip, f.Line, f.LineName)
	if f.SecondLine != nil {
		if f.Chip == "" {
			v.fault(path, "light %q: second_line needs the chip", f.Name)
		}
		l.Second = board.Line{Chip: f.Chip, Number: v.lineNumber(path, *f.SecondLine)}
	}
	return l
}

func (v *validator) reset(f fileReset) board.Button {
	const path = "lights.reset_button"
	b := board.Button{ActiveLow: f.ActiveLow, PullUp: f.PullUp}
	if f.Key == nil {
		b.Line = v.line(path, "the button", f.Chip, f.Line, f.LineName)
		return b
	}
	if f.Chip != "" || f.Line != nil || f.LineName != "" || f.ActiveLow || f.PullUp {
		v.fault(path, "key is read by the kernel, which knows its line")
	}
	if *f.Key < 1 || *f.Key > maxKey {
		v.fault(path, "key %d is out of range: 1 to %d", *f.Key, maxKey)
	}
	b.Key = int(*f.Key)
	return b
}

// line reads one line: a chip and a number, or a name.
func (v *validator) line(path, what, chip string, number *int64, name string) board.Line {
	v.wording(path, chip)
	v.wording(path, name)
	l := board.Line{Chip: chip, Name: name}
	switch {
	case name != "" && number != nil:
		v.fault(path, "%s: write line or line_name, not both", what)
	case name == "" && (chip == "" || number == nil):
		v.fault(path, "%s needs its line: chip and line, or line_name, or the name that the kernel gives it", what)
	case number != nil:
		l.Number = v.lineNumber(path, *number)
	}
	return l
}

func (v *validator) lineNumber(path string, n int64) int {
	if n < 0 || n > maxLine {
		v.fault(path, "line %d is out of range: 0 to %d", n, maxLine)
		return 0
	}
	return int(n)
}

// wording bounds what ends up in messages and paths.
func (v *validator) wording(path, text string) {
	if len(text) > maxWording || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		v.fault(path, "%.20q: a name has at most %d bytes and no control characters", text, maxWording)
	}
}
