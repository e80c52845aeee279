package led

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// anyConditions are conditions as they may come in any order.
func anyConditions(rnd *rand.Rand) Conditions {
	coin := func() bool { return rnd.IntN(4) == 0 }
	return Conditions{
		Button: Button(max(0, rnd.IntN(12)-8)), Updating: coin(), Booting: coin(), Dead: coin(),
		Held: coin(), DiskFull: coin(), Backlog: coin(), RolledBack: coin(), NoNetwork: coin(),
		UpdateReady: coin(), Find: coin(), Mode: Mode(max(0, rnd.IntN(6)-3)), Link: coin(), Lease: coin(),
	}
}

// Whatever happens, no light comes on more than three times in any second.
func TestNeverMoreThanThreeFlashesInASecond(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 8461))
			r := newRig(t, []int{4, 2, 1}[seed%3])
			for range 400 {
				r.Set(anyConditions(rnd))
				r.Mail()
				time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
			}
			r.stop()
			for i, edges := range r.recording() {
				if len(edges) < 20 {
					t.Errorf("seed %d: light %d changed only %d times", seed, i, len(edges))
				}
				if n := mostRises(edges, time.Second); n > maxFlashes {
					t.Fatalf("seed %d: light %d came on %d times within a second", seed, i, n)
				}
			}
		})
	}
}

// What the machine says it will show is what it shows, also when nobody asks
// it for its levels in between.
func TestAheadIsWhatComes(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		now := time.Unix(1000, 0)
		n := []int{4, 2, 1}[seed%3]
		asked, err := NewMachine(n, now)
		if err != nil {
			t.Fatal(err)
		}
		silent, _ := NewMachine(n, now)
		for range 30 {
			c := anyConditions(rnd)
			asked.Set(c, now)
			silent.Set(c, now)
			if rnd.IntN(2) == 0 {
				asked.Mail(now)
				silent.Mail(now)
			}
			d := time.Duration(1+rnd.IntN(12000)) * time.Millisecond
			want := asked.Ahead(now, d)
			quiet := silent.Ahead(now, d)
			got := make([][]Step, n)
			for at, end := now, now.Add(d); at.Before(end); {
				levels, next := asked.Levels(at)
				if next.IsZero() || next.After(end) {
					next = end
				}
				for i, l := range levels {
					if k := len(got[i]); k > 0 && got[i][k-1].Level == l {
						got[i][k-1].For += next.Sub(at)
					} else {
						got[i] = append(got[i], Step{l, next.Sub(at)})
					}
				}
				at = next
			}
			for i := range n {
				if !slices.Equal(got[i], want[i]) || !slices.Equal(quiet[i], want[i]) {
					t.Fatalf("seed %d, light %d, %+v:\ncame  %v\nahead %v\nahead of the silent one %v", seed, i, c, got[i], want[i], quiet[i])
				}
			}
			now = now.Add(d)
		}
	}
}
