package liveness

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// The rhythm of asking.
const (
	askEvery = 3 * time.Second
	askAgain = 500 * time.Millisecond // after no answer
	askLimit = 2500 * time.Millisecond
	lookPace = time.Second
	// starved is how far beyond its limit a question may last before that says
	// that the whole machine stood still, which is not the role's fault.
	starved = time.Second
)

// Patience of the questions: a self-test without an answer means that the
// process hangs. A door (a port at which others knock) that does not open may
// also mean that very many knock.
const (
	SelfTestPatience = 8 * time.Second
	DoorPatience     = time.Minute
)

// Fault is the answer of a role that is alive and has found something wrong.
type Fault string

func (f Fault) Error() string { return string(f) }

// Check is one question to a role.
type Check struct {
	Role string
	Name string // for people: "self-test", "SMTP greeting"
	// Ask returns nil for a good answer, a Fault for a bad one, and any other
	// error for none. It must return when ctx is done.
	Ask      func(ctx context.Context) error
	Patience time.Duration
	// Proves: the answers to this question are those that let the watchdog be
	// fed. Each role has one such question.
	Proves bool
}

// Watch asks the roles. Its methods may be called concurrently.
type Watch struct {
	Checks []Check
	// Processes tells what the supervisor knows.
	Processes func() []Process
	// Hangs is called when a role must be killed, once for each run, with the
	// reason for people. It must not block.
	Hangs func(role string, pid int, reason string)
	// Stuck is called when a role is still there long after that. It returns
	// whether the box stays up without the role. It must not block.
	Stuck func(role string) (resigned bool)
	// Found is told what a check has found when that changes, "" when all is
	// well. It must not block.
	Found func(c Check, trouble string)

	mu    sync.Mutex
	asked map[int]*asked // by index of Checks
	runs  map[string]*run
	beat  time.Time
}

// asked is what is known of a question, for one run of its role.
type asked struct {
	pid      int
	answered time.Time
	missed   int
	trouble  string
}

// run is what was done to one run of a role.
type run struct {
	pid      int
	killed   time.Time
	stuck    bool
	resigned bool
}

// Run asks until ctx is done, and returns nil.
func (w *Watch) Run(ctx context.Context) error {
	w.mu.Lock()
	w.asked, w.runs, w.beat = map[int]*asked{}, map[string]*run{}, time.Now()
	for i := range w.Checks {
		w.asked[i] = &asked{}
	}
	w.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	for i := range w.Checks {
		all.Go(func() { w.ask(ctx, i) })
	}
	tick := time.NewTicker(lookPace)
	defer tick.Stop()
	for {
		w.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask puts one question again and again.
func (w *Watch) ask(ctx context.Context, i int) {
	c := w.Checks[i]
	for ctx.Err() == nil {
		pause := askEvery
		if pid := w.process(c.Role).PID; pid != 0 {
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, askLimit)
			err := c.Ask(limited)
			cancel()
			if ctx.Err() == nil && !w.note(i, pid, err, time.Since(began)) {
				pause = askAgain
			}
		} else {
			pause = askAgain // soon after the start
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// note takes an answer, or that there was none, and reports which.
func (w *Watch) note(i, pid int, err error, took time.Duration) (answered bool) {
	var fault Fault
	answered = err == nil || errors.As(err, &fault)
	w.mu.Lock()
	a := w.asked[i]
	if a.pid != pid {
		*a = asked{pid: pid, trouble: a.trouble}
	}
	trouble := a.trouble
	switch {
	case answered:
		a.answered, a.missed, trouble = time.Now(), 0, string(fault)
	case took < askLimit+starved:
		if a.missed++; !a.answered.IsZero() && a.missed >= misses {
			trouble = w.Checks[i].Name + ": no answer"
		}
	}
	changed := trouble != a.trouble
	a.trouble = trouble
	w.mu.Unlock()
	if changed && w.Found != nil {
		w.Found(w.Checks[i], trouble)
	}
	return answered
}

func (w *Watch) process(role string) Process {
	for _, p := range w.Processes() {
		if p.Name == role && p.Up {
			return p
		}
	}
	return Process{}
}

// seen joins what is known of each process for one question.
func (w *Watch) seen(p Process, i int) Seen {
	s := Seen{Process: p}
	if a := w.asked[i]; a != nil && a.pid == p.PID {
		s.Answered, s.Missed = a.answered, a.missed
	}
	if r := w.runs[p.Name]; r != nil {
		s.Resigned = r.resigned
		if r.pid == p.PID {
			s.Killed = r.killed
		}
	}
	return s
}

// Seen returns what is known of every role that has a question which proves its
// life, and when the watch itself last came round.
func (w *Watch) Seen() (roles []Seen, beat time.Time) {
	processes := w.Processes()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.beat.IsZero() {
		w.beat = time.Now() // Run is about to begin
	}
	for i, c := range w.Checks {
		if !c.Proves {
			continue
		}
		k := slices.IndexFunc(processes, func(p Process) bool { return p.Name == c.Role })
		if k >= 0 {
			roles = append(roles, w.seen(processes[k], i))
		}
	}
	return roles, w.beat
}

// look finds who hangs.
func (w *Watch) look(now time.Time) {
	processes := w.Processes()
	type call struct {
		p      Process
		reason string // "" for Stuck
	}
	var calls []call
	w.mu.Lock()
	w.beat = now
	for i, c := range w.Checks {
		k := slices.IndexFunc(processes, func(p Process) bool { return p.Name == c.Role })
		if k < 0 {
			continue
		}
		p := processes[k]
		r := w.runs[p.Name]
		if r == nil {
			r = &run{}
			w.runs[p.Name] = r
		}
		switch StateOf(now, w.seen(p, i), c.Patience) {
		case Hung:
			*r = run{pid: p.PID, killed: now, resigned: r.resigned}
			calls = append(calls, call{p, "did not answer (" + c.Name + ") and was ended"})
		case Stuck:
			if !r.stuck {
				r.stuck = true
				calls = append(calls, call{p: p})
			}
		case Answering:
			if r.pid != p.PID {
				r.resigned = false
			}
		}
	}
	w.mu.Unlock()
	for _, c := range calls {
		if c.reason != "" {
			w.Hangs(c.p.Name, c.p.PID, c.reason)
			continue
		}
		if w.Stuck(c.p.Name) {
			w.mu.Lock()
			w.runs[c.p.Name].resigned = true
			w.mu.Unlock()
		}
	}
}
