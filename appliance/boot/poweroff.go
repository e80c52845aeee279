package boot

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// End is how the box stops.
type End int

// The ways to stop.
const (
	PowerOff End = iota
	Reboot
)

func (e End) String() string {
	if e == Reboot {
		return "restart"
	}
	return "power off"
}

// syncLimit bounds the wait for a disk that does not answer.
const syncLimit = 15 * time.Second

// CloseStorage writes everything to the disk and unmounts it; when something
// still holds it, it is made read-only instead, so that the journal of the
// file system is closed either way.
func CloseStorage(target string) error {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(syncLimit):
		return fmt.Errorf("the data disk did not take the last writes within %v", syncLimit)
	}
	err := unix.Unmount(target, 0)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // is not mounted
		return nil
	}
	if ro := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); ro != nil {
		return fmt.Errorf("unmount %s: %w; read-only: %w", target, err, ro)
	}
	return nil
}

// Stop ends the machine. It returns only when the kernel refuses.
func Stop(e End) error {
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if e == Reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	return unix.Reboot(cmd)
}

// KeysToSignals makes the kernel send SIGINT to PID 1 for Ctrl-Alt-Del instead
// of restarting at once.
func KeysToSignals() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }
