package spool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
)

var (
	cutsFlag = flag.Int("spool.cuts", 0, "power cuts in TestPowerCuts and in TestPowerCutsOnBadDisk each; 0 means 1400 and 600")
	seedFlag = flag.Uint64("spool.seed", 1, "first seed of TestPowerCuts")
)

// known is what a test knows about one message it handed in.
type known struct {
	label string // Envelope.From
	id    ID     // "" when Append did not promise anything
	body  []byte
	acked []Outcome // the last promised outcome of each recipient
	maybe []Outcome // the last one that was tried
}

func (k *known) done() bool {
	return k.id != "" && !slices.ContainsFunc(k.acked, func(o Outcome) bool { return !o.Done() })
}

// maybeDone reports whether the message may be dead.
func (k *known) maybeDone() bool {
	return !slices.ContainsFunc(k.maybe, func(o Outcome) bool { return !o.Done() })
}

// cutWorker hands in messages and outcomes until the power goes.
type cutWorker struct {
	rng      *rand.Rand
	name     string
	count    int
	disk     *faultDisk // if set, its writes and flushes are made to fail
	messages []*known
	totals   *totals
}

// totals are the counts of all workers and seeds.
type totals struct {
	cuts, kills, handedIn, accepted, delivered, lost, revived, changed atomic.Int64
}

func (w *cutWorker) run(ctx context.Context, l *Log) error {
	for {
		open := slices.DeleteFunc(slices.Clone(w.messages), func(k *known) bool { return k.id == "" || k.maybeDone() })
		var err error
		switch p := w.rng.IntN(10); {
		case p < 4 && len(open) < 12 || len(open) == 0:
			err = w.append(ctx, l)
		case p == 9:
			k := open[w.rng.IntN(len(open))]
			var body []byte
			if body, err = readAll(l, k.id); err == nil && !bytes.Equal(body, k.body) {
				w.totals.changed.Add(1)
				return fmt.Errorf("message %s is read back different from what was accepted", k.label)
			}
		default:
			err = w.record(ctx, l, open[w.rng.IntN(len(open))])
		}
		if errors.Is(err, ErrDamaged) && !errors.Is(err, errCut) && w.disk != nil && !w.disk.isDead() {
			// Nothing was promised; the disk may recover.
			time.Sleep(2 * time.Minute)
			continue
		}
		if err != nil {
			return err
		}
		if w.disk != nil && w.rng.IntN(40) == 0 {
			w.disk.breakNext(w.rng.IntN(2) == 0)
		}
	}
}

func (w *cutWorker) append(ctx context.Context, l *Log) error {
	w.count++
	k := &known{label: fmt.Sprintf("%s-%d", w.name, w.count)}
	size := w.rng.IntN(3000)
	if w.rng.IntN(6) == 0 {
		size = w.rng.IntN(5 * l.chunk)
	}
	k.body = make([]byte, size)
	for i := range k.body {
		k.body[i] = byte(w.rng.Uint32())
	}
	env := Envelope{From: k.label, Received: time.Unix(1e9, 0).UTC()}
	rcpts := 1 + w.rng.IntN(3)
	if w.rng.IntN(8) == 0 {
		rcpts = 10
	}
	for i := range rcpts {
		env.Rcpts = append(env.Rcpts, Rcpt{Addr: fmt.Sprintf("r%d@example", i)})
	}
	k.acked, k.maybe = make([]Outcome, len(env.Rcpts)), make([]Outcome, len(env.Rcpts))
	w.messages = append(w.messages, k)
	w.totals.handedIn.Add(1)
	id, err := l.Append(ctx, env, bytes.NewReader(k.body))
	if k.id = id; err == nil {
		w.totals.accepted.Add(1)
	}
	return err
}

func (w *cutWorker) record(ctx context.Context, l *Log, k *known) error {
	var outcomes []Outcome
	for i, o := range k.maybe {
		if o.Done() || w.rng.IntN(2) == 0 {
			continue
		}
		o = Outcome{Rcpt: i, State: StateWaiting, Tries: o.Tries + 1}
		if w.rng.IntN(2) == 0 {
			o.State = StateDelivered
		}
		outcomes = append(outcomes, o)
		k.maybe[i] = o
	}
	// Often in two halves at once, as when two domains end together.
	half := 0
	if w.rng.IntN(2) == 0 {
		half = len(outcomes) / 2
	}
	var errs [2]error
	var both sync.WaitGroup
	for i, list := range [][]Outcome{outcomes[:half], outcomes[half:]} {
		both.Go(func() {
			if errs[i] = l.Record(ctx, k.id, list...); errs[i] == nil {
				for _, o := range list {
					k.acked[o.Rcpt] = o
				}
			}
		})
	}
	both.Wait()
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return err
	}
	if k.done() {
		w.totals.delivered.Add(1)
	}
	return nil
}

