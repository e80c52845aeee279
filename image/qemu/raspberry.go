package qemu

import (
	"context"
	"fmt"
	"strconv"
)

// Raspi3B is QEMU's Raspberry Pi 3 for Config.Board. It takes 1 GB of memory,
// says what it has to say on its second serial port (ttyS1), has its network
// card on USB, its disk in the card slot, and no clock.
const Raspi3B = "raspi3b"

// raspiAppend is the kernel's command line for it. QEMU's model of the watchdog
// resets the machine as soon as it is started, whatever its timeout.
const raspiAppend = "console=ttyS1,115200 panic=1 quiet cma=0 gatepost.watchdog=off"

// raspiArgs are the arguments in which it differs from the virt machine.
func (c Config) raspiArgs() []string {
	args := []string{"-M", "raspi3b", "-m", "1G", "-dtb", c.DTB, "-serial", "null", "-serial", "chardev:console"}
	if c.Network != "" {
		args = append(args, "-device", "usb-net,netdev=n0,mac="+c.MAC)
	}
	if c.Disk != "" {
		args = append(args, "-drive", "if=sd,format=raw,file="+c.Disk)
	}
	return args
}

// Registers of its GPIO chip, as physical addresses: the function of ten lines
// each, three bits a line, and the levels of 32 lines each.
const (
	raspiFunction  = 0x3f200000
	raspiLevel     = 0x3f200034
	raspiLines     = 54
	raspiPerSelect = 10
)

// raspiGPIO reads the lines.
func (m *Machine) raspiGPIO(ctx context.Context) (GPIO, error) {
	var g GPIO
	for i := range (raspiLines + 31) / 32 {
		word, err := m.register(ctx, raspiLevel+4*i)
		if err != nil {
			return GPIO{}, err
		}
		g.Levels |= word << (32 * i)
	}
	for i := range (raspiLines + raspiPerSelect - 1) / raspiPerSelect {
		word, err := m.register(ctx, raspiFunction+4*i)
		if err != nil {
			return GPIO{}, err
		}
		for line := range raspiPerSelect {
			if word>>(3*line)&7 == 1 {
				g.Outputs |= 1 << (raspiPerSelect*i + line)
			}
		}
	}
	return g, nil
}

// register reads one word of physical memory. It asks by qtest and not by the
// monitor, which must not be asked while the guest may switch itself off (see
// endGrace).
func (m *Machine) register(ctx context.Context, address int) (uint64, error) {
	text, err := m.qtest.execute(ctx, fmt.Sprintf("readl %#x", address))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("qemu: register %#x: unexpected answer %q", address, text)
	}
	return n, nil
}
