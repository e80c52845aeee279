package mdns

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gatepost/appliance/cable"
)

// avahi is Debian's avahi-daemon at the far end of the cable.
type avahi struct {
	t   *testing.T
	mu  sync.Mutex
	log bytes.Buffer
}

func (a *avahi) Write(b []byte) (int, error) { a.mu.Lock(); defer a.mu.Unlock(); return a.log.Write(b) }

func (a *avahi) said() string { a.mu.Lock(); defer a.mu.Unlock(); return a.log.String() }

// startAvahi gives it a host name. It speaks with us over its own plain socket,
// without D-Bus.
func startAvahi(t *testing.T, c *cable.Cable, host string) *avahi {
	t.Helper()
	a := &avahi{t: t}
	conf := filepath.Join(t.TempDir(), "avahi.conf")
	text := "[server]\nhost-name=" + host + "\nallow-interfaces=" + cable.Far + "\nenable-dbus=no\ndisallow-other-stacks=no\n" +
		"[publish]\npublish-workstation=no\npublish-hinfo=no\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "--debug", "-f", conf)
	cmd.Stdout, cmd.Stderr = a, a
	c.There(cmd.Start)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("avahi:\n%s", a.said())
		}
	})
	return a
}

// resolve asks avahi, "-HOSTNAME-IPV4 name" or "-ADDRESS address", until it has
// an answer with the words.
func (a *avahi) resolve(question, want string) {
	a.t.Helper()
	var last string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("unix", "/run/avahi-daemon/socket")
		if err != nil {
			last = err.Error()
			continue
		}
		fmt.Fprintf(conn, "RESOLVE%s\n", question)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		last, err = bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if err == nil && strings.Contains(last, want) {
			return
		}
	}
	a.t.Errorf("avahi, asked %s: got %q, want %q", question, last, want)
}

// near gives our end an address and returns it.
func near(t *testing.T, address string) net.Interface {
	t.Helper()
	link, err := netlink.LinkByName(cable.Near)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.AddrAdd(link, addr)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	on, err := net.InterfaceByName(cable.Near)
	if err != nil {
		t.Fatal(err)
	}
	return *on
}

// TestPeerAvahi holds the name against the responder that others wrote: it
// finds us, and where it has our name already, the box takes its other one.
func TestPeerAvahi(t *testing.T) {
	cable.Program(t, "avahi-daemon", "avahi-daemon")
	if !cable.Alone(t) {
		return
	}
	// A folder of its own for avahi's socket.
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("run", "/run", "tmpfs", 0, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := cable.Lay(t, "192.168.77.1/24")
	on := near(t, "192.168.77.50/24")
	first, second := Names(on.HardwareAddr)
	label, _, _ := strings.Cut(first, ".")
	other := startAvahi(t, c, label)
	other.resolve("-HOSTNAME-IPV4 "+first, "192.168.77.1") // it has our name

	named := make(chan string, 16)
	r := New(Config{MAC: on.HardwareAddr, Named: func(name, note string) { named <- name + note }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	start := func() {
		go func() { done <- r.Run(ctx, on, []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24")}) }()
	}
	start()
	for _, want := range []string{first, second} {
		select {
		case got := <-named:
			if got != want {
				t.Fatalf("name: got %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the name %s did not come", want)
		}
	}
	other.resolve("-HOSTNAME-IPV4 "+second, "192.168.77.50")
	other.resolve("-ADDRESS 192.168.77.50", second)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if len(named) > 0 {
		t.Errorf("another name: %s", <-named)
	}
	if log := other.said(); strings.Contains(log, "conflict") || !strings.Contains(log, label) {
		t.Errorf("avahi saw a conflict with its own name: %s", log)
	}
}
