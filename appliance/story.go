package appliance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"gatepost/appliance/speech"
	"gatepost/relay/event"
	"gatepost/relay/verdict"
	"gatepost/webui/foreign"
)

// story writes what happens to mail as lines for the console, in the words of
// the page. An attempt that ends as the one before it is no news. It never
// makes the mail machine wait: when the console is slower than the mail, lines
// are left out.
type story struct {
	out    io.Writer
	events chan event.Event

	mu   sync.Mutex
	last map[string]verdict.Reason // by message and recipient
}

// maxTold bounds what a story remembers; beyond it, it may repeat itself.
const maxTold = 5000

func newStory(out io.Writer) *story {
	return &story{out: out, events: make(chan event.Event, 200), last: map[string]verdict.Reason{}}
}

// news reports whether an attempt ended differently from the one before it.
func (s *story) news(e event.Attempted) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := e.ID + " " + e.Rcpt
	last, told := s.last[key]
	if !e.Verdict.Outcome.Kept() {
		delete(s.last, key)
		return true
	}
	if len(s.last) >= maxTold {
		clear(s.last)
	}
	s.last[key] = e.Verdict.Reason
	return !told || last != e.Verdict.Reason
}

// event is an event.Sink. The words are made later, so that it costs the mail
// machine next to nothing.
func (s *story) event(e event.Event) {
	if a, ok := e.(event.Attempted); ok && !s.news(a) {
		return
	}
	select {
	case s.events <- e:
	default:
	}
}

// gather is how long lines are gathered before they are written: with much mail
// a line each would cost as much as the mail.
const gather = 100 * time.Millisecond

// run writes the lines until ctx is done, and then those that are left.
func (s *story) run(ctx context.Context) error {
	var lines bytes.Buffer
	due := time.NewTimer(gather)
	due.Stop()
	write := func() error {
		_, err := lines.WriteTo(s.out)
		if err != nil {
			return fmt.Errorf("console: %w", err)
		}
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return write()
		case <-due.C:
			if err := write(); err != nil {
				return err
			}
		case e := <-s.events:
			text := tell(e)
			if text == "" {
				continue
			}
			if lines.Len() == 0 {
				due.Reset(gather)
			}
			lines.WriteString(text + "\n")
		}
	}
}

// tell is an event as one line, "" for what people need not read.
func tell(ev event.Event) string {
	switch e := ev.(type) {
	case event.Accepted:
		return fmt.Sprintf("mail %s: in from %s, %s to %s", e.ID, e.Client, speech.Address(e.From), recipients(e.Rcpts))
	case event.Attempted:
		return fmt.Sprintf("mail %s: %s: %s", e.ID, speech.Address(e.Rcpt), outcome(e))
	case event.Bounced:
		if e.Notice == "" {
			return fmt.Sprintf("mail %s: given up; nobody is to be told", e.ID)
		}
		return fmt.Sprintf("mail %s: given up; %s is told by %s", e.ID, speech.Address(e.To), e.Notice)
	case event.Delayed:
		if e.Notice == "" {
			return ""
		}
		return fmt.Sprintf("mail %s: still waits; %s is told by %s", e.ID, speech.Address(e.To), e.Notice)
	case event.DoubleBounce:
		return fmt.Sprintf("mail %s: given up for %s and nobody can be told: %s", e.ID, speech.Address(e.Rcpt), foreign.Text(e.Subject).Cut(80))
	case event.Removed:
		return fmt.Sprintf("mail %s: deleted by %s; %s is not told", e.ID, foreign.Text(e.By).Cut(60), speech.Address(e.From))
	case event.Paused:
		what := "goes on"
		if e.On {
			what = "is paused"
		}
		return fmt.Sprintf("delivery: %s %s, by %s", foreign.Text(e.What).Cut(120), what, foreign.Text(e.By).Cut(60))
	case event.PolicyChanged:
		return fmt.Sprintf("rules of %s: %s", foreign.Text(e.Domain).Cut(60), e.Mode)
	case event.PolicyAlarm:
		return fmt.Sprintf("rules of %s: %s: %s", foreign.Text(e.Domain).Cut(60), e.Kind, foreign.Text(e.Detail).Cut(160))
	case event.StoreDamaged:
		return "storage: the saved rules of other domains were damaged and begun anew: " + foreign.Text(e.Detail).Cut(160)
	case event.SpoolDamaged:
		return "storage: a part of the waiting mail cannot be read: " + foreign.Text(e.Detail).Cut(160)
	}
	return ""
}

func recipients(rs []string) string {
	if len(rs) == 1 {
		return speech.Address(rs[0])
	}
	return fmt.Sprintf("%d recipients", len(rs))
}

// outcome is what became of one attempt.
func outcome(e event.Attempted) string {
	v := e.Verdict
	if v.Outcome == verdict.Delivered {
		return speech.Delivered(v)
	}
	return speech.Speaker{Now: v.Time}.Verdict(v, speech.About{Rcpt: e.Rcpt, Next: e.Next, Expires: e.Expires}).Sentence
}

// sentence is relay.Config.Sentence: the words of the page for a notice.
func sentence(v verdict.Verdict, rcpt string, expires time.Time) string {
	return speech.Speaker{Now: v.Time}.Verdict(v, speech.About{Rcpt: rcpt, Expires: expires}).Sentence
}
