// Package board describes boards as data: which lights a board has and where
// they are wired, where its power key is, and which kernel modules it needs.
//
// It knows no hardware: packages board/gpio and board/kled drive the lights,
// board/button watches the button, and board/led decides what the lights show.
// A new board is a new row in this package's table.
package board

import (
	"fmt"
	"slices"
)

// Names of the lights, from left to right. They are printed on the legend.
const (
	Status  = "status"
	Network = "network"
	Mail    = "mail"
	Alert   = "alert"
)

// A Light is one light of a board.
type Light struct {
	// Name is Status, Network, Mail or Alert.
	Name string
	// Line is where it is wired; the zero value for a kernel LED.
	Line Line
	// Second is the line of the alarm colour, for a light that has two; the
	// zero value for one that has one.
	Second Line
	// ActiveLow says that the light is on when its line is low.
	ActiveLow bool
	// LED is the light's name in /sys/class/leds, when the kernel drives it.
	LED string
	// Colour is for people; "" when nobody has said it.
	Colour string
}

// Where says in a few words how the light is driven.
func (l Light) Where() string {
	text := l.Line.String()
	if l.LED != "" {
		text = "kernel LED " + l.LED
	}
	if l.Second != (Line{}) {
		text += ", alarm " + l.Second.String()
	}
	if l.ActiveLow {
		text += ", on when low"
	}
	if l.Colour != "" {
		text += ", " + l.Colour
	}
	return text
}

// A Line is one GPIO line: by the label of its chip and its number, or by the
// name that the device tree gives it.
type Line struct {
	// Chip is the GPIO chip's label, which the device tree fixes (chip
	// numbers change between boots). With Name it may be empty: any chip.
	Chip string
	// Number is the line's offset within the chip, when Name is empty.
	Number int
	// Name is the line's name.
	Name string
}

func (l Line) String() string {
	switch {
	case l.Name != "" && l.Chip != "":
		return fmt.Sprintf("line %q of %s", l.Name, l.Chip)
	case l.Name != "":
		return fmt.Sprintf("line %q", l.Name)
	}
	return fmt.Sprintf("line %d of %s", l.Number, l.Chip)
}

// A Button is the reset button.
type Button struct {
	// Line is where it is wired; the zero value when it is a key of the
	// kernel.
	Line Line
	// ActiveLow says that the line is low while the button is pressed.
	ActiveLow bool
	// PullUp asks the chip to pull the line up: a button to ground needs no
	// resistor then.
	PullUp bool
	// Key is the code of a key that the kernel reports (linux/input-event-codes.h),
	// 0 when the button is a line.
	Key int
}

// Where says in a few words how the button is read.
func (b Button) Where() string {
	switch {
	case b == (Button{}):
		return "none"
	case b.Key != 0:
		return fmt.Sprintf("key %d of the kernel", b.Key)
	case b.ActiveLow:
		return b.Line.String() + ", pressed when low"
	}
	return b.Line.String()
}

// A Profile is what the software has to know of one kind of board.
type Profile struct {
	// Name names the profile in the configuration, such as qemu-virt.
	Name string
	// Title names the board for people.
	Title string
	// Compatible are the device-tree strings by which the board is known.
	Compatible []string
	// Lights are the board's lights, from left to right: all four, or
	// Status and Alert, or Status alone, or none.
	Lights []Light
	// Onboard is a light that is on the board whether or not others are
	// connected: it shows the whole state by the rhythms of a board with one
	// light. The zero value if there is none.
	Onboard Light
	// FaultLED is a kernel LED that blinks when the kernel itself has died;
	// "" if none is free for that.
	FaultLED string
	// Button is the reset button; the zero value if there is none.
	Button Button
	// PowerKey is the line of the power key that the kernel watches
	// (gpio-keys); the zero value if there is none. Nobody else may take it.
	PowerKey Line
	// Console is where the kernel's console is, as its option console= takes
	// it; "" leaves it to the device tree.
	Console string
	// DeviceTree is the board's device tree in the kernel's package, such as
	// broadcom/x.dtb, for those who boot the kernel without a firmware that
	// knows the board; "" if the firmware or the machine always has one.
	DeviceTree string
	// Modules are the kernel modules that the board needs besides Common;
	// one with a leading "?" may be missing.
	Modules []string
}

// NoneName is the name of the profile without lights.
const NoneName = "none"

// CustomName is the name of a board that the settings describe.
const CustomName = "custom"

// None is the profile of a board without lights, or one that is not known.
func None() Profile { return Profile{Name: NoneName, Title: "no lights"} }

// Common are the kernel modules that every board needs: the file systems of
// the data partition and of the boot partition (with the character sets by
// which the kernel mounts it unless told otherwise), and the power key.
func Common() []string {
	return []string{"crc32c_generic", "ext4", "vfat", "nls_cp437", "nls_ascii", "evdev", "gpio_keys"}
}

// Profiles gives every known board, None last.
func Profiles() []Profile {
	return []Profile{qemuVirt(), raspi3b(), raspi4b(), raspiZero2W(), kernelLEDs(), None()}
}

// Lookup finds a profile by its name.
func Lookup(name string) (Profile, bool) {
	all := Profiles()
	i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return all[i], true
}

// Names lists the names of all profiles.
func Names() []string {
	var names []string
	for _, p := range Profiles() {
		names = append(names, p.Name)
	}
	return names
}

// ModuleRoots gives the kernel modules that p needs, Common ones included, in an
// order that never changes. They are names, not yet closed over what they
// depend on.
func (p Profile) ModuleRoots() []string {
	return slices.Concat(p.Modules, Common(), lightModules())
}

// lightModules are what kernel LEDs need; a kernel without them has none.
func lightModules() []string { return []string{"?leds_gpio", "?ledtrig_pattern"} }

// qemuVirt is QEMU's virt machine, booted with a device tree. Its PL061 has
// eight lines; the machine presses line 3 for a power-down, and a test presses
// line 5 for the reset button.
func qemuVirt() Profile {
	const chip = "9030000.pl061"
	return Profile{
		Name:       "qemu-virt",
		Title:      "QEMU virt (arm64)",
		Compatible: []string{"linux,dummy-virt"},
		Lights: []Light{
			{Name: Status, Line: Line{Chip: chip, Number: 0}},
			{Name: Network, Line: Line{Chip: chip, Number: 1}},
			{Name: Mail, Line: Line{Chip: chip, Number: 2}},
			{Name: Alert, Line: Line{Chip: chip, Number: 4}},
		},
		Button:   Button{Line: Line{Chip: chip, Number: 5}},
		PowerKey: Line{Chip: chip, Number: 3},
		Console:  "ttyAMA0",
		Modules: []string{
			"virtio_pci", "virtio_mmio", "virtio_rng", "virtio_net", "virtio_blk",
			// The first watchdog to be loaded is /dev/watchdog: the real one,
			// where the machine has it.
			"i6300esb", "softdog",
		},
	}
}
