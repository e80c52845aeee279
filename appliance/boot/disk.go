package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatepost/image/layout"
)

// DataLabel is the label of the file system that holds the box's data.
const DataLabel = layout.DataLabel

// ErrNoDataDisk means that no disk with the label turned up in time.
var ErrNoDataDisk = errors.New("no data disk")

// DiskFinder looks for the data disk among the kernel's block devices.
type DiskFinder struct {
	SysBlock string        // folder with one entry a block device, "/sys/class/block"
	Dev      string        // folder of device nodes, "/dev"
	Label    string        // DataLabel
	Wait     time.Duration // how long to wait for the disk to turn up
	Poll     time.Duration // how often to look, 0 means 50 ms
}

// Find returns the path of the node with the label. Nodes appear some time
// after the module that drives them, so it looks again until Wait is over.
// When several disks carry the label, the first by name is taken and the
// others are returned too: the caller should say so. The error wraps
// ErrNoDataDisk and names what was looked at.
func (d DiskFinder) Find(ctx context.Context) (device string, others []string, err error) {
	poll := d.Poll
	if poll <= 0 {
		poll = 50 * time.Millisecond
	}
	deadline := time.NewTimer(d.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		found, seen := d.look()
		if len(found) > 0 {
			return found[0], found[1:], nil
		}
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-deadline.C:
			return "", nil, noDisk(d.Label, seen)
		case <-tick.C:
		}
	}
}

func noDisk(label string, seen []string) error {
	if len(seen) == 0 {
		return fmt.Errorf("%w: the box sees no disk at all", ErrNoDataDisk)
	}
	return fmt.Errorf("%w: none of %s holds a file system with the label %q", ErrNoDataDisk, strings.Join(seen, ", "), label)
}

// look returns the nodes that carry the label and all that were looked at.
func (d DiskFinder) look() (found, seen []string) {
	entries, err := os.ReadDir(d.SysBlock)
	if err != nil {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if !uninteresting(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		// The kernel writes "!" for the slash of a node in a folder.
		path := filepath.Join(d.Dev, strings.ReplaceAll(name, "!", "/"))
		label, err := ext4LabelOf(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the node is not there yet
		}
		seen = append(seen, name)
		if err == nil && label == d.Label {
			found = append(found, path)
		}
	}
	return found, seen
}

// uninteresting names devices that never hold the data: memory disks, loops,
// and the small boot areas of flash chips.
func uninteresting(name string) bool {
	for _, p := range []string{"ram", "loop", "zram", "fd", "sr", "nbd", "dm-", "md"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return strings.Contains(name, "boot") || strings.Contains(name, "rpmb")
}
