// Package board describes boards as data: which lights a board has and where
// they are wired, where its power key is, and which kernel modules it needs.
//
// It knows no hardware: package board/gpio drives the lines and package
// board/led decides what they show. A new board is a new row in this
// package's table.
package board

import (
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
	// Line is where it is wired.
	Line Line
	// ActiveLow says that the light is on when the line is low.
	ActiveLow bool
}

// A Line is one GPIO line.
type Line struct {
	// Chip is the GPIO chip's label, which the device tree fixes (chip
	// numbers change between boots).
	Chip string
	// Number is the line's offset within the chip.
	Number int
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
	// PowerKey is the line of the power key that the kernel watches
	// (gpio-keys); the zero value if there is none. Nobody else may take it.
	PowerKey Line
	// Modules are the kernel modules that the board needs besides Common;
	// one with a leading "?" may be missing.
	Modules []string
}

// NoneName is the name of the profile without lights.
const NoneName = "none"

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
	return []Profile{qemuVirt(), None()}
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
	return append(slices.Clone(p.Modules), Common()...)
}

// qemuVirt is QEMU's virt machine, booted with a device tree. Its PL061 has
// eight lines; the machine presses line 3 for a power-down.
func qemuVirt() Profile {
	const chip = "9030000.pl061"
	return Profile{
		Name:       "qemu-virt",
		Title:      "QEMU virt (arm64)",
		Compatible: []string{"linux,dummy-virt"},
		Lights: []Light{
			{Name: Status, Line: Line{chip, 0}},
			{Name: Network, Line: Line{chip, 1}},
			{Name: Mail, Line: Line{chip, 2}},
			{Name: Alert, Line: Line{chip, 4}},
		},
		PowerKey: Line{chip, 3},
		Modules: []string{
			"virtio_pci", "virtio_mmio", "virtio_rng", "virtio_net", "virtio_blk",
			// The first watchdog to be loaded is /dev/watchdog: the real one,
			// where the machine has it.
			"i6300esb", "softdog",
		},
	}
}
