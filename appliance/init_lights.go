package appliance

import (
	"context"
	"errors"
	"os"
	"sync"

	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/board"
	"gatepost/board/gpio"
	"gatepost/board/led"
)

// boxLights are the lights of the board, if it has any. They begin before the
// settings are known, with the board that is detected.
type boxLights struct {
	mu      sync.Mutex
	name    string // by which the profile was chosen, "auto" for detection
	profile board.Profile
	player  *led.Player // nil when the lights cannot be driven
	stop    func()      // switches them off and joins the player
}

// start drives the lights of the named profile, "auto" for the board that is
// detected.
func (l *boxLights) start(life context.Context, p *initProcess, name string) {
	profile, known := board.None(), []string(nil)
	if name == "auto" {
		profile, known = board.Detect(os.DirFS("/"))
		p.note("board: %s %v", profile.Title, known)
	} else if found, ok := board.Lookup(name); ok {
		profile = found
	} else {
		p.say("lights: no board is called %q, the box has no lights", name)
	}
	pins, err := gpio.Open(profile, p.log)
	if err != nil {
		p.warn("lights", err)
		pins, profile = &gpio.Lights{}, board.None()
	}
	var outputs []led.Output
	for _, light := range pins.All() {
		outputs = append(outputs, light)
	}
	player, err := led.NewPlayer(outputs, p.log)
	if err != nil {
		p.warn("lights", err)
		return
	}
	player.Set(led.Conditions{Booting: true})
	ctx, cancel := context.WithCancel(life)
	done := make(chan struct{})
	p.keep(ctx, "lights", func(ctx context.Context) error {
		err := player.Run(ctx)
		if ctx.Err() != nil {
			err = errors.Join(err, pins.Close())
			close(done)
		}
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.profile, l.player = name, profile, player
	l.stop = func() { cancel(); <-done }
}

// choose changes to the profile of the settings when it is another one.
func (l *boxLights) choose(life context.Context, p *initProcess, name string) {
	if name == "" || name == l.name || name == l.profile.Name {
		return
	}
	if l.stop != nil {
		l.stop()
	}
	l.start(life, p, name)
}

// show makes the lights say the state of health, and returns what they say.
func (l *boxLights) show(s health.State) []control.Light {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.player == nil {
		return nil
	}
	l.player.Set(lightConditions(s))
	var out []control.Light
	for i, pattern := range l.player.Patterns() {
		text := pattern.String()
		out = append(out, control.Light{Name: l.profile.Lights[i].Name, On: text != "off", Pattern: text})
	}
	return out
}

// mail lets the lights wink for a message.
func (l *boxLights) mail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.player != nil {
		l.player.Mail()
	}
}

// lightConditions translates health for package led. A box whose storage has
// failed is dead even while it starts.
func lightConditions(s health.State) led.Conditions {
	dead := s.Has(health.RowDead)
	return led.Conditions{
		Booting: s.Has(health.RowBooting) && !dead,
		Dead:    dead,
		Held:    s.Has(health.RowHeld), DiskFull: s.Has(health.RowDiskFull), Backlog: s.Has(health.RowBacklog),
		RolledBack: s.Has(health.RowRolledBack), NoNetwork: s.Has(health.RowNoNetwork),
		Link: s.Link, Lease: s.Network,
	}
}
