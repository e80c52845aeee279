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

// Found is what a DiskFinder has found.
type Found struct {
	// Device is the node of the data file system, or of the partition where
	// it should be.
	Device string
	// Disk is the node of the disk whose data partition Device is; "" when
	// Device is known by its label alone, as a disk without partitions is.
	Disk   string
	Others []string // nodes that could be meant as well, by name
}

// Find looks for the data disk: the data partition of a disk with our partition
// table, whatever is on it, else a file system with the label. Nodes appear
// some time after the module that drives them, so it looks again until Wait is
// over. When there are several, the first by name is taken and the others are
// returned too: the caller should say so. The error wraps ErrNoDataDisk and
// names what was looked at.
func (d DiskFinder) Find(ctx context.Context) (Found, error) {
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
		if found.Device != "" {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return Found{}, ctx.Err()
		case <-deadline.C:
			return Found{}, noDisk(d.Label, seen)
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

// look returns what is there now, and the names of all nodes that were looked
// at.
func (d DiskFinder) look() (found Found, seen []string) {
	var parts, labelled []string
	disks := map[string]string{} // the disk of each of parts
	for _, name := range blockDevices(d.SysBlock) {
		// The kernel writes "!" for the slash of a node in a folder.
		path := filepath.Join(d.Dev, strings.ReplaceAll(name, "!", "/"))
		label, err := labelOf(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the node is not there yet
		}
		seen = append(seen, name)
		if err == nil && label == d.Label {
			labelled = append(labelled, path)
		}
		if node := dataNode(path); node != "" {
			parts = append(parts, node)
			disks[node] = path
		}
	}
	all := parts
	for _, path := range labelled {
		if disks[path] == "" {
			all = append(all, path)
		}
	}
	if len(all) == 0 {
		return Found{}, seen
	}
	return Found{Device: all[0], Disk: disks[all[0]], Others: all[1:]}, seen
}

// blockDevices lists the names of the devices that could hold the data.
func blockDevices(sysBlock string) []string {
	entries, err := os.ReadDir(sysBlock)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if !uninteresting(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// dataNode is the node of the data partition of a disk with our table, "" when
// the disk has another table or none, or when the node is not there yet. Of a
// disk whose primary table is damaged the kernel makes no node before it is
// mended.
func dataNode(disk string) string {
	f, err := os.Open(disk)
	if err != nil {
		return ""
	}
	defer f.Close()
	t, _, err := tableOf(f)
	if err != nil {
		return ""
	}
	node := partitionNode(disk, dataPartition.Number)
	if _, err := os.Stat(node); err != nil && !t.FromBackup {
		return ""
	}
	return node
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
