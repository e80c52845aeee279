package queue

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"gatepost/relay/spool"
)

// memDisk is a spool.Disk in memory that never forgets. While broken is set,
// flushes fail.
type memDisk struct {
	mu     sync.Mutex
	files  map[string]*memFile
	broken bool
	flush  time.Duration // how long a flush takes
}

func newMemDisk() *memDisk { return &memDisk{files: make(map[string]*memFile)} }

func (d *memDisk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.files)), nil
}

func (d *memDisk) Open(name string) (spool.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return f, nil
}

func (d *memDisk) Create(name string) (spool.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &memFile{disk: d}
	d.files[name] = f
	return f, nil
}

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *memDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	return nil
}

func (d *memDisk) SyncDir() error { return nil }

func (d *memDisk) Space() (total, free int64, err error) { return 1 << 40, 1 << 39, nil }

func (d *memDisk) setFlush(flush time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flush = flush
}

func (d *memDisk) setBroken(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

type memFile struct {
	disk *memDisk
	data []byte
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return copy(f.data[off:], b), nil // the spool writes only what it allocated
}

func (f *memFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *memFile) Allocate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if missing := size - int64(len(f.data)); missing > 0 {
		f.data = append(f.data, make([]byte, missing)...)
	}
	return nil
}

func (f *memFile) Sync() error {
	f.disk.mu.Lock()
	flush := f.disk.flush
	f.disk.mu.Unlock()
	time.Sleep(flush)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.broken {
		return errors.New("input/output error")
	}
	return nil
}

func (f *memFile) Close() error { return nil }
