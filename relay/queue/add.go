package queue

import (
	"slices"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Add takes a message that Spool.Append has just accepted. Adding one twice
// changes nothing.
func (q *Queue) Add(id spool.ID, env spool.Envelope) {
	if !q.cfg.Ready() {
		env.ClockUnknown = true
	}
	q.mu.Lock()
	q.insert(spool.Stored{ID: id, Envelope: env, Outcomes: make([]spool.Outcome, len(env.Rcpts))})
	q.mu.Unlock()
	q.nudge()
}

// restore takes a message that was in the spool at start.
func (q *Queue) restore(s spool.Stored) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.insert(s)
}

func (q *Queue) insert(s spool.Stored) {
	if q.messages[s.ID] != nil {
		return
	}
	now := q.cfg.Now()
	m := &message{id: s.ID, env: &s.Envelope, verdicts: make([]*verdict.Verdict, len(s.Envelope.Rcpts))}
	if !m.env.ClockUnknown {
		m.expires = m.env.Received.Add(q.cfg.Lifetime)
	}
	byDomain := make(map[string]*job)
	for i, o := range s.Outcomes {
		if o.Done() {
			continue
		}
		m.verdicts[i] = o.Verdict
		name := domainOf(m.env.Rcpts[i].Addr)
		j := byDomain[name]
		if j == nil {
			j = &job{msg: m, domain: q.domain(name)}
			j.timer.job = j
			j.domain.jobs[j] = struct{}{}
			byDomain[name] = j
			m.jobs = append(m.jobs, j)
		}
		j.rcpts = append(j.rcpts, i)
		j.tries = max(j.tries, o.Tries)
		if next := q.sane(o.Next, now); len(j.rcpts) == 1 || next.Before(j.next) {
			j.next = next
		}
	}
	if len(m.jobs) == 0 {
		return
	}
	q.messages[s.ID] = m
	q.count(m, 1)
	// Nearly always at the end.
	q.order = slices.Insert(q.order, q.search(m.id), m)
	for _, j := range m.jobs {
		q.timers.set(&j.timer, j.next)
	}
}

// sane returns when to try next, given what was recorded: a time that a wrong
// clock has put too far away is drawn near.
func (q *Queue) sane(next, now time.Time) time.Time {
	latest := now
	for _, d := range q.cfg.Schedule {
		latest = maxTime(latest, now.Add(d))
	}
	if next.IsZero() {
		return now
	}
	if next.After(latest) {
		return latest
	}
	return next
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// domain returns the state of a domain, new if need be.
func (q *Queue) domain(name string) *domain {
	d := q.domains[name]
	if d == nil {
		d = &domain{name: name, jobs: make(map[*job]struct{})}
		d.timer.domain = d
		q.domains[name] = d
	}
	return d
}

// count adds sign times the message to the counts. Call it before a change
// with -1 and after it with 1.
func (q *Queue) count(m *message, sign int) {
	held, deferred, untried := m.class()
	for _, c := range []struct {
		is bool
		n  *int
	}{{held, &q.counts.Held}, {deferred, &q.counts.Deferred}, {untried, &q.counts.Untried}} {
		if c.is {
			*c.n += sign
		}
	}
}

// drop takes a job out of everything.
func (q *Queue) drop(j *job) {
	m, d := j.msg, j.domain
	j.state = jobGone
	q.timers.stop(&j.timer)
	q.count(m, -1)
	m.jobs = slices.DeleteFunc(m.jobs, func(other *job) bool { return other == j })
	if len(m.jobs) > 0 {
		q.count(m, 1)
	} else {
		m.gone = true
		delete(q.messages, m.id)
		q.tidy()
	}
	delete(d.jobs, j)
	q.forgetDomain(d)
}

// forgetDomain drops the state of a domain without jobs. That of a suspect one
// goes too: mail that comes later starts afresh.
func (q *Queue) forgetDomain(d *domain) {
	if len(d.jobs) == 0 && d.active == 0 {
		q.timers.stop(&d.timer)
		delete(q.domains, d.name)
	}
}
