package queue

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// ActionKind is what a person can have done with waiting messages.
type ActionKind string

// The kinds of actions.
const (
	ActionReturn ActionKind = "return" // back to the sender, with a notice
	ActionDelete ActionKind = "delete" // away, without a notice
)

// How long an action can be undone.
const (
	undoReturn = time.Minute
	undoDelete = 15 * time.Minute
)

// Action is what a person has asked to be done with messages. It takes effect
// at Until unless it is undone before; until then its messages are not tried.
// It takes effect for paused messages too, but not while Config.Ready is
// false. A restart before Until forgets it: the messages wait as before.
type Action struct {
	ID       string     `json:"id"`
	Kind     ActionKind `json:"kind"`
	Messages []spool.ID `json:"messages"`
	By       string     `json:"by,omitempty"` // at most 255 bytes
	At       time.Time  `json:"at"`
	Until    time.Time  `json:"until"`
}

type action struct {
	Action
	text     string
	messages []*message
	due      int32 // its place in Queue.fates, plus one
}

// Return gives messages back to their senders, each with a notice that has
// text, of which at most 2000 bytes are kept, as Verdict.Detail of the reason
// returned-by-person. It takes effect after a minute.
//
// Messages that do not wait, or that another action waits for, are left out;
// when none remains the error is [ErrNotFound]. A recipient to whom delivery is
// going on is returned only if the attempt fails.
func (q *Queue) Return(ids []spool.ID, by, text string) (Action, error) {
	return q.act(ActionReturn, ids, by, bounded(text, maxText), undoReturn)
}

// Delete takes messages out of the queue for good; their senders are not told.
// It takes effect after 15 minutes; otherwise it is like [Queue.Return].
func (q *Queue) Delete(ids []spool.ID, by string) (Action, error) {
	return q.act(ActionDelete, ids, by, "", undoDelete)
}

func (q *Queue) act(kind ActionKind, ids []spool.ID, by, text string, undo time.Duration) (Action, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	a := &action{text: text, Action: Action{
		ID: strings.ToLower(rand.Text()), Kind: kind, By: bounded(by, maxName), At: now, Until: now.Add(undo),
	}}
	for _, id := range ids {
		m := q.find(id)
		if m == nil || m.hold != nil && (m.hold.action != nil || m.hold.fate != nil) {
			continue
		}
		m.touched().action = a
		q.park(m)
		a.messages = append(a.messages, m)
		a.Messages = append(a.Messages, id)
	}
	if len(a.messages) == 0 {
		return Action{}, ErrNotFound
	}
	q.actions[a.ID] = a
	q.fates.set(a, a.Until)
	q.nudge()
	return a.public(), nil
}

// public returns what others may keep.
func (a *action) public() Action {
	p := a.Action
	p.Messages = slices.Clone(a.Messages)
	return p
}

// Undo takes an action back and returns how many messages go on waiting. The
// error is [ErrNotFound] when it has taken effect or is not known.
func (q *Queue) Undo(id string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.actions[id]
	if a == nil {
		return 0, ErrNotFound
	}
	n := 0
	delete(q.actions, id)
	q.fates.remove(a)
	for _, m := range a.messages {
		if m.gone {
			continue
		}
		n++
		m.hold.action = nil
		q.unpark(m)
	}
	q.nudge()
	return n, nil
}

// Actions lists what can still be undone, the oldest first.
func (q *Queue) Actions() []Action {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []Action
	for _, a := range q.actions {
		all = append(all, a.public())
	}
	slices.SortFunc(all, func(a, b Action) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// takeEffect makes an action the fate of its messages. Jobs that are being
// worked on meet it when that is over, see release.
func (q *Queue) takeEffect(a *action) {
	delete(q.actions, a.ID)
	q.fates.remove(a)
	for _, m := range a.messages {
		if m.gone {
			continue
		}
		m.hold.action, m.hold.fate = nil, a
		q.merge(m)
		for _, j := range m.jobs {
			if j.state != jobActive {
				q.takeOut(j)
				q.doom(j, a)
				q.unfinish(j)
			}
		}
	}
}

// merge makes one job of the jobs of a message that are set aside, so that one
// notice speaks of all of them.
func (q *Queue) merge(m *message) {
	var one *job
	m.jobs = slices.DeleteFunc(m.jobs, func(j *job) bool {
		if j.state != jobParked || j.left != nil {
			return false
		}
		if one == nil {
			one = j
			return false
		}
		one.rcpts = append(one.rcpts, j.rcpts...)
		one.tries = max(one.tries, j.tries)
		j.state = jobGone
		q.reminders.remove(j)
		q.leave(j)
		q.forgetDomain(j.domain)
		return true
	})
}

// doom leaves the fate of the open recipients of a job to be written down. What
// an attempt has settled already stays.
func (q *Queue) doom(j *job, fate *action) {
	j.doomed = true
	l := j.left
	if l == nil {
		l = &leftover{attempt: int(j.tries)}
		j.left = l
	}
	settled := make(map[int]bool)
	l.record = slices.DeleteFunc(l.record, func(p pending) bool { return !p.Done() })
	for _, p := range l.record {
		settled[p.Rcpt] = true
	}
	for _, r := range l.succeeded {
		settled[r.Rcpt] = true
	}
	if fate.Kind == ActionDelete {
		// Nobody wants to hear of it any more.
		l.failed, l.lost = nil, nil
	}
	for _, r := range l.failed {
		settled[r.Rcpt] = true
	}
	if l.lost != nil {
		return // all of them are being returned
	}
	for _, i := range j.rcpts {
		switch {
		case settled[i]:
		case fate.Kind == ActionDelete:
			l.record = append(l.record, pending{Outcome: spool.Outcome{Rcpt: i, State: spool.StateRemoved, Tries: l.attempt, Verdict: j.msg.verdicts[i]}})
		default:
			l.failed = append(l.failed, Result{Rcpt: i, Verdict: verdict.Verdict{
				Time: q.cfg.Now(), Outcome: verdict.Returned, Reason: verdict.ReturnedByPerson,
				Domain: domainOf(j.msg.env.Rcpts[i].Addr), Detail: fate.text,
			}})
		}
	}
}
