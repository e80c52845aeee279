package queue

import (
	"container/heap"
	"context"
	"time"
)

func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run makes attempts until ctx ends. It then starts nothing new, gives the
// attempts that are going on Config.Grace to end, cancels the rest, waits for
// all of them and returns nil. The spool must run longer than the queue. Call
// it once only.
func (q *Queue) Run(ctx context.Context) error {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(q.turn(attempts))
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		}
	}
	stop := time.AfterFunc(q.cfg.Grace, cancel)
	defer stop.Stop()
	q.running.Wait()
	return nil
}

// turn starts what is to be started now, and returns how long to sleep.
func (q *Queue) turn(attempts context.Context) time.Duration {
	if !q.cfg.Ready() {
		return notReadyPoll
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	for len(q.timers) > 0 && !q.timers[0].at.After(now) {
		t := heap.Pop(&q.timers).(*timer)
		if t.job != nil {
			q.makeReady(t.job, now)
		} else {
			q.enqueue(t.domain, now)
		}
	}
	for q.active < q.cfg.Parallel {
		j := q.nextJob(now)
		if j == nil {
			break
		}
		q.start(attempts, j, now)
	}
	if len(q.timers) == 0 {
		return longestSleep
	}
	return min(max(q.timers[0].at.Sub(now), 0), longestSleep)
}

// makeReady puts a job whose time has come into the list of its domain.
func (q *Queue) makeReady(j *job, now time.Time) {
	q.setExpiry(j.msg, now)
	if j.left() || !now.Before(j.msg.expires) && j.domain.failures > 0 {
		j.urgent = true
	}
	d := j.domain
	j.state = jobReady
	if j.urgent {
		d.urgent = append(d.urgent, j)
	} else {
		d.ready = append(d.ready, j)
	}
	q.enqueue(d, now)
}

// limit is how many attempts at once a domain may have.
func (q *Queue) limit(d *domain) int {
	switch {
	case d.failures > 0:
		return 1
	case !d.good:
		return min(2, q.cfg.PerDomain)
	}
	return q.cfg.PerDomain
}

// enqueue gives a domain a place in the ring, if it has a job that may start.
func (q *Queue) enqueue(d *domain, now time.Time) {
	if d.queued || d.active >= q.limit(d) {
		return
	}
	switch {
	case len(d.urgent) > 0:
	case len(d.ready) == 0:
		return
	case d.failures > 0 && now.Before(d.probeAt):
		q.timers.set(&d.timer, d.probeAt)
		return
	}
	d.queued = true
	if d.failures > 0 {
		q.suspect = append(q.suspect, d)
	} else {
		q.healthy = append(q.healthy, d)
	}
}

// nextJob takes the next job to start out of its lists, or returns nil.
func (q *Queue) nextJob(now time.Time) *job {
	for {
		ring := &q.healthy
		if q.suspectActive < max(1, q.cfg.Parallel/4) && len(q.suspect) > 0 && (q.suspectTurn || len(q.healthy) == 0) {
			ring = &q.suspect
		}
		q.suspectTurn = !q.suspectTurn
		if len(*ring) == 0 {
			return nil
		}
		d := (*ring)[0]
		(*ring)[0] = nil
		*ring = (*ring)[1:]
		d.queued = false
		// It may have become suspect meanwhile.
		if d.failures == 0 || ring == &q.suspect {
			if j := q.take(d, now); j != nil {
				return j
			}
		}
		q.enqueue(d, now)
	}
}

// take takes the job to start now out of a domain.
func (q *Queue) take(d *domain, now time.Time) *job {
	if d.active >= q.limit(d) {
		return nil
	}
	list := &d.urgent
	if len(*list) == 0 {
		if list = &d.ready; len(*list) == 0 || d.failures > 0 && now.Before(d.probeAt) {
			return nil
		}
	}
	j := (*list)[0]
	(*list)[0] = nil
	*list = (*list)[1:]
	return j
}

// start works on a job in a goroutine of its own.
func (q *Queue) start(ctx context.Context, j *job, now time.Time) {
	d := j.domain
	j.state = jobActive
	d.active++
	q.active++
	suspect := d.failures > 0
	if suspect {
		q.suspectActive++
	}
	q.running.Go(func() {
		q.work(ctx, j)
		q.mu.Lock()
		defer q.mu.Unlock()
		d.active--
		q.active--
		if suspect {
			q.suspectActive--
		}
		q.forgetDomain(d)
		q.enqueue(d, q.cfg.Now())
		q.nudge()
	})
	q.enqueue(d, now)
}
