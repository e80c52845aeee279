package queue

import "gatepost/relay/spool"

// senderOf says who has sent a message, for taking turns: the login, else the
// envelope sender, else the address it came from.
func senderOf(env *spool.Envelope) string {
	switch {
	case env.User != "":
		return env.User
	case env.From != "":
		return env.From
	}
	return env.Client
}

// line is the jobs of one sender that are ready in one domain, first come first
// served.
type line struct {
	domain     *domain
	sender     string
	head, tail *job
	urgent     bool
	queued     bool // in turns, until it is taken out there
}

// lines are the lines of one domain, in the order in which they are served.
// Empty ones are dropped when they come to the front.
type lines struct {
	ring []*line
	// bySender finds a line when there are many; else nil.
	bySender map[string]*line
	jobs     int
	urgent   bool
}

const fewLines = 8

func (ls *lines) find(sender string) *line {
	if ls.bySender != nil {
		return ls.bySender[sender]
	}
	for _, l := range ls.ring {
		if l.sender == sender {
			return l
		}
	}
	return nil
}

// add puts a job at the end of the line of its sender.
func (ls *lines) add(j *job) {
	sender := senderOf(j.msg.env)
	l := ls.find(sender)
	if l == nil {
		l = &line{domain: j.domain, sender: sender, urgent: ls.urgent}
		ls.ring = append(ls.ring, l)
		if ls.bySender == nil && len(ls.ring) > fewLines {
			ls.bySender = make(map[string]*line)
			for _, old := range ls.ring {
				ls.bySender[old.sender] = old
			}
		}
		if ls.bySender != nil {
			ls.bySender[sender] = l
		}
	}
	j.line, j.before, j.behind = l, l.tail, nil
	if l.tail == nil {
		l.head = j
	} else {
		l.tail.behind = j
	}
	l.tail = j
	ls.jobs++
}

// remove takes a job out of its line.
func (ls *lines) remove(j *job) {
	l := j.line
	if j.before == nil {
		l.head = j.behind
	} else {
		j.before.behind = j.behind
	}
	if j.behind == nil {
		l.tail = j.before
	} else {
		j.behind.before = j.before
	}
	j.line, j.before, j.behind = nil, nil, nil
	ls.jobs--
}

// trim drops empty lines at the front.
func (ls *lines) trim() {
	for len(ls.ring) > 0 && ls.ring[0].head == nil {
		if ls.bySender != nil {
			delete(ls.bySender, ls.ring[0].sender)
		}
		ls.ring[0] = nil
		ls.ring = ls.ring[1:]
	}
	if len(ls.ring) == 0 {
		ls.ring, ls.bySender = nil, nil
	}
}

// next takes the job out whose turn it is: the first of the first line, which
// then goes to the end.
func (ls *lines) next() *job {
	ls.trim()
	if len(ls.ring) == 0 {
		return nil
	}
	l := ls.ring[0]
	j := l.head
	ls.remove(j)
	if len(ls.ring) > 1 {
		ls.ring[0] = nil
		ls.ring = append(ls.ring[1:], l)
	}
	return j
}

// turns lets senders take turns over all domains: one job of each, whatever
// number of domains and messages they have. What it holds are lines, as hints
// that their domain may start a job.
type turns struct {
	ring     []*share
	bySender map[string]*share
}

// share is the lines of one sender.
type share struct {
	sender string
	lines  []*line
}

// push gives a line a place behind the others of its sender.
func (t *turns) push(l *line) {
	l.queued = true
	s := t.bySender[l.sender]
	if s == nil {
		if t.bySender == nil {
			t.bySender = make(map[string]*share)
		}
		s = &share{sender: l.sender}
		t.bySender[l.sender] = s
		t.ring = append(t.ring, s)
	}
	s.lines = append(s.lines, l)
}

// next takes out the first line of the sender whose turn it is; nil when there
// is none.
func (t *turns) next() *line {
	if len(t.ring) == 0 {
		return nil
	}
	s := t.ring[0]
	t.ring[0] = nil
	t.ring = t.ring[1:]
	l := s.lines[0]
	s.lines[0] = nil
	s.lines = s.lines[1:]
	if len(s.lines) > 0 {
		t.ring = append(t.ring, s)
	} else {
		delete(t.bySender, s.sender)
	}
	l.queued = false
	return l
}
