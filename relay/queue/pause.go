package queue

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/spool"
)

// ErrNotFound says that no such message waits, or that no such action can be
// undone any more.
var ErrNotFound = errors.New("queue: not found")

// Pause is something that a person has stopped: all mail, mail to one domain,
// or one message. Exactly one of All, Domain and ID is set.
//
// Paused mail is not tried and does not expire, and its sender is not told of a
// delay. When it goes on it is tried for a day at least, also where its time
// was over meanwhile.
type Pause struct {
	All    bool      `json:"all,omitempty"`
	Domain string    `json:"domain,omitempty"` // recipient domain; case is ignored
	ID     spool.ID  `json:"id,omitempty"`
	Since  time.Time `json:"since"`        // set by [Queue.Pause] when zero
	By     string    `json:"by,omitempty"` // who, for people; at most 200 bytes are kept
}

// what names the target for the event.
func (p Pause) what() string {
	switch {
	case p.All:
		return "all"
	case p.Domain != "":
		return "domain " + p.Domain
	}
	return "message " + p.ID
}

// same reports whether two pauses have one target.
func (p Pause) same(o Pause) bool { return p.All == o.All && p.Domain == o.Domain && p.ID == o.ID }

// checked returns p in the form in which it is kept.
func (p Pause) checked() (Pause, error) {
	n := 0
	for _, set := range []bool{p.All, p.Domain != "", p.ID != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		return p, errors.New("queue: a pause is of all mail, of one domain or of one message")
	}
	if len(p.Domain) > maxName {
		return p, errors.New("queue: the name of the domain is too long")
	}
	p.Domain, p.By = strings.ToLower(p.Domain), bounded(p.By, maxName)
	return p, nil
}

// Bounds of what people write.
const (
	maxName = 255
	maxText = 2000
)

// bounded cuts s to n bytes of valid UTF-8.
func bounded(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// Pause stops the delivery of p. It outlives a restart if Config.SavePauses is
// set. What is paused already stays as it is. An attempt that is going on ends
// as it ends. The error is [ErrNotFound] for a message that does not wait, or
// that of SavePauses, or says what is wrong with p; nothing is paused then.
func (q *Queue) Pause(p Pause) error {
	p, err := p.checked()
	if err != nil {
		return err
	}
	if p.Since.IsZero() {
		p.Since = q.cfg.Now()
	}
	return q.change(p, true)
}

// Resume lets p go on; Since does not matter, By is who. What is not paused
// stays as it is. The errors are those of Pause.
func (q *Queue) Resume(p Pause) error {
	p, err := p.checked()
	if err != nil {
		return err
	}
	return q.change(p, false)
}

// change saves and makes one change.
func (q *Queue) change(p Pause, on bool) error {
	q.saving.Lock()
	defer q.saving.Unlock()
	q.mu.Lock()
	if p.ID != "" && q.find(p.ID) == nil {
		q.mu.Unlock()
		return ErrNotFound
	}
	all := q.listPauses()
	q.mu.Unlock()
	i := slices.IndexFunc(all, p.same)
	if (i >= 0) == on {
		return nil
	}
	if on {
		all = append(all, p)
	} else {
		all = slices.Delete(all, i, i+1)
	}
	if q.cfg.SavePauses != nil {
		if err := q.cfg.SavePauses(all); err != nil {
			return err
		}
	}
	q.mu.Lock()
	found := true
	if on {
		found = q.setPause(p)
	} else {
		q.clearPause(p)
	}
	q.mu.Unlock()
	if !found {
		return ErrNotFound
	}
	q.cfg.Events(event.Paused{Time: q.cfg.Now(), On: on, What: p.what(), By: p.By})
	q.nudge()
	return nil
}

// setPause puts a pause in force. It reports false for a message that is gone.
func (q *Queue) setPause(p Pause) bool {
	switch {
	case p.All:
		q.pause = &p
	case p.Domain != "":
		q.pausedDomains[p.Domain] = &p
		if d := q.domains[p.Domain]; d != nil {
			d.pause = &p
		}
	default:
		m := q.find(p.ID)
		if m == nil {
			return false
		}
		q.pausedMessages[p.ID] = &p
		m.touched().pause = &p
		q.park(m)
	}
	return true
}

// clearPause ends a pause.
func (q *Queue) clearPause(p Pause) {
	now := q.cfg.Now()
	grace := now.Add(resumeGrace)
	switch {
	case p.All:
		q.pause, q.grace, q.quiet = nil, grace, now.Add(tellAfterStart)
	case p.Domain != "":
		delete(q.pausedDomains, p.Domain)
		if d := q.domains[p.Domain]; d != nil {
			d.pause, d.grace = nil, grace
			q.offer(d, now)
		}
	default:
		delete(q.pausedMessages, p.ID)
		if m := q.find(p.ID); m != nil {
			m.hold.pause, m.hold.grace = nil, grace
			q.unpark(m)
		}
	}
}

// park sets the jobs of a message aside that nobody works on.
func (q *Queue) park(m *message) {
	for _, j := range m.jobs {
		if j.left == nil && (j.state == jobWaiting || j.state == jobReady) {
			q.takeOut(j)
			j.state = jobParked
		}
	}
}

// unpark lets them go on, if nothing else holds them.
func (q *Queue) unpark(m *message) {
	for _, j := range m.jobs {
		if j.state == jobParked {
			q.rest(j)
		}
	}
}

// Pauses lists what is paused, the oldest first.
func (q *Queue) Pauses() []Pause {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.listPauses()
}

func (q *Queue) listPauses() []Pause {
	var all []Pause
	if q.pause != nil {
		all = append(all, *q.pause)
	}
	for p := range maps.Values(q.pausedDomains) {
		all = append(all, *p)
	}
	for p := range maps.Values(q.pausedMessages) {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Pause) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.what(), b.what())
	})
	return all
}
