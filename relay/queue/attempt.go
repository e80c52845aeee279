package queue

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"slices"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// attempt makes an attempt for a job, frees its place, and writes down what
// came of it.
func (q *Queue) attempt(ctx context.Context, j *job, m Message, suspect bool) {
	results := q.deliver(ctx, m)
	interrupted := ctx.Err() != nil
	ready := q.cfg.Ready()
	q.mu.Lock()
	now, d := q.cfg.Now(), j.domain
	if !interrupted {
		q.judgeDomain(j, results, now)
	}
	q.sort(j, m, results, interrupted, now)
	d.active--
	q.active--
	if suspect {
		q.suspectActive--
	}
	q.unrecorded++
	j.counted = true
	q.offer(d, now)
	if ready {
		q.fill(now)
	}
	q.rouse()
	q.mu.Unlock()
	// What is known now is written down even if Run is told to end.
	q.finish(context.WithoutCancel(ctx), j, m, func() {})
}

// uncount notes that nothing of a job is unrecorded any more.
func (q *Queue) uncount(j *job) {
	if j.counted {
		j.counted = false
		q.unrecorded--
	}
}

// message describes the attempt. The caller holds the lock.
func (q *Queue) message(j *job) Message {
	id, expires := j.msg.id, q.expires(j)
	return Message{
		ID: id, Envelope: *j.msg.env, Rcpts: slices.Clone(j.rcpts), Domain: j.domain.name, Tries: int(j.tries),
		Body:    func() (io.ReadCloser, error) { return q.cfg.Spool.Open(id) },
		Expires: expires, Final: !q.cfg.Now().Before(expires),
	}
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
	find := func(rcpt int) int {
		return slices.IndexFunc(results, func(r Result) bool { return r.Rcpt == rcpt })
	}
	if len(m.Rcpts) > fewLines {
		byRcpt := make(map[int]int)
		for i, r := range results {
			byRcpt[r.Rcpt] = i + 1
		}
		find = func(rcpt int) int { return byRcpt[rcpt] - 1 }
	}
	complete := make([]Result, 0, len(m.Rcpts))
	for _, rcpt := range m.Rcpts {
		r := Result{Rcpt: rcpt, Verdict: verdict.Verdict{Outcome: verdict.Deferred, Reason: verdict.Unknown, Detail: detail}}
		if i := find(rcpt); i >= 0 {
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

// sort divides the results into what is recorded now and what is told first.
// The caller holds the lock.
func (q *Queue) sort(j *job, m Message, results []Result, interrupted bool, now time.Time) {
	tries := m.Tries + 1
	l := &leftover{attempt: tries}
	j.left = l
	next := now.Add(q.delay(tries))
	if next.After(m.Expires) && !m.Final {
		next = m.Expires // the last attempt
	}
	for _, r := range results {
		switch {
		case r.Verdict.Outcome == verdict.Delivered && wantsSuccess(&m.Envelope, r):
			l.succeeded = append(l.succeeded, r)
		case r.Verdict.Outcome == verdict.Delivered:
			l.add(r, spool.StateDelivered)
		case interrupted && r.Verdict.Outcome.Kept():
			// As if there had been no attempt.
		case r.Verdict.Outcome == verdict.Returned:
			l.failed = append(l.failed, r)
		case m.Final && !r.Unsettled:
			l.failed = append(l.failed, Result{Rcpt: r.Rcpt, Verdict: tooOld(r.Verdict, now)})
		default:
			p := l.add(r, spool.StateWaiting)
			p.Next, p.Told = next, j.told
			j.next, j.tries = next, int32(tries)
		}
	}
	if interrupted && j.next.Before(now) {
		j.next = now
	}
}

// add makes a result an outcome to be recorded. Recipients with the same
// verdict share it.
func (l *leftover) add(r Result, state string) *pending {
	v := r.Verdict
	v.Evidence = nil
	p := pending{Outcome: spool.Outcome{Rcpt: r.Rcpt, State: state, Tries: l.attempt, Verdict: &v}, evidence: r.Verdict.Evidence}
	if n := len(l.record); n > 0 && reflect.DeepEqual(*l.record[n-1].Verdict, v) {
		p.Verdict = l.record[n-1].Verdict
	}
	l.record = append(l.record, p)
	return &l.record[len(l.record)-1]
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
