package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// work makes an attempt for a job, or finishes what an earlier one left, and
// gives the job its next time.
func (q *Queue) work(ctx context.Context, j *job) {
	q.mu.Lock()
	j.urgent = false
	m := q.message(j)
	left := j.left()
	probe, spoken := q.probeSpeaks(j, m)
	q.mu.Unlock()
	if !left {
		var results []Result
		if spoken {
			results = make([]Result, len(m.Rcpts))
			for i, rcpt := range m.Rcpts {
				results[i] = Result{Rcpt: rcpt, Verdict: probe}
			}
		} else {
			results = q.deliver(ctx, m)
		}
		interrupted := ctx.Err() != nil
		q.mu.Lock()
		if !spoken && !interrupted {
			q.judgeDomain(j, results)
		}
		q.sort(j, m, results, interrupted)
		q.mu.Unlock()
	}
	// What is known now is written down even if Run is told to end.
	err := q.settle(context.WithoutCancel(ctx), j, m)
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	switch {
	case errors.Is(err, spool.ErrNotFound):
		// Nothing in the spool: it was finished elsewhere.
		q.drop(j)
		return
	case err != nil:
		q.log.Error("queue: an outcome is not recorded yet", "message", j.msg.id, "domain", j.domain.name, "error", err)
		j.next = now.Add(recordAgain)
	case len(j.rcpts) == 0:
		q.drop(j)
		return
	}
	if err == nil && j.remove {
		j.next = now // removed just after the outcomes were written
	}
	j.state = jobWaiting
	q.timers.set(&j.timer, j.next)
}

// left reports whether there is something to finish before the next attempt.
func (j *job) left() bool { return len(j.record)+len(j.failed) > 0 || j.remove }

// message describes the attempt. The caller holds the lock.
func (q *Queue) message(j *job) Message {
	id := j.msg.id
	return Message{
		ID: id, Envelope: *j.msg.env, Rcpts: slices.Clone(j.rcpts), Domain: j.domain.name, Tries: j.tries,
		Body:    func() (io.ReadCloser, error) { return q.cfg.Spool.Open(id) },
		Expires: j.msg.expires, Final: !q.cfg.Now().Before(j.msg.expires),
	}
}

// probeSpeaks returns the verdict of the last probe for a job whose time is
// over in a domain that nobody answers for, so that thousands of them need
// not wait for a time-out each.
func (q *Queue) probeSpeaks(j *job, m Message) (v verdict.Verdict, ok bool) {
	d := j.domain
	if !m.Final || d.failures == 0 || d.last == nil || q.cfg.Now().Sub(d.failedAt) > freshProbe {
		return v, false
	}
	return *d.last, true
}

// deliver makes the attempt and repairs what the Deliverer returned: exactly
// one result for each recipient.
func (q *Queue) deliver(ctx context.Context, m Message) (results []Result) {
	detail := "no result"
	func() {
		defer func() {
			if r := recover(); r != nil {
				q.log.Error("queue: panic in an attempt", "message", m.ID, "domain", m.Domain, "panic", r, "stack", string(debug.Stack()))
				results, detail = nil, fmt.Sprintf("panic: %v", r)
			}
		}()
		results = q.cfg.Deliver.Deliver(ctx, m)
	}()
	complete := make([]Result, 0, len(m.Rcpts))
	for _, rcpt := range m.Rcpts {
		i := slices.IndexFunc(results, func(r Result) bool { return r.Rcpt == rcpt })
		r := Result{Rcpt: rcpt, Verdict: verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Unknown, Detail: detail}}
		if i >= 0 {
			r = results[i]
		}
		switch r.Verdict.Outcome {
		case verdict.Delivered, verdict.Held, verdict.Deferred, verdict.Returned:
		default:
			r.Verdict.Detail = fmt.Sprintf("unknown outcome %q", r.Verdict.Outcome)
			r.Verdict.Outcome, r.Verdict.Reason = verdict.Deferred, verdict.Unknown
		}
		if r.Verdict.Time.IsZero() {
			r.Verdict.Time = q.cfg.Now()
		}
		if r.Verdict.Domain == "" {
			r.Verdict.Domain = m.Domain
		}
		complete = append(complete, r)
	}
	return complete
}

