package board

import (
	"io/fs"
	"slices"
	"strings"
)

// KernelLEDsName is the name of the profile of a board that has no row of its
// own and whose kernel names LEDs as Linux recommends.
const KernelLEDsName = "kernel-leds"

func kernelLEDs() Profile { return Profile{Name: KernelLEDsName, Title: "a board with kernel LEDs"} }

// functions are the last parts of LED names (device:colour:function) that can
// serve as each light, the best first.
var functions = map[string][]string{
	Status:  {"status", "power", "heartbeat"},
	Network: {"network", "lan", "wan", "net"},
	Mail:    {"mail", "activity"},
	Alert:   {"alert", "alarm", "fault", "warning"},
}

// maxLEDs bounds how many names of LEDs are looked at.
const maxLEDs = 256

// FindLEDs gives the lights that the kernel's LEDs can be, by their names: all
// four, or Status and Alert, or Status alone, or none. root is the root of the
// file system, with /sys mounted.
func FindLEDs(root fs.FS) []Light {
	entries, err := fs.ReadDir(root, "sys/class/leds")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries[:min(len(entries), maxLEDs)] {
		names = append(names, e.Name())
	}
	found := map[string]Light{}
	for light, words := range functions {
		for _, word := range words {
			i := slices.IndexFunc(names, func(name string) bool { return function(name) == word })
			if i >= 0 {
				found[light] = Light{Name: light, LED: names[i]}
				break
			}
		}
	}
	for _, layout := range layouts() {
		var lights []Light
		for _, name := range layout {
			if l, ok := found[name]; ok {
				lights = append(lights, l)
			}
		}
		if len(lights) == len(layout) {
			return lights
		}
	}
	return nil
}

// layouts are the sets of lights that a board can have, the largest first.
func layouts() [][]string {
	return [][]string{{Status, Network, Mail, Alert}, {Status, Alert}, {Status}}
}

// IsLayout tells whether the names are those of a whole layout, in its order.
func IsLayout(names []string) bool {
	return slices.ContainsFunc(layouts(), func(l []string) bool { return slices.Equal(l, names) })
}

// function is the last part of an LED's name, without the number that the
// kernel adds to a name that is taken.
func function(name string) string {
	last := name[strings.LastIndexByte(name, ':')+1:]
	if i := strings.LastIndexAny(last, "-_"); i > 0 && strings.Trim(last[i+1:], "0123456789") == "" {
		last = last[:i]
	}
	return strings.ToLower(last)
}
