package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allThreads makes a prctl call on every thread of the process.
func allThreads(what string, trap, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, a3)
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrThreads
	}
	return fmt.Errorf("%s: %w", what, errno)
}

// Securebits of capabilities(7), with their locks. By them user 0 is a user
// like any other: being root gives no capability when a program is started.
const (
	noRoot           = 1<<0 | 1<<1
	keepCapsLocked   = 1 << 5
	noAmbientRaise   = 1<<6 | 1<<7
	lockedSecurebits = noRoot | keepCapsLocked | noAmbientRaise
)

// DropBounding makes it impossible for this process and all that it starts to
// get a capability by starting a program, whoever runs it. The process keeps
// those that it has. It needs CAP_SETPCAP; PID 1 calls it.
func DropBounding() error {
	for n := range lastCapability() + 1 {
		if err := allThreads("bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n), 0); err != nil {
			return err
		}
	}
	return allThreads("securebits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, lockedSecurebits, 0)
}

// lastCapability is the highest capability of this kernel.
func lastCapability() int {
	if text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(string(text[:max(0, len(text)-1)])); err == nil && n < 64 {
			return n
		}
	}
	return unix.CAP_LAST_CAP
}

// dropPrivileges takes what a process can have beyond its user's own rights.
func dropPrivileges() error {
	if err := allThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if have[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		if err := DropBounding(); err != nil {
			return err
		}
	}
	if err := allThreads("ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return err
	}
	header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	// Nobody of the same user may look into this process, and it leaves no
	// image of its memory behind.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	return nil
}

// setLimits bounds what a process can take of the kernel. Memory is bounded
// by a control group, and descriptors by the limit that was inherited.
func setLimits(r Rules) error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0}
	if r.Threads > 0 {
		limits[unix.RLIMIT_NPROC] = r.Threads
	}
	for which, n := range limits {
		var have unix.Rlimit
		if err := unix.Getrlimit(which, &have); err != nil {
			return fmt.Errorf("limit %d: %w", which, err)
		}
		n = min(n, have.Max) // a small machine has lower ones
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit %d: %w", which, err)
		}
	}
	return nil
}
