package boot

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mount is one early mount.
type Mount struct {
	Target string
	Type   string // file system, also used as the source
	Flags  uintptr
	Data   string
	Mode   os.FileMode // of the folder, made when it is missing
}

// EarlyMounts is what every process of the box expects. Only /dev allows
// device nodes, and nothing allows set-uid programs.
func EarlyMounts() []Mount {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []Mount{
		{Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0755", Mode: 0o755},
		{Target: "/proc", Type: "proc", Flags: quiet, Data: "hidepid=2", Mode: 0o555},
		{Target: "/sys", Type: "sysfs", Flags: quiet, Mode: 0o555},
		{Target: "/run", Type: "tmpfs", Flags: quiet, Data: "mode=0755,size=8m", Mode: 0o755},
		{Target: "/tmp", Type: "tmpfs", Flags: quiet, Data: "mode=1777,size=8m", Mode: 0o777},
	}
}

// MountAll mounts every entry and goes on after a failure: a box without /tmp
// is better than none. The error joins what failed.
func MountAll(mounts []Mount) error {
	var errs []error
	for _, m := range mounts {
		if err := os.MkdirAll(m.Target, m.Mode); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.Target, err))
			continue
		}
		err := unix.Mount(m.Type, m.Target, m.Type, m.Flags, m.Data)
		if err != nil && !errors.Is(err, syscall.EBUSY) { // EBUSY: is mounted already
			errs = append(errs, fmt.Errorf("mount %s: %w", m.Target, err))
		}
	}
	return errors.Join(errs...)
}

// OpenConsole opens the console and makes it the standard output and error of
// this process, so that a crash of PID 1 can be read there. Standard input
// stays closed to everyone: there is no shell. The caller keeps the file open
// for ever.
func OpenConsole(path string) (*os.File, error) {
	// Without O_NOCTTY a key press could send signals to PID 1.
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			f.Close()
			return nil, fmt.Errorf("console: %w", err)
		}
	}
	return f, nil
}

// NoNewPrivileges forbids this process and all its children, for ever, to gain
// rights by starting a program (prctl(2), PR_SET_NO_NEW_PRIVS).
func NoNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	return nil
}

// SeedRandom blocks until the kernel's random numbers are ready. It must come
// before anything that asks without waiting: a question that does not wait
// never makes the kernel gather the entropy, and would be refused for ever.
func SeedRandom() error {
	var b [32]byte
	for got := 0; got < len(b); {
		n, err := unix.Getrandom(b[got:], 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("random numbers: %w", err)
		}
		got += n
	}
	return nil
}