func readAll(l *Log, id ID) ([]byte, error) {
	r, err := l.Open(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// check compares the log after a restart with what was promised, and brings
// the worker's knowledge up to date.
func (w *cutWorker) check(t *testing.T, l *Log, stored map[string]Stored) {
	t.Helper()
	var keep []*known
	for _, k := range w.messages {
		s, ok := stored[k.label]
		delete(stored, k.label)
		switch {
		case !ok && k.id == "" || k.done() && !ok:
			continue // never promised, or finished
		case k.done():
			w.totals.revived.Add(1)
			t.Errorf("%s: came back to life after its last outcome was promised", k.label)
			continue
		case !ok && k.maybeDone():
			continue
		case !ok:
			w.totals.lost.Add(1)
			t.Errorf("%s: LOST, it was accepted as %s", k.label, k.id)
			continue
		case k.id != "" && s.ID != k.id:
			t.Errorf("%s: id %s, was accepted as %s", k.label, s.ID, k.id)
		}
		k.id = s.ID
		body, err := readAll(l, s.ID)
		if err != nil {
			t.Errorf("%s: %v", k.label, err)
		} else if !bytes.Equal(body, k.body) {
			w.totals.changed.Add(1)
			t.Errorf("%s: body of %d bytes is not what was accepted (%d bytes)", k.label, len(body), len(k.body))
		}
		for i, got := range s.Outcomes {
			acked, maybe := k.acked[i], k.maybe[i]
			if between := got.State == StateWaiting && got.Tries > acked.Tries && got.Tries < maybe.Tries; !between && !same(got, acked) && !same(got, maybe) {
				t.Errorf("%s: recipient %d is %q after %d tries, want %q/%d or %q/%d", k.label, i,
					got.State, got.Tries, acked.State, acked.Tries, maybe.State, maybe.Tries)
			}
			k.acked[i], k.maybe[i] = got, got
		}
		keep = append(keep, k)
	}
	w.messages = keep
}

func same(a, b Outcome) bool { return a.State == b.State && a.Tries == b.Tries }

// TestPowerCuts cuts the power at random points, under load and during
// recovery, and checks after each restart that nothing that was promised is
// lost, changed or undone, and that nothing was reported as damage. One restart
// in five is a killed process instead, without a cut.
func TestPowerCuts(t *testing.T) {
	manyLives(t, 1400, func(*cutWorker, *faultDisk) {})
}

// TestPowerCutsOnBadDisk is TestPowerCuts on a disk on which writes and
// flushes fail every now and then, and a failed flush loses pages for good.
func TestPowerCutsOnBadDisk(t *testing.T) {
	manyLives(t, 600, func(w *cutWorker, d *faultDisk) { w.disk = d })
}

// manyLives runs one world for each seed until there were enough cuts.
func manyLives(t *testing.T, cuts int, prepare func(*cutWorker, *faultDisk)) {
	const generations = 20
	if *cutsFlag > 0 {
		cuts = *cutsFlag
	}
	var all totals
	t.Run("worlds", func(t *testing.T) {
		for i := range (cuts + generations - 1) / generations {
			seed := *seedFlag + uint64(i)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { oneWorld(t, seed, generations, &all, prepare) })
			})
		}
	})
	t.Logf("cuts %d, kills %d, handed in %d, accepted %d, delivered %d, lost %d, revived %d, changed %d",
		all.cuts.Load(), all.kills.Load(), all.handedIn.Load(), all.accepted.Load(), all.delivered.Load(), all.lost.Load(), all.revived.Load(), all.changed.Load())
}

// oneWorld lets some workers live through a number of cuts.
func oneWorld(t *testing.T, seed uint64, generations int, all *totals, prepare func(*cutWorker, *faultDisk)) {
	disk := newFaultDisk(seed)
	disk.slow = true
	rng := rand.New(rand.NewPCG(seed, 2))
	workers := make([]*cutWorker, 4)
	for i := range workers {
		workers[i] = &cutWorker{rng: rand.New(rand.NewPCG(seed, uint64(10+i))), name: fmt.Sprintf("w%d", i), totals: all}
	}
	for generation := 0; generation < generations; {
		for _, w := range workers {
			prepare(w, disk)
		}
		disk.cutAt = 1 + rng.IntN([]int{10, 100, 1000}[rng.IntN(3)])
		oneLife(t, disk, workers)
		// A process killed between a failed flush and the wipe that
		// answers it leaves what only seems to be on the disk; that
		// instant is left out.
		if rng.IntN(5) == 0 && disk.unwiped == nil {
			disk = disk.kill()
			all.kills.Add(1)
		} else {
			disk = disk.restart()
			generation++
			all.cuts.Add(1)
		}
		if t.Failed() {
			t.Fatalf("seed %d, generation %d", seed, generation)
		}
	}
	oneLife(t, disk, workers) // without a cut: everything is checked once more
	if t.Failed() {
		t.Fatalf("seed %d, at the end", seed)
	}
}

// oneLife opens the log, checks it, and works until the power goes.
func oneLife(t *testing.T, disk *faultDisk, workers []*cutWorker) {
	t.Helper()
	l, err := Open(disk, Config{SegmentSize: 64 << 10, Events: func(e event.Event) {
		if d, ok := e.(event.SpoolDamaged); ok && !disk.isDead() {
			t.Errorf("reported as damage: %s", d.Detail)
		}
	}})
	if err != nil {
		if !errors.Is(err, errCut) {
			t.Errorf("open: %v", err)
		}
		return
	}
	stored := make(map[string]Stored)
	for _, s := range l.Messages() {
		if _, twice := stored[s.Envelope.From]; twice {
			t.Errorf("%s is there twice", s.Envelope.From)
		}
		stored[s.Envelope.From] = s
	}
	if !disk.isDead() {
		for _, w := range workers {
			w.check(t, l, stored)
		}
		for label := range stored {
			t.Errorf("%s is there, but was finished or never handed in", label)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { l.Run(ctx) })
	var load sync.WaitGroup
	for _, w := range workers {
		load.Go(func() {
			if disk.cutAt == 0 {
				return
			}
			err := w.run(ctx, l)
			if !errors.Is(err, errCut) && !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
		})
	}
	load.Wait()
	cancel()
	all.Wait()
	l.Close()
}
