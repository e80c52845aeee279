package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The real write of the self-test. Every mail that is taken in is written and
// flushed anyway, so that this is for a box on which nothing happens: 4 KB in
// place, and with what the file system notes about it 20 KB, once an hour: half a
// megabyte a day.
const (
	testEvery = time.Hour
	testFile  = "selftest"
	testSize  = 4096 // bytes
)

// stalled is how long a write may take before the disk is called bad.
const stalled = 10 * time.Second

// SelfTest is what the machine finds when it tries itself. "" is well.
type SelfTest struct {
	Spool    string    // why mail could not be written now
	Policies int       // that can be looked up
	Written  time.Time // of the last test that wrote and flushed; zero: none yet
}

// SelfTest tries what the machine needs for mail, without a word to anyone and
// without waiting for the disk: the part that writes is looked at, and the hourly
// write of Run counts.
func (m *Machine) SelfTest() SelfTest {
	s := SelfTest{Policies: len(m.policies.Entries())}
	if m.spool == nil {
		return s // Status says why
	}
	s.Written, s.Spool = m.diskTest.result()
	if d := m.spool.Busy(); s.Spool == "" && d >= stalled {
		s.Spool = fmt.Sprintf("the disk has not taken a message for %.0f s", d.Seconds())
	}
	return s
}

// diskTest is the real write and how it went.
type diskTest struct {
	mu      sync.Mutex
	began   time.Time // of the write that goes on; zero: none
	written time.Time
	err     error
}

func (d *diskTest) result() (written time.Time, trouble string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.began.IsZero() && time.Since(d.began) >= stalled:
		trouble = fmt.Sprintf("the disk has not taken a test for %.0f s", time.Since(d.began).Seconds())
	case d.err != nil:
		trouble = "the disk did not take a test: " + d.err.Error()
	}
	return d.written, trouble
}

// run writes at once and then every hour, until ctx is done.
func (d *diskTest) run(ctx context.Context, data *os.Root) {
	tick := time.NewTicker(testEvery)
	defer tick.Stop()
	for {
		d.mu.Lock()
		d.began = time.Now()
		d.mu.Unlock()
		err := writeTest(data)
		d.mu.Lock()
		d.began, d.err = time.Time{}, err
		if err == nil {
			d.written = time.Now()
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// writeTest writes a block in place and flushes it.
func writeTest(data *os.Root) error {
	f, err := data.OpenFile(testFile, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, testSize)
	copy(block, time.Now().UTC().Format(time.RFC3339)+" test of the disk\n")
	if _, err = f.WriteAt(block, 0); err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	err = errors.Join(err, f.Close())
	if errors.Is(err, unix.ENOSPC) {
		return nil // a full disk is told elsewhere, and is not broken
	}
	return err
}
