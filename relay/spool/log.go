package spool

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/relay/event"
)

// Config configures a [Log]. The zero value is usable.
type Config struct {
	// SegmentSize is the size of a segment file in bytes, at most 1 GiB. Zero
	// means a 64th of the disk (or of Capacity), between 1 MiB and 64 MiB.
	// Segments that exist keep their size.
	SegmentSize int64
	// Capacity limits the space of the log in bytes; zero means the disk.
	Capacity int64
	// Events gets an [event.SpoolDamaged] for everything that cannot be read
	// back. Nil discards.
	Events event.Sink
	// Now is the clock; nil means time.Now. Ids and the time of events come
	// from it; nothing is decided by it.
	Now func() time.Time
	Log *slog.Logger // nil discards
}

// Log is the log of one folder. Its methods may be called from many goroutines
// at once. [Open] makes one, [Log.Run] must run while messages are taken in,
// and [Log.Close] ends it.
type Log struct {
	disk    Disk
	log     *slog.Logger
	events  event.Sink
	now     func() time.Time
	segSize int64
	// capacity is what the owner allows; 0 is no limit but the disk.
	capacity int64
	chunk    int // largest body of one record

	mu     sync.Mutex
	index  index
	segs   map[uint64]*segment
	active *segment // nil before the first record and after a failure
	// last is the newest segment there has been, for the header of the next.
	last    *segment
	spares  map[string]int64 // name and size
	noSpare bool             // the last attempt to make one found no room
	lastSeq uint64           // highest number in the name of a segment or spare
	lastNo  uint64           // highest message number given out
	queue   []*request
	running bool // Run has begun
	stopped bool // nothing more is committed
	// leading is set while somebody commits: a caller of submit, or the
	// committer after a token in wake. Only that one touches the fields at
	// the end.
	leading bool

	began atomic.Pointer[time.Time] // of the commit that goes on

	wake    chan struct{} // the committer leads now
	compact chan struct{} // the compactor should look

	space spaceCache

	buffers sync.Pool // of *[]byte of firstBuffer bytes
	// told holds the messages of which the body is known to be damaged.
	told map[uint64]bool

	// perFlush is how many bytes a flush covered in the last full segment, 0
	// while there was none.
	perFlush int64

	// The rest belongs to whoever leads.
	wbuf     []byte
	tried    int64 // how far the last commit meant to write
	retryAt  time.Time
	backoff  time.Duration
	pauseErr error // what is answered until retryAt
	roomAt   time.Time
	roomWait time.Duration
	roomErr  error // what is answered until roomAt when a new segment is needed
	// patience is about how long a flush takes, and how long an outcome waits
	// for company.
	patience time.Duration
}

// nudge wakes the reader of a channel of capacity one.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// newNumber returns a message number that was never used before.
func (l *Log) newNumber() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := max(l.lastNo+1, uint64(max(l.now().UnixMicro(), 0)))
	l.lastNo = n
	return n
}

// report tells everybody about damage.
func (l *Log) report(detail string, args ...any) {
	l.log.Error("spool: damage: "+detail, args...)
	for i := 0; i+1 < len(args); i += 2 {
		detail += sprintPair(args[i], args[i+1])
	}
	l.events(event.SpoolDamaged{Time: l.now(), Detail: detail})
}

// pin keeps the file of s open, and s on disk, until unpin.
func (l *Log) pin(s *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinLocked(s)
}

// pinLocked is pin for a caller that holds the lock.
func (l *Log) pinLocked(s *segment) error {
	if s.file == nil {
		f, err := l.disk.Open(s.name())
		if err != nil {
			return err
		}
		s.file = f
	}
	s.pins++
	return nil
}

func (l *Log) unpin(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.pins--; s.pins > 0 {
		return
	}
	if err := s.file.Close(); err != nil {
		l.log.Warn("spool: close", "segment", s.name(), "error", err)
	}
	s.file = nil
	if s.closed {
		nudge(l.compact)
	}
}
