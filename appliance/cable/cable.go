// Package cable lays a virtual Ethernet cable between two network namespaces of
// their own, for tests that hold the box's network against real kernels and real
// programs of others. Nothing but tests may import it.
package cable

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Names of the two ends.
const (
	Near = "wan0"
	Far  = "lan0"
)

// Alone runs the test again as a process with a network, and with mounts, of
// its own, so that all its threads are there, and is true in that process. The
// test must return at once when it is false. Without the rights for it the test
// is skipped, but in CI it fails.
func Alone(t *testing.T) bool {
	t.Helper()
	const mark = "GATEPOST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("=== RUN")) {
		Missing(t, fmt.Sprintf("no network namespace may be made here: %v %s", err, out))
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// Missing skips a test and says what it needs; in CI it fails it.
func Missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("NOT TESTED: " + what)
}

// Program ends a test when a program is missing, which is in a Debian package.
func Program(t *testing.T, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Missing(t, fmt.Sprintf("%v (Debian package %s)", err, pkg))
	}
}

// Cable is one whose end Near is in the network of this process, without an
// address and switched off, and whose end Far is in another one, switched on.
type Cable struct {
	t  *testing.T
	fd int
}

// Lay lays a cable whose far end has these addresses, such as
// "192.168.77.1/24". The test must be Alone.
func Lay(t *testing.T, far ...string) *Cable {
	t.Helper()
	c := &Cable{t: t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			c.fd, err = unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
	}()
	c.must(<-made)
	t.Cleanup(func() { unix.Close(c.fd) })
	lo, err := netlink.LinkByName("lo")
	c.must(err)
	c.must(netlink.LinkSetUp(lo))
	c.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: Near}, PeerName: Far, PeerNamespace: netlink.NsFd(c.fd)}))
	c.There(func() error {
		link, err := netlink.LinkByName(Far)
		if err != nil {
			return err
		}
		for _, a := range far {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(link)
	})
	return c
}

func (c *Cable) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// There runs f on a thread at the far end: sockets that it opens and programs
// that it starts are there. An error ends the test.
func (c *Cable) There(f func() error) {
	c.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(c.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	c.must(<-done)
}

// Plug switches the far end on or off, which takes the near one's signal away.
func (c *Cable) Plug(in bool) {
	c.t.Helper()
	c.There(func() error {
		link, err := netlink.LinkByName(Far)
		if err != nil {
			return err
		}
		if in {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
}
