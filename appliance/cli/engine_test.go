package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay/verdict"
)

var now = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)

// fakeEngine is a relay with the mail that it is given. It is asked by one
// command at a time.
type fakeEngine struct {
	api.Engine
	status   api.Status
	messages []api.Message
	history  []api.Attempt
	policies []api.Policy
	answer   api.PolicyAnswer
	notes    []api.Note
	pauses   []api.Pause
	actions  []api.Action
	eml      io.Reader
	asked    []any
}

func (f *fakeEngine) Status() api.Status { return f.status }

func (f *fakeEngine) Messages(q api.MessageQuery) api.Messages {
	f.asked = append(f.asked, q)
	out := api.Messages{Total: len(f.messages), Messages: []api.Message{}}
	for _, m := range f.messages {
		if m.ID <= q.After || !strings.Contains(m.From, q.From) || !strings.Contains(m.Rcpts[0].Addr, q.Rcpt) {
			continue
		}
		if len(out.Messages) == q.Limit {
			out.Next = out.Messages[q.Limit-1].ID
			break
		}
		out.Messages = append(out.Messages, m)
	}
	return out
}

func (f *fakeEngine) Lookup(id string) (api.Message, bool) {
	for _, m := range f.messages {
		if m.ID == id {
			return m, true
		}
	}
	return api.Message{}, false
}

func (f *fakeEngine) Open(id string) (io.ReadCloser, error) {
	if _, ok := f.Lookup(id); !ok {
		return nil, api.ErrNotFound
	}
	return io.NopCloser(f.eml), nil
}

func (f *fakeEngine) Retry(q api.Retry) int {
	f.asked = append(f.asked, q)
	if q.Domain != "" {
		return 2
	}
	return len(f.known(q.IDs))
}

func (f *fakeEngine) known(ids []string) (known []string) {
	for _, id := range ids {
		if _, ok := f.Lookup(id); ok {
			known = append(known, id)
		}
	}
	return known
}

func (f *fakeEngine) Pause(p api.Pause) error {
	if _, ok := f.Lookup(p.ID); p.ID != "" && !ok {
		return api.ErrNotFound
	}
	p.Since = now
	f.pauses = append(f.pauses, p)
	return nil
}

func (f *fakeEngine) Resume(p api.Pause) error {
	f.pauses = nil
	f.asked = append(f.asked, p)
	return nil
}
func (f *fakeEngine) Pauses() []api.Pause   { return f.pauses }
func (f *fakeEngine) Actions() []api.Action { return f.actions }

func (f *fakeEngine) act(kind, by string, ids []string, span time.Duration) (api.Action, error) {
	ids = f.known(ids)
	if len(ids) == 0 {
		return api.Action{}, api.ErrNotFound
	}
	a := api.Action{ID: "a1", Kind: kind, Messages: ids, By: by, At: now, Until: now.Add(span)}
	f.actions = append(f.actions, a)
	return a, nil
}

func (f *fakeEngine) Return(q api.Return) (api.Action, error) {
	f.asked = append(f.asked, q)
	return f.act("return", q.By, q.IDs, time.Minute)
}

func (f *fakeEngine) Delete(q api.Delete) (api.Action, error) {
	return f.act("delete", q.By, q.IDs, 15*time.Minute)
}

func (f *fakeEngine) Undo(id string) (int, error) {
	for i, a := range f.actions {
		if a.ID == id {
			f.actions = f.actions[:i]
			return len(a.Messages), nil
		}
	}
	return 0, api.ErrNotFound
}

func (f *fakeEngine) History(q api.HistoryQuery) ([]api.Attempt, error) {
	f.asked = append(f.asked, q)
	var out []api.Attempt
	for _, a := range f.history {
		if (q.ID == "" || a.ID == q.ID) && (q.After == 0 || a.Seq < q.After) && len(out) < q.Limit &&
			(q.Address == "" || strings.HasSuffix(a.Rcpt, q.Address) || a.From == q.Address) {
			out = append(out, a)
		}
	}
	return out, nil
}

