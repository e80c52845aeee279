// Package queue decides when to try again and when to give up (RFC 5321,
// Section 4.5.4.1), and sees to it that no destination slows another one.
//
// It holds what is waiting in memory, restored from the spool at start, and
// records every outcome in the spool before anything follows from it. It
// knows neither SMTP nor TLS: a [Deliverer] makes the attempt. It does not
// write notices: Config.Notify does.
//
// # Fairness
//
// The unit of work is a job: the recipients of one message in one domain. The
// senders (login, else envelope sender, else client address) whose jobs are
// due take turns over all domains, one job each, and inside a domain they take
// turns too: ten thousand messages of one sender do not delay the single one
// of another.
//
// A domain that cannot be reached at all (no DNS, no route, no connection) is
// suspect: one probe at a time is sent there, at the intervals of the schedule
// and at most 30 minutes apart, its other jobs wait for the probe, and all
// suspect domains together get at most a quarter of the attempts. The first
// answer sets them free.
//
// # Promises
//
// A recipient with a recorded outcome of delivered, returned or removed is
// never tried again. A failure is recorded as returned only after the notice
// about it is in the spool; a crash in between may send the notice twice, but
// never loses it. While Config.Ready is false nothing is tried, nothing
// expires and nobody is told anything.
//
// An attempt frees its place among Config.Parallel as soon as its end is known,
// before the spool has flushed it, so that the flushes of many attempts are
// one. A power cut in that time leaves messages that were delivered and are not
// recorded as such: they are delivered a second time, never lost (RFC 5321,
// Section 4.2.5 allows the one and not the other). At most 256 attempts, and
// those going on, may be in that state; while the spool cannot record, no
// further attempt begins. When Run returns all of them are recorded, or the
// spool has refused them.
//
// Pausing outlives a restart when Config.SavePauses is set. An action that can
// still be undone does not: after a restart its messages wait as before.
package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
)

// Config configures a [Queue]. Spool and Deliver are required.
type Config struct {
	Spool   *spool.Log
	Deliver Deliverer
	// Schedule holds the waits between attempts; the last one repeats. Empty
	// means [DefaultSchedule]. RFC 5321, Section 4.5.4.1.
	Schedule []time.Duration
	// Lifetime is how long a message may wait; zero means five days.
	Lifetime time.Duration
	// Parallel bounds the attempts at one time, PerDomain those to one
	// recipient domain. Zero means 20 and 4.
	Parallel, PerDomain int
	// Ready reports whether deciding is allowed: the clock is trusted and
	// there is a network. While it is false nothing is attempted and nothing
	// expires. Nil means always. It must not call the queue.
	Ready func() bool
	// RatePerMinute bounds how many attempts to one recipient domain begin in
	// a minute, evenly spaced; zero means no bound.
	RatePerMinute int
	// DelayAfter is the age at which the sender of a message that still waits
	// is told so; zero means four hours, less than zero never.
	DelayAfter time.Duration
	// Notify puts a notice into the queue, or decides that none is due and
	// returns "". rs are the recipients that it is about, at least one. It is
	// called before what it tells is recorded (see [Notice]); an error means
	// that nothing is recorded and that it is called again later. It must not
	// call methods of the queue other than Add. Nil means no notices.
	Notify func(ctx context.Context, kind Notice, m Message, rs []Result) (notice spool.ID, err error)
	// Pauses is what is paused from the start, as SavePauses got it.
	Pauses []Pause
	// SavePauses keeps what is paused over a restart. It is called for each
	// change, one at a time, before the change is in force; an error undoes
	// the change. Nil keeps nothing.
	SavePauses func([]Pause) error
	// Grace is how long attempts may go on after Run was told to end; zero
	// means ten seconds.
	Grace  time.Duration
	Events event.Sink       // nil discards
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// Queue is the queue of one spool. Its methods may be called from many
// goroutines at once. [New] makes one; [Queue.Run] works on it.
type Queue struct {
	cfg Config
	log *slog.Logger

	// saving makes changes of the pauses one at a time. Take it before mu.
	saving sync.Mutex

	mu        sync.Mutex
	order     []*message // by id; some may be gone
	gone      int        // how many of them
	waiting   int        // messages that are not gone
	domains   map[string]*domain
	alarms    agenda[*job]     // when a job is to be tried, or finished
	reminders agenda[*job]     // when its sender is to be told of the delay
	wakes     agenda[*domain]  // when a domain may start a job again
	fates     agenda[*action]  // when an action takes effect
	tried     agenda[*message] // held or deferred, by arrival
	actions   map[string]*action

	pause          *Pause // of all mail
	pausedDomains  map[string]*Pause
	pausedMessages map[spool.ID]*Pause
	grace          time.Time // nothing expires before; see resumeGrace

	// healthy and suspect hold lines of the domains that may start a job.
	healthy, suspect turns
	suspectTurn      bool
	unfinished       []*job // have something left, and nobody works on it

	attempts      context.Context // of Run, nil while it does not run
	active        int             // attempts going on
	suspectActive int             // of them, to suspect domains
	unrecorded    int             // attempts of which outcomes are not in the spool yet
	finishing     int             // jobs of unfinished being worked on
	telling       int             // notices of delay being written
	counts        Counts
	ready         bool      // Ready said so when it was asked last
	quiet         time.Time // nobody is told of a delay before
	sleep         time.Time // when Run means to wake
	running       sync.WaitGroup

	wake chan struct{}
}

// New returns a queue of everything that waits in cfg.Spool. It starts
// nothing.
func New(cfg Config) *Queue {
	if len(cfg.Schedule) == 0 {
		cfg.Schedule = DefaultSchedule()
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 20
	}
	if cfg.PerDomain <= 0 {
		cfg.PerDomain = 4
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Notify == nil {
		cfg.Notify = func(context.Context, Notice, Message, []Result) (spool.ID, error) { return "", nil }
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Events == nil {
		cfg.Events = event.Discard
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.DelayAfter == 0 {
		cfg.DelayAfter = DefaultDelayAfter
	}
	q := &Queue{
		cfg: cfg, log: cfg.Log, domains: make(map[string]*domain),
		actions: make(map[string]*action), pausedDomains: make(map[string]*Pause), pausedMessages: make(map[spool.ID]*Pause),
		wake: make(chan struct{}, 1),
	}
	q.alarms.index = func(j *job) *int32 { return &j.alarm }
	q.reminders.index = func(j *job) *int32 { return &j.reminder }
	q.wakes.index = func(d *domain) *int32 { return &d.wake }
	q.fates.index = func(a *action) *int32 { return &a.due }
	q.tried.index = func(m *message) *int32 { return &m.oldest }
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	// Before the messages: those of a paused domain find it paused.
	for _, p := range cfg.Pauses {
		if p.Domain != "" {
			q.setPause(p)
		}
	}
	for s := range cfg.Spool.All() {
		q.insert(s)
	}
	for _, p := range cfg.Pauses {
		if p.Domain == "" && !q.setPause(p) {
			q.log.Info("queue: a paused message is not there any more", "message", p.ID)
		}
	}
	return q
}
