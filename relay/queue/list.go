package queue

import (
	"slices"
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
	After  spool.ID        // only ids greater than this one
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

// List returns waiting messages in the order of their ids, which is the order
// in which they came.
func (q *Queue) List(o ListOptions) []Entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	start := 0
	if o.After != "" {
		start = q.search(o.After)
	}
	var list []Entry
	for _, m := range q.order[start:] {
		if m.gone || m.id <= o.After {
			continue
		}
		if o.Limit > 0 && len(list) >= o.Limit {
			break
		}
		if e := q.entry(m); e.matches(o) {
			list = append(list, e)
		}
	}
	return list
}

// Get returns one waiting message.
func (q *Queue) Get(id spool.ID) (Entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.messages[id]
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
	c.Waiting, c.Active, c.Domains = len(q.messages), q.active, len(q.domains)
	for _, m := range q.order {
		if m.gone {
			continue
		}
		if c.Oldest.IsZero() {
			c.Oldest = m.env.Received
		}
		if c.Held+c.Deferred == 0 {
			break
		}
		if held, deferred, _ := m.class(); held || deferred {
			c.OldestDeferred = m.env.Received
			break
		}
	}
	return c
}

func (q *Queue) entry(m *message) Entry {
	e := Entry{
		ID: m.id, From: m.env.From, Size: m.env.Size, Received: m.env.Received,
		Expires: m.expires, Notice: m.env.Notice,
	}
	for _, j := range m.jobs {
		for _, i := range j.rcpts {
			r := EntryRcpt{
				Index: i, Addr: m.env.Rcpts[i].Addr, Domain: j.domain.name,
				Tries: j.tries, Next: j.next, Trying: j.state == jobActive, Verdict: m.verdicts[i],
			}
			if j.domain.failures > 0 {
				if r.Next.Before(j.domain.probeAt) && !j.urgent {
					r.Next = j.domain.probeAt
				}
				if r.Verdict == nil {
					r.Verdict = j.domain.last
				}
			}
			e.Rcpts = append(e.Rcpts, r)
		}
	}
	slices.SortFunc(e.Rcpts, func(a, b EntryRcpt) int { return a.Index - b.Index })
	return e
}

func (e Entry) matches(o ListOptions) bool {
	if o.Domain == "" && o.State == "" {
		return true
	}
	return slices.ContainsFunc(e.Rcpts, func(r EntryRcpt) bool {
		return (o.Domain == "" || r.Domain == o.Domain) &&
			(o.State == "" || r.Verdict != nil && r.Verdict.Outcome == o.State)
	})
}
