package boot

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/u-root/u-root/pkg/kmodule"
)

// Places of the kernel modules in the image.
const (
	ModuleDir  = "/lib/modules"
	ModuleList = "/lib/modules.list"
)

// ReadModuleList reads the names of module files, one a line in the order of
// loading. Empty lines and lines that begin with # are skipped; a name with a
// path is refused.
func ReadModuleList(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("list of modules: %w", err)
	}
	defer f.Close()
	var names []string
	sc := bufio.NewScanner(f)
	for line := 1; sc.Scan(); line++ {
		name := strings.TrimSpace(sc.Text())
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("%s: line %d: %q is not the name of a file", path, line, name)
		}
		names = append(names, name)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return names, nil
}

// LoadModules loads the named files of dir in order with load and goes on
// after a failure, because most boards miss the hardware of some module. A
// module that is there already is no failure. It returns how many are loaded
// and the joined errors. A nil load asks the kernel.
func LoadModules(dir string, names []string, load func(*os.File) error) (int, error) {
	if load == nil {
		load = func(f *os.File) error { return kmodule.FileInit(f, "", 0) }
	}
	loaded := 0
	var errs []error
	for _, name := range names {
		err := loadFile(filepath.Join(dir, name), load)
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			errs = append(errs, fmt.Errorf("module %s: %w", name, err))
			continue
		}
		loaded++
	}
	return loaded, errors.Join(errs...)
}

func loadFile(path string, load func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return load(f)
}
