package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A call of the disk that finds no room, whichever it is, costs no accepted
// message and no outcome: what was not promised is said so, and can be done
// again.
func TestNoSpaceOnce(t *testing.T) {
	calls := 0
	for at := 1; at == 1 || at <= calls; at++ {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(1)
			var reports damages
			l, err := Open(disk, Config{SegmentSize: 32 << 10, Events: reports.sink})
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			begin := disk.ops
			disk.fullAt = 2*begin + at // the second Open is left out
			l, stop := running(t, disk, Config{SegmentSize: 32 << 10, Events: reports.sink, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
			waiting := fillSome(t, l)
			stop()
			calls = disk.ops - 2*begin
			l, stop = running(t, disk.restart(), Config{SegmentSize: 32 << 10, Events: reports.sink})
			compare(t, l, waiting)
			stop()
			reports.want(t)
			if t.Failed() {
				t.Fatalf("no room at call %d", at)
			}
		})
	}
	t.Logf("each of %d calls", calls)
}

// From some call on the disk takes nothing more, because of somebody else and
// whatever it says about its free space. Then messages are refused, every
// outcome is recorded at the first try, and all is well when there is room.
func TestNoSpaceForLong(t *testing.T) {
	for at := range 40 {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(1)
			var reports damages
			l, stop := running(t, disk, Config{SegmentSize: 256 << 10, Events: reports.sink})
			synctest.Wait()
			waiting := make(map[ID][]byte)
			refused := 0
			for i := range 200 {
				if i == at {
					disk.mu.Lock()
					disk.full = true
					disk.mu.Unlock()
				}
				body := pattern(2000 + i*50)
				id, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}}}, bytes.NewReader(body))
				if err == nil {
					waiting[id] = body
				} else if refused++; !errors.Is(err, ErrFull) {
					t.Fatalf("message %d: got %v, want ErrFull", i, err)
				}
				time.Sleep(time.Second)
			}
			if err := l.CanAccept(20_000); refused == 0 || !errors.Is(err, ErrFull) {
				t.Errorf("%d were refused, CanAccept %v; want ErrFull before DATA", refused, err)
			}
			n := 0
			for id := range waiting {
				o := Outcome{State: StateWaiting, Tries: 1}
				if n%3 == 0 {
					o.State = StateDelivered
				}
				if err := l.Record(t.Context(), id, o); err != nil {
					t.Errorf("outcome %d of %d: %v", n, len(waiting), err)
				}
				if n++; o.Done() {
					delete(waiting, id)
				}
				if n == 12 { // each takes a block when they come one by one
					break
				}
			}
			disk.mu.Lock()
			disk.full = false
			disk.mu.Unlock()
			time.Sleep(2 * time.Minute)
			id := appendBody(t, l, pattern(5000), "x@a.example")
			waiting[id] = pattern(5000)
			compare(t, l, waiting)
			stop()
			l, stop = running(t, disk.restart(), Config{SegmentSize: 256 << 10, Events: reports.sink})
			compare(t, l, waiting)
			stop()
			reports.want(t)
			if t.Failed() {
				t.Fatalf("full after %d messages", at)
			}
		})
	}
}

// After an attempt that found no room the compactor learns that there is room
// again, also when a spare was had in another way: a message that then begins a
// new segment is not refused half way for the sake of the outcomes.
func TestRoomIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, newFaultDisk(1), Config{SegmentSize: 32 << 10})
		defer stop()
		synctest.Wait() // the first spare is there
		l.mu.Lock()
		l.noSpare = true
		l.mu.Unlock()
		time.Sleep(compactEvery + time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.noSpare {
			t.Error("still thought to be without room")
		}
	})
}

// fillSome hands in 18 messages and outcomes, and does again what was refused
// for want of room. It returns the bodies of those that wait.
func fillSome(t *testing.T, l *Log) map[ID][]byte {
	t.Helper()
	waiting := make(map[ID][]byte)
	again := func(what string, do func() error) {
		t.Helper()
		for try := range 3 {
			err := do()
			if err == nil {
				return
			}
			if !errors.Is(err, ErrFull) {
				t.Fatalf("%s: got %v, want ErrFull", what, err)
			}
			if try == 2 {
				l.mu.Lock()
				u, uerr := l.usage()
				t.Logf("no spare %v, %d spares, %d segments, active %+v, usage %+v %v, room %v",
					l.noSpare, len(l.spares), len(l.segs), l.active, u, uerr, l.roomErr)
				l.mu.Unlock()
				t.Fatalf("%s: %v, though there was room again", what, err)
			}
			time.Sleep(2 * time.Minute)
		}
	}
	for i := range 18 {
		body := pattern(500 + i*200)
		if i%6 == 5 {
			body = pattern(3*l.chunk + i)
		}
		var id ID
		what := fmt.Sprintf("message %d", i)
		again(what, func() (err error) {
			id, err = l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}, {Addr: "y@b.example"}}}, bytes.NewReader(body))
			return err
		})
		again("first outcome of "+what, func() error { return l.Record(t.Context(), id, Outcome{Rcpt: 0, State: StateDelivered, Tries: 1}) })
		if i%4 == 0 {
			waiting[id] = body
			continue
		}
		again("last outcome of "+what, func() error { return l.Record(t.Context(), id, Outcome{Rcpt: 1, State: StateDelivered, Tries: 1}) })
		time.Sleep(6 * time.Second) // the compactor works too
	}
	return waiting
}

// compare checks that exactly these messages wait, with these bodies.
func compare(t *testing.T, l *Log, waiting map[ID][]byte) {
	t.Helper()
	all := l.Messages()
	if len(all) != len(waiting) {
		t.Errorf("got %d messages, want %d", len(all), len(waiting))
	}
	for _, s := range all {
		if body, err := readAll(l, s.ID); err != nil || !bytes.Equal(body, waiting[s.ID]) {
			t.Errorf("%s: %d bytes, %v, want %d", s.ID, len(body), err, len(waiting[s.ID]))
		}
	}
}
