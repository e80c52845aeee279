package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
	"gatepost/relay/verdict"
)

// running opens a log, runs it until the test ends, and returns what ends it
// sooner.
func running(t *testing.T, disk Disk, cfg Config) (*Log, func()) {
	t.Helper()
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = 64 << 10
	}
	l, err := Open(disk, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		done.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// damages collects reports.
type damages struct {
	mu   sync.Mutex
	list []string
}

func (d *damages) sink(e event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, e.(event.SpoolDamaged).Detail)
}

func (d *damages) want(t *testing.T, parts ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) != len(parts) {
		t.Fatalf("got reports %q, want %d", d.list, len(parts))
	}
	for i, part := range parts {
		if !strings.Contains(d.list[i], part) {
			t.Errorf("got report %q, want it to say %q", d.list[i], part)
		}
	}
}

func testRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func appendBody(t *testing.T, l *Log, body []byte, rcpts ...string) ID {
	t.Helper()
	env := Envelope{From: "anna@office.example", Received: time.Unix(1e9, 0).UTC(), RequireTLS: true, EnvelopeID: "e1"}
	for _, r := range rcpts {
		env.Rcpts = append(env.Rcpts, Rcpt{Addr: r, Notify: []string{"FAILURE"}})
	}
	id, err := l.Append(t.Context(), env, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// On a real folder: sizes around the chunk, restart, outcomes, the end.
func TestAppendReadRestart(t *testing.T) {
	root := testRoot(t)
	var reports damages
	l, stop := running(t, DirDisk(root), Config{SegmentSize: 1 << 20, Events: reports.sink})
	bodies := make(map[ID][]byte)
	var ids []ID
	for _, n := range []int{0, 1, 5000, l.chunk - 1, l.chunk, l.chunk + 1, 2 * l.chunk, 2*l.chunk + 1, 3 << 20} {
		id := appendBody(t, l, pattern(n), "x@a.example", "y@b.example")
		bodies[id] = pattern(n)
		ids = append(ids, id)
	}
	v := verdict.Verdict{Outcome: verdict.Held, Reason: verdict.MXNotListed}
	next := time.Unix(2e9, 0).UTC()
	err := l.Record(t.Context(), ids[2],
		Outcome{Rcpt: 0, State: StateDelivered, Tries: 1},
		Outcome{Rcpt: 1, State: StateWaiting, Tries: 1, Next: next, Verdict: &v})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		var got []ID
		for _, s := range l.Messages() {
			got = append(got, s.ID)
			if s.Envelope.Size != int64(len(bodies[s.ID])) || !s.Envelope.RequireTLS || s.Envelope.EnvelopeID != "e1" || s.Envelope.Rcpts[1].Addr != "y@b.example" {
				t.Errorf("envelope of %s: %+v", s.ID, s.Envelope)
			}
			body, err := readAll(l, s.ID)
			if err != nil || !bytes.Equal(body, bodies[s.ID]) {
				t.Errorf("body of %s: %d bytes, %v, want %d bytes", s.ID, len(body), err, len(bodies[s.ID]))
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("got messages %v, want %v", got, ids)
		}
		s, ok := l.Get(ids[2])
		if !ok || s.Outcomes[0].State != StateDelivered || s.Outcomes[1].State != StateWaiting || !s.Outcomes[1].Next.Equal(next) || s.Outcomes[1].Verdict.Reason != verdict.MXNotListed {
			t.Errorf("outcomes: %+v", s.Outcomes)
		}
	}
	check()
	stop()
	l, stop = running(t, DirDisk(root), Config{SegmentSize: 1 << 20, Events: reports.sink})
	check()
	for _, id := range ids {
		err := l.Record(t.Context(), id, Outcome{Rcpt: 0, State: StateReturned}, Outcome{Rcpt: 1, State: StateRemoved})
		if err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if got := l.Messages(); len(got) != 0 {
			t.Errorf("got %d messages after the last outcome, want none", len(got))
		}
		if _, err := l.Open(ids[0]); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		if err := l.Record(t.Context(), ids[0], Outcome{State: StateDelivered}); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		// Only the last words stay, as long as their messages are on disk.
		if u := l.Usage(); u.Live > 4096 || u.Messages != 0 {
			t.Errorf("got %+v, want nothing live", u)
		}
		stop()
		l, stop = running(t, DirDisk(root), Config{SegmentSize: 1 << 20, Events: reports.sink})
	}
	reports.want(t)
}

func TestAppendErrors(t *testing.T) {
	l, stop := running(t, newFaultDisk(1), Config{})
	ctx := t.Context()
	env := Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}}}
	if _, err := l.Append(ctx, Envelope{}, strings.NewReader("x")); err == nil {
		t.Error("a message without recipients was accepted")
	}
	boom := errors.New("boom")
	for _, before := range []int{0, 100, 3 * l.chunk} {
		body := io.MultiReader(bytes.NewReader(pattern(before)), iotest.ErrReader(boom))
		if _, err := l.Append(ctx, env, body); !errors.Is(err, boom) {
			t.Errorf("error after %d bytes: got %v, want that of the body", before, err)
		}
	}
	huge := Envelope{From: strings.Repeat("x", maxMeta), Rcpts: env.Rcpts}
	if _, err := l.Append(ctx, huge, strings.NewReader("x")); !errors.Is(err, ErrTooBig) {
		t.Errorf("got %v, want ErrTooBig", err)
	}
	id, err := l.Append(ctx, env, iotest.OneByteReader(bytes.NewReader(pattern(3*l.chunk))))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Outcome{{Rcpt: 1, State: StateDelivered}, {Rcpt: -1, State: StateDelivered}, {State: "gone"}, {}} {
		if err := l.Record(ctx, id, o); err == nil {
			t.Errorf("outcome %+v was accepted", o)
		}
	}
	if err := l.Record(ctx, "0000000000i", Outcome{State: StateDelivered}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if got := len(l.Messages()); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
	stop()
	if _, err := l.Append(context.Background(), env, strings.NewReader("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := l.Record(context.Background(), id, Outcome{State: StateDelivered}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// Without Run nothing is promised, and a caller that gives up leaves nothing.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(newFaultDisk(1), Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Append(ctx, Envelope{Rcpts: []Rcpt{{}}}, strings.NewReader("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if len(l.queue) != 0 {
			t.Error("the record was not withdrawn")
		}
		l.Close()
	})
}

