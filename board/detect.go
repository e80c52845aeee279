package board

import (
	"io/fs"
	"slices"
	"strings"
)

// compatibleFiles are the places of the root node's "compatible" property,
// below "/": the kernel's own, and the older one that links to it.
var compatibleFiles = []string{
	"sys/firmware/devicetree/base/compatible",
	"proc/device-tree/compatible",
}

// maxCompatible bounds the property, in bytes.
const maxCompatible = 4096

// Detect finds the profile of the board it runs on. root is the root of the
// file system, with /sys or /proc mounted. The second result is what the
// board calls itself, most specific first, and empty where there is no device
// tree. A board that is not known gets the lights that its kernel LEDs can be,
// or else None.
func Detect(root fs.FS) (Profile, []string) {
	names := compatible(root)
	for _, name := range names { // the board's most specific name decides
		for _, p := range Profiles() {
			if slices.Contains(p.Compatible, name) {
				return p, names
			}
		}
	}
	if p := kernelLEDs().On(root); len(p.Lights) > 0 {
		return p, names
	}
	return None(), names
}

// On fills in what only the running machine can tell of a profile: the lights
// of kernelLEDs. Other profiles are given back as they are.
func (p Profile) On(root fs.FS) Profile {
	if p.Name == KernelLEDsName {
		p.Lights = FindLEDs(root)
	}
	return p
}

// compatible reads the NUL-separated names.
func compatible(root fs.FS) []string {
	for _, file := range compatibleFiles {
		data, err := fs.ReadFile(root, file)
		if err != nil || len(data) > maxCompatible {
			continue
		}
		var names []string
		for name := range strings.SplitSeq(string(data), "\x00") {
			if name != "" {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			return names
		}
	}
	return nil
}
