package queue

import (
	"strings"
	"time"

	"gatepost/relay/spool"
)

// RetryNow makes the next attempt for each of these messages due at once, as
// soon as the limits allow, and returns for how many. A message that is paused
// (itself, its domain or all mail), or that an action waits for, is not tried
// and not counted: [Queue.Lookup] says which of the two it is.
func (q *Queue) RetryNow(ids ...spool.ID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	n := 0
	for _, id := range ids {
		m := q.find(id)
		if m == nil || m.parked() || q.pause != nil {
			continue
		}
		tried := false
		for _, j := range m.jobs {
			if j.domain.pause == nil {
				tried = true
				q.hurry(j, now)
			}
		}
		if tried {
			n++
		}
	}
	q.nudge()
	return n
}

// hurry lets a job go next, past the wait for a probe.
func (q *Queue) hurry(j *job, now time.Time) {
	if j.urgent {
		return // it goes next anyway
	}
	switch j.state {
	case jobWaiting:
		j.urgent = true
		j.next = now
		q.alarms.set(j, now)
	case jobReady:
		q.takeOut(j)
		j.urgent = true
		q.enqueue(j, now)
	}
}

// RetryDomain makes everything for a domain due at once and returns how many
// messages that are; none while the domain or all mail is paused. When nobody
// has answered for the domain, one of them is the probe, and the others follow
// if it gets through.
func (q *Queue) RetryDomain(name string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.domains[strings.ToLower(name)]
	if d == nil || d.pause != nil || q.pause != nil {
		return 0
	}
	now := q.cfg.Now()
	d.probeAt = now
	n := 0
	for _, j := range d.jobs {
		if j.msg.parked() {
			continue
		}
		n++
		if j.state == jobWaiting {
			j.next = now
			q.alarms.set(j, now)
		}
	}
	q.offer(d, now)
	q.nudge()
	return n
}
