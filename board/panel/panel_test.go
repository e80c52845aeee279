package panel

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/board"
	"gatepost/board/led"
)

// fakeSys is a /sys whose LEDs have no trigger but the kernel's own death.
type fakeSys struct {
	leds []string

	mu         sync.Mutex
	brightness map[string]string
	triggers   map[string]string
}

func (f *fakeSys) ReadFile(name string) ([]byte, error) {
	for _, led := range f.leds {
		switch name {
		case path.Join("class/leds", led, "max_brightness"):
			return []byte("1"), nil
		case path.Join("class/leds", led, "trigger"):
			return []byte("[none] panic"), nil
		}
	}
	return nil, fs.ErrNotExist
}

func (f *fakeSys) WriteFile(name string, data []byte, _ fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	led, file := path.Base(path.Dir(name)), path.Base(name)
	if file == "brightness" {
		f.brightness[led] = string(data)
	} else {
		f.triggers[led] = string(data)
	}
	return nil
}

func (f *fakeSys) lit(led string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.brightness[led] == "1"
}

func newFakeSys(leds ...string) *fakeSys {
	return &fakeSys{leds: leds, brightness: map[string]string{}, triggers: map[string]string{}}
}

// findings says what could be used, and what not.
func findings(p *Panel) string {
	var out []string
	for _, f := range p.Findings() {
		word := "ok"
		if f.Err != nil {
			word = "no"
		}
		out = append(out, f.What+" "+word)
	}
	return strings.Join(out, ", ")
}

// What is missing is left out and told; the rest works, and ends dark.
func TestAPanelWithPartsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newFakeSys("s", "a", "own", "red")
		profile := board.Profile{
			Name: "x",
			Lights: []board.Light{
				{Name: board.Status, LED: "s"},
				{Name: board.Network, LED: "gone"},
				{Name: board.Mail, Line: board.Line{Chip: "no-such-chip.here"}},
				{Name: board.Alert, LED: "a"},
			},
			Onboard:  board.Light{Name: board.Status, LED: "own"},
			FaultLED: "red",
			Button:   board.Button{Line: board.Line{Chip: "no-such-chip.here"}},
		}
		p := Open(Config{Profile: profile, Sys: sys})
		want := "light status ok, light network no, light mail no, light alert ok, " +
			"light on the board status ok, light of the kernel's own death ok, button no"
		if got := findings(p); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if p.HasButton() {
			t.Error("a button that is not there is there")
		}
		if sys.triggers["red"] != "panic" {
			t.Errorf("the light of the kernel's own death has the trigger %q", sys.triggers["red"])
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		p.Set(led.Conditions{Dead: true})
		time.Sleep(time.Second)
		synctest.Wait()
		if sys.lit("s") || !sys.lit("a") || sys.lit("own") {
			t.Errorf("dead: got brightness %v, want the alert alone", sys.brightness)
		}
		var shown []string
		for _, s := range p.Lights() {
			shown = append(shown, s.Name+" "+s.Pattern.String())
		}
		if got := strings.Join(shown, ", "); got != "status off, network off, mail off, alert on" {
			t.Errorf("got %s", got)
		}
		p.Set(led.Conditions{Link: true, Lease: true})
		p.Mail()
		time.Sleep(time.Second)
		synctest.Wait()
		if !sys.lit("s") || sys.lit("a") || !sys.lit("own") {
			t.Errorf("healthy: got brightness %v", sys.brightness)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if sys.lit("s") || sys.lit("a") || sys.lit("own") {
			t.Errorf("after the end: got brightness %v, want all dark", sys.brightness)
		}
	})
}

// A board of which nothing can be opened is a board without lights.
func TestAPanelWithNothing(t *testing.T) {
	for _, profile := range append(board.Profiles(), board.Profile{
		Name: "x", Lights: []board.Light{{Name: board.Status, LED: "gone"}}, Button: board.Button{Key: 408},
	}) {
		p := Open(Config{Profile: profile, Sys: newFakeSys(), NoButton: true})
		if lights := p.Lights(); lights != nil {
			t.Errorf("%s: got %v", profile.Name, lights)
		}
		if p.HasButton() {
			t.Errorf("%s: the button is switched off, and there", profile.Name)
		}
		p.Set(led.Conditions{Held: true})
		p.Mail()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", profile.Name, err)
		}
		for _, f := range p.Findings() {
			if f.Err == nil || !strings.Contains(f.String(), "NOT USABLE") {
				t.Errorf("%s: got %s", profile.Name, f)
			}
		}
	}
}
