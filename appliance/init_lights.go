package appliance

import (
	"context"
	"os"
	"reflect"
	"sync"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/board"
	"gatepost/board/kled"
	"gatepost/board/led"
	"gatepost/board/panel"
)

// Times of the lights.
const (
	// wakeFor is how long a short press lights a box that is dark at night.
	wakeFor = time.Minute
	// findFor is how long a box shows that it is the one that is looked for.
	findFor = time.Minute
	// acceptedFor is how long the lights answer a press that did something.
	acceptedFor = 4 * time.Second
)

// boxLights are the lights and the button of the board, if it has any. They
// begin before the settings are known, with the board that is detected.
type boxLights struct {
	mu     sync.Mutex
	chosen config.Lights // by which the board was chosen
	panel  *panel.Panel  // nil before start
	stop   func()        // switches the lights off and joins what drives them
	health health.State
	mode   led.Mode
	button led.Button
	awake  time.Time // the night is lifted until then
	find   time.Time // the box shows which one it is until then
}

// start drives the lights of the board that the settings name.
func (l *boxLights) start(life context.Context, p *initProcess, c config.Lights) {
	profile, known := chooseBoard(c)
	p.note("board: %s %v", profile.Title, known)
	front := panel.Open(panel.Config{Profile: profile, Sys: openSys(p), NoButton: !c.Button, Log: p.log})
	for _, f := range front.Findings() {
		if f.Err != nil {
			p.say("%s", f)
		} else {
			p.note("%s", f)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.panel, l.chosen, l.mode = front, c, lightMode(c.Mode)
	if l.health.Level == "" { // nobody has judged yet
		l.health = health.State{Level: health.Busy, Rows: []health.Row{health.RowBooting}}
	}
	l.refresh(time.Now())
	ctx, cancel := context.WithCancel(life)
	var parts sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		parts.Add(1)
		p.tasks.Go(func() {
			defer parts.Done()
			p.again(ctx, name, run)
		})
	}
	part("lights", front.Run)
	p.state.update(func(b *control.Box) { b.Button = front.HasButton() })
	if front.HasButton() {
		part("button", func(ctx context.Context) error { return front.Watch(ctx, p.buttonWatcher()) })
	}
	l.stop = func() { cancel(); parts.Wait() }
}

// choose changes to the board of the settings when it is another one.
func (l *boxLights) choose(life context.Context, p *initProcess, c config.Lights) {
	l.mu.Lock()
	stop, before := l.stop, l.chosen
	l.mode = lightMode(c.Mode)
	l.mu.Unlock()
	if before.Mode = c.Mode; stop != nil && reflect.DeepEqual(before, c) {
		return
	}
	if stop != nil {
		stop()
	}
	l.start(life, p, c)
}

// chooseBoard gives the board, and what its device tree says.
func chooseBoard(c config.Lights) (board.Profile, []string) {
	root := os.DirFS("/")
	if c.Profile == board.CustomName {
		return c.Custom, nil
	}
	if p, ok := board.Lookup(c.Profile); ok {
		return p.On(root), nil
	}
	return board.Detect(root)
}

// openSys gives /sys for as long as the box runs, nil when it is not there.
func openSys(p *initProcess) kled.Files {
	root, err := os.OpenRoot("/sys")
	if err != nil {
		p.warn("lights", err)
		return nil
	}
	return root
}

func lightMode(name string) led.Mode {
	switch name {
	case config.LightsDim:
		return led.Dim
	case config.LightsNight:
		return led.Night
	}
	return led.Full
}

// show makes the lights say the state of health. It returns what they say, and
// the row of the legend for it; "" for a box without lights.
func (l *boxLights) show(s health.State) (lights []control.Light, row string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.health = s
	conditions := l.refresh(time.Now())
	if l.panel == nil {
		return nil, ""
	}
	for _, shown := range l.panel.Lights() {
		text := shown.Pattern.String()
		lights = append(lights, control.Light{Name: shown.Name, On: text != "off", Pattern: text})
	}
	if len(lights) > 0 {
		row = string(conditions.Top())
	}
	return lights, row
}

// refresh tells the lights what they have to say now. The lock is held.
func (l *boxLights) refresh(now time.Time) led.Conditions {
	c := lightConditions(l.health)
	c.Button, c.Find, c.Mode = l.button, now.Before(l.find), l.mode
	if c.Mode == led.Night && now.Before(l.awake) {
		c.Mode = led.Full
	}
	if l.panel != nil {
		l.panel.Set(c)
	}
	return c
}

// hold shows what a release of the button would do.
func (l *boxLights) hold(stage led.Button) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.button = stage
	l.refresh(time.Now())
}

// wake lifts the night for a while.
func (l *boxLights) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awake = time.Now().Add(wakeFor)
	l.refresh(time.Now())
}

// findMe makes the box show which one it is.
func (l *boxLights) findMe(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.find = time.Now().Add(d)
	l.refresh(time.Now())
}

// mail lets the lights wink for a message.
func (l *boxLights) mail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.panel != nil {
		l.panel.Mail()
	}
}

// lightConditions is the one way from health to the lights; the page shows the
// row that follows from it. A box whose storage has failed is dead even while
// it starts.
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
