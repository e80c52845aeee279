package queue

import (
	"container/heap"
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
	// expires is zero until it is known, and final once dated, see
	// makeReady.
	expires time.Time
	dated   bool
	// verdicts holds the last verdict of each recipient, nil before the
	// first.
	verdicts []*verdict.Verdict
	jobs     []*job // those with open recipients
	gone     bool   // no open recipient is left
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

type jobState int

const (
	jobWaiting jobState = iota // its timer runs
	jobReady                   // in a list of its domain
	jobActive                  // being worked on
	jobGone
)

// job is the open recipients of one message in one domain.
type job struct {
	msg    *message
	domain *domain
	rcpts  []int
	tries  int
	next   time.Time
	state  jobState
	timer  timer
	// urgent jobs do not wait for the probe of a suspect domain: somebody
	// asked for them, or their time is over.
	urgent bool
	// network says that the last attempt failed before anybody answered.
	network bool
	remove  bool // somebody removed the message during the attempt

	// What the last attempt, number attempt, left to be done. While there is
	// any, the job makes no further attempt.
	attempt int
	record  []spool.Outcome // to be recorded
	failed  []Result        // to be returned: the notice is not in the spool yet
}

// domain is a recipient domain with jobs.
type domain struct {
	name   string
	jobs   map[*job]struct{}
	urgent []*job // ready, not waiting for a probe
	ready  []*job // ready
	active int
	queued bool // in a ring of the queue
	good   bool // it has answered since it is known
	timer  timer

	failures int       // probes in a row that nobody answered
	probeAt  time.Time // when the next probe may go
	failedAt time.Time
	last     *verdict.Verdict // of the last failure
}

// timer is an element of the heap: it belongs to a job or to a domain.
type timer struct {
	at     time.Time
	index  int // in the heap plus one; 0 when it does not run
	job    *job
	domain *domain
}

// timerHeap is ordered by time.
type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h) + 1
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}

// set starts or moves a timer.
func (h *timerHeap) set(t *timer, at time.Time) {
	t.at = at
	if t.index > 0 {
		heap.Fix(h, t.index-1)
	} else {
		heap.Push(h, t)
	}
}

// stop takes a timer out of the heap if it runs.
func (h *timerHeap) stop(t *timer) {
	if t.index > 0 {
		heap.Remove(h, t.index-1)
	}
}

// domainOf returns the recipient domain of an address, in lower case.
func domainOf(addr string) string {
	return strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:])
}

// search returns the place of id in the order, or where it would be.
func (q *Queue) search(id spool.ID) int {
	i, _ := slices.BinarySearchFunc(q.order, id, func(m *message, id spool.ID) int { return strings.Compare(m.id, id) })
	return i
}

// tidy takes messages that are gone out of the order when they are many.
func (q *Queue) tidy() {
	if q.gone++; q.gone > len(q.order)/2 {
		q.order = slices.DeleteFunc(q.order, func(m *message) bool { return m.gone })
		q.gone = 0
	}
}
