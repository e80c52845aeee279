package nbd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// SectorSize is what a cut leaves whole, in bytes.
const SectorSize = 512

// CacheBytes is how much the volatile cache holds.
const CacheBytes = 32 << 20

// Errors of a Disk.
var (
	// ErrRange means that a request is not within the disk or not made of
	// whole sectors.
	ErrRange = errors.New("nbd: not whole sectors of the disk")
	// ErrNoPower means that the power is cut: nothing is answered any more.
	ErrNoPower = errors.New("nbd: the power is cut")
)

// Counters are what a disk was asked for since it was made.
type Counters struct {
	Reads, ReadBytes     int64
	Writes, WrittenBytes int64 // zeroes and trims included
	Flushes, FUA         int64
}

// Disk is a disk with a volatile cache, in memory. Memory is taken only for
// what was written. Its methods may be called concurrently.
type Disk struct {
	mu      sync.Mutex
	now     []byte  // what a read finds
	medium  []byte  // what a cut cannot take
	cache   []write // answered, not on the medium, oldest first
	cached  int64   // bytes in cache
	counted Counters
	dead    bool

	left    int           // flushes until the trap; 0 means no trap
	tripped chan struct{} // closed by the trap
	power   chan struct{} // closed by Cut
}

// write is one write in the cache.
type write struct {
	off  int64
	data []byte
	done []bool // sectors that a later forced write has replaced; nil for none
}

// NewDisk makes a disk of the given size in bytes, whole sectors, that is all
// zeros.
func NewDisk(size int64) (*Disk, error) {
	if size <= 0 || size%SectorSize != 0 {
		return nil, fmt.Errorf("%w: a disk of %d bytes", ErrRange, size)
	}
	// Pages that are never touched take no memory.
	return &Disk{now: make([]byte, size), medium: make([]byte, size), power: make(chan struct{})}, nil
}

// LoadDisk makes a disk with the content of an image file.
func LoadDisk(file string) (*Disk, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d, err := NewDisk(info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for off := 0; off < len(d.now); off += chunk {
		part := make([]byte, min(chunk, len(d.now)-off))
		if _, err := f.ReadAt(part, int64(off)); err != nil {
			return nil, err
		}
		if !zero(part) {
			copy(d.now[off:], part)
			copy(d.medium[off:], part)
		}
	}
	return d, nil
}

// chunk is the unit in which image files are read and written.
const chunk = 64 << 10

// zero reports whether there is nothing but zeros.
func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Save writes what is on the medium now, without the cache, to a sparse file.
func (d *Disk) Save(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d.mu.Lock()
	defer d.mu.Unlock()
	for off := 0; off < len(d.medium); off += chunk {
		part := d.medium[off:min(off+chunk, len(d.medium))]
		if zero(part) {
			continue
		}
		if _, err := f.WriteAt(part, int64(off)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(d.medium)))
}

// Size is in bytes.
func (d *Disk) Size() int64 { return int64(len(d.now)) }

// Counters returns what was asked so far.
func (d *Disk) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counted
}

// Trip sets a trap: the n-th flush from now is neither done nor answered, nor is
// any request after it answered, until [Disk.Cut]. That is when the cache is
// fullest. The channel is closed when the trap has gone off. A cut takes an
// unsprung trap away.
func (d *Disk) Trip(n int) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.tripped = max(n, 1), make(chan struct{})
	return d.tripped
}

// step counts a flush for the trap; the caller holds mu. The channel
// is not nil when the answer must be held back until it is closed.
func (d *Disk) step() <-chan struct{} {
	if d.left > 0 {
		if d.left--; d.left == 0 {
			close(d.tripped)
		}
	}
	return d.stuck()
}

// stuck is the channel to wait for when the trap has gone off, else nil; the
// caller holds mu.
func (d *Disk) stuck() <-chan struct{} {
	if d.tripped != nil && d.left == 0 {
		return d.power
	}
	return nil
}

// hold waits for the end of the power where the trap has gone off.
func hold(stuck <-chan struct{}) error {
	if stuck == nil {
		return nil
	}
	<-stuck
	return ErrNoPower
}

func (d *Disk) check(off, size int64) error {
	if off < 0 || size < 0 || off > d.Size() || size > d.Size()-off || off%SectorSize != 0 || size%SectorSize != 0 {
		return fmt.Errorf("%w: %d bytes at %d", ErrRange, size, off)
	}
	return nil
}

// ReadAt reads whole sectors.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return 0, ErrNoPower
	}
	d.counted.Reads++
	d.counted.ReadBytes += int64(len(p))
	copy(p, d.now[off:])
	stuck := d.stuck()
	d.mu.Unlock()
	return len(p), hold(stuck)
}

// Write puts whole sectors into the cache, with fua also on the medium. The
// disk keeps data.
func (d *Disk) Write(data []byte, off int64, fua bool) error {
	if err := d.check(off, int64(len(data))); err != nil {
		return err
	}
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return ErrNoPower
	}
	d.counted.Writes++
	d.counted.WrittenBytes += int64(len(data))
	copy(d.now[off:], data)
	stuck := d.stuck()
	if fua && stuck == nil {
		d.counted.FUA++
		d.force(write{off: off, data: data})
	} else {
		d.cache = append(d.cache, write{off: off, data: data})
		d.cached += int64(len(data))
		d.destage()
	}
	d.mu.Unlock()
	return hold(stuck)
}

// destage makes room in the cache: the oldest writes go to the medium. The
// caller holds mu.
func (d *Disk) destage() {
	for d.cached > CacheBytes {
		d.settle(d.cache[0], nil)
		d.cached -= int64(len(d.cache[0].data))
		d.cache = d.cache[1:]
	}
}

// force puts a write on the medium; no older version of its sectors can come
// after it. The caller holds mu.
func (d *Disk) force(w write) {
	for i := range d.cache {
		old := &d.cache[i]
		from, to := max(old.off, w.off), min(old.off+int64(len(old.data)), w.off+int64(len(w.data)))
		if from < to && old.done == nil {
			old.done = make([]bool, len(old.data)/SectorSize)
		}
		for s := from; s < to; s += SectorSize {
			old.done[(s-old.off)/SectorSize] = true
		}
	}
	copy(d.medium[w.off:], w.data)
}

// Flush puts the cache on the medium.
func (d *Disk) Flush() error {
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return ErrNoPower
	}
	d.counted.Flushes++
	stuck := d.step()
	// A flush in which the power goes is no flush.
	if stuck == nil {
		for _, w := range d.cache {
			d.settle(w, nil)
		}
		d.cache, d.cached = nil, 0
	}
	d.mu.Unlock()
	return hold(stuck)
}

// settle puts the sectors that kept names (nil: all) on the medium. The caller
// holds mu.
func (d *Disk) settle(w write, kept func(sector int) bool) {
	for i := 0; i*SectorSize < len(w.data); i++ {
		if w.done != nil && w.done[i] || kept != nil && !kept(i) {
			continue
		}
		part := w.data[i*SectorSize : (i+1)*SectorSize]
		copy(d.medium[w.off+int64(i*SectorSize):], part)
	}
}

var _ io.ReaderAt = (*Disk)(nil)
