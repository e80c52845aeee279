package spool

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

var errCut = errors.New("the power is cut")

// faultDisk is a Disk in memory with a volatile cache. What was not flushed is,
// at a cut, dropped, kept, torn or turned to garbage at random, sector by
// sector and in any order; the same goes for names without SyncDir.
type faultDisk struct {
	mu    sync.Mutex
	rng   *rand.Rand
	total int64

	names   map[string]*inode // as seen now
	stable  map[string]*inode // as after a cut
	pending []dirOp

	ops   int
	cutAt int // the operation in which the power goes; 0 for never
	dead  bool
	// syncErr and writeErr are returned by the next Sync or WriteAt.
	syncErr, writeErr error
	// full makes every call that takes more room of the file system fail;
	// fullAt is the operation that fails once, whatever it is.
	full   bool
	fullAt int
	// slow makes calls take a random time, so that whatever can happen
	// meanwhile does.
	slow bool
	// unwiped is the file of the last failed flush until a flush succeeds.
	unwiped *inode
}

type dirOp struct {
	kind     string // create, rename, remove
	from, to string
	node     *inode
}

type inode struct {
	data    []byte // as seen now
	stable  []byte // as after a cut, if nothing pending survives
	pending []sectorWrite
}

const sectorSize = 512

// sectorWrite is a pending write within one sector, or a pending new size.
type sectorWrite struct {
	off  int64
	data []byte
	size int64
}

func newFaultDisk(seed uint64) *faultDisk {
	return &faultDisk{
		rng: rand.New(rand.NewPCG(seed, 1)), total: 1 << 40,
		names: map[string]*inode{}, stable: map[string]*inode{},
	}
}

// step counts an operation, which takes more room or not; the caller holds mu.
// It returns errCut when the power is gone, and sets dead when it goes now.
func (d *faultDisk) step(takes bool) error {
	if d.dead {
		return errCut
	}
	d.ops++
	if d.cutAt > 0 && d.ops >= d.cutAt {
		d.dead = true
	}
	if d.ops == d.fullAt || takes && d.full {
		return syscall.ENOSPC
	}
	return nil
}

// wait lets a call take up to limit; the caller does not hold mu.
func (d *faultDisk) wait(limit time.Duration) {
	d.mu.Lock()
	if !d.slow || d.dead || d.rng.IntN(2) == 0 {
		d.mu.Unlock()
		return
	}
	took := time.Duration(d.rng.Int64N(int64(limit)))
	d.mu.Unlock()
	time.Sleep(took)
}

// result is what the operation that was just carried out returns.
func (d *faultDisk) result() error {
	if d.dead {
		return errCut
	}
	return nil
}

func (d *faultDisk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errCut
	}
	return slices.Collect(maps.Keys(d.names)), nil
}

func (d *faultDisk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errCut
	}
	node := d.names[name]
	if node == nil {
		return nil, fs.ErrNotExist
	}
	return &faultFile{d, node}, nil
}

func (d *faultDisk) Create(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(true); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, fs.ErrExist
	}
	node := &inode{}
	d.names[name] = node
	d.pending = append(d.pending, dirOp{kind: "create", to: name, node: node})
	return &faultFile{d, node}, d.result()
}

func (d *faultDisk) Rename(from, to string) error {
	d.wait(300 * time.Microsecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(false); err != nil {
		return err
	}
	node := d.names[from]
	if node == nil {
		return fs.ErrNotExist
	}
	delete(d.names, from)
	d.names[to] = node
	d.pending = append(d.pending, dirOp{kind: "rename", from: from, to: to, node: node})
	return d.result()
}

func (d *faultDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(false); err != nil {
		return err
	}
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	delete(d.names, name)
	d.pending = append(d.pending, dirOp{kind: "remove", from: name})
	return d.result()
}

func (d *faultDisk) SyncDir() error {
	d.wait(300 * time.Microsecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(false); err != nil {
		return err
	}
	if d.dead {
		return errCut // the flush did not happen
	}
	for _, op := range d.pending {
		d.commitDir(op)
	}
	d.pending = nil
	return nil
}

// commitDir makes one directory operation durable, if it still makes sense.
func (d *faultDisk) commitDir(op dirOp) {
	switch op.kind {
	case "create":
		d.stable[op.to] = op.node
	case "rename":
		if d.stable[op.from] == op.node {
			delete(d.stable, op.from)
			d.stable[op.to] = op.node
		}
	case "remove":
		delete(d.stable, op.from)
	}
}

func (d *faultDisk) Space() (total, free int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var used int64
	for _, n := range d.names {
		used += int64(len(n.data))
	}
	return d.total, max(d.total-used, 0), nil
}

// kill ends the process only: what was written can be read by the next one,
// but is no more durable than before.
func (d *faultDisk) kill() *faultDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	return &faultDisk{rng: d.rng, total: d.total, slow: d.slow, names: d.names, stable: d.stable, pending: d.pending}
}

// restart cuts the power (if it is not cut) and returns the disk as it is
// after that.
func (d *faultDisk) restart() *faultDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	next := &faultDisk{rng: d.rng, total: d.total, slow: d.slow, names: map[string]*inode{}, stable: map[string]*inode{}}
	keep := []float64{0, 0.5, 0.9, 1, d.rng.Float64()}[d.rng.IntN(5)]
	garbage := []float64{0, 0, 0.1}[d.rng.IntN(3)]
	prefix := d.rng.IntN(len(d.pending) + 1)
	journal := d.rng.IntN(2) == 0
	for i, op := range d.pending {
		if journal && i < prefix || !journal && d.rng.Float64() < keep {
			d.commitDir(op)
		}
	}
	for name, node := range d.stable {
		data := node.settle(d.rng, keep, garbage)
		copied := &inode{data: data, stable: slices.Clone(data)}
		next.names[name], next.stable[name] = copied, copied
	}
	return next
}

