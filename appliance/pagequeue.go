package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"gatepost/appliance/api"
	"gatepost/relay/verdict"
	"gatepost/webui"
	"gatepost/webui/foreign"
)

// pageQueue does what the page may do with waiting mail, through the relay's
// API. It translates and decides nothing.
type pageQueue struct{ api *api.Client }

// lostListed is how many notes are looked through for the page.
const lostListed = 1000

// Pauses implements webui.QueueBackend.
func (p pageQueue) Pauses(ctx context.Context) ([]webui.PauseRow, error) {
	list, err := p.api.Pauses(ctx)
	var out []webui.PauseRow
	for _, one := range list.Pauses {
		out = append(out, webui.PauseRow{
			Target: webui.Target{All: one.All, Domain: one.Domain, ID: one.ID}, Paused: *pagePause(&one),
		})
	}
	return out, pageError(err)
}

// Pause implements webui.QueueBackend.
func (p pageQueue) Pause(ctx context.Context, t webui.Target, by string) error {
	_, err := p.api.Pause(ctx, api.Pause{All: t.All, Domain: t.Domain, ID: t.ID, By: by})
	return pageError(err)
}

// Resume implements webui.QueueBackend.
func (p pageQueue) Resume(ctx context.Context, t webui.Target, by string) error {
	_, err := p.api.Resume(ctx, api.Pause{All: t.All, Domain: t.Domain, ID: t.ID, By: by})
	return pageError(err)
}

// Return implements webui.QueueBackend.
func (p pageQueue) Return(ctx context.Context, ids []string, by, text string) (webui.Pending, error) {
	a, err := p.api.Return(ctx, api.Return{IDs: ids, By: by, Text: strings.ReplaceAll(text, "\r", "")})
	return *pagePending(&a), pageError(err)
}

// Delete implements webui.QueueBackend.
func (p pageQueue) Delete(ctx context.Context, ids []string, by string) (webui.Pending, error) {
	a, err := p.api.Delete(ctx, api.Delete{IDs: ids, By: by})
	return *pagePending(&a), pageError(err)
}

// Undo implements webui.QueueBackend.
func (p pageQueue) Undo(ctx context.Context, id, _ string) (int, error) {
	u, err := p.api.Undo(ctx, id)
	return u.Count, pageError(err)
}

// PendingActions implements webui.QueueBackend.
func (p pageQueue) PendingActions(ctx context.Context) ([]webui.PendingRow, error) {
	list, err := p.api.Actions(ctx)
	var out []webui.PendingRow
	for _, a := range list.Actions {
		out = append(out, webui.PendingRow{Pending: *pagePending(&a), Count: len(a.Messages)})
	}
	return out, pageError(err)
}

// Lost implements webui.QueueBackend.
func (p pageQueue) Lost(ctx context.Context) ([]webui.LostMail, error) {
	notes, err := p.api.Notes(ctx, lostListed)
	var out []webui.LostMail
	for _, n := range notes.Notes {
		if n.Kind == api.NoteDoubleBounce {
			out = append(out, webui.LostMail{Time: n.Time, ID: n.ID, To: foreign.Text(n.Rcpt), Subject: foreign.Text(n.Text)})
		}
	}
	return out, pageError(err)
}

