package nbd

import (
	"fmt"
	"math/rand/v2"
)

// Fates are how a cut may treat the cache.
const (
	fateNothing = iota // nothing of it has reached the medium
	fateOrder          // the medium has it up to some write, which is torn
	fateFew            // each write has reached the medium with 10 per cent
	fateHalf
	fateMost // ... 90 per cent
	fateAll  // everything but a torn write
	fates
)

// A CutReport is what a cut did to the cache.
type CutReport struct {
	Seed                        uint64
	Fate                        string
	Cached, Kept, Dropped, Torn int   // writes
	CachedBytes, LostBytes      int64 // bytes of the cache; those not on the medium
}

// String says it for people.
func (r CutReport) String() string {
	return fmt.Sprintf("seed %d: %s: of %d unflushed writes (%d KB) %d kept, %d torn, %d dropped",
		r.Seed, r.Fate, r.Cached, r.CachedBytes>>10, r.Kept, r.Torn, r.Dropped)
}

// Cut cuts the power: it decides by the seed what of the cache has reached the
// medium, and forgets the rest. Requests that wait or come later get
// [ErrNoPower] until [Disk.PowerOn]. The same cache and the same seed give the
// same medium.
func (d *Disk) Cut(seed uint64) CutReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := CutReport{Seed: seed, Cached: len(d.cache), CachedBytes: d.cached}
	rng := rand.New(rand.NewPCG(seed, 0x6375)) // "cu": one stream for each seed
	fate := rng.IntN(fates)
	r.Fate = [...]string{"nothing", "in order", "few", "half", "most", "nearly all"}[fate]
	keep := [...]float64{0, 1, 0.1, 0.5, 0.9, 1}[fate]
	tear := [...]float64{0, 0, 0.3, 0.3, 0.3, 0}[fate]
	end := len(d.cache)
	if fate == fateOrder {
		end = rng.IntN(end + 1)
	}
	torn := -1
	if fate == fateOrder || fate == fateAll {
		torn = end - 1
	}
	// Sectors with several versions: the last to be applied wins.
	order := rng.Perm(len(d.cache))
	if fate == fateOrder || fate == fateAll || rng.IntN(2) == 0 {
		for i := range order {
			order[i] = i
		}
	}
	for _, i := range order {
		w := d.cache[i]
		switch {
		case i >= end || rng.Float64() >= keep:
			r.Dropped++
			r.LostBytes += int64(len(w.data))
		case i == torn || rng.Float64() < tear:
			d.settle(w, tearing(rng, len(w.data)/SectorSize, &r))
		default:
			d.settle(w, nil)
			r.Kept++
		}
	}
	for _, w := range d.cache {
		copy(d.now[w.off:w.off+int64(len(w.data))], d.medium[w.off:])
	}
	d.cache, d.cached = nil, 0
	d.dead, d.left, d.tripped = true, 0, nil
	close(d.power)
	d.power = make(chan struct{})
	return r
}

// tearing says which sectors of a torn write are kept: a beginning, an end, or
// any of them.
func tearing(rng *rand.Rand, sectors int, r *CutReport) func(int) bool {
	r.Torn++
	at, kept := rng.IntN(sectors+1), make([]bool, sectors)
	kind := rng.IntN(3)
	for i := range kept {
		switch kind {
		case 0:
			kept[i] = i < at
		case 1:
			kept[i] = i >= at
		default:
			kept[i] = rng.IntN(2) == 0
		}
		if !kept[i] {
			r.LostBytes += SectorSize
		}
	}
	return func(i int) bool { return kept[i] }
}

// PowerOn lets the disk answer again, with what is on the medium.
func (d *Disk) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = false
}
