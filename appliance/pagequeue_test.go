package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay/verdict"
	"gatepost/webui"
	"gatepost/webui/foreign"
)

var pageTime = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)

// queueEngine is a relay with one waiting message "0a", one that was deleted,
// "0b", and one that could not be returned, "0c".
type queueEngine struct {
	api.Engine
	asked any
}

func (e *queueEngine) Lookup(id string) (api.Message, bool) {
	return api.Message{
		ID: "0a", From: "bob@office.example", Client: "192.168.1.20", User: "bob", Action: &api.Action{ID: "a1", Kind: "delete", By: "Anna"},
		Paused: &api.Pause{Domain: "b.example", By: "Anna"},
		Rcpts:  []api.Recipient{{Addr: "x@b.example", Domain: "b.example"}, {Addr: "y@b.example", Domain: "b.example", Tries: 2}},
	}, id == "0a"
}

func (e *queueEngine) Messages(api.MessageQuery) api.Messages {
	m, _ := e.Lookup("0a")
	return api.Messages{Total: 1, Messages: []api.Message{m}}
}

func (e *queueEngine) History(q api.HistoryQuery) ([]api.Attempt, error) {
	e.asked = q
	if q.ID == "0a" || q.Address != "" {
		return []api.Attempt{{Seq: 7, ID: "0a", Rcpt: "x@b.example", Verdict: verdict.Verdict{
			Outcome: verdict.Held, Evidence: &verdict.Evidence{Route: verdict.RouteMX},
		}}}, nil
	}
	return nil, nil
}

func (e *queueEngine) Notes(int) ([]api.Note, error) {
	return []api.Note{
		{Time: pageTime, Kind: api.NotePaused, ID: "0a"},
		{Time: pageTime, Kind: api.NoteRemoved, ID: "0b", By: "Anna"},
		{Time: pageTime, Kind: api.NoteDoubleBounce, ID: "0c", Rcpt: "z@c.example", Text: "Hello"},
	}, nil
}

func (e *queueEngine) Return(q api.Return) (api.Action, error) {
	e.asked = q
	return api.Action{ID: "a2", Kind: "return", By: q.By, Until: pageTime}, nil
}

func (e *queueEngine) Pause(p api.Pause) error { e.asked = p; return nil }
func (e *queueEngine) Pauses() []api.Pause {
	return []api.Pause{{All: true, By: "Anna", Since: pageTime}}
}
func (e *queueEngine) Undo(string) (int, error)           { return 0, api.ErrNotFound }
func (e *queueEngine) Open(string) (io.ReadCloser, error) { return nil, api.ErrNotFound }
func (e *queueEngine) Actions() []api.Action {
	return []api.Action{{ID: "a1", Kind: "delete", Messages: []string{"0a", "0b"}}}
}

// The page's questions and orders reach the relay and come back in its terms.
func TestPageQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	e := &queueEngine{}
	go func() { done <- api.Serve(ctx, ln, e, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	p := pageQueue{api: api.NewClient(path)}
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}

	d, err := p.MessageDetail(ctx, "0a")
	if err != nil || len(d.Open) != 2 || d.Open[1].Tries != 2 || d.Open[0].Paused.What != "domain" || d.Open[0].Pending.ID != "a1" ||
		d.Client != "192.168.1.20" || d.User != "bob" || len(d.History) != 1 || d.History[0].Evidence.Route != "mx" || d.Ended != nil {
		t.Errorf("waiting: got %+v, %v", d, err)
	}
	d, err = p.MessageDetail(ctx, "0b")
	check("deleted", d, err, webui.Detail{Ended: &webui.Ended{Time: pageTime, Kind: "removed", By: "Anna"}})
	d, err = p.MessageDetail(ctx, "0c")
	check("lost", d, err, webui.Detail{Ended: &webui.Ended{Time: pageTime, Kind: "lost"}})
	if _, err := p.MessageDetail(ctx, "0d"); !errors.Is(err, webui.ErrGone) {
		t.Errorf("unknown: got %v", err)
	}
	lost, err := p.Lost(ctx)
	check("lost mail", lost, err, []webui.LostMail{{Time: pageTime, ID: "0c", To: "z@c.example", Subject: "Hello"}})
	pauses, err := p.Pauses(ctx)
	check("pauses", pauses, err, []webui.PauseRow{{Target: webui.Target{All: true}, Paused: webui.Paused{What: "all", By: "Anna", Since: pageTime}}})
	check("pause", nil, p.Pause(ctx, webui.Target{Domain: "b.example"}, "Anna"), nil)
	check("pause asked", e.asked, nil, api.Pause{Domain: "b.example", By: "Anna"})
	pending, err := p.Return(ctx, []string{"0a"}, "Anna", "Sorry.\r\nBob")
	check("return", pending, err, webui.Pending{ID: "a2", Kind: "return", By: "Anna", Until: pageTime})
	check("return asked", e.asked, nil, api.Return{IDs: []string{"0a"}, By: "Anna", Text: "Sorry.\nBob"})
	actions, err := p.PendingActions(ctx)
	check("actions", actions, err, []webui.PendingRow{{Pending: webui.Pending{ID: "a1", Kind: "delete"}, Count: 2}})
	if _, err := p.Undo(ctx, "a9", "Anna"); !errors.Is(err, webui.ErrGone) {
		t.Errorf("undo too late: got %v", err)
	}
	if _, err := p.Original(ctx, "0d"); !errors.Is(err, webui.ErrGone) {
		t.Errorf("original: got %v", err)
	}
	found, err := p.Find(ctx, webui.FindQuery{Text: "x@b.example", Since: pageTime})
	if err != nil || len(found.Waiting) != 2 || len(found.Past) != 1 || found.Past[0].To != foreign.Text("x@b.example") {
		t.Errorf("find: got %+v, %v", found, err)
	}
	check("find asked", e.asked, nil, api.HistoryQuery{Address: "x@b.example", Since: pageTime, Limit: 100})
	if _, err := p.Find(ctx, webui.FindQuery{Text: "0A"}); err != nil || e.asked.(api.HistoryQuery).ID != "0a" {
		t.Errorf("find an id: got %v, asked %+v", err, e.asked)
	}
	found, err = p.Find(ctx, webui.FindQuery{Text: "no such thing"})
	check("find nonsense", found, err, webui.Found{})
}
