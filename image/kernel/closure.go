package kernel

import (
	"fmt"
	"strings"
)

// cryptoNames gives the module for an algorithm that a softdep names by its
// crypto alias, as ext4 does with "crypto-crc32c". The kernel would ask a
// helper program to look the alias up; the guest has no such program.
var cryptoNames = map[string]string{"crypto_crc32c": "crc32c_generic"}

// A catalogue answers what is known of a kernel's modules.
type catalogue interface {
	// info reads a module; the bool is false if there is none of this name.
	info(name string) (modinfo, bool, error)
	// isBuiltin tells whether the driver is inside the kernel image.
	isBuiltin(name string) bool
}

// closure lists roots and everything that they need, each after all that it
// needs: the order in which to load them. The result follows from the
// arguments alone. A root or a hard dependency that does not exist is an
// error; a soft one that does not is left out.
func closure(c catalogue, roots []string) ([]string, error) {
	var order []string
	state := map[string]int{} // 1: being visited, 2: listed
	var visit func(name, wantedBy string, soft bool) error
	visit = func(name, wantedBy string, soft bool) error {
		name = moduleName(name)
		if concrete, ok := cryptoNames[name]; ok {
			name = concrete
		}
		if state[name] != 0 {
			// A circle can only be made of soft dependencies (the kernel
			// could not load a hard one); any order serves there.
			return nil
		}
		m, ok, err := c.info(name)
		if err != nil {
			return err
		}
		if !ok {
			if soft || c.isBuiltin(name) {
				return nil
			}
			if wantedBy == "" {
				return fmt.Errorf("the kernel has no module %s", name)
			}
			return fmt.Errorf("the kernel has no module %s, which %s needs", name, wantedBy)
		}
		state[name] = 1
		for _, d := range m.pre {
			if err := visit(d, name, true); err != nil {
				return err
			}
		}
		for _, d := range m.depends {
			if err := visit(d, name, false); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	for _, root := range roots {
		// A leading "?" marks a module that a board likes to have and can
		// do without.
		name, optional := strings.CutPrefix(root, "?")
		if err := visit(name, "", optional); err != nil {
			return nil, err
		}
	}
	return order, nil
}
