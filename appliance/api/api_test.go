package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/relay/verdict"
)

var (
	someTime   = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)
	someStatus = Status{
		Time: someTime, Started: someTime.Add(-time.Hour), Version: "1.2.3", Delivering: true,
		Spool: Spool{State: "ok", Live: 5, DiskTotal: 1000, DiskFree: 250}, Held: 3, Waiting: 5,
		Today: Counts{Accepted: 9, Delivered: 8, Verified: 7}, DNSKnown: true, DNS: true,
	}
	someMessage = Message{
		ID: "1k0ys60h0en", From: "a@office.example", Subject: "Grüße", Size: 812, Received: someTime, Expires: someTime.Add(time.Hour),
		Rcpts:  []Recipient{{Addr: "b@a.example", Domain: "a.example", Tries: 2, Verdict: &verdict.Verdict{Time: someTime, Outcome: verdict.Held, Reason: verdict.MXNotListed}}},
		Client: "192.168.1.20", Paused: &somePause, Action: &someAction,
	}
	somePause   = Pause{Domain: "a.example", Since: someTime, By: "Anna"}
	someAction  = Action{ID: "a1", Kind: "delete", Messages: []string{"x"}, By: "Anna", At: someTime, Until: someTime}
	someAttempt = Attempt{
		Seq: 4, Time: someTime, ID: someMessage.ID, Rcpt: "b@a.example", Tries: 1,
		Verdict: verdict.Verdict{Outcome: verdict.Held, Evidence: &verdict.Evidence{
			Route: verdict.RouteMX, DNS: &verdict.DNS{MX: []verdict.MX{{Host: "mx.a.example", Pref: 10}}, Security: "unsigned"},
			Hosts: []verdict.Host{{Time: someTime, Took: time.Second, MX: "mx.a.example", Outcome: verdict.Held}},
		}},
	}
	somePolicies = []Policy{
		{Domain: "a.example", Mode: "enforce", Fetched: someTime, Expires: someTime},
		{Domain: "b.example", Mode: "testing", Fetched: someTime, Expires: someTime, Trouble: "sts-policy-fetch-error"},
	}
)

func serve(t *testing.T) (*fakeEngine, *Client, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{lines: make(chan Line, 4)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, e, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return e, NewClient(socket), socket
}

func TestRoundTrips(t *testing.T) {
	e, c, _ := serve(t)
	ctx := t.Context()
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	asked := func(name string, want any) {
		t.Helper()
		if got := e.asked[len(e.asked)-1]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the engine was asked %+v, want %+v", name, got, want)
		}
	}
	status, err := c.Status(ctx)
	check("status", status, err, someStatus)
	messages, err := c.Messages(ctx, MessageQuery{})
	check("messages", messages, err, Messages{Total: 7, Messages: []Message{someMessage}, Next: someMessage.ID})
	asked("messages", MessageQuery{Limit: 100})
	q := MessageQuery{Domain: "a.example", State: "held", From: "a@", Rcpt: "b+c@", Newest: true, After: "abc", Limit: 5}
	messages, err = c.Messages(ctx, q)
	check("second page", messages, err, Messages{Total: 7, Messages: []Message{}})
	asked("second page", q)
	detail, err := c.Detail(ctx, someMessage.ID)
	check("detail", detail, err, Detail{Message: &someMessage, History: []Attempt{someAttempt}})
	detail, err = c.Detail(ctx, "0past")
	check("past detail", detail, err, Detail{History: []Attempt{someAttempt}})

	retried, err := c.Retry(ctx, Retry{IDs: []string{"x", "y"}})
	check("retry", retried, err, Retried{Count: 2})
	_, err = c.Retry(ctx, Retry{Domain: "a.example"})
	check("retry a domain", err, nil, nil)
	asked("retry a domain", Retry{Domain: "a.example"})
	ret := Return{IDs: []string{"x"}, By: "Anna", Text: "Sorry.\nGrüße"}
	action, err := c.Return(ctx, ret)
	check("return", action, err, someAction)
	asked("return", ret)
	action, err = c.Delete(ctx, Delete{IDs: []string{"x"}, By: "Anna"})
	check("delete", action, err, someAction)
	actions, err := c.Actions(ctx)
	check("actions", actions, err, Actions{[]Action{someAction}})
	undone, err := c.Undo(ctx, "a1")
	check("undo", undone, err, Undone{Count: 1})
	pauses, err := c.Pauses(ctx)
	check("pauses", pauses, err, Pauses{[]Pause{somePause}})
	pauses, err = c.Pause(ctx, Pause{Domain: "a.example", By: "Anna"})
	check("pause", pauses, err, Pauses{[]Pause{somePause}})
	asked("pause", Pause{Domain: "a.example", By: "Anna"})
	pauses, err = c.Resume(ctx, Pause{All: true, By: "Anna"})
	check("resume", pauses, err, Pauses{[]Pause{somePause}})

	trace, err := c.Trace(ctx, HistoryQuery{Address: "b@a.example", Since: someTime, Until: someTime, After: 9, Limit: 1})
	check("trace", trace, err, Trace{Waiting: []Message{}, Attempts: []Attempt{someAttempt}, Next: someAttempt.Seq})
	asked("trace", HistoryQuery{Address: "b@a.example", Since: someTime, Until: someTime, After: 9, Limit: 1})
	trace, err = c.Trace(ctx, HistoryQuery{Address: "b@a.example"})
	check("trace", trace, err, Trace{Waiting: []Message{someMessage}, Attempts: []Attempt{someAttempt}})
	trace, err = c.Trace(ctx, HistoryQuery{ID: someMessage.ID})
	check("trace an id", trace, err, Trace{Waiting: []Message{someMessage}, Attempts: []Attempt{someAttempt}})
	notes, err := c.Notes(ctx, 3)
	check("notes", notes, err, Notes{[]Note{{Time: someTime, Kind: "removed", ID: "x", By: "Anna"}}})
	asked("notes", 3)

	policies, err := c.Policies(ctx, PolicyQuery{})
	check("policies", policies, err, Policies{Total: 2, Policies: somePolicies})
	policies, err = c.Policies(ctx, PolicyQuery{Limit: 1})
	check("a page of policies", policies, err, Policies{Total: 2, Policies: somePolicies[:1], Next: "a.example"})
	policies, err = c.Policies(ctx, PolicyQuery{After: "a.example"})
	check("the next page", policies, err, Policies{Total: 2, Policies: somePolicies[1:]})
	policies, err = c.Policies(ctx, PolicyQuery{Trouble: true})
	check("policies with trouble", policies, err, Policies{Total: 2, Policies: somePolicies[1:]})
	policies, err = c.Policies(ctx, PolicyQuery{Domain: "B.ex"})
	check("policies by domain", policies, err, Policies{Total: 2, Policies: somePolicies[1:]})
	policy, err := c.Policy(ctx, "B.example")
	whole, _ := (&fakeEngine{}).Policy("b.example")
	check("policy", policy, err, whole)
	answer, err := c.RefreshPolicy(ctx, "b.example")
	check("refresh", answer, err, PolicyAnswer{Domain: "b.example", Held: true})
	tried, err := c.Check(ctx, "b.example")
	check("check", tried, err, Check{Domain: "b.example", Verdict: someAttempt.Verdict})
	if got := someStatus.Spool.Percent(); got != 75 {
		t.Errorf("percent: got %d, want 75", got)
	}
}

