package api

import (
	"context"
	"errors"
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

// fakeEngine is an Engine with fixed answers.
type fakeEngine struct {
	retried []string
	lines   chan Line
}

var (
	someTime   = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)
	someStatus = Status{
		Time: someTime, Started: someTime.Add(-time.Hour), Version: "1.2.3", Delivering: true,
		Spool: Spool{State: "ok", Live: 5, DiskTotal: 1000, DiskFree: 250}, Held: 3, Waiting: 5,
		Today: Counts{Accepted: 9, Delivered: 8, Verified: 7}, DNSKnown: true, DNS: true,
	}
	someMessage = Message{
		ID: "1k0ys60h0en", From: "a@office.example", Subject: "Grüße", Size: 812, Received: someTime, Expires: someTime.Add(time.Hour),
		Rcpts: []Recipient{{Addr: "b@a.example", Domain: "a.example", Tries: 2, Verdict: &verdict.Verdict{Time: someTime, Outcome: verdict.Held, Reason: verdict.MXNotListed}}},
	}
)

func (f *fakeEngine) Status() Status { return someStatus }

func (f *fakeEngine) Messages(offset, limit int) Messages {
	m := Messages{Total: 7, Messages: []Message{}}
	if offset == 0 && limit > 0 {
		m.Messages = append(m.Messages, someMessage)
	}
	return m
}

func (f *fakeEngine) Message(id string) (io.ReadCloser, error) {
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

func (f *fakeEngine) Retry(ids []string) int { f.retried = ids; return len(ids) }

func (f *fakeEngine) Policies() Policies {
	return Policies{Policies: []Policy{{Domain: "a.example", Mode: "enforce", Fetched: someTime, Expires: someTime}}}
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
	if got, err := c.Status(ctx); err != nil || !reflect.DeepEqual(got, someStatus) {
		t.Errorf("status: got %+v, %v; want %+v", got, err, someStatus)
	}
	if got, err := c.Messages(ctx, 0, 10); err != nil || got.Total != 7 || len(got.Messages) != 1 || !reflect.DeepEqual(got.Messages[0], someMessage) {
		t.Errorf("messages: got %+v, %v", got, err)
	}
	if got, err := c.Messages(ctx, 5, 10); err != nil || len(got.Messages) != 0 {
		t.Errorf("second page: got %+v, %v", got, err)
	}
	if n, err := c.Retry(ctx, []string{"x", "y"}); err != nil || n != 2 || len(e.retried) != 2 {
		t.Errorf("retry: got %d, %v, %v", n, err, e.retried)
	}
	if got, err := c.Policies(ctx); err != nil || len(got.Policies) != 1 || got.Policies[0].Mode != "enforce" {
		t.Errorf("policies: got %+v, %v", got, err)
	}
	if got := someStatus.Spool.Percent(); got != 75 {
		t.Errorf("percent: got %d, want 75", got)
	}
}

// A message comes whole or with an error, never cut short as if it were whole.
func TestMessage(t *testing.T) {
	_, c, _ := serve(t)
	body, err := c.Message(t.Context(), someMessage.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "Subject: x\r\n\r\nhello\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Message(t.Context(), "gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("gone: got %v, want ErrNotFound", err)
	}
	body, err = c.Message(t.Context(), "damaged")
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
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/messages?offset=-1", "", 400},
		{"GET", "/v1/messages?limit=many", "", 400},
		{"POST", "/v1/messages/retry", "nonsense", 400},
		{"POST", "/v1/messages/retry", `{"ids":[],"force":true}`, 400},
		{"POST", "/v1/messages/retry", `{"ids":["` + strings.Repeat("x", maxBody) + `"]}`, 400},
		{"GET", "/v1/messages/retry", "", 405},
		{"DELETE", "/v1/status", "", 405},
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
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: got %d, want %d", c.method, c.path, resp.StatusCode, c.want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}
