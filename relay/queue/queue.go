// Package queue decides when to try again and when to give up (RFC 5321,
// Section 4.5.4.1), and sees to it that no destination slows another one.
//
// It holds what is waiting in memory, restored from the spool at start, and
// records every outcome in the spool before anything follows from it. It
// knows neither SMTP nor TLS: a [Deliverer] makes the attempt. It does not
// write notices: Config.Bounce does.
//
// # Fairness
//
// The unit of work is a job: the recipients of one message in one domain.
// Domains with jobs that are due take turns. A domain that cannot be reached
// at all (no DNS, no route, no connection) is suspect: one probe at a time is
// sent there, at the intervals of the schedule and at most 30 minutes apart,
// its other jobs wait for the probe, and all suspect domains together get at
// most a quarter of the attempts. The first answer sets them free.
//
// # Promises
//
// A recipient with a recorded outcome of delivered, returned or removed is
// never tried again. A failure is recorded as returned only after the notice
// about it is in the spool; a crash in between may send the notice twice, but
// never loses it. While Config.Ready is false nothing is tried and nothing
// expires.
package queue

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Message is what one attempt is about: one message and those of its open
// recipients that are in one domain.
type Message struct {
	ID       spool.ID
	Envelope spool.Envelope
	// Rcpts are indexes into Envelope.Rcpts, at least one, all of Domain.
	Rcpts  []int
	Domain string // lower case, as in the addresses
	Tries  int    // attempts before this one
	// Body opens the bytes of the message, CRLF, exactly as accepted. It may
	// be called several times; the caller closes what it gets. A read error
	// means that the message must not be completed.
	Body    func() (io.ReadCloser, error)
	Expires time.Time
	// Final says that this is the last attempt: what is not delivered now is
	// returned to the sender.
	Final bool
}

// Result is the end of an attempt for one recipient.
type Result struct {
	Rcpt    int // index into Message.Envelope.Rcpts
	Verdict verdict.Verdict
	// Unsettled says that the recipient must be tried again even after the
	// last attempt: a failure may not be made permanent yet (RFC 8461, Section
	// 5.1). It does not count for delivered and returned.
	Unsettled bool
}

// Deliverer makes one attempt.
//
// Deliver returns one Result for each of m.Rcpts; a recipient without a result
// counts as deferred. A Verdict's Outcome is delivered, held, deferred or
// returned. When ctx ends Deliver must return soon, with honest results: a
// recipient whose fate is not known is deferred. A panic is caught and counts
// as deferred.
type Deliverer interface {
	Deliver(ctx context.Context, m Message) []Result
}

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
	// Bounce puts a notice about failed into the queue, or decides that none
	// is due (a null return path, NOTIFY=NEVER) and returns "". Only after it
	// has returned without an error are the recipients recorded as returned;
	// an error means that it is called again later. Nil means no notices.
	Bounce func(ctx context.Context, m Message, failed []Result) (notice spool.ID, err error)
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

	mu       sync.Mutex
	messages map[spool.ID]*message
	order    []*message // by id; some may be gone
	gone     int        // how many of them
	domains  map[string]*domain
	timers   timerHeap
	// healthy and suspect hold the domains that have a job to start, in turn.
	healthy, suspect []*domain
	suspectTurn      bool
	active           int // attempts going on
	suspectActive    int // of them, to suspect domains
	counts           Counts
	running          sync.WaitGroup

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
	if cfg.Bounce == nil {
		cfg.Bounce = func(context.Context, Message, []Result) (spool.ID, error) { return "", nil }
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
	q := &Queue{
		cfg: cfg, log: cfg.Log,
		messages: make(map[spool.ID]*message), domains: make(map[string]*domain),
		wake: make(chan struct{}, 1),
	}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	for _, s := range cfg.Spool.Messages() {
		q.restore(s)
	}
	return q
}
