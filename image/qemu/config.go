package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Defaults of Config's fields.
const (
	DefaultBinary   = "qemu-system-aarch64"
	DefaultAppend   = "console=ttyAMA0 panic=1 quiet cma=0"
	DefaultMemoryMB = 128
	DefaultMAC      = "52:54:00:67:70:01"
)

// Config describes the machine. Kernel and Initrd must be set; the zero
// value of any other field means what its comment says.
type Config struct {
	// Binary is QEMU's program; "" means DefaultBinary.
	Binary string
	// Board is the machine: "" means virt, the other is Raspi3B.
	Board string
	// DTB is the path of a device tree in place of the machine's own. The
	// Raspi3B has none of its own.
	DTB string
	// Kernel and Initrd are the paths of the image's artefacts. They are not
	// used when Firmware is set.
	Kernel, Initrd string
	// Firmware is the path of an UEFI firmware, which starts what is on Disk,
	// and Vars that of its variables, a file that the machine writes. The
	// kernel then gets the command line that its UKI holds. Such a machine
	// needs 256 MB.
	Firmware, Vars string
	// Append is the kernel's command line; "" means DefaultAppend. Without
	// panic=N a kernel that panics stands still for ever; with cma=0 it does
	// not complain that 64 MB of a small memory are too much to set aside.
	Append string
	// MemoryMB is the guest's memory in MB; 0 means DefaultMemoryMB.
	MemoryMB int
	// Network is the path of the unix socket of the network's other end,
	// which listens before Start is called. "" means no network card.
	Network string
	// MAC is the network card's address; "" means DefaultMAC.
	MAC string
	// Disk is the path of the raw data disk; "" means that there is none.
	Disk string
	// NBD is the path of the unix socket of an NBD server (see
	// gatepost/relay/lab/nbd) that serves the data disk, in place of Disk. The
	// guest's flushes arrive there as flushes.
	NBD string
	// Time is what the guest's clock shows at the start; the zero value
	// means the host's time.
	Time time.Time
	// Extra are further arguments for QEMU.
	Extra []string
	// OnLine, if set, is called with every line of the console, in order,
	// from one goroutine. It must not block.
	OnLine func(Line)
}

// File descriptors that the process finds open, after the standard three.
const (
	qmpFD   = 3
	qtestFD = 4
)

// maxSocketPath is the longest path of a unix socket, in bytes.
const maxSocketPath = 107

// check reports a Config that QEMU could only answer with a riddle.
func (c Config) check() error {
	for _, file := range []struct{ what, path string }{
		{"kernel", c.Kernel},
		{"initrd", c.Initrd},
		{"disk", c.Disk},
		{"network", c.Network},
		{"nbd", c.NBD},
		{"device tree", c.DTB},
		{"firmware", c.Firmware},
		{"variables of the firmware", c.Vars},
	} {
		var mayLack bool
		switch file.what {
		case "network", "nbd", "firmware":
			mayLack = true
		case "disk":
			mayLack = c.Firmware == "" || c.NBD != ""
		case "variables of the firmware":
			mayLack = c.Firmware == ""
		case "kernel", "initrd":
			mayLack = c.Firmware != ""
		case "device tree":
			mayLack = c.Board == ""
		}
		switch {
		case file.path == "" && mayLack:
			continue
		case file.path == "":
			return fmt.Errorf("qemu: no %s given", file.what)
		case strings.Contains(file.path, ","):
			return fmt.Errorf("qemu: %s %q: QEMU takes a comma for the end of a path", file.what, file.path)
		case (file.what == "network" || file.what == "nbd") && len(file.path) > maxSocketPath:
			return fmt.Errorf("qemu: %s %q: a socket's path has at most %d bytes", file.what, file.path, maxSocketPath)
		}
		if _, err := os.Stat(file.path); err != nil {
			return fmt.Errorf("qemu: %s: %w", file.what, err)
		}
	}
	if c.Board != "" && c.Board != Raspi3B {
		return fmt.Errorf("qemu: no machine is called %q here", c.Board)
	}
	if c.Disk != "" && c.NBD != "" {
		return errors.New("qemu: one data disk, not a file and an NBD server")
	}
	if c.MemoryMB < 0 {
		return fmt.Errorf("qemu: %d MB of memory", c.MemoryMB)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Binary == "" {
		c.Binary = DefaultBinary
	}
	if c.Append == "" {
		c.Append = DefaultAppend
		if c.Board == Raspi3B {
			c.Append = raspiAppend
		}
	}
	if c.MemoryMB == 0 {
		c.MemoryMB = DefaultMemoryMB
	}
	if c.MAC == "" {
		c.MAC = DefaultMAC
	}
	return c
}

// args is QEMU's command line.
//
// The processor is a cortex-a53, because the newest one's pointer
// authentication takes three times as long to emulate. The network card has
// no boot ROM, so that no package with ROMs is needed. The machine begins
// stopped (-S): a guest that ended before the monitor listens would end for
// no reason that anybody could learn.
func (c Config) args() []string {
	args := []string{
		"-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config", "-S",
		"-chardev", "stdio,id=console,signal=off",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=qtest,fd=%d", qtestFD), "-qtest", "chardev:qtest", "-qtest-log", "/dev/null",
	}
	if c.Firmware == "" {
		args = append(args, "-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.Append)
	} else {
		args = append(args,
			"-drive", "if=pflash,format=raw,readonly=on,file="+c.Firmware,
			"-drive", "if=pflash,format=raw,file="+c.Vars)
	}
	if c.Network != "" {
		args = append(args, "-netdev", "stream,id=n0,server=off,addr.type=unix,addr.path="+c.Network)
	}
	if !c.Time.IsZero() {
		args = append(args, "-rtc", "base="+c.Time.UTC().Format("2006-01-02T15:04:05"))
	}
	if c.Board == Raspi3B {
		args = append(args, c.raspiArgs()...)
	} else {
		args = append(args, c.virtArgs()...)
	}
	return append(args, c.Extra...)
}

// virtMachine is the virt machine with the GPIO chip that it has without ACPI.
const virtMachine = "virt,acpi=off"

// virtArgs are the arguments of the virt machine alone.
func (c Config) virtArgs() []string {
	args := []string{
		"-M", virtMachine, "-cpu", "cortex-a53", "-smp", "1", "-m", strconv.Itoa(c.MemoryMB),
		"-serial", "chardev:console", "-device", "virtio-rng-pci",
	}
	if c.DTB != "" {
		args = append(args, "-dtb", c.DTB)
	}
	if c.Network != "" {
		args = append(args, "-device", "virtio-net-pci,netdev=n0,romfile=,mac="+c.MAC)
	}
	if c.Disk != "" {
		args = append(args,
			"-drive", "if=none,id=d0,format=raw,file="+c.Disk,
			"-device", "virtio-blk-pci,drive=d0")
	}
	if c.NBD != "" {
		args = append(args,
			"-drive", "if=none,id=d0,format=raw,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path="+c.NBD,
			"-device", "virtio-blk-pci,drive=d0")
	}
	return args
}

// Available tells whether QEMU can be started here; the error names the
// Debian package that is missing.
func Available() error {
	_, err := exec.LookPath(DefaultBinary)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed (Debian package qemu-system-arm)", DefaultBinary)
	}
	return err
}
