package queue

import (
	"context"
	"slices"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// nextReminder is when a sender is to be told of a delay next; zero while
// nobody is told.
func (q *Queue) nextReminder() time.Time {
	first := q.reminders.first()
	if q.pause != nil || q.telling >= maxTelling || first.IsZero() {
		return time.Time{}
	}
	return later(first, q.quiet)
}

// remind has the notices of delay written that are due.
func (q *Queue) remind(now time.Time) {
	if q.attempts == nil || q.pause != nil || now.Before(q.quiet) {
		return
	}
	for q.telling < maxTelling {
		j, ok := q.reminders.due(now)
		if !ok {
			return
		}
		if j.state == jobActive || j.state == jobParked || j.left != nil || j.domain.pause != nil || !now.Before(q.expires(j)) {
			// It is just being seen to, or a person has set it aside.
			q.reminders.set(j, now.Add(tellAgain))
			continue
		}
		q.reminders.remove(j)
		// Set aside, so that no attempt is recorded before this is.
		q.takeOut(j)
		q.telling++
		m := q.message(j)
		m.Rcpts = slices.DeleteFunc(m.Rcpts, func(i int) bool { return !wantsDelay(j.msg.env, i) })
		var rs []Result
		for _, i := range m.Rcpts {
			r := Result{Rcpt: i, Verdict: verdict.Verdict{
				Time: now, Outcome: verdict.Deferred, Reason: verdict.Unknown, Domain: j.domain.name, Detail: "not tried yet",
			}}
			if v := j.lastVerdict(i); v != nil {
				r.Verdict = *v
			}
			rs = append(rs, r)
		}
		ctx := context.WithoutCancel(q.attempts)
		q.running.Go(func() { q.tellDelay(ctx, j, m, rs) })
	}
}

// tellDelay has one notice of delay written and recorded.
func (q *Queue) tellDelay(ctx context.Context, j *job, m Message, rs []Result) {
	notice, err := "", error(nil)
	if len(rs) > 0 {
		notice, err = q.notify(ctx, Delay, m, rs)
	}
	if err == nil {
		if len(rs) > 0 {
			q.cfg.Events(event.Delayed{Time: q.cfg.Now(), ID: m.ID, Notice: notice, To: m.Envelope.From})
		}
		q.mu.Lock()
		j.told = true // in the record of the next attempt too, if this one fails
		var outcomes []spool.Outcome
		for _, i := range j.rcpts {
			outcomes = append(outcomes, spool.Outcome{
				Rcpt: i, State: spool.StateWaiting, Tries: int(j.tries), Next: j.next, Verdict: j.msg.verdicts[i], Told: true,
			})
		}
		q.mu.Unlock()
		if err := q.write(ctx, m.ID, outcomes); err != nil {
			q.log.Error("queue: it is not recorded that a sender was told of a delay", "message", m.ID, "error", err)
		}
	} else {
		q.log.Error("queue: a sender is not told of a delay yet", "message", m.ID, "error", err)
	}
	ready := q.cfg.Ready()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.telling--
	now := q.cfg.Now()
	if err != nil {
		q.reminders.set(j, now.Add(tellAgain))
	}
	q.release(j)
	if ready {
		q.fill(now)
	}
	q.rouse()
}
