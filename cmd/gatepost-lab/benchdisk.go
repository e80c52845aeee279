package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatepost/relay/lab/peer"
)

// A file system of its own on a loop device tells exactly what was written to
// it and how often it was told to flush, which the disk of a whole machine
// does not.
type loopDisk struct {
	device string // "/dev/loop0"
	mount  string
	image  string
}

// diskSize is that of the loop device.
const diskSize = 1 << 30

// newLoopDisk makes an ext4 with the defaults of mke2fs in a file below dir.
// It needs root.
func newLoopDisk(ctx context.Context, dir string) (*loopDisk, error) {
	d := &loopDisk{image: filepath.Join(dir, "disk.img"), mount: filepath.Join(dir, "disk")}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(diskSize)
	if err := errors.Join(err, f.Close(), os.Mkdir(d.mount, 0o755)); err != nil {
		return nil, err
	}
	if _, err := command(ctx, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		return nil, err
	}
	out, err := command(ctx, "losetup", "-f", "--show", d.image)
	if err != nil {
		return nil, err
	}
	d.device = strings.TrimSpace(out)
	if _, err := command(ctx, "mount", d.device, d.mount); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *loopDisk) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := command(ctx, "umount", d.mount)
	_, err2 := command(ctx, "losetup", "-d", d.device)
	return errors.Join(err, err2, os.Remove(d.image))
}

func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

// counters are what the kernel counted for the device.
type counters struct {
	written int64 // bytes
	flushes int64
}

// counters reads them once everything that was written is on the device
// (Documentation/block/stat.rst of the kernel).
func (d *loopDisk) counters() (counters, error) {
	syscall.Sync()
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.device), "stat"))
	if err != nil {
		return counters{}, err
	}
	f := strings.Fields(string(b))
	if len(f) < 17 {
		return counters{}, fmt.Errorf("the kernel does not count flushes: %q", b)
	}
	sectors, err := strconv.ParseInt(f[6], 10, 64)
	flushes, err2 := strconv.ParseInt(f[15], 10, 64)
	return counters{sectors * 512, flushes}, errors.Join(err, err2)
}

// disk measures what has nothing to do with speed: bytes on disk and memory
// for the whole path of a message, and that a flush stands before each 250.
func (c *comparison) disk(ctx context.Context) error {
	if os.Geteuid() != 0 || peer.Need("losetup", "mke2fs", "mount", "umount") != nil {
		fmt.Fprintln(c.out, "bench diskbytes left out: it needs root, losetup, mke2fs and mount")
		return nil
	}
	d, err := newLoopDisk(ctx, c.dir)
	if err != nil {
		return fmt.Errorf("loop device: %w", err)
	}
	for _, l := range c.loads(benchMode{}) {
		if err = c.weigh(ctx, d, l); err != nil {
			break
		}
	}
	if err == nil {
		err = c.flushes(ctx, d)
	}
	return errors.Join(err, d.close())
}

// weigh prints bytes written and memory for one load. Both sides first take and
// deliver 45 MB, so that what is written only once, such as the first segments
// of our spool, is not divided among a few messages.
func (c *comparison) weigh(ctx context.Context, d *loopDisk, l load) error {
	warm := load{clients: 20, size: 102400, benchMode: l.benchMode}
	messages := 2000
	if l.size > 10_000 || l.clients == 1 {
		messages = 500
	}
	var bytes, memory [2][]sample
	for i, s := range c.sides {
		if err := s.open(ctx, d.mount, c.next(l.benchMode), l.benchMode); err != nil {
			return err
		}
		_, err := c.round(ctx, s, warm, 450)
		before, err2 := d.counters()
		if err := errors.Join(err, err2); err != nil {
			return errors.Join(err, s.close())
		}
		peak := watchMemory(s.pid())
		_, err = c.round(ctx, s, l, messages)
		most := peak()
		after, err2 := d.counters()
		if err := errors.Join(err, err2, s.close()); err != nil {
			return err
		}
		bytes[i] = []sample{{cpu: float64(after.written-before.written) / float64(messages)}}
		memory[i] = []sample{{cpu: float64(most) / (1 << 20)}}
	}
	value := func(s sample) float64 { return s.cpu }
	c.cost("diskbytes", l, bytes, "%.0fB/message", value)
	c.cost("memory", l, memory, "%.0fMiB", value)
	return nil
}

// watchMemory looks at the memory of the process and its descendants ten times
// a second until the returned function is called, which tells the peak.
func watchMemory(pid int) (peak func() int64) {
	stop, done := make(chan struct{}), make(chan int64, 1)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if u, err := peer.UsageOf(pid); err == nil {
				most = max(most, u.Memory)
			}
			select {
			case <-stop:
				done <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 { close(stop); return <-done }
}

// flushes shows that neither side says 250 before the disk was flushed: one
// client, whose every message must be answered before the next one begins, can
// not share a flush with anybody.
func (c *comparison) flushes(ctx context.Context, d *loopDisk) error {
	const messages = 200
	l := load{clients: 1, size: 4096, benchMode: benchMode{paused: true}}
	var per [2]float64
	for i, s := range c.sides {
		if err := s.open(ctx, d.mount, c.next(l.benchMode), l.benchMode); err != nil {
			return err
		}
		before, err := d.counters()
		if err == nil {
			_, err = c.round(ctx, s, l, messages)
		}
		after, err2 := d.counters()
		if err := errors.Join(err, err2, s.close()); err != nil {
			return err
		}
		per[i] = float64(after.flushes-before.flushes) / messages
		if per[i] < 1 {
			return fmt.Errorf("side %d says 250 without a flush: %.2f flushes for a message", i, per[i])
		}
	}
	c.print(figure{"flushes", l, fmt.Sprintf("%.2f/message", per[0]), fmt.Sprintf("%.2f/message", per[1]), per[1] / per[0]})
	return nil
}