// sort divides the results into what is recorded now and what is returned
// first. The caller holds the lock.
func (q *Queue) sort(j *job, m Message, results []Result, interrupted bool) {
	now := q.cfg.Now()
	tries := m.Tries + 1
	j.attempt = tries
	next := now.Add(q.delay(tries))
	if next.After(m.Expires) && !m.Final {
		next = m.Expires // the last attempt
	}
	for _, r := range results {
		v := r.Verdict
		o := spool.Outcome{Rcpt: r.Rcpt, Tries: tries, Verdict: &v}
		switch {
		case v.Outcome == verdict.Delivered:
			o.State = spool.StateDelivered
		case interrupted && v.Outcome.Kept():
			continue // as if there had been no attempt
		case v.Outcome == verdict.Returned:
			j.failed = append(j.failed, r)
			continue
		case m.Final && !r.Unsettled:
			j.failed = append(j.failed, Result{Rcpt: r.Rcpt, Verdict: tooOld(v, now)})
			continue
		default:
			o.State, o.Next = spool.StateWaiting, next
			j.next, j.tries = next, tries
		}
		j.record = append(j.record, o)
	}
	if interrupted && j.next.Before(now) {
		j.next = now
	}
}

// tooOld is the last word on a recipient that was held or deferred until its
// time was over. The evidence stays that of the last attempt, and so does its
// reason where that says something.
func tooOld(v verdict.Verdict, now time.Time) verdict.Verdict {
	if v.Reason == "" || v.Reason == verdict.Unknown {
		v.Reason = verdict.TooOld
	}
	v.Time, v.Outcome, v.Rule = now, verdict.Returned, "RFC 5321, Section 4.5.4.1"
	return v
}

// settle records what is known. Recipients that failed are recorded as
// returned only after the notice about all of them is in the spool. On an
// error what is left stays in the job.
func (q *Queue) settle(ctx context.Context, j *job, m Message) error {
	if err := q.recordAll(ctx, j, m); err != nil {
		return err
	}
	q.mu.Lock()
	if j.remove {
		// Nobody wants to hear of it any more.
		j.failed = nil
		for _, i := range j.rcpts {
			j.record = append(j.record, spool.Outcome{Rcpt: i, State: spool.StateRemoved, Tries: j.attempt, Verdict: j.msg.verdicts[i]})
		}
	}
	q.mu.Unlock()
	if len(j.failed) == 0 {
		return q.recordAll(ctx, j, m)
	}
	notice, err := q.cfg.Bounce(ctx, m, j.failed)
	if err != nil {
		return fmt.Errorf("notice: %w", err)
	}
	now := q.cfg.Now()
	q.cfg.Events(event.Bounced{Time: now, ID: m.ID, Notice: notice, To: m.Envelope.From})
	for _, r := range j.failed {
		v := r.Verdict
		j.record = append(j.record, spool.Outcome{Rcpt: r.Rcpt, State: spool.StateReturned, Tries: j.attempt, Verdict: &v})
	}
	j.failed = nil
	return q.recordAll(ctx, j, m)
}

// recordAll makes j.record durable, in the spool first, then here, and tells
// about it.
func (q *Queue) recordAll(ctx context.Context, j *job, m Message) error {
	if len(j.record) == 0 {
		return nil
	}
	outcomes := j.record
	if err := q.write(ctx, m.ID, outcomes); err != nil {
		return err
	}
	j.record = nil
	q.mu.Lock()
	q.count(j.msg, -1)
	for _, o := range outcomes {
		j.msg.verdicts[o.Rcpt] = o.Verdict
		if o.Done() {
			j.rcpts = slices.DeleteFunc(j.rcpts, func(i int) bool { return i == o.Rcpt })
		}
	}
	q.count(j.msg, 1)
	q.mu.Unlock()
	for _, o := range outcomes {
		if o.State == spool.StateRemoved {
			continue
		}
		q.cfg.Events(event.Attempted{
			ID: m.ID, From: m.Envelope.From, Rcpt: m.Envelope.Rcpts[o.Rcpt].Addr,
			Tries: o.Tries, Next: o.Next, Expires: m.Expires, Verdict: *o.Verdict,
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
