// Package button tells what a person means by holding the reset button.
//
// A Watcher turns the button's levels into stages (what a release would do
// now) and, at the release, into one act. Levels come from a GPIO line
// (Line) or from a key that the kernel reports (Keys). The package carries
// nothing out.
package button

import (
	"context"
	"time"

	"gatepost/board/led"
)

// How long the button must be held. Whoever lets go earlier gets less.
const (
	ClaimAfter    = 2 * time.Second
	PasswordAfter = 5 * time.Second
	ResetAfter    = 15 * time.Second
	// StuckAfter is when nobody can mean it any more: something leans on the
	// button, or its wire is broken.
	StuckAfter = time.Minute
)

// settle is how long a level must last: contacts bounce.
const settle = 30 * time.Millisecond

// An Act is what a person meant.
type Act string

// The acts.
const (
	Short    Act = "short"    // a short press
	Claim    Act = "claim"    // from 2 s: this person stands before the box
	Password Act = "password" // from 5 s: new password and DHCP, mail is kept
	Reset    Act = "reset"    // from 15 s: factory reset
	Stuck    Act = "stuck"    // held for a minute: nothing is done
)

// ActAfter is what a release means after the button was held for so long.
func ActAfter(held time.Duration) Act {
	switch {
	case held >= StuckAfter:
		return Stuck
	case held >= ResetAfter:
		return Reset
	case held >= PasswordAfter:
		return Password
	case held >= ClaimAfter:
		return Claim
	}
	return Short
}

// StageAfter is what the lights show while the button is held.
func StageAfter(held time.Duration) led.Button {
	switch {
	case held >= StuckAfter:
		return led.ButtonFree
	case held >= ResetAfter:
		return led.ButtonReset
	case held >= PasswordAfter:
		return led.ButtonPassword
	}
	return led.ButtonNothing
}

// A Watcher watches one button.
type Watcher struct {
	// Stage is called when the stage changes, led.ButtonFree at the release.
	Stage func(led.Button)
	// Act is called once for each press: at the release, or with Stuck when
	// the button has been held for too long.
	Act func(Act)
}

// Run reads the button's levels, true for pressed, until ctx is done or levels
// is closed. A button that is pressed from the first is ignored until it was
// released once: nobody held it for as long as it takes to start the box.
// Stage and Act are called from Run's goroutine. It always returns nil.
func (w Watcher) Run(ctx context.Context, levels <-chan bool) error {
	var (
		raw, down bool      // as told; as believed
		ready     bool      // it was seen released
		rawSince  time.Time // when raw became what it is
		since     time.Time // when down became true
		stage     led.Button
		stuck     bool
	)
	show := func(s led.Button) {
		if s != stage {
			stage = s
			w.Stage(s)
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			show(led.ButtonFree)
			return nil
		case level, ok := <-levels:
			if !ok {
				show(led.ButtonFree)
				return nil
			}
			if level != raw || rawSince.IsZero() {
				raw, rawSince = level, time.Now()
			}
		case <-timer.C:
		}
		now := time.Now()
		if rawSince.IsZero() {
			continue
		}
		wait := settle - now.Sub(rawSince)
		if wait <= 0 && raw != down {
			down = raw
			switch {
			case down && ready:
				since, stuck = rawSince, false
			case !down && !since.IsZero():
				held := rawSince.Sub(since)
				since = time.Time{}
				show(led.ButtonFree)
				if !stuck {
					w.Act(ActAfter(held))
				}
			}
		}
		if wait <= 0 && !raw {
			ready = true
		}
		if !since.IsZero() {
			held := now.Sub(since)
			show(StageAfter(held))
			if held >= StuckAfter && !stuck {
				stuck = true
				w.Act(Stuck)
			}
			for _, next := range []time.Duration{PasswordAfter, ResetAfter, StuckAfter} {
				if held < next && (wait <= 0 || next-held < wait) {
					wait = next - held
					break
				}
			}
		}
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}
