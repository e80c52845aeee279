package qemu

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// The tests' guest is a program of a few instructions that runs without any
// operating system, so that the machine can be tested in milliseconds and
// without a kernel.

// Addresses of the virt machine's devices, and calls to its firmware (PSCI).
const (
	uartHigh  = 0x0900 // 0x09000000
	gpioHigh  = 0x0903 // 0x09030000
	dataReg   = 0x3fc
	dirReg    = 0x400
	powerLine = 3
	systemOff = 0x0008 // 0x84000008
	reset     = 0x0009 // 0x84000009
)

// asm collects arm64 instructions.
type asm []uint32

func (a *asm) add(ins ...uint32) { *a = append(*a, ins...) }

// start puts the devices' addresses into x1 and x2.
func (a *asm) start() {
	a.add(0xd2a00000|uartHigh<<5|1, 0xd2a00000|gpioHigh<<5|2)
}

// print sends text to the serial port.
func (a *asm) print(text string) {
	for _, c := range []byte(text) {
		a.add(0x52800003|uint32(c)<<5, 0x39000023) // movz w3, #c; strb w3, [x1]
	}
}

// store writes a byte to a register of the GPIO chip.
func (a *asm) store(reg, value uint32) {
	a.add(0x52800003|value<<5, 0x39000043|reg<<10) // movz w3, #value; strb w3, [x2, #reg]
}

// awaitHigh loops until an input line is high.
func (a *asm) awaitHigh(line uint32) {
	const back = (1<<14 - 1) << 5 // one instruction up
	a.add(0x39400043|dataReg<<10, 0x36000003|line<<19|back)
}

// firmware makes a PSCI call.
func (a *asm) firmware(function uint32) {
	a.add(0xd2b08000, 0xf2800000|function<<5, 0xd4000002) // movz x0, #0x8400, lsl 16; movk; hvc
}

// hang loops for ever.
func (a *asm) hang() { a.add(0x14000000) }

// guest writes a guest's files and gives the machine that runs it.
func guest(t *testing.T, build func(*asm)) Config {
	t.Helper()
	if err := Available(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err) // make test installs it: here a skip would hide the check
		}
		t.Skip(err)
	}
	var a asm
	a.start()
	build(&a)
	image := make([]byte, 4096)
	for i, ins := range a {
		binary.LittleEndian.PutUint32(image[4*i:], ins)
	}
	dir := t.TempDir()
	c := Config{Kernel: filepath.Join(dir, "guest.bin"), Initrd: filepath.Join(dir, "initrd"), MemoryMB: 32}
	for _, path := range []string{c.Kernel, c.Initrd} {
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// lamp is a guest that lights line 0, drives line 4 low, says ready and
// switches itself off when the power key is pressed.
func lamp(a *asm) {
	a.store(dirReg, 0b0001_0001)
	a.store(dataReg, 0b0000_0001)
	a.print("guest: ready\r\n")
	a.awaitHigh(powerLine)
	a.print("guest: \x1b[31mbye\r\n")
	a.firmware(systemOff)
	a.hang()
}
