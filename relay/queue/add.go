package queue

import (
	"slices"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Add takes a message that Spool.Append has just accepted. Adding one that
// waits already changes nothing.
func (q *Queue) Add(id spool.ID, env spool.Envelope) {
	if !q.cfg.Ready() {
		env.ClockUnknown = true
	}
	q.mu.Lock()
	q.insert(spool.Stored{ID: id, Envelope: env, Outcomes: make([]spool.Outcome, len(env.Rcpts))})
	q.mu.Unlock()
	q.nudge()
}

// small is a message with one recipient, in one piece of memory: nearly all of
// them are.
type small struct {
	message
	job      job
	env      spool.Envelope
	jobs     [1]*job
	rcpts    [1]int
	verdicts [1]*verdict.Verdict
}

func newMessage(s *spool.Stored) (m *message, spare *job) {
	if len(s.Envelope.Rcpts) == 1 {
		one := &small{env: s.Envelope}
		one.message = message{id: s.ID, env: &one.env, verdicts: one.verdicts[:], jobs: one.jobs[:0]}
		one.job.rcpts = one.rcpts[:0]
		return &one.message, &one.job
	}
	env := s.Envelope
	return &message{id: s.ID, env: &env, verdicts: make([]*verdict.Verdict, len(env.Rcpts))}, nil
}

func (q *Queue) insert(s spool.Stored) {
	place := q.search(s.ID)
	if place < len(q.order) && q.order[place].id == s.ID {
		return
	}
	now := q.cfg.Now()
	lean(&s.Envelope)
	m, spare := newMessage(&s)
	if !m.env.ClockUnknown {
		m.expires = m.env.Received.Add(q.cfg.Lifetime)
	}
	// Only for messages to many domains.
	var byDomain map[*domain]*job
	for i, o := range s.Outcomes {
		if o.Done() {
			continue
		}
		d := q.domain(domainOf(m.env.Rcpts[i].Addr))
		if m.verdicts[i] = o.Verdict; o.Verdict != nil {
			leanVerdict(o.Verdict, d.alike)
			d.alike = o.Verdict
		}
		j := byDomain[d]
		if len(m.jobs) > 0 && m.jobs[0].domain == d {
			j = m.jobs[0]
		}
		if j == nil {
			if j = spare; j == nil {
				j = &job{}
			}
			j.msg, j.domain, j.told = m, d, true
			q.join(j)
			m.jobs = append(m.jobs, j)
			if len(m.jobs) > 1 {
				if byDomain == nil {
					byDomain = make(map[*domain]*job)
				}
				byDomain[d] = j
			}
		}
		j.rcpts = append(j.rcpts, i)
		j.tries = max(j.tries, int32(o.Tries))
		j.told = j.told && (o.Told || !wantsDelay(m.env, i))
		if next := q.sane(o.Next, now); len(j.rcpts) == 1 || next.Before(j.next) {
			j.next = next
		}
	}
	if len(m.jobs) == 0 {
		return
	}
	q.waiting++
	q.count(m, 1)
	// Nearly always at the end.
	q.order = slices.Insert(q.order, place, m)
	for _, j := range m.jobs {
		q.rest(j)
	}
}

// rest gives a job that nobody works on its place: on the agenda, or aside
// while a person holds its message.
func (q *Queue) rest(j *job) {
	if j.left == nil && j.msg.parked() {
		j.state = jobParked
		return
	}
	j.state = jobWaiting
	q.alarms.set(j, j.next)
}

// takeOut takes a job that nobody works on out of the agenda and of its line, so
// that nobody starts it.
func (q *Queue) takeOut(j *job) {
	q.alarms.remove(j)
	if j.line != nil {
		j.domain.linesOf(j.line.urgent).remove(j)
	}
	j.state = jobActive
}

// sane returns when to try next, given what was recorded: a time that a wrong
// clock has put too far away is drawn near.
func (q *Queue) sane(next, now time.Time) time.Time {
	latest := now
	for _, d := range q.cfg.Schedule {
		latest = later(latest, now.Add(d))
	}
	if next.IsZero() {
		return now
	}
	if next.After(latest) {
		return latest
	}
	return next
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// domain returns the state of a domain, new if need be.
func (q *Queue) domain(name string) *domain {
	d := q.domains[name]
	if d == nil {
		d = &domain{name: name, pause: q.pausedDomains[name]}
		d.urgent.urgent = true
		q.domains[name] = d
	}
	return d
}

// count adds sign times the message to the counts. Call it before a change
// with -1 and after it with 1.
func (q *Queue) count(m *message, sign int) {
	held, deferred, untried := m.class()
	if held {
		q.counts.Held += sign
	}
	if deferred {
		q.counts.Deferred += sign
	}
	if untried {
		q.counts.Untried += sign
	}
	switch tried := held || deferred; {
	case tried && sign > 0:
		q.tried.set(m, m.env.Received)
	case tried:
		// It is nearly always tried after the change too.
	case sign > 0:
		q.tried.remove(m)
	}
}

// drop takes a job out of everything.
func (q *Queue) drop(j *job) {
	m, d := j.msg, j.domain
	q.takeOut(j)
	j.state = jobGone
	q.reminders.remove(j)
	q.uncount(j)
	q.count(m, -1)
	m.jobs = slices.DeleteFunc(m.jobs, func(other *job) bool { return other == j })
	if len(m.jobs) > 0 {
		q.count(m, 1)
	} else {
		m.gone = true
		q.waiting--
		q.tried.remove(m)
		if m.hold != nil && m.hold.pause != nil {
			delete(q.pausedMessages, m.id)
		}
		q.tidy()
	}
	q.leave(j)
	q.forgetDomain(d)
}

// forgetDomain drops the state of a domain without jobs. That of a suspect one
// goes too: mail that comes later starts afresh. A rate is remembered until it
// is used up.
func (q *Queue) forgetDomain(d *domain) {
	if len(d.jobs) > 0 || d.active > 0 {
		return
	}
	if q.cfg.RatePerMinute > 0 && d.rateAt.After(q.cfg.Now()) {
		q.wakes.set(d, d.rateAt)
		return
	}
	q.wakes.remove(d)
	delete(q.domains, d.name)
}
