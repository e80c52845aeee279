// Package attack does what a program does that has been taken over: it tries
// to get out of its cage. It is linked into the tests and into an image that
// is built for them with the tag attack, never into a release.
//
// Every action is harmless where it is let through: it opens without writing,
// mounts nothing that stays, and asks the kernel with arguments that it can
// only refuse to carry out. So the same list can be run with the cage open.
package attack

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// Target is where the actions aim.
type Target struct {
	Own   string // folder that this role may write
	Run   string // folder in which it may make sockets; "" for none
	Other string // a file of the other role
	Dial  bool   // it may open connections
	// Secret are files of the box that no role may read.
	Secret []string
	Disk   string   // a block device
	Device []string // other devices
	Init   int      // the process that must not be touched
	// Program is something that can be executed.
	Program string
	// Read are files that may be read.
	Read []string
}

// An Action is one thing that is tried.
type Action struct {
	Name string
	// May is true for what must work inside the cage.
	May bool
	Try func() error
	// hidden is true when "there is no such file" is a refusal, too.
	hidden bool
}

// Outcomes of an action.
const (
	Refused = "refused" // for want of a right
	Allowed = "allowed" // carried out, or refused for its arguments alone
	Absent  = "absent"  // this machine does not have it
)

// Result is what became of an action.
type Result struct {
	Name    string
	May     bool
	Outcome string
	Error   string // the kernel's word, such as EPERM; "" for none
}

// Do tries an action.
func (a Action) Do() Result {
	err := a.Try()
	r := Result{Name: a.Name, May: a.May, Outcome: Allowed}
	var errno syscall.Errno
	switch {
	case err == nil:
		return r
	case errors.As(err, &errno):
		r.Error = errnoName(errno)
	default:
		r.Error = err.Error()
	}
	switch {
	case errno == syscall.EPERM, errno == syscall.EACCES, a.hidden && errno == syscall.ENOENT:
		r.Outcome = Refused
	case errno == syscall.ENOSYS, errno == syscall.ENOENT, errno == syscall.ENODEV, errno == syscall.ENXIO,
		errno == syscall.EAFNOSUPPORT, errno == syscall.EPROTONOSUPPORT:
		r.Outcome = Absent
	}
	return r
}

// prefix begins each line of a report, and end is its last word.
const (
	prefix = "attack: "
	end    = "end"
)

// Run tries every action and writes a line for each result, which Parse reads.
// stage is a word that tells this report from others.
func Run(w io.Writer, stage string, list []Action) {
	for _, a := range list {
		r := a.Do()
		may := "must-not"
		if r.May {
			may = "may"
		}
		fmt.Fprintf(w, "%s%s|%s|%s|%s|%s\n", prefix, stage, r.Name, may, r.Outcome, r.Error)
	}
	fmt.Fprintf(w, "%s%s|%s\n", prefix, stage, end)
}

// Parse reads one line of a report, with whatever stands before it. ok is
// false when it is none; last is true for the line that ends the stage.
func Parse(line string) (stage string, r Result, last, ok bool) {
	_, rest, ok := strings.Cut(line, prefix)
	if !ok {
		return "", r, false, false
	}
	f := strings.Split(rest, "|")
	switch {
	case len(f) == 2 && f[1] == end:
		return f[0], r, true, true
	case len(f) != 5:
		return "", r, false, false
	}
	return f[0], Result{Name: f[1], May: f[2] == "may", Outcome: f[3], Error: f[4]}, false, true
}

// errnoName is the name of an error as the manual pages have it.
func errnoName(e syscall.Errno) string {
	if n, ok := names[e]; ok {
		return n
	}
	return e.Error()
}

var names = map[syscall.Errno]string{
	syscall.EPERM: "EPERM", syscall.EACCES: "EACCES", syscall.ENOENT: "ENOENT", syscall.EINVAL: "EINVAL",
	syscall.ENOSYS: "ENOSYS", syscall.EFAULT: "EFAULT", syscall.EBADF: "EBADF", syscall.ESRCH: "ESRCH",
	syscall.ENXIO: "ENXIO", syscall.ENODEV: "ENODEV", syscall.EBUSY: "EBUSY", syscall.ENOEXEC: "ENOEXEC",
	syscall.EROFS: "EROFS", syscall.EEXIST: "EEXIST", syscall.ENOTTY: "ENOTTY", syscall.EXDEV: "EXDEV",
	syscall.EIO: "EIO", syscall.EAFNOSUPPORT: "EAFNOSUPPORT", syscall.EPROTONOSUPPORT: "EPROTONOSUPPORT",
}
