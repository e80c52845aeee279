package appliance

import (
	"context"
	"time"

	"gatepost/appliance/control"
	"gatepost/board/button"
	"gatepost/board/led"
)

// buttonWatcher ties the reset button to the lights and to what it does.
func (p *initProcess) buttonWatcher() button.Watcher {
	return button.Watcher{
		Stage: func(s led.Button) {
			switch s {
			case led.ButtonPassword:
				p.say("button: held for five seconds; let go now for a new password and DHCP, mail is kept")
			case led.ButtonReset:
				p.say("button: held for fifteen seconds; let go now for a factory reset")
			}
			p.lights.hold(s)
		},
		Act: p.pressed,
	}
}

// pressed does what a person meant by the button.
func (p *initProcess) pressed(act button.Act) {
	switch act {
	case button.Short:
		p.say("button: pressed")
		p.lights.wake()
	case button.Claim:
		p.say("button: held for two seconds; for a minute a page without an owner can be claimed without the code")
		p.openClaim()
	case button.Password:
		p.buttonAct(control.OpRecoveryReset)
	case button.Reset:
		p.buttonAct(control.OpFactoryReset)
	case button.Stuck:
		p.say("button: held for a minute; nothing is done, is something leaning on it?")
	}
}

// claimFor is how long a press lets the page be claimed without the code.
const claimFor = time.Minute

// openClaim tells the page that a person stands before the box.
func (p *initProcess) openClaim() {
	p.presses++
	n := p.presses
	p.state.update(func(b *control.Box) { b.Press = n })
	p.lights.findMe(acceptedFor)
	time.AfterFunc(claimFor, func() {
		p.state.update(func(b *control.Box) {
			if b.Press == n {
				b.Press = 0
			}
		})
	})
}

// buttonAct does what the page could ask for, too. The lights answer when it
// is accepted; the journal says it in both cases.
func (p *initProcess) buttonAct(op string) {
	if _, err := p.act(context.Background(), control.Request{Op: op, By: "the reset button"}); err == nil {
		p.lights.findMe(acceptedFor)
	}
}