// settle returns the contents after a cut.
func (n *inode) settle(rng *rand.Rand, keep, garbage float64) []byte {
	data := slices.Clone(n.stable)
	order := rng.Perm(len(n.pending))
	if rng.IntN(2) == 0 {
		slices.Sort(order)
	}
	for _, i := range order {
		w := n.pending[i]
		if rng.Float64() >= keep {
			continue
		}
		data = w.apply(data)
		if len(w.data) > 0 && rng.Float64() < garbage {
			// Flash may lose the whole block that was being written.
			block := w.off / blockSize * blockSize
			for j := block; j < min(block+blockSize, int64(len(data))); j++ {
				data[j] = byte(rng.Uint32())
			}
		}
	}
	return data
}

type faultFile struct {
	d *faultDisk
	n *inode
}

func (f *faultFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.wait(20 * time.Microsecond)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.dead {
		return 0, errCut
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *faultFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.wait(20 * time.Microsecond)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step(off+int64(len(b)) > int64(len(f.n.data))); err != nil {
		return 0, err
	}
	if err := f.d.writeErr; err != nil {
		f.d.writeErr = nil
		return 0, err
	}
	f.n.grow(off + int64(len(b)))
	copy(f.n.data[off:], b)
	for data := slices.Clone(b); len(data) > 0; {
		n := min(len(data), int(sectorSize-off%sectorSize))
		f.n.pending = append(f.n.pending, sectorWrite{off: off, data: data[:n]})
		data, off = data[n:], off+int64(n)
	}
	return len(b), f.d.result()
}

func (n *inode) grow(size int64) {
	if missing := size - int64(len(n.data)); missing > 0 {
		n.data = append(n.data, make([]byte, missing)...)
	}
}

func (f *faultFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *faultFile) Allocate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step(size > int64(len(f.n.data))); err != nil {
		return err
	}
	f.n.grow(size)
	f.n.pending = append(f.n.pending, sectorWrite{size: size})
	return f.d.result()
}

func (f *faultFile) Sync() error {
	f.d.wait(300 * time.Microsecond)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step(false); err != nil {
		return err
	}
	if f.d.dead {
		return errCut // nothing of it is certain
	}
	if err := f.d.syncErr; err != nil {
		// As Linux does: some pages are written, all are clean, and what
		// was lost can still be read until the power goes.
		f.d.syncErr = nil
		f.n.stable = f.n.settle(f.d.rng, f.d.rng.Float64(), 0)
		f.n.pending = nil
		f.d.unwiped = f.n
		return err
	}
	if f.d.unwiped == f.n {
		f.d.unwiped = nil
	}
	for _, w := range f.n.pending {
		f.n.stable = w.apply(f.n.stable)
	}
	f.n.pending = nil
	return nil
}

// apply returns data with the write in it.
func (w sectorWrite) apply(data []byte) []byte {
	if need := max(w.size, w.off+int64(len(w.data))); need > int64(len(data)) {
		data = append(data, make([]byte, need-int64(len(data)))...)
	}
	copy(data[w.off:], w.data)
	return data
}

func (f *faultFile) Close() error { return nil }

// breakNext makes the next flush or write fail.
func (d *faultDisk) breakNext(flush bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if flush {
		d.syncErr = errors.New("input/output error")
	} else {
		d.writeErr = errors.New("input/output error")
	}
}

func (d *faultDisk) isDead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}
