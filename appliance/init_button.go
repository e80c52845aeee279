package appliance

import (
	"gatepost/board/button"
	"gatepost/board/led"
)

// buttonWatcher ties the reset button to the lights and to what it does.
func (p *initProcess) buttonWatcher() button.Watcher {
	return button.Watcher{
		Stage: func(s led.Button) {
			switch s {
			case led.ButtonPassword:
				p.say("button: held for five seconds; release it now for a new password and DHCP, mail is kept")
			case led.ButtonReset:
				p.say("button: held for fifteen seconds; release it now for a factory reset")
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
		p.note("button: pressed")
		p.lights.wake()
	case button.Claim:
		p.buttonAct("a person stands before the box", p.claimPress)
	case button.Password:
		p.buttonAct("new password and DHCP, mail is kept", p.passwordPress)
	case button.Reset:
		p.buttonAct("factory reset", p.resetPress)
	case button.Stuck:
		p.say("button: held for a minute; nothing is done, is something leaning on it?")
	}
}

// buttonActs are the acts of the button that other parts of the box carry out;
// nil for one that they cannot.
type buttonActs struct {
	claimPress, passwordPress, resetPress func() error
}

func (p *initProcess) buttonAct(what string, do func() error) {
	if do == nil {
		p.say("button: %s: %v", what, errNoWay)
		return
	}
	p.say("button: %s", what)
	p.lights.findMe(acceptedFor)
	p.warn("button: "+what, p.guard("button", do))
}
