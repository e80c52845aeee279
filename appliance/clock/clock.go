package clock

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// The rhythm of asking and saving. Until the time is trusted mail waits, so
// that the office's own servers are asked more often than a computer would that
// has all day.
const (
	firstPause    = 2 * time.Second
	untrustedMost = 10 * time.Second
	steadyFirst   = 64 * time.Second
	steadyMost    = 1024 * time.Second
	steadyWeak    = 256 * time.Second // while fewer than three agree
	saveEvery     = time.Hour
	maxServers    = 16
)

// steadyError is how wrong the clock may be found for the pause to grow.
const steadyError = 100 * time.Millisecond

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
	// Servers are the servers to ask now, host names or addresses; those of the
	// office come first.
	Servers func() []Server
	// Query asks one server for the offset to our clock. It must return when
	// ctx is done. A *Kiss as error is a server that wants to be left alone.
	Query func(ctx context.Context, server string) (time.Duration, error)
	// Step sets the clock.
	Step func(time.Time) error
	// Slew lets the clock run faster or slower until it has moved by so much,
	// in place of what is left of an earlier call. It is called with zero too.
	Slew func(time.Duration) error
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

	// The rest belongs to Run. Its times are of the monotonic clock.
	floor          time.Time
	records        map[string]*record
	ever           bool      // the time was trusted once
	agreed         time.Time // of the last agreement that was followed
	strong         time.Time // of the last one of three servers
	contradictions int       // in a row
	since          time.Time // of the first of them
}

// New returns a Clock that trusts nothing; it does nothing before Run.
func New(c Config) *Clock {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Clock{
		Config: c, kick: make(chan struct{}, 1), floor: c.Built, records: map[string]*record{},
		state: State{Note: "no time server was asked yet"},
	}
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
		trusted := c.State().Trusted
		var v Verdict
		if servers := c.known(); len(servers) == 0 {
			rounds = -1
			c.note("no time server is known yet")
		} else {
			v = c.round(ctx, servers, rounds > 0)
			if ctx.Err() != nil {
				return nil
			}
			c.follow(v)
		}
		c.checkSilence()
		if trusted && !c.State().Trusted {
			rounds = -1 // as after a start
		}
		pause = c.nextPause(pause, rounds, trusted, v)
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
					c.wake()
				}
				waiting = false
			case <-next.C:
				waiting = false
			}
		}
		next.Stop()
	}
}

// nextPause returns how long to wait before the next round. It grows while all
// is well, and while nobody answers; the times of many boxes are spread.
func (c *Clock) nextPause(last time.Duration, rounds int, before bool, v Verdict) time.Duration {
	switch trusted := c.State().Trusted; {
	case !trusted && rounds < burst:
		return firstPause
	case !trusted:
		return min(2*last, untrustedMost)
	case !before || v.OK && v.Offset.Abs() > steadyError:
		last = steadyFirst
	case !v.Strong:
		last = min(2*last, steadyWeak)
	default:
		last = min(2*last, steadyMost)
	}
	return last - rand.N(last/16)
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
