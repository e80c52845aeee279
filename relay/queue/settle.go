package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// finish writes down what is left of a job and gives it its next place. done is
// called under the lock.
func (q *Queue) finish(ctx context.Context, j *job, m Message, done func()) {
	err := q.settle(ctx, j, m)
	ready := q.cfg.Ready()
	q.mu.Lock()
	now := q.cfg.Now()
	done()
	if j.left == nil || len(j.left.record) == 0 {
		q.uncount(j)
	}
	switch {
	case errors.Is(err, spool.ErrNotFound):
		// Nothing in the spool: it was finished elsewhere.
		q.drop(j)
	case err == nil && len(j.rcpts) == 0:
		q.drop(j)
	default:
		if err != nil {
			q.log.Error("queue: an outcome is not recorded yet", "message", j.msg.id, "domain", j.domain.name, "error", err)
			j.next = now.Add(recordAgain)
		}
		q.release(j)
	}
	if ready {
		q.fill(now)
	}
	q.rouse()
	removed := j.msg.gone && j.doomed && j.msg.hold.fate.Kind == ActionDelete
	q.mu.Unlock()
	if removed {
		q.cfg.Events(event.Removed{Time: now, ID: m.ID, From: m.Envelope.From, By: j.msg.hold.fate.By})
	}
}

// release gives a job that was worked on its place, or to the fate that a
// person has chosen meanwhile.
func (q *Queue) release(j *job) {
	if h := j.msg.hold; h != nil && h.fate != nil && !j.doomed {
		q.doom(j, h.fate)
		q.unfinish(j)
		return
	}
	q.rest(j)
}

// settle records what is known. What needs a notice is recorded only after the
// notice about all such recipients is in the spool. On an error what is left
// stays in the job.
func (q *Queue) settle(ctx context.Context, j *job, m Message) error {
	l := j.left
	if l == nil {
		return nil
	}
	if l.lost != nil {
		for _, i := range m.Rcpts {
			l.failed = append(l.failed, Result{Rcpt: i, Verdict: tooOld(*l.lost, q.cfg.Now())})
		}
		l.lost = nil
	}
	if err := q.recordAll(ctx, j, m); err != nil {
		return err
	}
	trouble := q.tellSuccess(ctx, m, l)
	if len(l.failed) > 0 {
		notice, err := q.notify(ctx, Failure, m, l.failed)
		if err == nil {
			q.cfg.Events(event.Bounced{Time: q.cfg.Now(), ID: m.ID, Notice: notice, To: m.Envelope.From})
			for _, r := range l.failed {
				l.add(r, spool.StateReturned)
			}
			l.failed = nil
		}
		trouble = errors.Join(trouble, err)
	}
	if err := q.recordAll(ctx, j, m); err != nil || trouble != nil {
		return errors.Join(err, trouble)
	}
	q.mu.Lock()
	j.left = nil
	q.mu.Unlock()
	return nil
}

// tellSuccess tells of recipients that took the message, and moves them to what
// is to be recorded. When the notice cannot be written for long it is given up:
// as long as the delivery is not recorded a restart would repeat it.
func (q *Queue) tellSuccess(ctx context.Context, m Message, l *leftover) error {
	if len(l.succeeded) == 0 {
		return nil
	}
	notice, err := q.notify(ctx, Success, m, l.succeeded)
	if l.failures++; err != nil && l.failures < noticeTries {
		return err
	}
	if err != nil {
		q.log.Error("queue: a notice of success is given up", "message", m.ID, "error", err)
	} else if notice != "" {
		q.cfg.Events(event.Relayed{Time: q.cfg.Now(), ID: m.ID, Notice: notice, To: m.Envelope.From})
	}
	for _, r := range l.succeeded {
		l.add(r, spool.StateDelivered)
	}
	l.succeeded = nil
	return nil
}

// notify has a notice written. Its error is never one of the spool about m.
func (q *Queue) notify(ctx context.Context, kind Notice, m Message, rs []Result) (id spool.ID, err error) {
	defer func() {
		if r := recover(); r != nil {
			q.log.Error("queue: panic in a notice", "message", m.ID, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("notice: panic: %v", r)
		}
	}()
	id, err = q.cfg.Notify(ctx, kind, m, rs)
	if err != nil {
		return "", fmt.Errorf("notice: %v", err)
	}
	return id, nil
}

// recordAll makes j.left.record durable, in the spool first, then here, and
// tells about it.
func (q *Queue) recordAll(ctx context.Context, j *job, m Message) error {
	record := j.left.record
	if len(record) == 0 {
		return nil
	}
	outcomes := make([]spool.Outcome, len(record))
	for i, p := range record {
		outcomes[i] = p.Outcome
	}
	if err := q.write(ctx, m.ID, outcomes); err != nil {
		return err
	}
	q.mu.Lock()
	q.count(j.msg, -1)
	ended := make([]int, 0, fewLines)
	for _, o := range outcomes {
		if o.Done() {
			ended = append(ended, o.Rcpt)
			continue
		}
		leanVerdict(o.Verdict, j.domain.alike)
		j.msg.verdicts[o.Rcpt], j.domain.alike = o.Verdict, o.Verdict
	}
	slices.Sort(ended)
	j.rcpts = slices.DeleteFunc(j.rcpts, func(i int) bool {
		_, is := slices.BinarySearch(ended, i)
		return is
	})
	q.count(j.msg, 1)
	j.left.record = nil
	q.mu.Unlock()
	for _, p := range record {
		if p.State == spool.StateRemoved {
			continue
		}
		v := *p.Verdict
		v.Evidence = p.evidence
		q.cfg.Events(event.Attempted{
			ID: m.ID, From: m.Envelope.From, Rcpt: m.Envelope.Rcpts[p.Rcpt].Addr,
			Tries: p.Tries, Next: p.Next, Expires: m.Expires, Verdict: v,
		})
	}
	return nil
}

// write records outcomes, in as many records as they need. Those that were
// written before an error may be written again.
func (q *Queue) write(ctx context.Context, id spool.ID, outcomes []spool.Outcome) error {
	err := q.cfg.Spool.Record(ctx, id, outcomes...)
	half := len(outcomes) / 2
	if half == 0 || !errors.Is(err, spool.ErrTooBig) {
		return err
	}
	if err := q.write(ctx, id, outcomes[:half]); err != nil {
		return err
	}
	return q.write(ctx, id, outcomes[half:])
}

// wantsSuccess reports whether a notice of success is due for a delivery: it
// was asked for (RFC 3461, Section 4.1), somebody can be told, and the next hop
// does not see to it (Section 5.2.1).
func wantsSuccess(env *spool.Envelope, r Result) bool {
	return env.From != "" && !r.Verdict.NoticePassed && slices.Contains(env.Rcpts[r.Rcpt].Notify, "SUCCESS")
}

// wantsDelay reports whether the sender is to be told of a delay for recipient i:
// they did not forbid it (RFC 3461, Section 4.1), and there is somebody to tell.
func wantsDelay(env *spool.Envelope, i int) bool {
	notify := env.Rcpts[i].Notify
	return env.From != "" && (len(notify) == 0 || slices.Contains(notify, "DELAY"))
}

// lastVerdict is what is known about recipient i of a job.
func (j *job) lastVerdict(i int) *verdict.Verdict {
	if v := j.msg.verdicts[i]; v != nil {
		return v
	}
	return j.domain.last
}
