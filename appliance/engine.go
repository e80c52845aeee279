package appliance

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
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
		StoreDamaged: s.StoreDamaged, ExtraRoots: e.extraRoots,
	}
}

// Messages implements api.Engine.
func (e engine) Messages(offset, limit int) api.Messages {
	all := e.m.Waiting(queue.ListOptions{})
	out := api.Messages{Total: len(all), Messages: []api.Message{}}
	for _, w := range all[min(offset, len(all)):min(offset+limit, len(all))] {
		m := api.Message{
			ID: w.ID, From: w.From, Subject: w.Subject, Size: w.Size,
			Received: w.Received, Expires: w.Expires, Notice: w.Notice,
		}
		for _, r := range w.Rcpts {
			m.Rcpts = append(m.Rcpts, api.Recipient{Addr: r.Addr, Domain: r.Domain, Tries: r.Tries, Next: r.Next, Verdict: r.Verdict})
		}
		out.Messages = append(out.Messages, m)
	}
	return out
}

// Message implements api.Engine.
func (e engine) Message(id string) (io.ReadCloser, error) {
	body, err := e.m.Message(id)
	if errors.Is(err, spool.ErrNotFound) {
		return nil, api.ErrNotFound
	}
	return body, err
}

// Retry implements api.Engine.
func (e engine) Retry(ids []string) int { return e.m.RetryNow(ids...) }

// Policies implements api.Engine.
func (e engine) Policies() api.Policies {
	out := api.Policies{Policies: []api.Policy{}}
	for _, p := range e.m.Policies() {
		out.Policies = append(out.Policies, api.Policy{
			Domain: p.Domain, Mode: string(p.Mode), MX: p.MX, ID: p.RecordID,
			Fetched: p.FetchedAt, Expires: p.ExpiresAt, Trouble: p.Trouble,
		})
	}
	return out
}

// Follow implements api.Engine.
func (e engine) Follow(ctx context.Context, f func(api.Line)) {
	e.m.Follow(ctx, func(ev event.Event) { f(line(ev)) })
}

// line puts an event into the form of the API.
func line(ev event.Event) api.Line {
	switch e := ev.(type) {
	case event.Accepted:
		l := api.Line{Time: e.Time, Kind: "accepted", ID: e.ID, From: e.From, Text: fmt.Sprintf("%d recipients from %s", len(e.Rcpts), e.Client)}
		if len(e.Rcpts) == 1 {
			l.Rcpt = e.Rcpts[0]
		}
		return l
	case event.Refused:
		return api.Line{Time: e.Time, Kind: "refused", Text: fmt.Sprintf("%s: %d %s", e.Client, e.Code, e.Text)}
	case event.Attempted:
		return api.Line{Time: e.Verdict.Time, Kind: "attempted", ID: e.ID, From: e.From, Rcpt: e.Rcpt, Next: e.Next, Verdict: &e.Verdict}
	case event.Bounced:
		return api.Line{Time: e.Time, Kind: "bounced", ID: e.ID, Rcpt: e.To, Text: e.Notice}
	case event.PolicyChanged:
		return api.Line{Time: e.Time, Kind: "policy", Text: fmt.Sprintf("%s: %s", e.Domain, e.Mode)}
	case event.PolicyAlarm:
		return api.Line{Time: e.Time, Kind: "alarm", Text: fmt.Sprintf("%s: %s: %s", e.Domain, e.Kind, e.Detail)}
	case event.StoreDamaged:
		return api.Line{Time: e.Time, Kind: "damaged", Text: e.Detail}
	case event.SpoolDamaged:
		return api.Line{Time: e.Time, Kind: "damaged", Text: e.Detail}
	}
	return api.Line{Kind: "unknown"}
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
