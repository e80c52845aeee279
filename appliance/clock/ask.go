package clock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// How often one server may be asked (RFC 5905, Section 10; RFC 8633, Section 3).
const (
	burst       = 4                // questions in a row with a short pause, after a start
	shortRest   = 16 * time.Second // of a server that has answered the burst
	sparePause  = 64 * time.Second // the same of a public server, and after a kiss
	longestRest = time.Hour        // for a server that is silent or kisses again and again
	forbidden   = 24 * time.Hour   // for a server that does not want us at all
)

// straggle is how long a round waits for the rest when three servers agree.
const straggle = 300 * time.Millisecond

// Server is a time server.
type Server struct {
	Name string // host name or address
	// Public marks a server of somebody who has no contract with us. It is
	// asked sparingly, and not at all while three others agree.
	Public bool
}

// record is what is remembered of a server. Only Run touches it.
type record struct {
	last   Answer // "" as Server: none that still counts
	rest   time.Time
	asked  int // questions of the burst, and those without an answer after it
	kisses int
}

// known returns the servers to ask, each once; of one that is named twice the
// first counts.
func (c *Clock) known() []Server {
	var out []Server
	seen := map[string]bool{}
	for _, s := range c.Servers() {
		key := strings.ToLower(strings.TrimSuffix(s.Name, "."))
		if s.Name == "" || seen[key] || len(out) == maxServers {
			continue
		}
		seen[key] = true
		out = append(out, s)
	}
	return out
}

// round asks the servers and weighs what they say. While the time is trusted,
// public servers are asked only when the others do not agree on a small change.
func (c *Clock) round(ctx context.Context, servers []Server, patient bool) Verdict {
	if !c.State().Trusted {
		return Judge(c.gather(ctx, servers), patient)
	}
	var own, public []Server
	for _, s := range servers {
		if s.Public {
			public = append(public, s)
		} else {
			own = append(own, s)
		}
	}
	answers := c.gather(ctx, own)
	v := Judge(answers, true)
	if len(public) == 0 || v.Strong && v.Offset.Abs() <= smallStep {
		return v
	}
	return Judge(append(answers, c.gather(ctx, public)...), true)
}

// gather asks those of the servers that may be asked now, all at once, and
// returns an answer of each: of one that rests, its last. It does not wait long
// for the slow when three agree.
func (c *Clock) gather(ctx context.Context, servers []Server) []Answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now := time.Now()
	answers := make([]Answer, len(servers))
	type reply struct {
		i int
		a Answer
	}
	replies := make(chan reply, len(servers))
	open := 0
	for i, s := range servers {
		r := c.record(s.Name)
		if now.Before(r.rest) {
			answers[i] = r.last
			if r.last.Server == "" {
				answers[i] = Answer{Server: s.Name, Err: errors.New("is not asked for a while")}
			}
			continue
		}
		answers[i] = Answer{Server: s.Name, Err: errNoAnswer}
		open++
		go func() { replies <- reply{i, c.ask(ctx, s.Name)} }()
	}
	var enough <-chan time.Time
	for open > 0 {
		select {
		case r := <-replies:
			open--
			answers[r.i] = r.a
			if ctx.Err() == nil {
				c.remember(servers[r.i], r.a)
			}
		case <-enough:
			cancel() // each question then ends at once
			enough = nil
		}
		if enough == nil && ctx.Err() == nil && open > 0 && Judge(answers, true).Strong {
			enough = time.After(straggle)
		}
	}
	return answers
}

// ask asks one server. What a stranger sends must not end this process, so a
// panic of the parser is an answer of no use.
func (c *Clock) ask(ctx context.Context, server string) (a Answer) {
	defer func() {
		if v := recover(); v != nil {
			a = Answer{Server: server, Err: fmt.Errorf("answer is of no use: %v", v)}
		}
	}()
	offset, err := c.Query(ctx, server)
	return Answer{Server: server, Offset: offset, Err: err}
}

func (c *Clock) record(server string) *record {
	r := c.records[server]
	if r == nil {
		if len(c.records) >= 4*maxServers { // of networks of before
			clear(c.records)
		}
		r = &record{}
		c.records[server] = r
	}
	return r
}

// remember notes an answer and how long its server is left alone. A server of
// the office that is only silent is asked in every round until the time is
// trusted: mail waits for it.
func (c *Clock) remember(s Server, a Answer) {
	r, now := c.record(s.Name), time.Now()
	r.last = a
	r.asked++
	var kiss *Kiss
	switch {
	case a.Err == nil:
		r.kisses, r.asked = 0, min(r.asked, burst)
		switch {
		case r.asked < burst:
		case s.Public:
			r.rest = now.Add(sparePause)
		default:
			r.rest = now.Add(shortRest)
		}
	case errors.As(a.Err, &kiss):
		r.kisses++
		r.rest = now.Add(min(sparePause<<min(r.kisses, 6), longestRest))
		if kiss.Code == "DENY" || kiss.Code == "RSTR" {
			r.rest = now.Add(forbidden)
		}
	case s.Public && r.asked >= burst:
		r.rest = now.Add(min(sparePause<<min(r.asked-burst, 6), longestRest))
	}
}

// forgetAnswers is called when the clock has moved: offsets of before say
// nothing.
func (c *Clock) forgetAnswers() {
	for _, r := range c.records {
		r.last = Answer{}
	}
}

// wake ends the rest of servers that were only silent: the network may be a
// new one.
func (c *Clock) wake() {
	for _, r := range c.records {
		if r.kisses == 0 {
			r.rest, r.asked = time.Time{}, 0
		}
	}
}
