package nbd

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// history is a disk's whole life: what each sector may hold after a cut.
type history struct {
	t        *testing.T
	disk     *Disk
	rng      *rand.Rand
	stamp    byte
	versions [][]byte // of each sector: the durable one, then those in the cache
}

const sectors = 64

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	d, err := NewDisk(sectors * SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{t: t, disk: d, rng: rand.New(rand.NewPCG(seed, 0)), versions: make([][]byte, sectors)}
	for i := range h.versions {
		h.versions[i] = []byte{0}
	}
	return h
}

// write writes up to eight sectors with the next stamp.
func (h *history) write(fua bool) {
	h.t.Helper()
	h.stamp++
	n := 1 + h.rng.IntN(8)
	at := h.rng.IntN(sectors - n)
	if err := h.disk.Write(bytes.Repeat([]byte{h.stamp}, n*SectorSize), int64(at*SectorSize), fua); err != nil {
		h.t.Fatal(err)
	}
	for i := at; i < at+n; i++ {
		if fua {
			h.versions[i] = nil
		}
		h.versions[i] = append(h.versions[i], h.stamp)
	}
}

func (h *history) flush() {
	h.t.Helper()
	if err := h.disk.Flush(); err != nil {
		h.t.Fatal(err)
	}
	for i, v := range h.versions {
		h.versions[i] = v[len(v)-1:]
	}
}

// read returns the stamp of each sector, which must be whole.
func (h *history) read() []byte {
	h.t.Helper()
	b := make([]byte, sectors*SectorSize)
	if _, err := h.disk.ReadAt(b, 0); err != nil {
		h.t.Fatal(err)
	}
	var stamps []byte
	for s := range slices.Chunk(b, SectorSize) {
		if !bytes.Equal(s, bytes.Repeat(s[:1], SectorSize)) {
			h.t.Fatal("a sector is torn")
		}
		stamps = append(stamps, s[0])
	}
	return stamps
}

// After a flush nothing is lost; without one something is, in every way that
// the model knows, and never anything but an older version.
func TestCutTakesOnlyTheCache(t *testing.T) {
	var newest, older, durable, untouched int
	for seed := range uint64(500) {
		h := newHistory(t, seed)
		for range h.rng.IntN(30) {
			switch h.rng.IntN(8) {
			case 0:
				h.flush()
			case 1:
				h.write(true)
			default:
				h.write(false)
			}
		}
		before := h.read()
		for i, v := range h.versions {
			if before[i] != v[len(v)-1] {
				t.Fatalf("seed %d: sector %d reads as %d before the cut, want %d", seed, i, before[i], v[len(v)-1])
			}
		}
		report := h.disk.Cut(seed)
		if _, err := h.disk.ReadAt(make([]byte, SectorSize), 0); !errors.Is(err, ErrNoPower) {
			t.Fatalf("seed %d: read without power: got %v, want %v", seed, err, ErrNoPower)
		}
		h.disk.PowerOn()
		for i, got := range h.read() {
			v := h.versions[i]
			switch n := slices.Index(v, got); {
			case n < 0:
				t.Fatalf("seed %d: %v: sector %d holds %d, which was never to be had: want one of %d", seed, report, i, got, v)
			case len(v) == 1:
				untouched++
			case n == len(v)-1:
				newest++
			case n == 0:
				durable++
			default:
				older++
			}
		}
	}
	t.Logf("sectors in the cache: %d newest, %d a version between, %d as before; %d not in the cache", newest, older, durable, untouched)
	for _, n := range []int{newest, older, durable, untouched} {
		if n < 100 {
			t.Errorf("one way of the cut was seen only %d times", n)
		}
	}
}

// What the cut leaves is the same for the same seed, another for others, and
// stays as it is: a second cut takes nothing.
func TestCutIsRepeatable(t *testing.T) {
	outcome := func(seed uint64) string {
		h := newHistory(t, 7)
		for range 20 {
			h.write(false)
		}
		h.disk.Cut(seed)
		h.disk.PowerOn()
		left := string(h.read())
		if h.disk.Cut(seed + 1); h.disk.counted.Flushes != 0 {
			t.Fatal("there was a flush")
		}
		h.disk.PowerOn()
		if again := string(h.read()); again != left {
			t.Errorf("seed %d: a second cut took something", seed)
		}
		return left
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		left := outcome(seed)
		if outcome(seed) != left {
			t.Errorf("seed %d: two outcomes", seed)
		}
		seen[left] = true
	}
	if len(seen) < 20 {
		t.Errorf("40 seeds gave %d outcomes", len(seen))
	}
}

// The cache has an end: what is pushed out of it is on the medium.
func TestCacheIsBounded(t *testing.T) {
	d, err := NewDisk(2 * CacheBytes)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	for off := int64(0); off < d.Size(); off += size {
		if err := d.Write(bytes.Repeat([]byte{1}, size), off, false); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(20) {
		d.Cut(seed)
	}
	d.PowerOn()
	b := make([]byte, d.Size())
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if zero(b[:CacheBytes]) || bytes.IndexByte(b[:CacheBytes], 0) >= 0 {
		t.Error("what no longer fitted into the cache was lost")
	}
	if bytes.IndexByte(b[CacheBytes:], 0) < 0 {
		t.Error("nothing of the cache was lost in 20 cuts")
	}
}

// A trap holds the n-th flush until the cut.
func TestTrap(t *testing.T) {
	h := newHistory(t, 1)
	sprung := h.disk.Trip(2)
	h.write(false)
	h.flush()
	h.write(false)
	h.write(false)
	select {
	case <-sprung:
		t.Fatal("the trap went off early")
	default:
	}
	done := make(chan error)
	go func() { done <- h.disk.Flush() }()
	<-sprung
	read := make(chan error)
	go func() {
		_, err := h.disk.ReadAt(make([]byte, SectorSize), 0)
		read <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the flush was answered: %v", err)
	default:
	}
	if r := h.disk.Cut(1); r.Cached != 2 {
		t.Errorf("the flush in which the power went has flushed: %d writes in the cache, want 2", r.Cached)
	}
	for _, c := range []chan error{done, read} {
		if err := <-c; !errors.Is(err, ErrNoPower) {
			t.Errorf("got %v, want %v", err, ErrNoPower)
		}
	}
	h.disk.PowerOn()
	if err := h.disk.Flush(); err != nil {
		t.Errorf("after the cut the trap is gone: %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	h := newHistory(t, 1)
	for range 20 {
		h.write(false)
	}
	h.flush()
	want := h.read()
	h.write(false) // is not on the medium
	if err := h.disk.Save(file); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDisk(file)
	if err != nil {
		t.Fatal(err)
	}
	h.disk = d
	if got := h.read(); !bytes.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
}
