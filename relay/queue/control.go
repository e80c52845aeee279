package queue

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatepost/relay/spool"
)

// RetryNow makes the next attempt for each of these messages due at once, as
// soon as the limits allow, and returns how many of them are waiting here.
func (q *Queue) RetryNow(ids ...spool.ID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, id := range ids {
		m := q.messages[id]
		if m == nil {
			continue
		}
		n++
		for _, j := range m.jobs {
			q.hurry(j)
		}
	}
	q.nudge()
	return n
}

// hurry lets a job go next, past the wait for a probe.
func (q *Queue) hurry(j *job) {
	now := q.cfg.Now()
	d := j.domain
	switch {
	case j.urgent || j.state == jobActive:
		// It goes next anyway, or is on its way right now.
	case j.state == jobWaiting:
		j.urgent = true
		j.next = now
		q.timers.set(&j.timer, now)
	case j.state == jobReady:
		j.urgent = true
		d.ready = slices.DeleteFunc(d.ready, func(other *job) bool { return other == j })
		d.urgent = append(d.urgent, j)
		q.enqueue(d, now)
	}
}

// RetryDomain makes everything for a domain due at once and returns how many
// messages that are. When nobody has answered for the domain, one of them is
// the probe, and the others follow if it gets through.
func (q *Queue) RetryDomain(name string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.domains[strings.ToLower(name)]
	if d == nil {
		return 0
	}
	now := q.cfg.Now()
	d.probeAt = now
	for j := range d.jobs {
		if j.state == jobWaiting {
			j.next = now
			q.timers.set(&j.timer, now)
		}
	}
	q.enqueue(d, now)
	q.nudge()
	return len(d.jobs)
}

// Remove drops messages for good, without a notice, and returns how many there
// were. A recipient to whom delivery is going on is removed if the attempt
// fails. An error means that some are still there.
func (q *Queue) Remove(ctx context.Context, ids ...spool.ID) (int, error) {
	n := 0
	var errs []error
	for _, id := range ids {
		found, err := q.removeOne(ctx, id)
		if found {
			n++
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}

func (q *Queue) removeOne(ctx context.Context, id spool.ID) (found bool, err error) {
	q.mu.Lock()
	m := q.messages[id]
	if m == nil {
		q.mu.Unlock()
		return false, nil
	}
	var jobs []*job
	var outcomes []spool.Outcome
	for _, j := range m.jobs {
		j.remove = true
		if j.state == jobActive {
			continue
		}
		q.setAside(j)
		jobs = append(jobs, j)
		for _, i := range j.rcpts {
			state := spool.StateRemoved
			// Delivered, only not yet written down.
			for _, o := range j.record {
				if o.Rcpt == i && o.Done() {
					state = o.State
				}
			}
			outcomes = append(outcomes, spool.Outcome{Rcpt: i, State: state, Tries: j.tries, Verdict: m.verdicts[i]})
		}
	}
	q.mu.Unlock()
	err = q.write(ctx, id, outcomes)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		if err == nil || errors.Is(err, spool.ErrNotFound) {
			q.drop(j)
			continue
		}
		j.remove = false
		j.state = jobWaiting
		q.timers.set(&j.timer, j.next)
	}
	if errors.Is(err, spool.ErrNotFound) {
		err = nil
	}
	q.nudge()
	return true, err
}

// setAside takes a job that is not active out of the timers and lists, so that
// nobody starts it.
func (q *Queue) setAside(j *job) {
	isIt := func(other *job) bool { return other == j }
	q.timers.stop(&j.timer)
	j.domain.ready = slices.DeleteFunc(j.domain.ready, isIt)
	j.domain.urgent = slices.DeleteFunc(j.domain.urgent, isIt)
	j.urgent = false
	j.state = jobActive
}
