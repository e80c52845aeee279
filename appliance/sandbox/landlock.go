package sandbox

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights to files, as landlock(7) has them.
const (
	readFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readAll   = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile = readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeAll  = readAll | writeFile | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER
	sockets = unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	// ofFiles are the rights that a rule for a file may hold; the others are
	// for folders.
	ofFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | writeFile | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// ruleset is what a kernel of this level can be told to refuse, and the size
// in bytes of the structure that it takes.
func ruleset(level int, dial bool) (unix.LandlockRulesetAttr, uintptr) {
	a := unix.LandlockRulesetAttr{Handled_access_fs: 1<<13 - 1} // level 1
	size := unsafe.Sizeof(a.Handled_access_fs)
	if level >= 2 {
		a.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if level >= 3 {
		a.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if level >= 4 {
		size = unsafe.Offsetof(a.Scoped)
		a.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP // listeners are handed down
		if !dial {
			a.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
	}
	if level >= 5 {
		a.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if level >= 6 {
		size = unsafe.Offsetof(a.Quiet_access_fs)
		a.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return a, size
}

// Level is the level of Landlock that the kernel offers, 0 for none.
func Level() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// restrictFiles leaves the process the files of the rules. It returns the
// level of Landlock, 0 when the kernel has none.
func restrictFiles(r Rules) (int, error) {
	level := Level()
	if level == 0 {
		return 0, nil
	}
	attr, size := ruleset(level, r.Dial)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return 0, errno
	}
	set := int(fd)
	defer unix.Close(set)
	for _, rule := range []struct {
		paths  []string
		access uint64
	}{{r.Read, readAll}, {r.Write, writeAll}, {r.Devices, writeFile}, {r.Sockets, sockets}} {
		for _, path := range rule.paths {
			if err := allow(set, path, rule.access&attr.Handled_access_fs); err != nil && !errors.Is(err, os.ErrNotExist) {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return level, allThreads("restrict", unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}

// allow adds a rule for what is at path, and below when it is a folder.
func allow(set int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= ofFiles
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
