package appliance

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/appliance/health"
	"gatepost/board"
	"gatepost/board/led"
	"gatepost/board/panel"
)

// oneLED is a /sys with one LED that the program has to switch itself.
func oneLED(t *testing.T) *os.Root {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "class/leds/s")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"max_brightness": "1", "trigger": "[none]", "brightness": "0"} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// What the page is told follows the button, the night and the search at once,
// and they end by themselves.
func TestWhatStandsAboveHealth(t *testing.T) {
	sys := oneLED(t)
	synctest.Test(t, func(t *testing.T) {
		profile := board.Profile{Name: "x", Lights: []board.Light{{Name: board.Status, LED: "s"}}}
		l := &boxLights{panel: panel.Open(panel.Config{Profile: profile, Sys: sys}), mode: led.Night}
		well := health.State{Level: health.Fine, Link: true, Network: true}
		want := func(what, row, pattern string) {
			t.Helper()
			lights, got := l.show(well)
			if got != row || len(lights) != 1 || lights[0].Pattern != pattern {
				t.Errorf("%s: got row %q, lights %+v, want %q, %s", what, got, lights, row, pattern)
			}
		}
		want("at night", "night", "off")
		l.wake()
		want("after a short press", "healthy", "wink")
		time.Sleep(wakeFor)
		want("a minute later", "night", "off")
		l.hold(led.ButtonPassword)
		want("the button is held", "button-password", "fast")
		l.hold(led.ButtonFree)
		l.findMe(findFor)
		want("somebody looks for the box", "find", "long short short")
		time.Sleep(findFor)
		want("a minute later", "night", "off")
	})
	l := &boxLights{panel: panel.Open(panel.Config{Profile: board.None()})}
	if lights, row := l.show(health.State{Level: health.Fine}); lights != nil || row != "" {
		t.Errorf("a box without lights: got %v, %q", lights, row)
	}
}
