package boot

import "time"

// The rules for a role that crashes.
const (
	firstPause   = time.Second
	longestPause = 60 * time.Second
	crashWindow  = 10 * time.Minute
	crashLimit   = 5
)

// Ladder decides how long to wait before a crashed role is started again: 1,
// 2, 4 ... 60 seconds, from the bottom again after a run of ten minutes.
type Ladder struct {
	crashes []time.Time // within the window, oldest first
	pause   time.Duration
}

// Crash records that a run has ended and returns the pause before the next
// one. tooMany is true from the fifth crash within ten minutes on. The times
// must carry Go's monotonic reading, so that a step of the clock counts for
// nothing.
func (l *Ladder) Crash(started, ended time.Time) (pause time.Duration, tooMany bool) {
	if ended.Sub(started) >= crashWindow {
		l.pause = 0
	}
	l.pause = min(max(firstPause, 2*l.pause), longestPause)
	keep := l.crashes[:0]
	for _, t := range l.crashes {
		if ended.Sub(t) < crashWindow {
			keep = append(keep, t)
		}
	}
	l.crashes = append(keep, ended)
	if len(l.crashes) > crashLimit { // one more than the limit is never needed
		l.crashes = l.crashes[1:]
	}
	return l.pause, len(l.crashes) >= crashLimit
}
