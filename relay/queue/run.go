package queue

import (
	"context"
	"sync"
	"time"
)

func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run makes attempts until ctx ends. It then starts nothing new, gives the
// attempts that are going on Config.Grace to end, cancels the rest, waits until
// all of them are over and recorded, and returns nil. The spool must run
// longer than the queue. Call it once only.
func (q *Queue) Run(ctx context.Context) error {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	q.mu.Lock()
	q.attempts = attempts
	q.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(q.round())
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		}
	}
	q.mu.Lock()
	q.attempts = nil
	q.mu.Unlock()
	stop := time.AfterFunc(q.cfg.Grace, cancel)
	defer stop.Stop()
	q.running.Wait()
	q.recordLast(context.WithoutCancel(ctx))
	return nil
}

// recordLast tries once more to record what the spool has not taken yet, when
// nothing else goes on: what was delivered would be delivered again.
func (q *Queue) recordLast(ctx context.Context) {
	q.mu.Lock()
	var left []*job
	var messages []Message
	add := func(j *job) {
		if j.left != nil && len(j.left.record) > 0 {
			left, messages = append(left, j), append(messages, q.message(j))
		}
	}
	for _, a := range q.alarms.list {
		add(a.item)
	}
	for _, j := range q.unfinished {
		add(j)
	}
	q.mu.Unlock()
	var all sync.WaitGroup
	for i, j := range left {
		all.Go(func() {
			if err := q.recordAll(ctx, j, messages[i]); err != nil {
				q.log.Error("queue: an outcome is lost at the end; what was delivered may be delivered again",
					"message", j.msg.id, "domain", j.domain.name, "error", err)
			}
		})
	}
	all.Wait()
}

// round does what is due now, and returns how long to sleep.
func (q *Queue) round() time.Duration {
	ready := q.cfg.Ready()
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	if !ready {
		q.ready, q.sleep = false, now.Add(notReadyPoll)
		return notReadyPoll
	}
	if !q.ready {
		q.ready, q.quiet = true, now.Add(tellAfterStart)
	}
	for range maxDue {
		j, ok := q.alarms.due(now)
		if !ok {
			break
		}
		q.alarms.remove(j)
		q.makeReady(j, now)
	}
	for d, ok := q.wakes.due(now); ok; d, ok = q.wakes.due(now) {
		q.wakes.remove(d)
		q.offer(d, now)
		q.forgetDomain(d)
	}
	for a, ok := q.fates.due(now); ok; a, ok = q.fates.due(now) {
		q.takeEffect(a)
	}
	q.remind(now)
	q.fill(now)
	q.sleep = now.Add(longestSleep)
	if next := q.next(); !next.IsZero() && next.Before(q.sleep) {
		q.sleep = next
	}
	return max(q.sleep.Sub(now), 0)
}

// next is when something is due next; zero when nothing is.
func (q *Queue) next() (next time.Time) {
	for _, at := range []time.Time{q.alarms.first(), q.wakes.first(), q.fates.first(), q.nextReminder()} {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// rouse wakes Run if something has become due before it meant to wake.
func (q *Queue) rouse() {
	if next := q.next(); !next.IsZero() && next.Before(q.sleep) {
		q.nudge()
	}
}

// makeReady puts a job whose time has come into the lines of its domain.
func (q *Queue) makeReady(j *job, now time.Time) {
	q.date(j.msg, now)
	if j.left != nil {
		q.unfinish(j)
		return
	}
	d := j.domain
	if d.failures > 0 && q.pause == nil && d.pause == nil && !now.Before(q.expires(j)) {
		if q.probeSpeaks(j, now) {
			q.giveUp(j)
			return
		}
		j.urgent = true
	}
	q.enqueue(j, now)
}

// enqueue puts a job into the lines of its domain.
func (q *Queue) enqueue(j *job, now time.Time) {
	j.state = jobReady
	j.domain.linesOf(j.urgent).add(j)
	q.offer(j.domain, now)
}

// unfinish hands a job on to be finished.
func (q *Queue) unfinish(j *job) {
	j.state = jobActive
	q.unfinished = append(q.unfinished, j)
}

// fill starts what may start now. The caller knows that deciding is allowed.
func (q *Queue) fill(now time.Time) {
	if q.attempts == nil {
		return
	}
	for q.active < q.cfg.Parallel && q.unrecorded < maxUnrecorded && q.pause == nil {
		j := q.nextJob(now)
		if j == nil {
			break
		}
		q.start(q.attempts, j, now)
	}
	for len(q.unfinished) > 0 && q.finishing < maxFinishing {
		j := q.unfinished[0]
		q.unfinished[0] = nil
		q.unfinished = q.unfinished[1:]
		q.finishing++
		m := q.message(j)
		ctx := context.WithoutCancel(q.attempts)
		q.running.Go(func() {
			q.finish(ctx, j, m, func() { q.finishing-- })
		})
	}
}

// nextJob takes the next job to start out of its line, or returns nil.
func (q *Queue) nextJob(now time.Time) *job {
	for {
		t := &q.healthy
		if q.suspectActive < max(1, q.cfg.Parallel/4) && len(q.suspect.ring) > 0 && (q.suspectTurn || len(q.healthy.ring) == 0) {
			t = &q.suspect
		}
		q.suspectTurn = !q.suspectTurn
		l := t.next()
		if l == nil {
			return nil
		}
		d := l.domain
		// It may have become suspect meanwhile, or the reverse.
		if (d.failures > 0) == (t == &q.suspect) {
			if j := q.take(d, now); j != nil {
				return j
			}
		}
		q.offer(d, now)
	}
}

// start makes an attempt in a goroutine of its own.
func (q *Queue) start(ctx context.Context, j *job, now time.Time) {
	d := j.domain
	j.state, j.urgent = jobActive, false
	d.active++
	q.active++
	suspect := d.failures > 0
	if suspect {
		q.suspectActive++
	}
	if q.cfg.RatePerMinute > 0 {
		d.rateAt = now.Add(time.Minute / time.Duration(q.cfg.RatePerMinute))
	}
	m := q.message(j)
	q.running.Go(func() { q.attempt(ctx, j, m, suspect) })
	q.offer(d, now)
}
