package webui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/webui/foreign"
)

// fakeQueue is a QueueBackend that remembers what it was asked and does the
// least of it: a pause or a pending action shows in the fake's list.
type fakeQueue struct {
	mu      sync.Mutex
	back    *fake
	now     func() time.Time
	err     error // of every method
	pauses  []PauseRow
	pending []PendingRow
	taken   map[string][]string // ids of a pending action
	calls   []string
	lost    []LostMail
	details map[string]Detail
	found   Found
	query   FindQuery
	body    string // of the original
}

func (f *fakeQueue) called(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

// took returns what was asked since the last time.
func (f *fakeQueue) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls
	f.calls = nil
	return c
}

func (f *fakeQueue) waits(ids ...string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(f.back.list, func(m Message) bool { return m.ID == id })
	})
}

// target is the one field that is set.
func target(t Target) string {
	if t.All {
		return "all" + t.Domain + t.ID
	}
	return strings.TrimSpace(t.Domain + " " + t.ID)
}

func (f *fakeQueue) Pauses(context.Context) ([]PauseRow, error) { return slices.Clone(f.pauses), f.err }

func (f *fakeQueue) Pause(_ context.Context, t Target, by string) error {
	if err := f.called("pause %s by %s", target(t), by); err != nil {
		return err
	}
	p := Paused{What: "domain", By: foreign.Text(by), Since: f.now()}
	switch {
	case t.All:
		p.What = "all"
	case t.ID != "":
		p.What = "message"
		if len(f.waits(t.ID)) == 0 {
			return fmt.Errorf("fake: %w", ErrGone)
		}
	}
	f.pauses = append(f.pauses, PauseRow{Target: t, Paused: p})
	for i, m := range f.back.list {
		if t.All || t.Domain == string(m.Domain) || t.ID == m.ID {
			f.back.list[i].Paused = &p
		}
	}
	return nil
}

func (f *fakeQueue) Resume(_ context.Context, t Target, by string) error {
	if err := f.called("resume %s by %s", target(t), by); err != nil {
		return err
	}
	f.pauses = slices.DeleteFunc(f.pauses, func(p PauseRow) bool { return p.Target == t })
	for i, m := range f.back.list {
		if t.All || t.Domain == string(m.Domain) || t.ID == m.ID {
			f.back.list[i].Paused = nil
		}
	}
	return nil
}

func (f *fakeQueue) end(kind string, ids []string, by string, after time.Duration) (Pending, error) {
	ids = f.waits(ids...)
	if len(ids) == 0 {
		return Pending{}, fmt.Errorf("fake: %w", ErrGone)
	}
	p := Pending{ID: fmt.Sprintf("a%d", len(f.pending)+1), Kind: kind, By: foreign.Text(by), Until: f.now().Add(after)}
	f.pending = append(f.pending, PendingRow{Pending: p, Count: len(ids)})
	if f.taken == nil {
		f.taken = map[string][]string{}
	}
	f.taken[p.ID] = ids
	for i, m := range f.back.list {
		if slices.Contains(ids, m.ID) {
			f.back.list[i].Pending = &p
		}
	}
	return p, nil
}

func (f *fakeQueue) Return(_ context.Context, ids []string, by, text string) (Pending, error) {
	if err := f.called("return %s by %s: %q", strings.Join(ids, " "), by, text); err != nil {
		return Pending{}, err
	}
	return f.end("return", ids, by, time.Minute)
}

func (f *fakeQueue) Delete(_ context.Context, ids []string, by string) (Pending, error) {
	if err := f.called("delete %s by %s", strings.Join(ids, " "), by); err != nil {
		return Pending{}, err
	}
	return f.end("delete", ids, by, 15*time.Minute)
}

func (f *fakeQueue) Undo(_ context.Context, id, by string) (int, error) {
	if err := f.called("undo %s by %s", id, by); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(f.pending, func(p PendingRow) bool { return p.ID == id })
	if i < 0 || !f.pending[i].Until.After(f.now()) {
		return 0, fmt.Errorf("fake: %w", ErrGone)
	}
	n := f.pending[i].Count
	f.pending = slices.Delete(f.pending, i, i+1)
	for j, m := range f.back.list {
		if slices.Contains(f.taken[id], m.ID) {
			f.back.list[j].Pending = nil
		}
	}
	return n, nil
}

func (f *fakeQueue) PendingActions(context.Context) ([]PendingRow, error) {
	return slices.Clone(f.pending), f.err
}

func (f *fakeQueue) Lost(context.Context) ([]LostMail, error) { return f.lost, f.err }

func (f *fakeQueue) MessageDetail(_ context.Context, id string) (Detail, error) {
	if f.err != nil {
		return Detail{}, f.err
	}
	d, ok := f.details[id]
	if !ok {
		d = Detail{Client: "192.168.1.20", Hello: "mail.office.example", TLS: "TLS 1.3", User: "bob"}
	}
	for _, m := range f.back.list {
		if m.ID == id && !ok {
			d.Open = append(d.Open, m)
			if tried(m) {
				d.History = append(d.History, AttemptRow{To: m.To, Attempt: m.Last, Evidence: sampleEvidence(m.Last)})
			}
		}
	}
	if !ok && len(d.Open) == 0 {
		return Detail{}, fmt.Errorf("fake: %w", ErrGone)
	}
	return d, nil
}

func (f *fakeQueue) Original(_ context.Context, id string) (io.ReadCloser, error) {
	if err := f.called("original %s", id); err != nil {
		return nil, err
	}
	if len(f.waits(id)) == 0 {
		return nil, fmt.Errorf("fake: %w", ErrGone)
	}
	if f.body == "" {
		return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n"), brokenReader{})), nil
	}
	return io.NopCloser(strings.NewReader(f.body)), nil
}

// brokenReader is a disk that fails.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk failed") }

func (f *fakeQueue) Find(_ context.Context, q FindQuery) (Found, error) {
	f.query = q
	return f.found, f.err
}

// sampleEvidence is what one attempt may have seen.
func sampleEvidence(a Attempt) *Evidence {
	return &Evidence{
		Route: "mx",
		DNS:   &EvidenceDNS{MX: []EvidenceMX{{Host: a.MX, Pref: 10}, {Host: "backup." + a.MX, Pref: 20}}, Security: "unsigned"},
		Hosts: []EvidenceHost{
			{
				Time: a.Time, Took: 140 * time.Millisecond, MX: a.MX, Addr: a.Addr, Pattern: a.MX, Protection: a.Protection, TLSVersion: a.TLSVersion, Cipher: a.Cipher,
				Chain: []Certificate{
					{Subject: "CN=mail.hoster.example", Names: a.CertNames, Issuer: "CN=Lab CA", NotBefore: a.Time.Add(-100 * time.Hour), NotAfter: a.CertNotAfter, SHA256: strings.Repeat("3f", 32)},
					{Subject: "CN=Lab CA", Issuer: "CN=Lab CA"},
				},
				Outcome: a.Outcome, Reason: a.Reason, Rule: a.Rule, Code: a.Code, Enhanced: a.Enhanced, Reply: a.Reply, Detail: a.Detail,
			},
			{Time: a.Time, Took: 30 * time.Second, MX: "backup." + a.MX, Outcome: "deferred", Reason: "connect-timeout", Reused: true, Detail: "dial tcp: i/o timeout"},
		},
	}
}
