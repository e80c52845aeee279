package appliance

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"gatepost/appliance/api"
	"gatepost/mtasts"
	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/store"
	"gatepost/relay/verdict"
)

// engine makes the mail machine serve the admin API: it translates and decides
// nothing.
type engine struct {
	m          *relay.Machine
	version    string
	extraRoots int
	// disk says that there is a data disk: without a spool it has failed then.
	disk bool
}

// Status implements api.Engine.
func (e engine) Status() api.Status {
	s := e.m.Status()
	if s.Storage == "missing" && e.disk {
		s.Storage = "failed"
	}
	return api.Status{
		Time: time.Now(), Started: s.Started, Version: e.version, Delivering: s.Delivering,
		Spool: api.Spool{
			State: s.Storage, Text: s.StorageText, Live: s.Usage.Live,
			DiskTotal: s.Usage.DiskTotal, DiskFree: s.Usage.DiskFree, Damaged: s.Damaged,
		},
		Held: s.Queue.Held, Waiting: s.Queue.Waiting - s.Queue.Held, OldestTry: s.Queue.OldestDeferred,
		Today: api.Counts{
			Accepted: s.Today.Accepted, Delivered: s.Today.Delivered, Verified: s.Today.Verified,
			Encrypted: s.Today.Encrypted, Clear: s.Today.Clear, Returned: s.Today.Returned,
		},
		LastIn: s.LastIn, LastOut: s.LastOut, DNSKnown: s.DNSKnown, DNS: s.DNS,
		StoreDamaged: s.StoreDamaged, ExtraRoots: e.extraRoots, Pauses: e.Pauses(),
	}
}

// SelfTest implements api.Engine.
func (e engine) SelfTest() api.SelfTest { return api.SelfTest(e.m.SelfTest()) }

// Messages implements api.Engine.
func (e engine) Messages(q api.MessageQuery) api.Messages {
	o := queue.ListOptions{
		Domain: queueDomain(q.Domain), State: verdict.Outcome(q.State), From: q.From, Rcpt: q.Rcpt,
		Newest: q.Newest, After: q.After, Limit: q.Limit + 1, // one more: is there another page?
	}
	list := e.m.Waiting(o)
	out := api.Messages{Total: e.m.Status().Queue.Waiting, Messages: []api.Message{}}
	if len(list) > q.Limit {
		list = list[:q.Limit]
		out.Next = list[q.Limit-1].ID
	}
	for _, w := range list {
		out.Messages = append(out.Messages, message(w))
	}
	return out
}

// Lookup implements api.Engine.
func (e engine) Lookup(id string) (api.Message, bool) {
	w, ok := e.m.Lookup(id)
	if !ok {
		return api.Message{}, false
	}
	return message(w), true
}

// Open implements api.Engine.
func (e engine) Open(id string) (io.ReadCloser, error) {
	body, err := e.m.Message(id)
	return body, apiError(err)
}

// Retry implements api.Engine.
func (e engine) Retry(q api.Retry) int {
	if q.Domain != "" {
		return e.m.RetryDomain(queueDomain(q.Domain))
	}
	return e.m.RetryNow(q.IDs...)
}

// Pause implements api.Engine.
func (e engine) Pause(p api.Pause) error { return apiError(e.m.Pause(queuePause(p))) }

// Resume implements api.Engine.
func (e engine) Resume(p api.Pause) error { return apiError(e.m.Resume(queuePause(p))) }

// Pauses implements api.Engine.
func (e engine) Pauses() []api.Pause {
	var out []api.Pause
	for _, p := range e.m.Pauses() {
		out = append(out, api.Pause(p))
	}
	return out
}

// Return implements api.Engine.
func (e engine) Return(q api.Return) (api.Action, error) {
	a, err := e.m.Return(q.IDs, q.By, q.Text)
	return action(a), apiError(err)
}

// Delete implements api.Engine.
func (e engine) Delete(q api.Delete) (api.Action, error) {
	a, err := e.m.Delete(q.IDs, q.By)
	return action(a), apiError(err)
}

// Undo implements api.Engine.
func (e engine) Undo(id string) (int, error) {
	n, err := e.m.Undo(id)
	return n, apiError(err)
}

// Actions implements api.Engine.
func (e engine) Actions() []api.Action {
	var out []api.Action
	for _, a := range e.m.Actions() {
		out = append(out, action(a))
	}
	return out
}

