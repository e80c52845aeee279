package spool

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/verdict"
)

// pageDisk counts what a file system would write: at each flush the pages of
// 4096 bytes that were written to since the last one. A flush takes a while, so
// that others gather.
type pageDisk struct {
	Disk
	mu      sync.Mutex
	flushes int
	pages   map[string]int // by the kind of file
	read    int64
}

func (d *pageDisk) Open(name string) (File, error) {
	f, err := d.Disk.Open(name)
	return &pageFile{File: f, d: d, name: name}, err
}

func (d *pageDisk) Create(name string) (File, error) {
	f, err := d.Disk.Create(name)
	return &pageFile{File: f, d: d, name: name}, err
}

type pageFile struct {
	File
	d     *pageDisk
	name  string
	dirty map[int64]bool
}

func (f *pageFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.dirty == nil {
		f.dirty = make(map[int64]bool)
	}
	for p := off / 4096; p <= (off+int64(len(b))-1)/4096; p++ {
		f.dirty[p] = true
	}
	return f.File.WriteAt(b, off)
}

func (f *pageFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	f.d.read += int64(len(b))
	f.d.mu.Unlock()
	return f.File.ReadAt(b, off)
}

func (f *pageFile) Sync() error {
	f.d.mu.Lock()
	kind := f.name[strings.LastIndexByte(f.name, '.'):]
	if len(f.dirty) == 1 && f.dirty[0] {
		kind = "header"
	} else if kind == ".spare" && len(f.dirty) <= 1 {
		kind = "header"
	} else if len(f.dirty) < zeroStep/4096 {
		kind = "records"
	}
	f.d.flushes++
	f.d.pages[kind] += len(f.dirty)
	f.dirty = nil
	f.d.mu.Unlock()
	time.Sleep(300 * time.Microsecond)
	return f.File.Sync()
}

// What a message of 4 KB costs on the disk, its outcome and the space of its
// segment included, once the spares are there: less than twice its size, and
// nearly its size when there are many clients.
func TestBytesPerMessage(t *testing.T) {
	for _, tt := range []struct {
		clients int
		most    float64 // times the size of the message
	}{{1, 2.1}, {20, 1.3}, {50, 1.2}} {
		synctest.Test(t, func(t *testing.T) {
			disk := &pageDisk{Disk: newFaultDisk(1), pages: make(map[string]int)}
			l, stop := running(t, disk, Config{SegmentSize: 8 << 20})
			defer stop()
			time.Sleep(time.Minute)
			const messages, size = 3000, 4 << 10
			v := &verdict.Verdict{Outcome: verdict.Delivered, Domain: "a.example", MX: "mx.a.example", Reply: strings.Repeat("ok ", 100)}
			var load sync.WaitGroup
			delivery := make(chan ID, messages)
			for range tt.clients {
				load.Go(func() {
					for range messages / tt.clients {
						delivery <- appendBody(t, l, pattern(size), "x@a.example")
						time.Sleep(100 * time.Microsecond)
					}
				})
			}
			var delivered sync.WaitGroup
			for range 20 {
				delivered.Go(func() {
					for id := range delivery {
						time.Sleep(time.Millisecond)
						if err := l.Record(t.Context(), id, Outcome{State: StateDelivered, Tries: 1, Verdict: v}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			load.Wait()
			close(delivery)
			delivered.Wait()
			time.Sleep(time.Minute)
			n := messages / tt.clients * tt.clients
			disk.mu.Lock()
			defer disk.mu.Unlock()
			per := float64(disk.pages["records"]+disk.pages["header"]) * 4096 / float64(n)
			t.Logf("%d clients: %.0f bytes and %.2f flushes for a message of %d bytes; once, for spares: %d KiB", tt.clients, per,
				float64(disk.flushes)/float64(n), size, (disk.pages[".spare"]+disk.pages[".seg"])*4)
			if per > tt.most*size {
				t.Errorf("%d clients: %.0f bytes a message, want at most %.1f times its size", tt.clients, per, tt.most)
			}
			if live := l.Usage().Live; live > 100<<10 {
				t.Errorf("%d bytes are live when all is delivered", live)
			}
		})
	}
}

// A long message is written once, and small ones do not wait for it.
func TestLargeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &pageDisk{Disk: newFaultDisk(1), pages: make(map[string]int)}
		l, stop := running(t, disk, Config{SegmentSize: 64 << 20})
		defer stop()
		time.Sleep(time.Minute)
		const size = 50 << 20
		ctx, cancel := context.WithCancel(t.Context())
		var small sync.WaitGroup
		longest, count := time.Duration(0), 0
		small.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				appendBody(t, l, pattern(4<<10), "x@a.example")
				longest = max(longest, time.Since(begin))
				count++
				time.Sleep(100 * time.Millisecond)
			}
		})
		// 50 MiB at 5 MiB/s
		id, err := l.Append(t.Context(), Envelope{Rcpts: []Rcpt{{Addr: "y@b.example"}}}, &slowReader{b: bytes.Repeat(pattern(1<<20), size>>20)})
		cancel()
		small.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if count < 50 || longest > 2*time.Millisecond {
			t.Errorf("%d small messages while the large one came in, the slowest took %v", count, longest)
		}
		if r, err := l.Open(id); err != nil {
			t.Error(err)
		} else {
			r.Close()
		}
		written := (disk.pages["records"] + disk.pages[".seg"]) * 4096
		if over := float64(written-count*8192) / size; over > 1.02 {
			t.Errorf("%d bytes were written, %.3f times the message", written, over)
		}
		t.Logf("%d small messages meanwhile, the slowest took %v", count, longest)
	})
}

// The start reads the bodies of the newest segment, which may be torn, and of
// the others only what is beside them.
func TestStartReadsNoBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &pageDisk{Disk: newFaultDisk(1), pages: make(map[string]int)}
		cfg := Config{SegmentSize: 4 << 20}
		l, stop := running(t, disk, cfg)
		body := pattern(300 << 10)
		for range 100 {
			appendBody(t, l, body, "x@a.example")
			appendBody(t, l, body[:50<<10], "x@a.example")
		}
		stop()
		disk.read = 0
		l, stop = running(t, disk, cfg)
		defer stop()
		if got := len(l.Messages()); got != 200 {
			t.Errorf("got %d messages, want 200", got)
		}
		if total := int64(100 * 350 << 10); disk.read-4<<20 > total/4 {
			t.Errorf("the start read %d bytes of %d", disk.read, total)
		}
		t.Logf("the start and a list read %d KiB, the bodies are %d KiB", disk.read>>10, 100*350)
	})
}

// slowReader gives 64 KiB each 12.5 ms.
type slowReader struct {
	b   []byte
	off int
}

func (r *slowReader) Read(b []byte) (int, error) {
	time.Sleep(12500 * time.Microsecond)
	n, err := bytes.NewReader(r.b[r.off:]).Read(b[:min(len(b), 64<<10)])
	r.off += n
	return n, err
}