// What is not there, or not possible, is told as that.
func TestErrors(t *testing.T) {
	e, c, _ := serve(t)
	ctx := t.Context()
	for name, ask := range map[string]func() error{
		"detail": func() error { _, err := c.Detail(ctx, "gone"); return err },
		"open":   func() error { _, err := c.Open(ctx, "gone"); return err },
		"undo":   func() error { _, err := c.Undo(ctx, "gone"); return err },
		"pause":  func() error { _, err := c.Pause(ctx, Pause{ID: "gone", By: "Anna"}); return err },
		"policy": func() error { _, err := c.Policy(ctx, "c.example"); return err },
	} {
		if err := ask(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	e.trouble = fmt.Errorf("%w: no disk", ErrUnavailable)
	if _, err := c.Delete(ctx, Delete{IDs: []string{"x"}, By: "Anna"}); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || err.Error() != "not possible now: no disk" {
		t.Errorf("got %v, want ErrUnavailable with its cause", err)
	}
	var status *ResponseError
	e.trouble = errors.New("bad sector")
	if _, err := c.Trace(ctx, HistoryQuery{ID: "x"}); !errors.As(err, &status) || status.Status != 500 {
		t.Errorf("got %v, want status 500", err)
	}
}

// An export has every attempt, however many pages there are, and never ends
// early as if it were whole.
func TestHistory(t *testing.T) {
	e, c, _ := serve(t)
	e.history = 2*maxPage + 7
	n, last := 0, uint64(0)
	err := c.History(t.Context(), HistoryQuery{Rcpt: "b@a.example"}, func(a Attempt) error {
		if n++; n > 1 && a.Seq != last-1 {
			t.Errorf("attempt %d follows %d", a.Seq, last)
		}
		last = a.Seq
		return nil
	})
	if err != nil || n != e.history {
		t.Errorf("got %d attempts, %v; want %d", n, err, e.history)
	}
	e.page, e.breakAt = 0, 2
	if err := c.History(t.Context(), HistoryQuery{}, func(Attempt) error { return nil }); err == nil {
		t.Error("a broken export ended without an error")
	}
}

// A message comes whole or with an error, never cut short as if it were whole.
func TestMessage(t *testing.T) {
	_, c, _ := serve(t)
	body, err := c.Open(t.Context(), someMessage.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "Subject: x\r\n\r\nhello\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Open(t.Context(), "gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("gone: got %v, want ErrNotFound", err)
	}
	body, err = c.Open(t.Context(), "damaged")
	if err != nil {
		return // told at once: as good
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err == nil {
		t.Errorf("damaged: got %q without an error", got)
	}
}

func TestFollow(t *testing.T) {
	e, c, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e.lines <- Line{Kind: "accepted", ID: "m1"}
	e.lines <- Line{Kind: "attempted", ID: "m1", Verdict: &verdict.Verdict{Outcome: verdict.Delivered}}
	var got []string
	err := c.Follow(ctx, func(l Line) {
		if got = append(got, l.Kind); len(got) == 2 {
			cancel()
		}
	})
	if len(got) != 2 || got[1] != "attempted" || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestBadRequests(t *testing.T) {
	_, _, socket := serve(t)
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	many := `{"by":"Anna","ids":["x"` + strings.Repeat(`,"x"`, maxIDs) + `]}`
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/messages?limit=-1", "", 400},
		{"GET", "/v1/messages?limit=0", "", 400},
		{"GET", "/v1/messages?limit=many", "", 400},
		{"GET", "/v1/messages?offset=1", "", 400},
		{"GET", "/v1/messages?order=random", "", 400},
		{"GET", "/v1/messages?state=lost", "", 400},
		{"GET", "/v1/messages?after=../x", "", 400},
		{"GET", "/v1/messages?from=" + strings.Repeat("x", 400), "", 400},
		{"GET", "/v1/messages/a%20b", "", 400},
		{"GET", "/v1/trace", "", 400},
		{"GET", "/v1/trace?id=a&address=b", "", 400},
		{"GET", "/v1/trace?address=b&since=yesterday", "", 400},
		{"GET", "/v1/trace?address=b&after=x", "", 400},
		{"GET", "/v1/history?limit=5", "", 400},
		{"GET", "/v1/history?rpct=a@b.example", "", 400},
		{"GET", "/v1/notes?limit=x", "", 400},
		{"GET", "/v1/policies?search=x", "", 400},
		{"POST", "/v1/policies/" + strings.Repeat("x", 300) + "/refresh", "", 400},
		{"POST", "/v1/messages/retry", "nonsense", 400},
		{"POST", "/v1/messages/retry", "", 400},
		{"POST", "/v1/messages/retry", `{"ids":["a"]}{}`, 400},
		{"POST", "/v1/messages/retry", `{"ids":["a"],"force":true}`, 400},
		{"POST", "/v1/messages/retry", `{"ids":[]}`, 400},
		{"POST", "/v1/messages/retry", `{"ids":["a"],"domain":"a.example"}`, 400},
		{"POST", "/v1/messages/retry", `{"domain":"a b"}`, 400},
		{"POST", "/v1/messages/retry", `{"ids":["` + strings.Repeat("x", maxBody) + `"]}`, 413},
		{"POST", "/v1/messages/delete", `{"ids":["a"]}`, 400},
		{"POST", "/v1/messages/delete", `{"ids":["a"],"by":"\u001b[2J"}`, 400},
		{"POST", "/v1/messages/delete", `{"ids":["A/.."],"by":"Anna"}`, 400},
		{"POST", "/v1/messages/delete", many, 400},
		{"POST", "/v1/messages/return", `{"ids":["a"],"by":"Anna","text":"\u0007"}`, 400},
		{"POST", "/v1/messages/return", `{"ids":["a"],"by":"Anna","text":"` + strings.Repeat("x", maxText+1) + `"}`, 400},
		{"POST", "/v1/pauses/pause", `{"by":"Anna"}`, 400},
		{"POST", "/v1/pauses/pause", `{"by":"Anna","all":true,"id":"a"}`, 400},
		{"POST", "/v1/pauses/pause", `{"all":true}`, 400},
		{"POST", "/v1/pauses/pause", `{"all":true,"by":"Anna","since":"2026-11-24T09:41:00Z"}`, 400},
		{"GET", "/v1/messages/gone", "", 404},
		{"DELETE", "/v1/status", "", 405},
		{"POST", "/v1/history", "", 405},
		{"GET", "/", "", 404},
	} {
		req, err := http.NewRequest(c.method, "http://relay"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var p Problem
		err = json.NewDecoder(resp.Body).Decode(&p)
		resp.Body.Close()
		if resp.StatusCode != c.want || c.want < 405 && c.path != "/" && (err != nil || p.Error == "") {
			t.Errorf("%s %s %.60s: got %d, %+v; want %d and a Problem", c.method, c.path, c.body, resp.StatusCode, p, c.want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}