// MessageDetail implements webui.QueueBackend.
func (p pageQueue) MessageDetail(ctx context.Context, id string) (webui.Detail, error) {
	d, err := p.api.Detail(ctx, id)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		return webui.Detail{}, err
	}
	var out webui.Detail
	if m := d.Message; m != nil {
		out = webui.Detail{
			Open: pageMessages(*m), Client: foreign.Text(m.Client), Hello: foreign.Text(m.Hello), TLS: m.TLS,
			User: foreign.Text(m.User), TraceID: m.TraceID, RequireTLS: m.RequireTLS, Notice: m.Notice,
		}
	}
	for _, a := range d.History {
		evidence, err := pageEvidence(a.Verdict.Evidence)
		if err != nil {
			return webui.Detail{}, err
		}
		out.History = append(out.History, webui.AttemptRow{To: foreign.Text(a.Rcpt), Attempt: pageAttempt(a.Verdict), Evidence: evidence})
	}
	notes, notesErr := p.api.Notes(ctx, lostListed)
	if notesErr != nil {
		return webui.Detail{}, notesErr
	}
	for _, n := range notes.Notes {
		if kind, ends := map[string]string{api.NoteRemoved: "removed", api.NoteDoubleBounce: "lost"}[n.Kind]; ends && n.ID == id {
			out.Ended = &webui.Ended{Time: n.Time, Kind: kind, By: foreign.Text(n.By)}
			break
		}
	}
	if err != nil && out.Ended == nil {
		return webui.Detail{}, webui.ErrGone
	}
	return out, nil
}

// Original implements webui.QueueBackend.
func (p pageQueue) Original(ctx context.Context, id string) (io.ReadCloser, error) {
	eml, err := p.api.Open(ctx, id)
	return eml, pageError(err)
}

// Find implements webui.QueueBackend.
func (p pageQueue) Find(ctx context.Context, q webui.FindQuery) (webui.Found, error) {
	ask := api.HistoryQuery{Since: q.Since, After: q.After}
	if strings.ContainsAny(q.Text, "@.") {
		ask.Address = q.Text
	} else {
		ask.ID = strings.ToLower(q.Text)
	}
	t, err := p.api.Trace(ctx, ask)
	if refused := (*api.ResponseError)(nil); ask.ID != "" && errors.As(err, &refused) && refused.Status == 400 {
		return webui.Found{}, nil // neither an address nor an id: nothing has such a name
	}
	out := webui.Found{Next: t.Next}
	for _, m := range t.Waiting {
		out.Waiting = append(out.Waiting, pageMessages(m)...)
	}
	for _, a := range t.Attempts {
		out.Past = append(out.Past, webui.PastRow{ID: a.ID, From: foreign.Text(a.From), To: foreign.Text(a.Rcpt), Attempt: pageAttempt(a.Verdict)})
	}
	return out, pageError(err)
}

// pageError is an error of the API in the terms of the page.
func pageError(err error) error {
	if errors.Is(err, api.ErrNotFound) {
		return webui.ErrGone
	}
	return err
}

// pageMessages has an entry for each open recipient.
func pageMessages(m api.Message) []webui.Message {
	out := make([]webui.Message, len(m.Rcpts))
	for i, r := range m.Rcpts {
		out[i] = webui.Message{
			ID: m.ID, From: foreign.Text(m.From), To: foreign.Text(r.Addr), Domain: foreign.Text(r.Domain),
			Subject: foreign.Text(m.Subject), Size: m.Size, Received: m.Received, Next: r.Next,
			Deadline: m.Expires, Tries: r.Tries, Paused: pagePause(m.Paused), Pending: pagePending(m.Action),
		}
		if r.Verdict != nil {
			out[i].Last = pageAttempt(*r.Verdict)
		}
	}
	return out
}

func pagePause(p *api.Pause) *webui.Paused {
	if p == nil {
		return nil
	}
	out := &webui.Paused{What: "message", By: foreign.Text(p.By), Since: p.Since}
	switch {
	case p.All:
		out.What = "all"
	case p.Domain != "":
		out.What = "domain"
	}
	return out
}

func pagePending(a *api.Action) *webui.Pending {
	if a == nil {
		return nil
	}
	return &webui.Pending{ID: a.ID, Kind: a.Kind, By: foreign.Text(a.By), Until: a.Until}
}

// pageEvidence hands evidence over in the form in which both sides have it, that
// of the API.
func pageEvidence(e *verdict.Evidence) (*webui.Evidence, error) {
	if e == nil {
		return nil, nil
	}
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	out := &webui.Evidence{}
	return out, json.Unmarshal(text, out)
}
