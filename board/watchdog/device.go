package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/watchdog"
	"golang.org/x/sys/unix"
)

// ErrNone says that the machine has no watchdog, or no driver for it. The box
// must run without one.
var ErrNone = errors.New("there is no watchdog")

// softwareIdentity is what the kernel calls the watchdog that is only a timer of
// its own: it helps against a hung program, not against a hung kernel.
const softwareIdentity = "Software Watchdog"

// Choice is a watchdog that the kernel has.
type Choice struct {
	Name     string // such as watchdog0, in /dev and in /sys/class/watchdog
	Identity string // what its driver calls it, "" when that is not told
}

// Software reports whether the watchdog is only the kernel's own timer.
func (c Choice) Software() bool { return c.Identity == softwareIdentity }

// Choose returns the watchdog to use of those in sys, which is
// /sys/class/watchdog: a real one before the kernel's own timer, and then the
// lowest number. The error is ErrNone when there is none.
func Choose(sys fs.FS) (Choice, error) {
	entries, err := fs.ReadDir(sys, ".")
	if err != nil {
		return Choice{}, fmt.Errorf("%w: %w", ErrNone, err)
	}
	var all []Choice
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "watchdog") {
			continue
		}
		c := Choice{Name: e.Name()}
		if text, err := fs.ReadFile(sys, path.Join(e.Name(), "identity")); err == nil {
			c.Identity = strings.TrimSpace(string(text))
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return Choice{}, ErrNone
	}
	slices.SortStableFunc(all, func(a, b Choice) int {
		switch {
		case a.Software() && !b.Software():
			return 1
		case b.Software() && !a.Software():
			return -1
		}
		return 0 // fs.ReadDir sorts by name
	})
	return all[0], nil
}

// Device is an armed watchdog. Its methods must not be called at once.
type Device struct {
	Choice
	// Timeout is after how long without Feed the machine is restarted, as the
	// driver says it; 0 when it does not tell.
	Timeout time.Duration
	// Fired says that this watchdog restarted the machine the last time. Not
	// every driver can tell: the kernel's own timer cannot.
	Fired bool

	w *watchdog.Watchdog
}

// Open arms the watchdog of that choice in dev, which is /dev, with a timeout in
// whole seconds. A driver that cannot take the timeout keeps its own, and
// Timeout says which. The caller must Feed it from then on, and end with Disarm
// or Leave.
func Open(dev string, c Choice, timeout time.Duration) (*Device, error) {
	w, err := watchdog.Open(path.Join(dev, c.Name))
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	d := &Device{Choice: c, w: w}
	// The driver may take another value than it was given; asking tells.
	setErr := unix.IoctlSetPointerInt(int(w.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second))
	if d.Timeout, err = w.Timeout(); err != nil {
		d.Timeout = 0
	}
	if status, err := w.BootStatus(); err == nil {
		d.Fired = status&watchdog.StatusCardReset != 0
	}
	if setErr != nil && d.Timeout == 0 {
		return d, fmt.Errorf("watchdog %s: its timeout cannot be set: %w", c.Name, setErr)
	}
	return d, nil
}

// Feed puts the restart off by another Timeout.
func (d *Device) Feed() error {
	if err := d.w.KeepAlive(); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

// Disarm closes the device so that the machine may stay off. A driver that was
// built never to let go keeps counting.
func (d *Device) Disarm() error {
	if err := d.w.MagicClose(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}
