package api

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
)

// fakeEngine is an Engine with fixed answers. It is asked by one goroutine at a
// time.
type fakeEngine struct {
	asked   []any // the questions
	trouble error // of everything that can fail
	history int   // how many attempts there are, if not someAttempt alone
	breakAt int   // page of the history that fails
	page    int
	lines   chan Line
}

func (f *fakeEngine) note(q any) { f.asked = append(f.asked, q) }

func (f *fakeEngine) Status() Status { return someStatus }

func (f *fakeEngine) SelfTest() SelfTest { return SelfTest{Policies: 3, Written: someStatus.Time} }

func (f *fakeEngine) Messages(q MessageQuery) Messages {
	f.note(q)
	if q.After != "" || q.From != "" {
		return Messages{Total: 7, Messages: []Message{}}
	}
	return Messages{Total: 7, Messages: []Message{someMessage}, Next: someMessage.ID}
}

func (f *fakeEngine) Lookup(id string) (Message, bool) { return someMessage, id == someMessage.ID }

func (f *fakeEngine) Open(id string) (io.ReadCloser, error) {
	switch id {
	case someMessage.ID:
		return io.NopCloser(strings.NewReader("Subject: x\r\n\r\nhello\r\n")), nil
	case "damaged":
		return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n"), brokenReader{})), nil
	}
	return nil, ErrNotFound
}

// brokenReader fails like a disk.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("bad sector") }

func (f *fakeEngine) Retry(q Retry) int { f.note(q); return len(q.IDs) }

func (f *fakeEngine) Pause(p Pause) error {
	f.note(p)
	if p.ID == "gone" {
		return ErrNotFound
	}
	return f.trouble
}

func (f *fakeEngine) Resume(p Pause) error            { f.note(p); return f.trouble }
func (f *fakeEngine) Pauses() []Pause                 { return []Pause{somePause} }
func (f *fakeEngine) Return(q Return) (Action, error) { f.note(q); return someAction, f.trouble }
func (f *fakeEngine) Delete(q Delete) (Action, error) { f.note(q); return someAction, f.trouble }
func (f *fakeEngine) Actions() []Action               { return []Action{someAction} }
func (f *fakeEngine) Notes(limit int) ([]Note, error) {
	f.note(limit)
	return []Note{{Time: someTime, Kind: "removed", ID: "x", By: "Anna"}}, f.trouble
}

func (f *fakeEngine) Undo(action string) (int, error) {
	if action != "a1" {
		return 0, ErrNotFound
	}
	return 1, nil
}

func (f *fakeEngine) History(q HistoryQuery) ([]Attempt, error) {
	f.note(q)
	if f.page++; f.page == f.breakAt {
		return nil, errors.New("bad sector")
	}
	if f.history == 0 {
		if q.ID == "gone" {
			return nil, f.trouble
		}
		return []Attempt{someAttempt}, f.trouble
	}
	next := uint64(f.history)
	if q.After != 0 {
		next = q.After - 1
	}
	var out []Attempt
	for ; next > 0 && len(out) < q.Limit; next-- {
		out = append(out, Attempt{Seq: next})
	}
	return out, nil
}

func (f *fakeEngine) Policies() []Policy { return somePolicies }

func (f *fakeEngine) Policy(domain string) (Policy, bool) {
	i := slices.IndexFunc(somePolicies, func(p Policy) bool { return strings.EqualFold(p.Domain, domain) })
	if i < 0 {
		return Policy{}, false
	}
	p := somePolicies[i]
	p.Body, p.Host = "version: STSv1", &PolicyHost{Addr: "192.0.2.1:443", TLSVersion: "TLS 1.3", CertNotAfter: someTime}
	return p, true
}

func (f *fakeEngine) Check(_ context.Context, domain string) (Check, error) {
	return Check{Domain: domain, Verdict: someAttempt.Verdict}, f.trouble
}

func (f *fakeEngine) RefreshPolicy(_ context.Context, domain string) (PolicyAnswer, error) {
	return PolicyAnswer{Domain: domain, Held: true}, f.trouble
}

func (f *fakeEngine) Follow(ctx context.Context, fn func(Line)) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-f.lines:
			fn(l)
		}
	}
}
