package spool

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/verdict"
)

// rotate closes the active segment and returns it.
func rotate(t *testing.T, l *Log) *segment {
	t.Helper()
	l.mu.Lock()
	old := l.active
	l.mu.Unlock()
	name, size, err := l.takeSpare(l.segSize)
	if err == nil {
		err = l.activate(name, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	old.pins++ // not for the compactor
	l.mu.Unlock()
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	l.retire(old)
	return old
}

// A message dies while the outcomes in a segment are being copied, between the
// copy of one record and the next: the records that were not copied yet are
// still needed. (An earlier rule let the first copy stand for all of them, and
// about one in a thousand power cuts revived a finished message.)
func TestDiesWhileCopied(t *testing.T) {
	for dies := range 4 {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(1)
			l, stop := running(t, disk, Config{})
			id := appendBody(t, l, pattern(100), "a@a.example", "b@b.example", "c@c.example")
			rotate(t, l)       // it stays pinned, so that the message stays on the disk
			for i := range 2 { // two records in one segment
				if err := l.Record(t.Context(), id, Outcome{Rcpt: i, State: StateDelivered, Tries: 1}); err != nil {
					t.Fatal(err)
				}
			}
			outcomes := rotate(t, l)
			l.mu.Lock()
			outcomes.pins--
			l.mu.Unlock()
			end := func(at int) {
				if at != dies {
					return
				}
				// As when two last outcomes come at once, each of which takes
				// the other recipient for open: no dead record.
				number, _ := parseID(id)
				r, err := outcomeRequest(number, []Outcome{{Rcpt: 2, State: StateDelivered, Tries: 1}}, false)
				if err == nil {
					err = l.submit(t.Context(), r)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			end(0)
			if err := l.pin(outcomes); err != nil {
				t.Fatal(err)
			}
			c := copier{log: l, ctx: t.Context()}
			for i, rec := range records(t, disk, outcomes.name()) {
				r := l.pickOutcome(outcomes, rec)
				end(1 + i)
				if r != nil {
					if err := c.add(r); err != nil {
						t.Fatal(err)
					}
					if err := c.wait(); err != nil {
						t.Fatal(err)
					}
				}
			}
			end(3)
			l.unpin(outcomes)
			time.Sleep(time.Minute)
			l.mu.Lock()
			if outcomes.live != 0 || l.segs[outcomes.seq] != nil {
				t.Errorf("%d bytes are still needed, and the segment is not freed", outcomes.live)
			}
			l.mu.Unlock()
			stop()
			l, stop = running(t, disk.restart(), Config{})
			if got := l.Messages(); len(got) != 0 {
				t.Errorf("it came back to life: %+v", got[0].Outcomes)
			}
			stop()
			if t.Failed() {
				t.Fatalf("dies at step %d", dies)
			}
		})
	}
}

// A copy of an old outcome, written after a newer one, does not replace it,
// though both are of the same try.
func TestOldOutcomeCopiedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		l, stop := running(t, disk, Config{})
		id := appendBody(t, l, pattern(100), "a@a.example", "b@b.example")
		out := func(told bool, rcpts ...int) {
			var list []Outcome
			for _, r := range rcpts {
				list = append(list, Outcome{Rcpt: r, State: StateWaiting, Tries: 1, Told: told})
			}
			if err := l.Record(t.Context(), id, list...); err != nil {
				t.Fatal(err)
			}
		}
		out(false, 0, 1)
		old := rotate(t, l)
		if err := l.pin(old); err != nil {
			t.Fatal(err)
		}
		r := l.pickOutcome(old, records(t, disk, old.name())[1])
		out(true, 0)
		c := copier{log: l, ctx: t.Context()}
		if err := c.add(r); err != nil {
			t.Fatal(err)
		}
		if err := c.wait(); err != nil {
			t.Fatal(err)
		}
		l.unpin(old)
		for range 2 {
			s, _ := l.Get(id)
			if !s.Outcomes[0].Told || s.Outcomes[1].Told {
				t.Errorf("got %+v, want only the first told", s.Outcomes)
			}
			stop()
			l, stop = running(t, disk.restart(), Config{})
		}
		stop()
	})
}

// The outcomes of one message in one segment may be more than one record
// holds, and one record nearly as much as it can; the segment is freed all the
// same, and nothing is forgotten.
func TestCompactManyOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		cfg := Config{SegmentSize: 6 << 20}
		l, stop := running(t, disk, cfg)
		env := Envelope{From: "a@office.example", Rcpts: slices.Repeat([]Rcpt{{Addr: "b@c.example"}}, 1300)}
		id, err := l.Append(t.Context(), env, bytes.NewReader(pattern(10)))
		if err != nil {
			t.Fatal(err)
		}
		v := &verdict.Verdict{Detail: string(bytes.Repeat([]byte("d"), 3000))}
		for half := range 2 {
			var out []Outcome
			for i := range 650 {
				out = append(out, Outcome{Rcpt: 650*half + i, State: StateWaiting, Tries: 1, Verdict: v})
			}
			if err := l.Record(t.Context(), id, out...); err != nil {
				t.Fatal(err)
			}
		}
		first := l.last
		// What fills the segment, and the next one, is soon done with.
		for range 4 {
			other := appendBody(t, l, pattern(3<<20), "x@a.example")
			if err := l.Record(t.Context(), other, Outcome{State: StateDelivered}); err != nil {
				t.Fatal(err)
			}
		}
		l.mu.Lock()
		first.damaged = true // free it whatever its share is
		l.mu.Unlock()
		time.Sleep(time.Minute)
		l.mu.Lock()
		if first.stuck || l.segs[first.seq] == first {
			t.Errorf("the segment is not freed, stuck %v", first.stuck)
		}
		l.mu.Unlock()
		stop()
		l, stop = running(t, disk.restart(), cfg)
		defer stop()
		m := l.Messages()
		if len(m) != 1 || m[0].ID != id {
			t.Fatalf("got %d messages after a restart, want 1", len(m))
		}
		for i, o := range m[0].Outcomes {
			if o.Tries != 1 || o.Verdict == nil || o.Verdict.Detail != v.Detail {
				t.Fatalf("recipient %d: got %d tries, want the recorded outcome", i, o.Tries)
			}
		}
	})
}
