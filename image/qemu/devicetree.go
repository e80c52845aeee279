package qemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/u-root/u-root/pkg/dt"
)

// A TreeLED is an LED of the kernel on a line of the virt machine's GPIO chip.
type TreeLED struct {
	Label string // its name in /sys/class/leds
	Line  int
}

// gpioNode is the virt machine's GPIO chip in its device tree.
const gpioNode = "pl061@9030000"

// LEDTree writes the virt machine's device tree, with LEDs added that the
// kernel drives and with another name for the machine, into dir. It gives the
// path for Config.DTB.
func LEDTree(ctx context.Context, dir, machine string, leds []TreeLED) (string, error) {
	path := filepath.Join(dir, "leds.dtb")
	cmd := exec.CommandContext(ctx, DefaultBinary, "-M", virtMachine+",dumpdtb="+path, "-cpu", "cortex-a53", "-smp", "1", "-display", "none", "-nodefaults")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("qemu: device tree: %w: %s", err, out)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("qemu: device tree: %w", err)
	}
	tree, err := dt.ReadFDT(f)
	f.Close()
	if err != nil {
		return "", fmt.Errorf("qemu: device tree: %w", err)
	}
	chip, ok := tree.RootNode.LookupChildByName(gpioNode)
	if !ok {
		return "", fmt.Errorf("qemu: the device tree has no %s", gpioNode)
	}
	handle, ok := chip.LookProperty("phandle")
	if !ok || len(handle.Value) != 4 {
		return "", fmt.Errorf("qemu: nothing refers to %s in the device tree", gpioNode)
	}
	tree.RootNode.Update(dt.PropertyString("compatible", machine))
	node := dt.NewNode("gatepost-leds", dt.WithProperty(dt.PropertyString("compatible", "gpio-leds")))
	for _, led := range leds {
		node.Children = append(node.Children, dt.NewNode(fmt.Sprintf("led-%d", led.Line), dt.WithProperty(
			dt.PropertyString("label", led.Label),
			dt.PropertyU32Array("gpios", []uint32{binary.BigEndian.Uint32(handle.Value), uint32(led.Line), 0}),
		)))
	}
	tree.RootNode.Children = append(tree.RootNode.Children, node)
	out, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("qemu: device tree: %w", err)
	}
	defer out.Close()
	if _, err := tree.Write(out); err != nil {
		return "", fmt.Errorf("qemu: device tree: %w", err)
	}
	return path, out.Sync()
}