// History implements api.Engine.
func (e engine) History(q api.HistoryQuery) ([]api.Attempt, error) {
	list, err := e.m.History(store.HistoryOptions{
		ID: q.ID, From: q.From, Rcpt: q.Rcpt, Domain: policyDomain(q.Domain), Text: q.Address,
		Since: q.Since, Until: q.Until, After: q.After, Limit: q.Limit,
	})
	out := make([]api.Attempt, len(list))
	for i, a := range list {
		out[i] = api.Attempt{Seq: a.Seq, Time: a.Time, ID: a.ID, From: a.From, Rcpt: a.Rcpt, Tries: a.Tries, Verdict: a.Verdict}
	}
	return out, err
}

// Notes implements api.Engine.
func (e engine) Notes(limit int) ([]api.Note, error) {
	list, err := e.m.Notes(limit)
	out := make([]api.Note, len(list))
	for i, n := range list {
		out[i] = api.Note(n)
	}
	return out, err
}

// Policies implements api.Engine.
func (e engine) Policies() []api.Policy {
	var out []api.Policy
	for _, p := range e.m.Policies() {
		out = append(out, savedPolicy(p))
	}
	return out
}

func savedPolicy(p mtasts.EntryInfo) api.Policy {
	return api.Policy{
		Domain: p.Domain, Mode: string(p.Mode), MX: p.MX, ID: p.RecordID, MaxAge: int64(p.MaxAge.Seconds()),
		Fetched: p.FetchedAt, Expires: p.ExpiresAt, Ended: p.Ended, Used: p.UsedAt, RefreshAt: p.RefreshAt,
		Trouble: string(p.Trouble), Detail: p.Detail,
	}
}

// Policy implements api.Engine.
func (e engine) Policy(domain string) (api.Policy, bool) {
	entry, ok := e.m.Policy(domain)
	if !ok {
		return api.Policy{}, false
	}
	p, h := savedPolicy(entry.EntryInfo), entry.Host
	p.Body, p.SeenID = entry.Body, entry.Seen
	p.Host = &api.PolicyHost{
		Addr: h.Addr, TLSVersion: h.TLSVersion, Cipher: h.Cipher,
		CertNames: h.CertNames, CertIssuer: h.CertIssuer, CertNotAfter: h.CertNotAfter,
	}
	return p, true
}

// RefreshPolicy implements api.Engine.
func (e engine) RefreshPolicy(ctx context.Context, domain string) (api.PolicyAnswer, error) {
	before := e.Policies()
	a, err := e.m.RefreshPolicy(ctx, domain)
	if errors.Is(err, mtasts.ErrDomain) {
		err = fmt.Errorf("%w: %w", api.ErrWrong, err)
	}
	if err != nil {
		return api.PolicyAnswer{}, err
	}
	out := api.PolicyAnswer{Domain: a.Domain, Held: a.Held, Trouble: string(a.Trouble), Detail: a.Detail}
	if a.Held {
		out.Mode, out.MX, out.MaxAge = string(a.Policy.Mode), a.Policy.MX, int64(a.Policy.MaxAge.Seconds())
		out.ID, out.Body, out.Fetched, out.Expires = a.RecordID, a.Body, a.FetchedAt, a.ExpiresAt
	}
	i := slices.IndexFunc(before, func(p api.Policy) bool { return p.Domain == a.Domain })
	if i < 0 {
		out.Changed = a.Held
	} else {
		out.Changed = before[i].Mode != out.Mode || !slices.Equal(before[i].MX, out.MX) || before[i].MaxAge != out.MaxAge
	}
	return out, nil
}

// Check implements api.Engine.
func (e engine) Check(ctx context.Context, domain string) (api.Check, error) {
	v, err := e.m.Rehearse(ctx, domain)
	switch {
	case errors.Is(err, relay.ErrBusy):
		err = fmt.Errorf("%w: other domains are being checked", api.ErrUnavailable)
	case errors.Is(err, mtasts.ErrDomain):
		err = fmt.Errorf("%w: %w", api.ErrWrong, err)
	}
	return api.Check{Domain: v.Domain, Verdict: v}, err
}

// Follow implements api.Engine.
func (e engine) Follow(ctx context.Context, f func(api.Line)) {
	e.m.Follow(ctx, func(ev event.Event) { f(line(ev)) })
}

// pemCertificates gives each certificate of a PEM text, or why it cannot be
// read.
func pemCertificates(text []byte) iter.Seq2[*x509.Certificate, error] {
	return func(yield func(*x509.Certificate, error) bool) {
		for rest := text; ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				return
			}
			if !yield(x509.ParseCertificate(b.Bytes)) {
				return
			}
		}
	}
}
