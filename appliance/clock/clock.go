package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"gatepost/appliance/statefile"
)

// The rhythm of asking and saving.
const (
	firstPause   = 2 * time.Second
	longestPause = 30 * time.Second
	steadyPause  = 15 * time.Minute
	saveEvery    = time.Hour
	maxServers   = 12
)

// What a step must be worth, and how far back it may go after trust.
const (
	smallestStep = 20 * time.Millisecond
	farthestBack = time.Second
)

const savedName = "time"

// State is what is known of the time.
type State struct {
	Trusted bool
	Source  string // the servers that agreed last, "" before trust
	Note    string // why not trusted, or what is weak about it
}

// Config is everything that a Clock needs from outside.
type Config struct {
	Built time.Time // when the image was built; zero means not known
	// Folder keeps the last trusted time over a power cut; nil means nowhere.
	Folder *os.Root
	// Servers are the servers to ask now, host names or addresses.
	Servers func() []string
	// Query asks one server for the offset to our clock. It must return when
	// ctx is done.
	Query func(ctx context.Context, server string) (time.Duration, error)
	// Step sets the clock.
	Step func(time.Time) error
	// Now is the clock that Step sets; nil means time.Now.
	Now func() time.Time
	// Publish is told the state at every change; nil means nobody.
	Publish func(State)
	Log     *slog.Logger // nil means discard
}

// Clock keeps the time. Its methods may be called concurrently.
type Clock struct {
	Config
	kick chan struct{}

	mu    sync.Mutex
	state State
	floor time.Time
}

// New returns a Clock that trusts nothing; it does nothing before Run.
func New(c Config) *Clock {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Clock{Config: c, kick: make(chan struct{}, 1), floor: c.Built, state: State{Note: "no time server was asked yet"}}
}

// State returns what is known of the time.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Kick makes the clock ask its servers now; call it when they have changed or
// the network has come back.
func (c *Clock) Kick() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run keeps the time until ctx is done, then saves it and returns nil.
func (c *Clock) Run(ctx context.Context) error {
	c.startFromFloor()
	defer c.save()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	pause := firstPause
	for rounds := 0; ; rounds++ {
		servers := c.known()
		if len(servers) == 0 {
			rounds = -1
			c.note("no time server is known yet")
		} else {
			c.round(ctx, servers, rounds > 0)
		}
		switch {
		case c.State().Trusted:
			pause = steadyPause
		case rounds > 3:
			pause = min(2*pause, longestPause)
		}
		next := time.NewTimer(pause)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				next.Stop()
				return nil
			case <-save.C:
				c.save()
			case <-c.kick:
				if !c.State().Trusted {
					rounds, pause = -1, firstPause
				}
				waiting = false
			case <-next.C:
				waiting = false
			}
		}
		next.Stop()
	}
}

// startFromFloor moves a clock that is before the floor up to it: certificates
// of the box itself then make sense, and log lines come in order. That is no
// trust.
func (c *Clock) startFromFloor() {
	if saved, err := c.readSaved(); err == nil && saved.After(c.floor) {
		c.floor = saved
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.Log.Warn("saved time is of no use", "error", err)
	}
	if now := c.Now(); now.Before(c.floor) {
		c.Log.Info("the clock starts at the last time that is known", "clock", now.UTC(), "floor", c.floor.UTC())
		if err := c.Step(c.floor); err != nil {
			c.Log.Error("clock cannot be set", "error", err)
		}
	}
}

// known returns the servers to ask, each once.
func (c *Clock) known() []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range c.Servers() {
		key := strings.ToLower(strings.TrimSuffix(s, "."))
		if s == "" || seen[key] || len(out) == maxServers {
			continue
		}
		seen[key] = true
		out = append(out, s)
	}
	return out
}

// round asks every server once and acts on what they say.
func (c *Clock) round(ctx context.Context, servers []string, patient bool) {
	answers := make([]Answer, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			answers[i] = c.ask(ctx, s)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	v := Judge(answers, patient)
	if !v.OK {
		c.note(v.Note)
		return
	}
	c.accept(v)
}

// ask asks one server. What a stranger sends must not end this process, so a
// panic of the parser is an answer of no use.
func (c *Clock) ask(ctx context.Context, server string) (a Answer) {
	defer func() {
		if v := recover(); v != nil {
			a = Answer{Server: server, Err: fmt.Errorf("answer is of no use: %v", v)}
		}
	}()
	offset, err := c.Query(ctx, server)
	return Answer{Server: server, Offset: offset, Err: err}
}

// accept acts on an agreement.
func (c *Clock) accept(v Verdict) {
	trusted := c.State().Trusted
	then := c.Now().Add(v.Offset)
	switch {
	case then.Before(c.floor.Add(-agreement)) && !trusted:
		c.note(fmt.Sprintf("the time servers say %s, which is before %s, when this box is known to have existed",
			then.UTC().Format(time.DateTime), c.floor.UTC().Format(time.DateTime)))
		return
	case trusted && v.Offset < -farthestBack:
		c.note(fmt.Sprintf("the time servers say that the clock is %.1f s ahead; it is not turned back", -v.Offset.Seconds()))
		return
	}
	if v.Offset.Abs() >= smallestStep {
		if err := c.Step(then); err != nil {
			c.Log.Error("clock cannot be set", "error", err)
			c.note("the clock cannot be set: " + err.Error())
			return
		}
		c.Log.Info("clock set", "step", v.Offset, "servers", v.Agree)
	}
	c.set(State{Trusted: true, Source: strings.Join(v.Agree, ", "), Note: v.Note})
	if !trusted {
		c.save()
	}
}

// note changes only what is said.
func (c *Clock) note(text string) {
	st := c.State()
	st.Note = text
	c.set(st)
}

func (c *Clock) set(st State) {
	c.mu.Lock()
	changed := st != c.state
	c.state = st
	c.mu.Unlock()
	if changed && c.Publish != nil {
		c.Publish(st)
	}
}

// save keeps the time for the next start. Only a trusted time is worth it: a
// wrong one would become the floor.
func (c *Clock) save() {
	if c.Folder == nil || !c.State().Trusted {
		return
	}
	text := c.Now().UTC().Format(time.RFC3339) + "\n"
	if err := statefile.Write(c.Folder, savedName, []byte(text), 0o600); err != nil {
		c.Log.Warn("time cannot be saved", "error", err)
	}
}

func (c *Clock) readSaved() (time.Time, error) {
	if c.Folder == nil {
		return time.Time{}, os.ErrNotExist
	}
	text, err := statefile.Read(c.Folder, savedName, 100)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
}
