package spool

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/event"
)

var (
	cutsFlag = flag.Int("spool.cuts", 400, "power cuts in TestPowerCuts")
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
	for i := range 1 + w.rng.IntN(3) {
		env.Rcpts = append(env.Rcpts, Rcpt{Addr: fmt.Sprintf("r%d@example", i)})
	}
	k.acked, k.maybe = make([]Outcome, len(env.Rcpts)), make([]Outcome, len(env.Rcpts))
	w.messages = append(w.messages, k)
	id, err := l.Append(ctx, env, bytes.NewReader(k.body))
	k.id = id
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
	if err := l.Record(ctx, k.id, outcomes...); err != nil {
		return err
	}
	for _, o := range outcomes {
		k.acked[o.Rcpt] = o
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
			t.Errorf("%s: came back to life after its last outcome was promised", k.label)
			continue
		case !ok && k.maybeDone():
			continue
		case !ok:
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
	manyLives(t, *cutsFlag, func(*cutWorker, *faultDisk) {})
}

// TestPowerCutsOnBadDisk is TestPowerCuts on a disk on which writes and
// flushes fail every now and then, and a failed flush loses pages for good.
func TestPowerCutsOnBadDisk(t *testing.T) {
	manyLives(t, *cutsFlag/2, func(w *cutWorker, d *faultDisk) { w.disk = d })
}

func manyLives(t *testing.T, cuts int, prepare func(*cutWorker, *faultDisk)) {
	const generations = 20
	done, handedIn := 0, 0
	for seed := *seedFlag; done < cuts && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(seed)
			rng := rand.New(rand.NewPCG(seed, 2))
			workers := make([]*cutWorker, 4)
			for i := range workers {
				workers[i] = &cutWorker{rng: rand.New(rand.NewPCG(seed, uint64(10+i))), name: fmt.Sprintf("w%d", i)}
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
				} else {
					disk = disk.restart()
					generation++
					done++
				}
				if t.Failed() {
					t.Fatalf("seed %d, generation %d", seed, generation)
				}
			}
			oneLife(t, disk, workers) // without a cut: everything is checked once more
			for _, w := range workers {
				handedIn += w.count
			}
			if t.Failed() {
				t.Fatalf("seed %d, at the end", seed)
			}
		})
	}
	t.Logf("%d cuts, %d messages handed in, 0 accepted messages lost", done, handedIn)
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
