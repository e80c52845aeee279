package button

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"gatepost/board/led"
)

var stages = map[led.Button]string{
	led.ButtonFree: "free", led.ButtonNothing: "nothing", led.ButtonPassword: "password", led.ButtonReset: "reset",
}

// press is a change of the button's level after a time.
type press struct {
	after time.Duration
	down  bool
}

// watch plays presses and gives what the watcher said, with the seconds.
func watch(t *testing.T, presses ...press) (said string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var lines []string
		note := func(text string) {
			lines = append(lines, fmt.Sprintf("%.0f:%s", time.Since(start).Seconds(), text))
		}
		w := Watcher{
			Stage: func(s led.Button) { note(stages[s]) },
			Act:   func(a Act) { note("ACT " + string(a)) },
		}
		levels := make(chan bool)
		done := make(chan error)
		go func() { done <- w.Run(t.Context(), levels) }()
		for _, p := range presses {
			time.Sleep(p.after)
			levels <- p.down
		}
		time.Sleep(time.Second)
		close(levels)
		if err := <-done; err != nil {
			t.Error(err)
		}
		said = strings.Join(lines, " ")
	})
	return said
}

func TestPresses(t *testing.T) {
	const s = time.Second
	up := press{0, false}
	for _, tt := range []struct {
		name    string
		presses []press
		want    string
	}{
		{"nobody", []press{up, {100 * s, false}}, ""},
		{"a short press", []press{up, {10 * s, true}, {s, false}}, "10:nothing 11:free 11:ACT short"},
		{"two seconds", []press{up, {10 * s, true}, {2 * s, false}}, "10:nothing 12:free 12:ACT claim"},
		{"just below five", []press{up, {10 * s, true}, {4900 * time.Millisecond, false}}, "10:nothing 15:free 15:ACT claim"},
		{"six seconds", []press{up, {10 * s, true}, {6 * s, false}}, "10:nothing 15:password 16:free 16:ACT password"},
		{"just below fifteen", []press{up, {10 * s, true}, {14900 * time.Millisecond, false}}, "10:nothing 15:password 25:free 25:ACT password"},
		{"twenty seconds", []press{up, {10 * s, true}, {20 * s, false}}, "10:nothing 15:password 25:reset 30:free 30:ACT reset"},
		{"two minutes", []press{up, {10 * s, true}, {120 * s, false}}, "10:nothing 15:password 25:reset 70:free 70:ACT stuck"},
		{"held since the start", []press{{0, true}, {20 * s, false}}, ""},
		{"held since the start, then pressed", []press{{0, true}, {20 * s, false}, {s, true}, {s, false}}, "21:nothing 22:free 22:ACT short"},
		{"a spark", []press{up, {10 * s, true}, {5 * time.Millisecond, false}}, ""},
		{
			"bouncing contacts",
			[]press{
				up,
				{10 * s, true},
				{5 * time.Millisecond, false},
				{5 * time.Millisecond, true},
				{3 * s, false},
				{5 * time.Millisecond, true},
				{5 * time.Millisecond, false},
			},
			"10:nothing 13:free 13:ACT claim",
		},
		{"told again", []press{up, {10 * s, true}, {s, true}, {s, true}, {s, false}, {s, false}}, "10:nothing 13:free 13:ACT claim"},
		{"the source ends while it is held", []press{up, {10 * s, true}}, "10:nothing 11:free"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := watch(t, tt.presses...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What is done never goes beyond what the lights have shown.
func TestStagesAndActsAgree(t *testing.T) {
	for held := time.Duration(0); held < 2*time.Minute; held += 100 * time.Millisecond {
		stage, act := StageAfter(held), ActAfter(held)
		want := map[Act]led.Button{
			Short: led.ButtonNothing, Claim: led.ButtonNothing, Password: led.ButtonPassword,
			Reset: led.ButtonReset, Stuck: led.ButtonFree,
		}[act]
		if stage != want {
			t.Fatalf("after %v the lights say %s, and a release means %s", held, stages[stage], act)
		}
	}
}

func TestLine(t *testing.T) {
	for _, activeLow := range []bool{false, true} {
		t.Run(fmt.Sprint("active low ", activeLow), func(t *testing.T) {
			level := func(pressed bool) gpio.Level { return gpio.Level(pressed != activeLow) }
			pin := &gpiotest.Pin{N: "button", L: level(false), EdgesChan: make(chan gpio.Level)}
			ctx, cancel := context.WithCancel(t.Context())
			levels := make(chan bool)
			if err := pin.In(gpio.PullNoChange, gpio.BothEdges); err != nil {
				t.Fatal(err)
			}
			go Line(ctx, pin, activeLow, levels)
			got := []bool{<-levels}
			for _, pressed := range []bool{true, false} {
				pin.EdgesChan <- level(pressed)
				got = append(got, <-levels)
			}
			cancel()
			for range levels { // is closed
			}
			if !slices.Equal(got, []bool{false, true, false}) {
				t.Errorf("got %v, want false true false", got)
			}
		})
	}
}
