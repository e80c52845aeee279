package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// GroupDir is where the control groups of the kernel are (cgroups(7), version
// 2). The kernel makes the folder in sysfs.
const GroupDir = "/sys/fs/cgroup"

// MountGroups mounts the control groups and hands memory and the number of
// processes down to them. A kernel without them is an error; the box runs all
// the same.
func MountGroups() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("cgroup2", GroupDir, "cgroup2", flags, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mount %s: %w", GroupDir, err)
	}
	return os.WriteFile(filepath.Join(GroupDir, "cgroup.subtree_control"), []byte("+memory +pids"), 0)
}

// MakeGroup makes the control group name below dir and returns its folder,
// which the caller keeps open for as long as roles start in it. All of the
// group ends when it needs more than memory bytes and nothing can be freed,
// caches and files in memory included; it has at most tasks threads.
func MakeGroup(dir, name string, memory uint64, tasks int) (*os.File, error) {
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("control group: %w", err)
	}
	for _, knob := range []struct{ file, value string }{
		{"memory.max", strconv.FormatUint(memory, 10)},
		{"memory.oom.group", "1"},
		{"pids.max", strconv.Itoa(tasks)},
	} {
		if err := os.WriteFile(filepath.Join(path, knob.file), []byte(knob.value), 0); err != nil {
			return nil, fmt.Errorf("control group: %w", err)
		}
	}
	return os.Open(path)
}
