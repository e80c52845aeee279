package appliance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gatepost/appliance/boot"
	"gatepost/appliance/sandbox"
)

// procSys is the folder of the kernel's knobs.
const procSys = "/proc/sys"

// groupShares are the parts of the machine's memory, in percent, beyond which
// a role ends. They are hard where those of heapLimit are soft, count files in
// memory and caches, too, and leave PID 1 and the kernel theirs whatever one
// role does. In a box with 128 MB the relay was seen to need 29 MB with a disk
// full of mail, and the page 28 MB while it checks a password.
var groupShares = map[string]uint64{RoleRelay: 60, RoleWeb: 50}

// leastGroup is the limit on a small machine, in bytes: a login must not be
// what ends the page.
const leastGroup = 48 << 20

// giveUp is what PID 1 does when the modules are loaded and before the roles
// start: from here on neither it nor anybody else can put code into the kernel.
func (p *initProcess) giveUp() {
	n, err := boot.TurnKnobs(procSys, boot.Knobs())
	p.warn("kernel settings", err)
	p.note("%d kernel settings closed", n)
	p.warn("control groups", boot.MountGroups())
	p.warn("privileges", sandbox.EnterInit())
}

// roleGroup makes the control group of a role; nil when there can be none.
func (p *initProcess) roleGroup(role string) *os.File {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		p.warn("memory", err)
		return nil
	}
	total := uint64(info.Totalram) * uint64(info.Unit)
	f, err := boot.MakeGroup(boot.GroupDir, role, max(total/100*groupShares[role], leastGroup), maxThreads)
	p.warn(role, err)
	return f
}

// cages is what each role reached, by name; the zero value is ready.
type cages struct {
	mu    sync.Mutex
	words map[string]string
}

func (c *cages) set(role, words string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.words == nil {
		c.words = map[string]string{}
	}
	c.words[role] = words
}

func (c *cages) get(role string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.words[role]
}

// maxCageLine bounds a role's first line, in bytes.
const maxCageLine = 1024

// hearRole takes the output of a role. Its first line tells how far its cage
// is closed; the kernel is asked whether that is so.
func (p *initProcess) hearRole(role string, pid int, r io.Reader) error {
	p.cages.set(role, "")
	br := bufio.NewReaderSize(r, maxCageLine)
	line, _ := br.ReadSlice('\n') // an error comes again below
	line = bytes.Clone(line)
	if words, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), cageWords); ok {
		status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
		if err == nil {
			err = caged(string(status))
		}
		if err != nil {
			words = "OPEN: " + err.Error()
			p.say("%s: the cage is open: %v", role, err)
		}
		p.cages.set(role, words)
		p.rolesChanged()
	}
	return p.journal.Copy(role, io.MultiReader(bytes.NewReader(line), br))
}

// caged looks at what the kernel says of a process (proc_pid_status(5)) and
// returns an error that names what is not as it must be.
func caged(status string) error {
	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if w, ok := want[name]; ok {
			if v := strings.TrimSpace(value); v != w {
				return fmt.Errorf("the kernel says %s %s", name, v)
			}
			delete(want, name)
		}
	}
	for name := range want {
		return fmt.Errorf("the kernel does not tell %s", name)
	}
	return nil
}