// countingDisk counts flushes of files and holds each until told.
type countingDisk struct {
	Disk
	mu    sync.Mutex
	syncs int
	gate  chan struct{}
}

func (d *countingDisk) Open(name string) (File, error) {
	f, err := d.Disk.Open(name)
	return countingFile{f, d}, err
}

type countingFile struct {
	File
	d *countingDisk
}

func (f countingFile) Sync() error {
	f.d.mu.Lock()
	f.d.syncs++
	gate := f.d.gate
	f.d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return f.File.Sync()
}

// Everybody who waits while a flush is under way shares the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &countingDisk{Disk: newFaultDisk(1)}
		l, stop := running(t, d, Config{SegmentSize: 1 << 20})
		defer stop()
		appendBody(t, l, pattern(10), "x@a.example") // the segment exists now
		d.gate = make(chan struct{})
		before := d.syncs
		var done sync.WaitGroup
		for range 50 {
			done.Go(func() { appendBody(t, l, pattern(5000), "x@a.example") })
		}
		synctest.Wait()
		if got := len(l.Messages()); got != 1 {
			t.Errorf("%d messages are there before a flush", got-1)
		}
		close(d.gate)
		done.Wait()
		if got := d.syncs - before; got > 3 {
			t.Errorf("got %d flushes for 50 messages at once, want at most 3", got)
		}
	})
}

// A slow sender of a long message holds up nobody, and takes no more memory
// than a few chunks.
func TestSlowLargeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, newFaultDisk(1), Config{})
		defer stop()
		pr, pw := io.Pipe()
		type result struct {
			id  ID
			err error
		}
		large := make(chan result)
		go func() {
			id, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}}}, pr)
			large <- result{id, err}
		}()
		body := pattern(500 << 10)
		for i := 0; i < len(body); i += 50 << 10 {
			pw.Write(body[i : i+50<<10])
			time.Sleep(time.Minute)
			begin := time.Now()
			id := appendBody(t, l, pattern(3000), "y@a.example")
			if err := l.Record(t.Context(), id, Outcome{State: StateDelivered}); err != nil {
				t.Error(err)
			}
			if time.Since(begin) > 0 {
				t.Error("a small message had to wait for the large one")
			}
		}
		pw.Close()
		r := <-large
		got, err := readAll(l, r.id)
		if r.err != nil || err != nil || !bytes.Equal(got, body) {
			t.Errorf("got %d bytes, %v, %v", len(got), r.err, err)
		}
	})
}

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		l, stop := running(t, disk, Config{Capacity: 1 << 20})
		defer stop()
		var ids []ID
		warned := false
		for {
			id, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}}}, bytes.NewReader(pattern(3000)))
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
			warned = warned || l.Usage().Percent >= WarnPercent
			if len(ids) > 1000 {
				t.Fatal("the capacity is no limit")
			}
		}
		if u := l.Usage(); u.Percent < 94 || u.Capacity != 1<<20 || !warned {
			t.Errorf("full at %+v", u)
		}
		// A smaller one may still fit: that it was refused is true of this size.
		if err := l.CanAccept(4000); !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
		// Outcomes are still taken, and make room.
		for _, id := range ids {
			if err := l.Record(t.Context(), id, Outcome{State: StateDelivered}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if err := l.CanAccept(100000); err != nil {
			t.Errorf("after everything is delivered: %v, %+v", err, l.Usage())
		}
		if err := l.CanAccept(1 << 20); !errors.Is(err, ErrFull) {
			t.Errorf("a message larger than the capacity: got %v", err)
		}
	})
}