func (f *fakeEngine) Notes(int) ([]api.Note, error) { return f.notes, nil }
func (f *fakeEngine) Policies() []api.Policy        { return f.policies }

func (f *fakeEngine) Policy(domain string) (api.Policy, bool) {
	for _, p := range f.policies {
		if p.Domain == domain {
			p.Body, p.SeenID = "version: STSv1\r\nmode: testing\r\n\x1b[2Jmx: a.example\r\n", "20261124"
			p.Host = &api.PolicyHost{Addr: "192.0.2.1:443", TLSVersion: "TLS 1.3", CertNames: []string{"mta-sts." + domain}, CertIssuer: "R11"}
			return p, true
		}
	}
	return api.Policy{}, false
}

func (f *fakeEngine) Check(_ context.Context, domain string) (api.Check, error) {
	v := verdict.Verdict{Domain: domain, Outcome: verdict.Delivered, MX: "mx1." + domain, Protection: verdict.Clear, Evidence: &verdict.Evidence{
		Route: verdict.RouteMX, DNS: &verdict.DNS{MX: []verdict.MX{{Host: "mx1." + domain, Pref: 10}}, Security: "unsigned"},
		Hosts: []verdict.Host{{MX: "mx1." + domain, Addr: "192.0.2.1", Outcome: verdict.Delivered, Protection: verdict.Clear}},
	}}
	switch domain {
	case "held.example":
		v.Outcome, v.Reason, v.Rule = verdict.Held, verdict.StartTLSNotSupported, "RFC 8461, Section 5"
	case "inside.example":
		v = verdict.Verdict{Domain: domain, Evidence: &verdict.Evidence{Route: verdict.RouteInside}}
	case "bad":
		return api.Check{}, errors.New("not a domain")
	}
	return api.Check{Domain: domain, Verdict: v}, nil
}

func (f *fakeEngine) RefreshPolicy(_ context.Context, domain string) (api.PolicyAnswer, error) {
	if f.answer.Domain == "" {
		return api.PolicyAnswer{}, errors.New("no such name")
	}
	return f.answer, nil
}

// console runs commands against an engine on a real socket.
type console struct {
	t      *testing.T
	engine *fakeEngine
	socket string
}

func newConsole(t *testing.T, e *fakeEngine) console {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, e, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("api: %v", err)
		}
	})
	return console{t, e, socket}
}

// run gives a command line and returns what was printed.
func (c console) run(line string) (string, error) {
	c.t.Helper()
	var out bytes.Buffer
	env := Env{Out: &out, Now: func() time.Time { return now }, Zone: time.UTC, By: "root on the console"}
	args := strings.Fields(line)
	err := Run(c.t.Context(), env, append(args, "-socket", c.socket))
	return out.String(), err
}

// want runs a command that must print exactly this.
func (c console) want(line, want string) {
	c.t.Helper()
	got, err := c.run(line)
	if err != nil || got != strings.TrimLeft(want, "\n") {
		c.t.Errorf("%s: got %v\n%s\nwant\n%s", line, err, got, strings.TrimLeft(want, "\n"))
	}
}

