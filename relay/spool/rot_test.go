package spool

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rot damages some segments at rest: single bits, or whole sectors. The newest
// is damaged in one place at most: a last record that is damaged together with
// the mark behind it cannot be told from a torn tail.
func rot(disk *faultDisk, rng *rand.Rand) (flips int) {
	disk.mu.Lock()
	defer disk.mu.Unlock()
	names := slices.Sorted(maps.Keys(disk.names))
	for i, name := range names {
		node, most := disk.names[name], 4
		if !slices.ContainsFunc(names[i+1:], func(n string) bool { return strings.HasSuffix(n, segmentSuffix) }) {
			most = 1
		}
		if !strings.HasSuffix(name, segmentSuffix) || rng.IntN(2) == 0 {
			continue
		}
		for range 1 + rng.IntN(most) {
			at := rng.IntN(len(node.data))
			flips++
			switch rng.IntN(4) {
			case 0:
				clear(node.data[at/sectorSize*sectorSize:][:sectorSize])
			case 1:
				for i := range node.data[at/sectorSize*sectorSize:][:sectorSize] {
					node.data[at/sectorSize*sectorSize+i] = byte(rng.Uint32())
				}
			default:
				node.data[at] ^= 1 << rng.IntN(8)
			}
		}
		node.stable, node.pending = bytes.Clone(node.data), nil
	}
	return flips
}

// Whatever rots on the disk, no message is ever read back different from what
// was accepted: it is right, or an error, or gone and reported. What could be
// read after the damage can be read for ever after, and the damage is not told
// twice.
func TestRot(t *testing.T) {
	flips, intact, refused, lost := 0, 0, 0, 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			disk := newFaultDisk(seed)
			bodies := make(map[ID][]byte)
			waiting := make(map[ID]bool)
			l, stop := running(t, disk, Config{})
			for i := range 60 {
				body := make([]byte, rng.IntN(6000))
				if i%12 == 0 {
					body = make([]byte, 30000)
				}
				for j := range body {
					body[j] = byte(rng.Uint32())
				}
				id := appendBody(t, l, body, "x@a.example", "y@b.example")
				o := Outcome{Rcpt: rng.IntN(2), State: []string{StateWaiting, StateDelivered}[rng.IntN(2)], Tries: 1}
				if err := l.Record(t.Context(), id, o); err != nil {
					t.Fatal(err)
				}
				if bodies[id], waiting[id] = body, i%3 > 0; i%3 == 0 {
					both := []Outcome{{Rcpt: 0, State: StateDelivered}, {Rcpt: 1, State: StateDelivered}}
					if err := l.Record(t.Context(), id, both...); err != nil {
						t.Fatal(err)
					}
				}
			}
			stop()
			flips += rot(disk, rng)
			readable := make(map[ID]bool)
			for round := range 3 {
				var reports damages
				l, stop = running(t, disk, Config{Events: reports.sink})
				for _, s := range l.Messages() {
					want, known := bodies[s.ID]
					got, err := readAll(l, s.ID)
					switch {
					case !known:
						t.Errorf("%s was never accepted", s.ID)
					case err == nil && !bytes.Equal(got, want):
						t.Errorf("%s is read back different from what was accepted", s.ID)
					case err == nil && (s.Envelope.Size != int64(len(want)) || len(s.Outcomes) != 2 || s.Envelope.Rcpts[1].Addr != "y@b.example"):
						t.Errorf("%s: envelope %+v", s.ID, s.Envelope)
					case err == nil && round == 0:
						readable[s.ID] = true
					case err != nil && !errors.Is(err, ErrDamaged):
						t.Errorf("%s: %v", s.ID, err)
					case err != nil && readable[s.ID]:
						t.Errorf("round %d: %s could be read before: %v", round, s.ID, err)
					case err != nil && round == 0:
						refused++
					}
				}
				if round == 0 {
					intact += len(readable)
					missing := 0
					for id, w := range waiting {
						if _, ok := l.Get(id); w && !ok {
							missing++
						}
					}
					if lost += missing; missing > 0 && len(reports.list) == 0 {
						t.Errorf("%d messages are gone, and nothing is reported", missing)
					}
				} else if len(reports.list) > 0 {
					t.Errorf("round %d: reported again: %q", round, reports.list)
				}
				for id := range readable {
					if _, ok := l.Get(id); !ok {
						t.Errorf("round %d: %s is gone", round, id)
					}
				}
				appendBody(t, l, pattern(10), "x@a.example", "y@b.example")
				for _, s := range l.Messages() {
					if bodies[s.ID] == nil {
						bodies[s.ID] = pattern(10)
					}
				}
				time.Sleep(time.Minute) // it copies forward what it can
				stop()
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
	t.Logf("%d places damaged: %d messages right, %d refused, %d gone and reported, 0 different", flips, intact, refused, lost)
}