// The disk is full because of somebody else.
func TestDiskFull(t *testing.T) {
	disk := newFaultDisk(1)
	disk.total = 10 << 20
	l, _ := running(t, disk, Config{})
	id := appendBody(t, l, pattern(1000), "x@a.example")
	if err := l.CanAccept(9 << 20); err != nil {
		t.Errorf("got %v", err)
	}
	disk.mu.Lock()
	disk.names["other"] = &inode{data: make([]byte, 10<<20)}
	disk.mu.Unlock()
	l.mu.Lock()
	l.space.forget()
	l.mu.Unlock()
	if err := l.CanAccept(0); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := l.Record(t.Context(), id, Outcome{State: StateDelivered}); err != nil {
		t.Errorf("an outcome on a full disk: %v", err)
	}
}

func TestIDs(t *testing.T) {
	l, err := Open(newFaultDisk(1), Config{Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for range 1000 {
		n := l.newNumber()
		id := formatID(n)
		if back, ok := parseID(id); !ok || back != n || id <= last || len(id) != idLength {
			t.Fatalf("id %q of %d after %q", id, n, last)
		}
		last = id
	}
	for _, bad := range []string{"", "0", strings.Repeat("0", 12), strings.Repeat("i", 11), "ABCDEFGHJKM", "../../../..", "0000000000\x00"} {
		if _, ok := parseID(bad); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// An id is not used again, even when its message is gone, the segments are
// freed and the clock is wrong after a restart.
func TestIDsNeverReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		seen := make(map[ID]bool)
		clock := time.Unix(2e9, 0)
		for round := range 5 {
			l, stop := running(t, disk, Config{Now: func() time.Time { return clock }})
			for i := range 50 {
				if i == 48 {
					time.Sleep(time.Minute) // everything before is freed
				}
				id := appendBody(t, l, pattern(30000), "x@a.example")
				if seen[id] {
					t.Fatalf("id %s was used twice", id)
				}
				seen[id] = true
				if err := l.Record(t.Context(), id, Outcome{State: StateDelivered}); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			clock = time.Unix(int64(round), 0)
		}
	})
}

// The header of the newest segment remembers the ids of segments that are gone.
func TestFloor(t *testing.T) {
	disk := newFaultDisk(1)
	l, stop := running(t, disk, Config{})
	id := appendBody(t, l, pattern(100), "x@a.example")
	name, size, err := l.takeSpare(blockSize)
	if err != nil {
		t.Fatal(err)
	}
	old := l.active
	if err := l.activate(name, size); err != nil {
		t.Fatal(err)
	}
	l.retire(old)
	stop()
	disk.Remove(segmentNames(disk)[0])
	l, _ = running(t, disk, Config{Now: func() time.Time { return time.Unix(0, 0) }})
	if next := appendBody(t, l, pattern(100), "x@a.example"); next <= id {
		t.Errorf("got id %s after %s", next, id)
	}
}

// When a flush fails after a part of a long message was written, the message
// is not accepted.
func TestPartLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		l, stop := running(t, disk, Config{})
		defer stop()
		pr, pw := io.Pipe()
		result := make(chan error)
		go func() {
			_, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "x@a.example"}}}, pr)
			result <- err
		}()
		pw.Write(pattern(2*l.chunk + 1)) // a part is written, not flushed
		synctest.Wait()
		disk.breakNext(true)
		if _, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{}}}, strings.NewReader("x")); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", err)
		}
		time.Sleep(time.Minute)
		pw.Close()
		if err := <-result; !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", err)
		}
		if got := l.Messages(); len(got) != 0 {
			t.Errorf("got %d messages, want none", len(got))
		}
		appendBody(t, l, pattern(100), "x@a.example") // it works again
	})
}
