package appliance

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/verdict"
)

// The console tells what is new and keeps quiet about what is as before.
func TestStory(t *testing.T) {
	var out lockedBuffer
	s := newStory(&out)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	held := event.Attempted{
		ID: "m1", Rcpt: "b@a.example", Tries: 1, Next: at.Add(time.Minute), Expires: at.Add(96 * time.Hour),
		Verdict: verdict.Verdict{Time: at, Outcome: verdict.Held, Reason: verdict.CertificateHostMismatch, Domain: "a.example", MX: "mx.a.example", CertNames: []string{"other.example"}},
	}
	other := held
	other.Verdict.Reason = verdict.CertificateExpired
	delivered := held
	delivered.Verdict = verdict.Verdict{Time: at, Outcome: verdict.Delivered, MX: "mx.a.example", Protection: verdict.Verified, TLSVersion: "TLS 1.3"}
	hostile := event.Accepted{ID: "m2", Client: "192.168.1.20", From: "a\x1b[2J@b.example", Rcpts: []string{"x@y.example", "z@y.example"}}
	for _, e := range []event.Event{
		event.Accepted{ID: "m1", Client: "192.168.1.20", From: "", Rcpts: []string{"b@a.example"}},
		held, held, held, other, delivered, hostile,
		event.Refused{Code: 554},
	} {
		s.event(e)
	}
	for end := time.Now().Add(10 * time.Second); strings.Count(out.String(), "\n") < 5 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		"mail m1: in from 192.168.1.20, <> to b@a.example",
		"mail m1: b@a.example: Held: a.example says mail must be encrypted, but its server mx.a.example showed a certificate for another name (other.example)",
		"mail m1: b@a.example: Held: the certificate of mx.a.example",
		"mail m1: b@a.example: delivered to mx.a.example, TLS 1.3, certificate checked",
		"mail m2: in from 192.168.1.20, a‹U+001B›[2J@b.example to 2 recipients",
	}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%s", len(lines), len(want), out.String())
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("line %d: got %q, want it to begin with %q", i, lines[i], w)
		}
	}
}

// lockedBuffer is a console that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
