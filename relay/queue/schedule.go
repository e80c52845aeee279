package queue

import "time"

// DefaultLifetime is how long a message may wait. RFC 5321, Section 4.5.4.1:
// at least 4 to 5 days.
const DefaultLifetime = 5 * 24 * time.Hour

// DefaultSchedule returns the waits between attempts when none are configured:
// soon at first, because of greylisting, then at least 30 minutes (RFC 5321,
// Section 4.5.4.1).
func DefaultSchedule() []time.Duration {
	return []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour,
	}
}

const (
	// maxProbe is the longest wait between probes of a suspect domain.
	maxProbe = 30 * time.Minute
	// freshProbe is how old the failure of a probe may be to speak for jobs
	// whose time is over.
	freshProbe = 2 * maxProbe
	// recordAgain is the wait after the spool or the notice failed.
	recordAgain = 30 * time.Second
	// longestSleep bounds how late a jump of the clock is noticed.
	longestSleep = time.Minute
	// notReadyPoll is how often Ready is asked while it is false.
	notReadyPoll = time.Second
)

// delay is the wait after so many attempts.
func (q *Queue) delay(tries int) time.Duration {
	s := q.cfg.Schedule
	return s[min(max(tries-1, 0), len(s)-1)]
}

// setExpiry says when the life of a message ends. The caller knows that the
// clock is trusted.
func (q *Queue) setExpiry(m *message, now time.Time) {
	if m.dated {
		return
	}
	m.dated = true
	if m.expires.IsZero() || m.env.Received.After(now) {
		// Its time of arrival means nothing: its life begins here.
		m.expires = now.Add(q.cfg.Lifetime)
	}
}
