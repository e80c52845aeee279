package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Rules say what is left to a process. The zero value leaves it the files and
// connections that are open, and nothing else.
type Rules struct {
	// Read are files, and folders with everything below, that may be read.
	Read []string
	// Write are folders below which files may be read, written, made, renamed
	// and removed.
	Write []string
	// Devices are files that may be read and written, and not removed.
	Devices []string
	// Sockets are folders in which unix sockets may be made and removed.
	Sockets []string
	// Dial allows internet sockets, TCP and UDP. Without it only unix sockets
	// can be opened, and connections come from listeners that are open already.
	Dial bool
	// Interfaces allows to ask for the addresses of this machine (netlink).
	// The filter then no longer refuses raw internet sockets; the missing
	// capability does.
	Interfaces bool
	// Threads bounds the threads of this process's user; 0 sets no bound. It
	// has no effect on root.
	Threads uint64
}

// Report is what was reached.
type Report struct {
	// Landlock is the level (ABI) that the kernel offers, all of whose rights
	// that this package knows are in force; 0 when it has none.
	Landlock int
	// Calls is the number of system calls that the seccomp filter lets pass; 0
	// when the kernel has no filters.
	Calls int
}

// String is the report as one line for people.
func (r Report) String() string {
	parts := []string{"no capability", "no_new_privs"}
	if r.Calls > 0 {
		parts = append(parts, fmt.Sprintf("%d system calls", r.Calls))
	} else {
		parts = append(parts, "NO SECCOMP in this kernel")
	}
	if r.Landlock > 0 {
		parts = append(parts, fmt.Sprintf("Landlock level %d", r.Landlock))
	} else {
		parts = append(parts, "NO LANDLOCK in this kernel")
	}
	return strings.Join(parts, ", ")
}

// ErrThreads means that this program was built with cgo: what must hold for
// all threads cannot be set for all of them.
var ErrThreads = errors.New("a program that was built with CGO_ENABLED=1 cannot be caged")

// Enter closes the cage around all threads of this process, for ever. A path
// of the rules that does not exist is left out. A kernel without Landlock or
// seccomp is no error: the report says it. After an error the cage may be
// closed in part; the caller should end.
//
// It must not be called twice: Landlock would allow what both rules allow, and
// the filter refuses the second.
func Enter(r Rules) (Report, error) {
	var report Report
	if err := dropPrivileges(); err != nil {
		return report, err
	}
	if err := setLimits(r); err != nil {
		return report, err
	}
	level, err := restrictFiles(r)
	if err != nil {
		return report, fmt.Errorf("files: %w", err)
	}
	report.Landlock = level
	err = install(program(r, os.Getpid()))
	switch {
	case errors.Is(err, unix.ENOSYS):
		return report, nil
	case err != nil:
		return report, fmt.Errorf("system calls: %w", err)
	}
	report.Calls = len(calls(r, 0))
	return report, nil
}
