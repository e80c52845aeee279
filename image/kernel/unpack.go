package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// A tree is what one pass over a kernel package leaves on disk.
type tree struct {
	release string            // such as 6.1.0-56-arm64
	vmlinuz string            // path of the kernel image
	rights  string            // path of the copyright file, "" if there is none
	device  string            // path of the device tree, "" if it is not there
	modules map[string]string // module name, with "_" for "-", to its path
	builtin map[string]bool   // names of the drivers inside the kernel image
}

// unpack writes the kernel image and every module of the package below dir.
// They are many and large; the caller keeps what it needs and removes dir.
// device names the device tree that is wanted, "" for none.
func unpack(ctx context.Context, deb, dir, device string) (tree, error) {
	t := tree{modules: map[string]string{}, builtin: map[string]bool{}}
	err := readData(ctx, deb, func(tr *tar.Reader) error {
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			if err := t.take(tr, path.Clean(h.Name), dir, device); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
	})
	if err != nil {
		return tree{}, fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	if t.vmlinuz == "" || t.release == "" || len(t.modules) == 0 {
		return tree{}, fmt.Errorf("%s holds no kernel image or no modules", filepath.Base(deb))
	}
	return t, nil
}

// take keeps one file of the package, if it is one of those we want.
func (t *tree) take(r io.Reader, name, dir, device string) error {
	name = strings.TrimPrefix(name, "usr/") // where newer suites put lib
	base := path.Base(name)
	switch {
	case strings.HasPrefix(name, "boot/vmlinuz-"):
		t.release = strings.TrimPrefix(base, "vmlinuz-")
		t.vmlinuz = filepath.Join(dir, "vmlinuz")
		return writeFile(t.vmlinuz, r)
	case strings.HasPrefix(name, "share/doc/linux-image-") && base == copyrightFile:
		t.rights = filepath.Join(dir, copyrightFile)
		return writeFile(t.rights, r)
	case device != "" && strings.HasPrefix(name, "lib/linux-image-") && strings.HasSuffix(name, "/"+device):
		t.device = filepath.Join(dir, base)
		return writeFile(t.device, r)
	case !strings.HasPrefix(name, "lib/modules/"):
		return nil
	case base == "modules.builtin":
		list, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		for line := range strings.FieldsSeq(string(list)) {
			t.builtin[moduleName(line)] = true
		}
		return nil
	case isModule(base):
		to := filepath.Join(dir, base)
		t.modules[moduleName(base)] = to
		return writeFile(to, r)
	}
	return nil
}

// copyrightFile is what every Debian package calls its list of licences.
const copyrightFile = "copyright"

// isModule tells whether a file name is a module's, compressed or not.
func isModule(base string) bool {
	for _, end := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if strings.HasSuffix(base, end) {
			return true
		}
	}
	return false
}

// moduleName gives the name by which the kernel knows the module in a file.
// "-" and "_" are one character there.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func writeFile(to string, r io.Reader) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// readData gives use the package's data archive, as dpkg-deb decompresses it
// (it is there wherever apt is, and needs a quarter of the time of Go's xz).
func readData(ctx context.Context, deb string, use func(*tar.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := use(tar.NewReader(out)); err != nil {
		cancel()
		return errors.Join(err, ignoreKilled(cmd.Wait(), &complaint))
	}
	// The archive's padding follows its last entry; leave none unread, or
	// dpkg-deb complains of a broken pipe.
	if _, err := io.Copy(io.Discard, out); err != nil {
		return errors.Join(err, ignoreKilled(cmd.Wait(), &complaint))
	}
	return ignoreKilled(cmd.Wait(), &complaint)
}

// ignoreKilled drops the exit state of a child that we ended ourselves, and
// gives any other one its complaint.
func ignoreKilled(err error, complaint *bytes.Buffer) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.As(err, &exit) && !exit.Exited():
		return nil
	default:
		return fmt.Errorf("dpkg-deb: %w\n%s", err, tail(complaint.String()))
	}
}
