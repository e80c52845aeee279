package queue

import (
	"slices"
	"strings"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// message is one waiting message.
type message struct {
	id  spool.ID
	env *spool.Envelope
	// expires is zero until it is known, and final once dated, see date.
	expires time.Time
	dated   bool
	gone    bool // no open recipient is left
	oldest  int32
	// verdicts holds the last verdict of each recipient, nil before the
	// first.
	verdicts []*verdict.Verdict
	jobs     []*job // those with open recipients
	hold     *hold  // nil when no person has touched it
}

// hold is what people have done to a message.
type hold struct {
	pause  *Pause
	action *action   // not in force yet
	fate   *action   // in force
	grace  time.Time // it does not expire before; see resumeGrace
}

// touched returns the hold of a message, new if need be.
func (m *message) touched() *hold {
	if m.hold == nil {
		m.hold = &hold{}
	}
	return m.hold
}

// parked reports whether the jobs of the message are set aside.
func (m *message) parked() bool {
	return m.hold != nil && (m.hold.pause != nil || m.hold.action != nil)
}

// class says under which counts the message falls.
func (m *message) class() (held, deferred, untried bool) {
	untried = true
	for _, j := range m.jobs {
		for _, i := range j.rcpts {
			if v := m.verdicts[i]; v != nil {
				untried = false
				held = held || v.Outcome == verdict.Held
				deferred = deferred || v.Outcome == verdict.Deferred
			}
		}
	}
	return held, deferred, untried
}

type jobState uint8

const (
	jobWaiting jobState = iota // on the agenda
	jobReady                   // in a line of its domain
	jobParked                  // waits for a person
	jobActive                  // being worked on, or about to be
	jobGone
)

// job is the open recipients of one message in one domain.
type job struct {
	msg    *message
	domain *domain
	rcpts  []int
	next   time.Time
	tries  int32
	// Places in Queue.alarms, Queue.reminders and domain.jobs, plus one.
	alarm, reminder, member int32
	state                   jobState
	// urgent jobs do not wait for the probe of a suspect domain: somebody
	// asked for them, or their time is over.
	urgent bool
	// network says that the last attempt failed before anybody answered.
	network bool
	told    bool // no notice of delay is due any more
	// counted says that it counts as unrecorded.
	counted bool
	doomed  bool // the fate of its message is in left

	line           *line // while ready
	before, behind *job  // in the line

	// left is what remains to be done after an attempt; nil when there is
	// nothing. While there is something, the job makes no further attempt.
	left *leftover
}

// leftover is what an attempt, or a person, has left to be written down.
type leftover struct {
	attempt   int       // its number
	record    []pending // to be recorded
	succeeded []Result  // delivered; a notice is due first
	failed    []Result  // to be returned; a notice is due first
	failures  int       // of a notice of success
	// lost is the word of the last probe for a job whose time is over: all its
	// recipients are returned.
	lost *verdict.Verdict
}

// pending is an outcome on its way to the spool. The evidence goes into the
// event alone.
type pending struct {
	spool.Outcome
	evidence *verdict.Evidence
}

// domain is a recipient domain with jobs.
type domain struct {
	name   string
	jobs   []*job // in no order
	urgent lines  // ready, not waiting for a probe
	ready  lines
	active int
	wake   int32 // its place in Queue.wakes, plus one
	turn   bool  // the last job was an urgent one
	good   bool  // it has answered since it is known

	pause *Pause
	grace time.Time // nothing expires before; see resumeGrace

	failures  int       // probes in a row that nobody answered
	probeAt   time.Time // when the next probe may go
	failedAt  time.Time
	rateAt    time.Time        // when the next attempt may begin
	last      *verdict.Verdict // of the last failure
	unreached []*job           // those that went as probes
	alike     *verdict.Verdict // the newest that a job keeps, see leanVerdict
}

// linesOf returns the lines that a ready job is, or is to be, in.
func (d *domain) linesOf(urgent bool) *lines {
	if urgent {
		return &d.urgent
	}
	return &d.ready
}

// join adds a job to its domain.
func (q *Queue) join(j *job) {
	d := j.domain
	d.jobs = append(d.jobs, j)
	j.member = int32(len(d.jobs))
	if len(d.jobs) == 1 {
		q.counts.Domains++
	}
}

// leave takes a job out of its domain.
func (q *Queue) leave(j *job) {
	d, end := j.domain, len(j.domain.jobs)-1
	last := d.jobs[end]
	d.jobs[j.member-1], last.member = last, j.member
	d.jobs[end] = nil
	d.jobs = d.jobs[:end]
	j.member = 0
	if end == 0 {
		d.jobs = nil
		q.counts.Domains--
	}
}

// domainOf returns the recipient domain of an address, in lower case.
func domainOf(addr string) string {
	return strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:])
}

// search returns the place of id in the order, or where it would be.
func (q *Queue) search(id spool.ID) int {
	if n := len(q.order); n == 0 || q.order[n-1].id < id {
		return n // a new one
	}
	i, _ := slices.BinarySearchFunc(q.order, id, func(m *message, id spool.ID) int { return strings.Compare(m.id, id) })
	return i
}

// find returns a waiting message, or nil.
func (q *Queue) find(id spool.ID) *message {
	if i := q.search(id); i < len(q.order) && q.order[i].id == id && !q.order[i].gone {
		return q.order[i]
	}
	return nil
}

// tidy takes messages that are gone out of the order: at its front at once,
// elsewhere when they are many.
func (q *Queue) tidy() {
	q.gone++
	for len(q.order) > 0 && q.order[0].gone {
		q.order[0] = nil
		q.order = q.order[1:]
		q.gone--
	}
	if q.gone > 64+len(q.order)/4 {
		q.order = slices.DeleteFunc(q.order, func(m *message) bool { return m.gone })
		q.gone = 0
	}
}
