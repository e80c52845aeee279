package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Knob is a setting of the kernel that makes it offer less.
type Knob struct {
	Path  string // below /proc/sys
	Value string
}

// Knobs are what a box gives up once it runs: no module can be loaded and no
// other kernel started any more, not by root either, and users without rights
// learn nothing of the kernel. Most kernels miss some of them.
func Knobs() []Knob {
	return []Knob{
		{"kernel/modules_disabled", "1"}, // until the next start
		{"kernel/kexec_load_disabled", "1"},
		{"kernel/unprivileged_bpf_disabled", "1"},
		{"kernel/unprivileged_userns_clone", "0"},
		{"user/max_user_namespaces", "0"},
		{"kernel/perf_event_paranoid", "3"},
		{"kernel/dmesg_restrict", "1"},
		{"kernel/kptr_restrict", "2"},
		{"kernel/yama/ptrace_scope", "3"},
		{"kernel/sysrq", "0"},
		{"fs/protected_symlinks", "1"},
		{"fs/protected_hardlinks", "1"},
		{"fs/suid_dumpable", "0"},
		{"vm/unprivileged_userfaultfd", "0"},
	}
}

// TurnKnobs sets every knob below dir, which is /proc/sys, and goes on after a
// failure. It returns how many are set; one that the kernel does not have is
// no error.
func TurnKnobs(dir string, knobs []Knob) (int, error) {
	var errs []error
	set := 0
	for _, k := range knobs {
		// No O_CREATE: what is not there is not the kernel's.
		f, err := os.OpenFile(filepath.Join(dir, k.Path), os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = f.WriteString(k.Value)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.Path, err))
			continue
		}
		set++
	}
	return set, errors.Join(errs...)
}
