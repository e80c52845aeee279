package queue

import "time"

// DefaultLifetime is how long a message may wait. RFC 5321, Section 4.5.4.1:
// at least 4 to 5 days.
const DefaultLifetime = 5 * 24 * time.Hour

// DefaultDelayAfter is the age at which the sender of a message that still
// waits is told so.
const DefaultDelayAfter = 4 * time.Hour

// DefaultSchedule returns the waits between attempts when none are configured.
//
// RFC 5321, Section 4.5.4.1 asks for at least 30 minutes between attempts, and
// says that a sender does well to try a little sooner at first: what refuses a
// stranger's first attempt (greylisting) takes the second a few minutes later.
// So three waits are shorter; from the fourth on, and always where nobody
// answers, it is 30 minutes and more.
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
	// resumeGrace is how long a message is tried at least after a person has
	// let it go on: it may have waited past its time. A restart forgets it;
	// then there is still one attempt.
	resumeGrace = 24 * time.Hour
	// tellAgain is when a notice of delay is looked at again that could not,
	// or was not to, be sent when it was due.
	tellAgain = 30 * time.Minute

	// tellAfterStart is how long nobody is told of a delay after a start, after
	// Ready has become true and after all mail was resumed: what has waited for
	// that may be delivered at once.
	tellAfterStart = 10 * time.Minute

	// maxUnrecorded bounds the attempts whose outcomes are not in the spool
	// yet, and so what a power cut makes the queue deliver twice.
	maxUnrecorded = 256
	// maxFinishing bounds the notices of failure at one time that wait for no
	// attempt of their own, maxTelling those of delay.
	maxFinishing, maxTelling = 256, 64
	// maxDue bounds how many due jobs are taken from the agenda before others
	// get the lock.
	maxDue = 1000
	// noticeTries is how often a notice of success is tried before the
	// delivery is recorded without it.
	noticeTries = 10
)

// delay is the wait after so many attempts.
func (q *Queue) delay(tries int) time.Duration {
	s := q.cfg.Schedule
	return s[min(max(tries-1, 0), len(s)-1)]
}

// date says when the life of a message ends, and when its sender is told of the
// delay. The caller knows that the clock is trusted.
func (q *Queue) date(m *message, now time.Time) {
	if m.dated {
		return
	}
	m.dated = true
	if m.expires.IsZero() || m.env.Received.After(now) {
		// Its time of arrival means nothing: its life begins here.
		m.expires = now.Add(q.cfg.Lifetime)
	}
	if q.cfg.DelayAfter < 0 {
		return
	}
	for _, j := range m.jobs {
		if !j.told {
			// Not before it has been tried after a start.
			q.reminders.set(j, later(m.expires.Add(q.cfg.DelayAfter-q.cfg.Lifetime), now.Add(tellAfterStart)))
		}
	}
}

// expires says when the life of a job ends: that of its message, unless it was
// paused until lately.
func (q *Queue) expires(j *job) time.Time {
	t := later(j.msg.expires, later(q.grace, j.domain.grace))
	if j.msg.hold != nil {
		t = later(t, j.msg.hold.grace)
	}
	return t
}
