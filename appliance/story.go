package appliance

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/verdict"
	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// story writes what happens to mail as lines for the console, in the words of
// the page. An attempt that ends as the one before it is no news. It never
// makes the mail machine wait: when the console is slower than the mail, lines
// are left out.
type story struct {
	out   io.Writer
	lines chan string

	mu   sync.Mutex
	last map[string]verdict.Reason // by message and recipient
}

// maxTold bounds what a story remembers; beyond it, it may repeat itself.
const maxTold = 5000

func newStory(out io.Writer) *story {
	return &story{out: out, lines: make(chan string, 200), last: map[string]verdict.Reason{}}
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

// event is an event.Sink.
func (s *story) event(e event.Event) {
	if a, ok := e.(event.Attempted); ok && !s.news(a) {
		return
	}
	text := tell(e)
	if text == "" {
		return
	}
	select {
	case s.lines <- text:
	default:
	}
}

// run writes the lines until ctx is done.
func (s *story) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-s.lines:
			if _, err := fmt.Fprintln(s.out, l); err != nil {
				return fmt.Errorf("console: %w", err)
			}
		}
	}
}

// tell is an event as one line, "" for what people need not read.
func tell(ev event.Event) string {
	switch e := ev.(type) {
	case event.Accepted:
		return fmt.Sprintf("mail %s: in from %s, %s to %s", e.ID, e.Client, address(e.From), recipients(e.Rcpts))
	case event.Attempted:
		return fmt.Sprintf("mail %s: %s: %s", e.ID, address(e.Rcpt), outcome(e))
	case event.Bounced:
		if e.Notice == "" {
			return fmt.Sprintf("mail %s: given up; nobody is to be told", e.ID)
		}
		return fmt.Sprintf("mail %s: given up; %s is told by %s", e.ID, address(e.To), e.Notice)
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

func address(a string) string {
	if a == "" {
		return "<>"
	}
	return foreign.Text(a).Cut(80)
}

func recipients(rs []string) string {
	if len(rs) == 1 {
		return address(rs[0])
	}
	return fmt.Sprintf("%d recipients", len(rs))
}

// outcome is what became of one attempt.
func outcome(e event.Attempted) string {
	v := e.Verdict
	if v.Outcome == verdict.Delivered {
		how := "without encryption"
		switch v.Protection {
		case verdict.Verified:
			how = v.TLSVersion + ", certificate checked"
		case verdict.Encrypted:
			how = v.TLSVersion + ", certificate not checked"
		}
		return fmt.Sprintf("delivered to %s, %s", foreign.Text(v.MX).Cut(60), how)
	}
	return speak(v, e.Rcpt, e.Next, e.Expires)
}

// sentence is relay.Config.Sentence: the words of the page for a notice.
func sentence(v verdict.Verdict, rcpt string, expires time.Time) string {
	return speak(v, rcpt, time.Time{}, expires)
}

// speak puts a verdict into words.
func speak(v verdict.Verdict, rcpt string, next, expires time.Time) string {
	book, err := words.Load("en")
	if err != nil {
		return string(v.Reason)
	}
	names := make([]foreign.Text, len(v.CertNames))
	for i, n := range v.CertNames {
		names[i] = foreign.Text(n)
	}
	kind := words.Waiting
	switch v.Outcome {
	case verdict.Held:
		kind = words.Held
	case verdict.Returned:
		kind = words.Returned
	}
	date := v.PolicyFetched
	if v.Reason == verdict.CertificateExpired {
		date = v.CertNotAfter
	}
	voice := words.Voice{Book: book, Now: v.Time}
	e := voice.Reason(string(v.Reason), kind, words.Params{
		Domain: foreign.Text(v.Domain), MX: foreign.Text(v.MX), Names: names, Rcpt: foreign.Text(rcpt),
		Reply: foreign.Text(v.Reply), Deadline: expires, Next: next, Date: date, Tried: v.MXTried,
	})
	return strings.TrimSpace(e.Sentence.String())
}
