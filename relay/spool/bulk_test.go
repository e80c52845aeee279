package spool

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/relay/verdict"
)

// The outcomes of one message in one segment may be more than one record
// holds; the segment is freed all the same, and nothing is forgotten.
func TestCompactManyOutcomes(t *testing.T) {
	ctx := t.Context()
	disk := DirDisk(testRoot(t))
	l, stop := running(t, disk, Config{SegmentSize: 12 << 20})
	env := Envelope{From: "a@office.example", Rcpts: slices.Repeat([]Rcpt{{Addr: "b@c.example"}}, 1000)}
	id, err := l.Append(ctx, env, strings.NewReader("x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict.Verdict{Detail: strings.Repeat("d", 3000)}
	for half := range 2 {
		var out []Outcome
		for i := range 500 {
			out = append(out, Outcome{Rcpt: 500*half + i, State: StateWaiting, Tries: 1, Verdict: v})
		}
		if err := l.Record(ctx, id, out...); err != nil {
			t.Fatal(err)
		}
	}
	first := l.last
	// What fills the segment, and the next one, is soon done with.
	for range 2 {
		other, err := l.Append(ctx, Envelope{Rcpts: env.Rcpts[:1]}, bytes.NewReader(make([]byte, 10<<20)))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Record(ctx, other, Outcome{State: StateDelivered}); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		stuck, gone := first.stuck, l.segs[first.seq] != first
		l.mu.Unlock()
		if gone {
			break
		}
		if stuck || time.Now().After(end) {
			t.Fatalf("the segment is not freed, stuck %v", stuck)
		}
	}
	stop()
	l, _ = running(t, disk, Config{SegmentSize: 12 << 20})
	m := l.Messages()
	if len(m) != 1 || m[0].ID != id {
		t.Fatalf("got %d messages after a restart, want 1", len(m))
	}
	for i, o := range m[0].Outcomes {
		if o.Tries != 1 || o.Verdict == nil || o.Verdict.Detail != v.Detail {
			t.Fatalf("recipient %d: got %d tries, want the recorded outcome", i, o.Tries)
		}
	}
}