// office is a small queue with everything in it.
func office() *fakeEngine {
	held := verdict.Verdict{
		Time: now.Add(-time.Hour), Outcome: verdict.Held, Reason: verdict.CertificateHostMismatch, Rule: "RFC 8461, Section 4.2",
		Domain: "example.com", MX: "mx.example.com", Addr: "192.0.2.7", Protection: verdict.Encrypted, TLSVersion: "TLS 1.3",
		CertNames: []string{"mail.hoster.example"}, PolicyMode: "enforce", PolicyID: "20260101", PolicyMX: []string{"mx.example.com"},
		PolicyFetched: now.Add(-30 * time.Hour), PolicyExpires: now.Add(300 * time.Hour), MXTried: 1,
	}
	withEvidence := held
	withEvidence.Evidence = &verdict.Evidence{
		Route: verdict.RouteMX,
		DNS:   &verdict.DNS{MX: []verdict.MX{{Host: "mx.example.com", Pref: 10}}, Security: "unsigned"},
		Hosts: []verdict.Host{{
			Time: held.Time, Took: 300 * time.Millisecond, MX: "mx.example.com", Addr: "192.0.2.7", Pattern: "mx.example.com",
			Protection: verdict.Encrypted, TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			Chain: []verdict.Certificate{
				{Names: []string{"mail.hoster.example"}, Issuer: "Example CA", NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(480 * time.Hour), SHA256: "ab12"},
				{Subject: "Example CA", Issuer: "Example Root", NotAfter: now.Add(4800 * time.Hour), SHA256: "cd34"},
			},
			Outcome: verdict.Held, Reason: verdict.CertificateHostMismatch, Rule: "RFC 8461, Section 4.2",
		}},
	}
	delivered := verdict.Verdict{
		Time: now.Add(-2 * time.Hour), Outcome: verdict.Delivered, Domain: "good.example", MX: "mx.good.example", Addr: "192.0.2.9",
		Protection: verdict.Verified, TLSVersion: "TLS 1.3", Cipher: "TLS_AES_256_GCM_SHA384", Code: 250, Enhanced: "2.0.0", Reply: "OK id=1",
	}
	return &fakeEngine{
		status: api.Status{
			Started: now.Add(-26 * time.Hour), Version: "1.4.2", Delivering: true, Held: 1, Waiting: 2, DNSKnown: true, DNS: true,
			Spool: api.Spool{State: "ok", DiskTotal: 100, DiskFree: 88, Live: 240_000}, LastIn: now, LastOut: now.Add(-time.Minute),
			Today: api.Counts{Accepted: 12, Delivered: 10, Verified: 9, Encrypted: 1},
		},
		messages: []api.Message{
			{
				ID: "0a", From: "bob@office.example", Subject: "Invoice 2211", Size: 240_000, Received: now.Add(-20 * time.Hour),
				Expires: now.Add(76 * time.Hour), Client: "192.168.1.20", Hello: "exchange.office.example", TLS: "TLS 1.3", TraceID: "tr1",
				Rcpts: []api.Recipient{
					{Addr: "anna@example.com", Domain: "example.com", Tries: 9, Next: now.Add(14 * time.Minute), Verdict: &held},
					{Addr: "info@example.com", Domain: "example.com", Tries: 9, Next: now.Add(14 * time.Minute), Verdict: &held},
				},
			},
			{
				ID: "0b", From: "", Size: 900, Received: now.Add(-time.Minute), Notice: true,
				Rcpts:  []api.Recipient{{Addr: "carl@old.example", Domain: "old.example"}},
				Paused: &api.Pause{Domain: "old.example", Since: now.Add(-15 * time.Hour), By: "Anna"},
			},
			{ID: "0c", From: "bob@office.example", Size: 12, Received: now, Rcpts: []api.Recipient{{Addr: "new@new.example"}}},
		},
		history: []api.Attempt{
			{Seq: 3, Time: held.Time, ID: "0a", From: "bob@office.example", Rcpt: "info@example.com", Tries: 9, Verdict: withEvidence},
			{Seq: 2, Time: held.Time, ID: "0a", From: "bob@office.example", Rcpt: "anna@example.com", Tries: 9, Verdict: withEvidence},
			{Seq: 1, Time: delivered.Time, ID: "09", From: "bob@office.example", Rcpt: "dora@good.example", Tries: 1, Verdict: delivered},
		},
		policies: []api.Policy{
			{Domain: "example.com", Mode: "enforce", MX: []string{"mx.example.com"}, ID: "20260101", Fetched: now.Add(-30 * time.Hour), Expires: now.Add(300 * time.Hour), Used: now},
			{Domain: "watch.example", Mode: "testing", MX: []string{"a.example", "b.example"}, Fetched: now.Add(-time.Hour), Expires: now.Add(300 * time.Hour), Trouble: "sts-policy-fetch-error", Detail: "no route to host"},
		},
	}
}
