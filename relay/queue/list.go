package queue

import (
	"slices"
	"strings"
	"time"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// Entry is one waiting message as shown to people.
type Entry struct {
	ID       spool.ID
	From     string
	Subject  string      // of the envelope; a stranger wrote it
	Rcpts    []EntryRcpt // the open recipients
	Size     int64
	Received time.Time
	Expires  time.Time // zero while the clock is not trusted
	Notice   bool

	// Where it came from, see spool.Envelope.
	Client, HelloName, TLS, User, TraceID string
	RequireTLS                            bool

	// Paused is why it is not tried: the pause of the message, else that of
	// its domain (of all of them, when it has several), else that of all
	// mail; nil when it is not paused. It is shared: do not change it.
	Paused *Pause
	// Action is what somebody has asked to be done with it and can still
	// undo; nil when there is nothing. It is shared: do not change it.
	Action *Action
}

// EntryRcpt is one open recipient of an Entry.
type EntryRcpt struct {
	Index  int // in the envelope
	Addr   string
	Domain string
	Tries  int
	Next   time.Time // the next attempt; in the past while it waits its turn
	Trying bool      // an attempt is going on
	// Verdict is that of the last attempt, or, before the first, that of the
	// last attempt at its domain if that cannot be reached; else nil. It is
	// shared: do not change it.
	Verdict *verdict.Verdict
}

// ListOptions selects and pages. The zero value lists everything.
type ListOptions struct {
	Domain string          // only messages with an open recipient in this domain
	State  verdict.Outcome // only messages with an open recipient that is held or deferred
	From   string          // only messages whose sender contains this; case is ignored
	Rcpt   string          // only messages with an open recipient that contains this; case is ignored
	Newest bool            // the newest first
	After  spool.ID        // only ids that come after this one in the order asked for
	Limit  int             // at most so many; zero means all
}

// Counts describes the whole queue.
type Counts struct {
	Waiting  int       // messages in the queue
	Held     int       // of these, messages with a recipient that is held
	Deferred int       // messages with a recipient that is deferred
	Untried  int       // messages of which no recipient has been tried
	Active   int       // attempts going on
	Oldest   time.Time // when the oldest message was received; zero when empty
	// OldestDeferred is when the oldest message that has been tried and is
	// still here was received; zero when there is none.
	OldestDeferred time.Time
	// Domains counts the recipient domains that have mail waiting.
	Domains int
}

// listChunk is how many messages are looked at before others get the lock.
const listChunk = 2000

// List returns waiting messages in the order of their ids, which is the order
// in which they came, or in the reverse of it. A page costs what it holds, and
// where options select few of many messages, the search for them; others are
// not held up by it.
func (q *Queue) List(o ListOptions) []Entry {
	o.Domain, o.From, o.Rcpt = strings.ToLower(o.Domain), strings.ToLower(o.From), strings.ToLower(o.Rcpt)
	if list, ok := q.listDomain(o); ok {
		return list
	}
	var list []Entry
	for more := true; more; {
		list, more = q.listSome(list, &o)
	}
	return list
}

// listSome looks at the next listChunk messages, moves o.After on and reports
// whether there are more to look at.
func (q *Queue) listSome(list []Entry, o *ListOptions) (out []Entry, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, step := q.search(o.After), 1
	if o.Newest {
		step = -1
		if at--; o.After == "" {
			at = len(q.order) - 1
		}
	}
	for range listChunk {
		if at < 0 || at >= len(q.order) {
			return list, false
		}
		m := q.order[at]
		at += step
		if m.gone || m.id == o.After || !m.matches(*o) {
			continue
		}
		if o.Limit > 0 && len(list) >= o.Limit {
			return list, false
		}
		list = append(list, q.entry(m))
	}
	if at < 0 || at >= len(q.order) {
		return list, false
	}
	o.After = q.order[at-step].id
	return list, true
}

// listDomain lists by the jobs of a domain, when these are few beside all
// messages.
func (q *Queue) listDomain(o ListOptions) (list []Entry, ok bool) {
	if o.Domain == "" {
		return nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.domains[o.Domain]
	if d == nil {
		return nil, true
	}
	if len(d.jobs) > len(q.order)/10 && len(d.jobs) > listChunk {
		return nil, false
	}
	var found []*message
	for _, j := range d.jobs {
		beyond := o.After == "" || (o.Newest && j.msg.id < o.After) || (!o.Newest && j.msg.id > o.After)
		if beyond && j.msg.matches(o) {
			found = append(found, j.msg)
		}
	}
	slices.SortFunc(found, func(a, b *message) int {
		if o.Newest {
			a, b = b, a
		}
		return strings.Compare(a.id, b.id)
	})
	if o.Limit > 0 {
		found = found[:min(o.Limit, len(found))]
	}
	for _, m := range found {
		list = append(list, q.entry(m))
	}
	return list, true
}

// matches reports whether a message is asked for. The words in o are in lower
// case.
func (m *message) matches(o ListOptions) bool {
	if o.From != "" && !strings.Contains(strings.ToLower(m.env.From), o.From) {
		return false
	}
	if o.Domain == "" && o.State == "" && o.Rcpt == "" {
		return true
	}
	for _, j := range m.jobs {
		for _, i := range j.rcpts {
			v := j.lastVerdict(i)
			if (o.Domain == "" || domainOf(m.env.Rcpts[i].Addr) == o.Domain) &&
				(o.State == "" || v != nil && v.Outcome == o.State) &&
				(o.Rcpt == "" || strings.Contains(strings.ToLower(m.env.Rcpts[i].Addr), o.Rcpt)) {
				return true
			}
		}
	}
	return false
}

// Lookup returns one waiting message.
func (q *Queue) Lookup(id spool.ID) (Entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.find(id)
	if m == nil {
		return Entry{}, false
	}
	return q.entry(m), true
}

// Counts returns the state of the whole queue. It is cheap.
func (q *Queue) Counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.counts
	c.Waiting, c.Active, c.OldestDeferred = q.waiting, q.active, q.tried.first()
	if len(q.order) > 0 {
		c.Oldest = q.order[0].env.Received // the first one is never gone
	}
	return c
}

func (q *Queue) entry(m *message) Entry {
	e := Entry{
		ID: m.id, From: m.env.From, Subject: m.env.Subject, Size: m.env.Size, Received: m.env.Received,
		Notice: m.env.Notice, Client: m.env.Client, HelloName: m.env.HelloName, TLS: m.env.TLS,
		User: m.env.User, TraceID: m.env.TraceID, RequireTLS: m.env.RequireTLS,
	}
	paused := true
	for _, j := range m.jobs {
		if t := q.expires(j); !m.expires.IsZero() && t.After(e.Expires) {
			e.Expires = t
		}
		paused = paused && j.domain.pause != nil
		for _, i := range j.rcpts {
			r := EntryRcpt{
				Index: i, Addr: m.env.Rcpts[i].Addr, Domain: domainOf(m.env.Rcpts[i].Addr),
				Tries: int(j.tries), Next: j.next, Trying: j.state == jobActive, Verdict: j.lastVerdict(i),
			}
			if j.domain.failures > 0 && r.Next.Before(j.domain.probeAt) && !j.urgent {
				r.Next = j.domain.probeAt
			}
			e.Rcpts = append(e.Rcpts, r)
		}
	}
	switch {
	case m.hold != nil && m.hold.pause != nil:
		e.Paused = m.hold.pause
	case paused && len(m.jobs) > 0:
		e.Paused = m.jobs[0].domain.pause
	default:
		e.Paused = q.pause
	}
	if m.hold != nil && m.hold.action != nil {
		e.Action = &m.hold.action.Action
	}
	slices.SortFunc(e.Rcpts, func(a, b EntryRcpt) int { return a.Index - b.Index })
	return e
}
