package led

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a light that remembers what it showed.
type recorder struct {
	start time.Time

	mu      sync.Mutex
	lit     bool
	level   Level
	changes []edge
	err     error
	sets    int
}

func (r *recorder) Set(level Level) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sets++
	if r.err != nil {
		return r.err
	}
	if level.Lit != r.lit {
		r.changes = append(r.changes, edge{time.Since(r.start), level.Lit})
	}
	r.lit, r.level = level.Lit, level
	return nil
}

func (r *recorder) edges() []edge {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

func (r *recorder) isLit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lit
}

// breakTo makes the light fail with err, or work again with nil. It returns
// how often the light has been set.
func (r *recorder) breakTo(err error) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	return r.sets
}

// A rig is a running player with recorders. It must be used in a bubble.
type rig struct {
	*Player
	lights []*recorder
	stop   func() error
	start  time.Time
}

func newRig(t *testing.T, n int) *rig {
	t.Helper()
	r := &rig{start: time.Now()}
	var outputs []Output
	for range n {
		rec := &recorder{start: r.start}
		r.lights = append(r.lights, rec)
		outputs = append(outputs, rec)
	}
	p, err := NewPlayer(outputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Player = p
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	r.stop = func() error { cancel(); return <-done }
	return r
}

func (r *rig) recording() [][]edge {
	var all [][]edge
	for _, l := range r.lights {
		all = append(all, l.edges())
	}
	return all
}

// rows gives conditions for each row of the table.
func rows() map[Row]Conditions {
	up := Conditions{Link: true, Lease: true}
	with := func(f func(*Conditions)) Conditions { c := up; f(&c); return c }
	return map[Row]Conditions{
		RowButtonNothing:  with(func(c *Conditions) { c.Button = ButtonNothing }),
		RowButtonPassword: with(func(c *Conditions) { c.Button = ButtonPassword }),
		RowButtonReset:    with(func(c *Conditions) { c.Button = ButtonReset }),
		RowUpdating:       with(func(c *Conditions) { c.Updating = true }),
		RowBooting:        {Booting: true, Link: true},
		RowDead:           with(func(c *Conditions) { c.Dead = true }),
		RowHeld:           with(func(c *Conditions) { c.Held = true }),
		RowDiskFull:       with(func(c *Conditions) { c.DiskFull = true }),
		RowBacklog:        with(func(c *Conditions) { c.Backlog = true }),
		RowRolledBack:     with(func(c *Conditions) { c.RolledBack = true }),
		RowNoNetwork:      {NoNetwork: true, Link: true},
		RowUpdateReady:    with(func(c *Conditions) { c.UpdateReady = true }),
		RowMail:           up,
		RowHealthy:        up,
	}
}

func TestWhatOneLightShows(t *testing.T) {
	up := Conditions{Link: true, Lease: true}
	with := func(f func(*Conditions)) Conditions { c := up; f(&c); return c }
	tests := []struct {
		name  string
		c     Conditions
		after time.Duration // before looking
		want  []string
	}{
		{"booting without a lease", Conditions{Booting: true}, 0, []string{"slow", "slow", "off", "off"}},
		{"booting with a lease", Conditions{Booting: true, Lease: true}, 0, []string{"slow", "on", "off", "off"}},
		{"no network and no link", Conditions{NoNetwork: true}, 0, []string{"on", "off", "off", "1x"}},
		{"no network with a link", Conditions{NoNetwork: true, Link: true}, 0, []string{"on", "slow", "off", "1x"}},
		{"two alarms in turn", with(func(c *Conditions) { c.Held, c.DiskFull = true, true }), 0, []string{"on", "on", "on", "2x 4x"}},
		{
			"an update leaves network and mail as they are", with(func(c *Conditions) { c.Updating, c.Backlog = true, true }), 0,
			[]string{"fast", "on", "slow", "off"},
		},
		{
			"an alarm hides the update that waits", with(func(c *Conditions) { c.UpdateReady, c.DiskFull = true, true }), 0,
			[]string{"on", "on", "on", "4x"},
		},
		{"booting hides alarms", with(func(c *Conditions) { c.Booting, c.Held = true, true }), 0, []string{"slow", "on", "off", "off"}},
		{"dead hides alarms", with(func(c *Conditions) { c.Dead, c.Held = true, true }), 0, []string{"off", "off", "off", "on"}},
		{"the button hides all", Conditions{Button: ButtonNothing, Updating: true, Held: true}, 0, []string{"slow", "slow", "slow", "slow"}},
		{"held mail without a network", Conditions{NoNetwork: true, Held: true}, 0, []string{"on", "off", "off", "2x 1x"}},
		{
			"a full disk without a network says nothing false about the network",
			Conditions{NoNetwork: true, DiskFull: true, Link: true},
			0,
			[]string{"on", "slow", "off", "4x 1x"},
		},
		{"somebody looks for this box", with(func(c *Conditions) { c.Find, c.Held = true, true }), 0, []string{"find", "find", "find", "find"}},
		{"the button is above the search", with(func(c *Conditions) { c.Find, c.Button = true, ButtonNothing }), 0, []string{"slow", "slow", "slow", "slow"}},
		{"at night all is well", with(func(c *Conditions) { c.Mode = Night }), 0, []string{"off", "off", "off", "off"}},
		{"at night an update waits", with(func(c *Conditions) { c.Mode, c.UpdateReady = Night, true }), 0, []string{"off", "off", "off", "off"}},
		{"at night mail is held", with(func(c *Conditions) { c.Mode, c.Held = Night, true }), 0, []string{"on", "on", "on", "2x"}},
		{"at night the button is held", with(func(c *Conditions) { c.Mode, c.Button = Night, ButtonNothing }), 0, []string{"slow", "slow", "slow", "slow"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 4)
				time.Sleep(100 * time.Millisecond)
				r.Set(tt.c)
				time.Sleep(tt.after + 3*time.Second)
				from := time.Since(r.start)
				time.Sleep(20 * time.Second)
				for i, edges := range r.recording() {
					if got := read(edges, from, time.Since(r.start)); got != tt.want[i] && !sameCodes(got, tt.want[i]) {
						t.Errorf("light %d: got %q, want %q", i, got, tt.want[i])
					}
				}
				r.stop()
			})
		})
	}
}

// sameCodes tells whether two codes are played in turn in either order, which
// a window that begins anywhere cannot tell.
func sameCodes(got, want string) bool {
	var a, b int
	if n, _ := fmt.Sscanf(want, "%dx %dx", &a, &b); n != 2 {
		return false
	}
	return got == fmt.Sprintf("%dx %dx", b, a)
}

func TestCodesBeginWithTheGravestAndAreThreeSecondsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		r.Set(Conditions{Link: true, Lease: true, RolledBack: true, Held: true})
		time.Sleep(15 * time.Second)
		var codes []int
		var gaps []time.Duration
		var dark time.Duration
		for _, e := range r.lights[1].edges() {
			if !e.lit {
				dark = e.at
				continue
			}
			if pause := e.at - dark; len(codes) == 0 || pause > time.Second {
				codes = append(codes, 0)
				if dark > 0 {
					gaps = append(gaps, pause)
				}
			}
			codes[len(codes)-1]++
		}
		if len(codes) < 3 || codes[0] != 2 || codes[1] != 5 || codes[2] != 2 {
			t.Errorf("got codes %v, want 2, 5, 2", codes)
		}
		for _, g := range gaps {
			if g < 3*time.Second || g > 3500*time.Millisecond {
				t.Errorf("got a gap of %v between two codes, want 3 s and a flash's own pause", g)
			}
		}
		r.stop()
	})
}

func TestWinksAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		r.Set(Conditions{Link: true, Lease: true})
		time.Sleep(time.Second)
		for range 300 { // a burst of 30 s
			r.Mail()
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		var last time.Duration
		winks := 0
		for _, e := range r.lights[2].edges() {
			if e.lit {
				continue
			}
			if winks > 0 && e.at-last < winkApart {
				t.Errorf("two winks are %v apart, want at least %v", e.at-last, winkApart)
			}
			last = e.at
			winks++
		}
		if winks < 55 || winks > 62 {
			t.Errorf("got %d winks in 30 s of mail, want about 60", winks)
		}
		if last > 32*time.Second {
			t.Errorf("the last wink is at %v: a burst must not echo", last)
		}
		r.stop()
	})
}

func TestLightsThatBlinkTogetherBlinkAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		r.Set(Conditions{Booting: true, Lease: true}) // status blinks, network does not
		time.Sleep(3300 * time.Millisecond)
		r.Set(Conditions{Booting: true, Button: ButtonNothing})
		from := time.Since(r.start) + time.Second
		time.Sleep(5 * time.Second)
		var want []edge
		for i, edges := range r.recording() {
			var late []edge
			for _, e := range edges {
				if e.at > from {
					late = append(late, e)
				}
			}
			if i == 0 {
				want = late
			}
			if fmt.Sprint(late) != fmt.Sprint(want) || len(late) < 3 {
				t.Errorf("light %d changes at %v, light 0 at %v", i, late, want)
			}
		}
		r.stop()
	})
}

func TestLightsAreDarkAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		r.Set(Conditions{Dead: true})
		time.Sleep(time.Second)
		if !r.lights[3].isLit() {
			t.Fatal("alert is dark, want lit")
		}
		r.stop()
		for i, l := range r.lights {
			if l.isLit() {
				t.Errorf("light %d is lit after the end", i)
			}
		}
	})
}

func TestAFailingOutputIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		r.lights[1].breakTo(errors.New("broken"))
		r.Set(Conditions{Dead: true})
		time.Sleep(10*time.Second + time.Millisecond)
		if n := r.lights[1].breakTo(nil); n < 8 || n > 14 {
			t.Errorf("the failing light was set %d times in 10 s, want about once a second", n)
		}
		time.Sleep(2 * time.Second)
		if !r.lights[1].isLit() {
			t.Error("the mended light is dark, want lit")
		}
		r.stop()
	})
}

func TestBoardsWithOtherNumbersOfLights(t *testing.T) {
	if _, err := NewPlayer(make([]Output, 3), nil); err == nil {
		t.Error("three lights: got no error")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.Set(Conditions{Held: true, NoNetwork: true})
		r.Mail()
		time.Sleep(2 * time.Minute)
		if err := r.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestRowsAndPatternsHaveNames(t *testing.T) {
	c := Conditions{Held: true, NoNetwork: true}
	if got := fmt.Sprintf("%v %s", c.Rows(), c.Top()); got != "[held no-network healthy] held" {
		t.Errorf("got rows %s", got)
	}
	if got := (Conditions{Mode: Night, UpdateReady: true}).Top(); got != RowNight {
		t.Errorf("a calm night: got %s, want %s", got, RowNight)
	}
	if got := (Conditions{Mode: Night, Dead: true}).Top(); got != RowDead {
		t.Errorf("a bad night: got %s, want %s", got, RowDead)
	}
	m, err := NewMachine(4, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	m.Set(c, time.Unix(1, 0))
	if got := fmt.Sprint(m.Patterns()); got != "[on off off 2x 1x]" {
		t.Errorf("got patterns %s", got)
	}
}
