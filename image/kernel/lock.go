package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Meta is the Debian package whose dependency names the concrete kernel
// package of a suite.
const Meta = "linux-image-arm64"

// StubPackage is the Debian package of the EFI program that starts a kernel
// which is packed together with its initramfs (package uki).
const StubPackage = "systemd-boot-efi"

// Architecture is the Debian architecture of the guest.
const Architecture = "arm64"

// A Package is one version of one Debian package, with what is needed to
// know it again.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Filename is the path of the .deb below a mirror's root (the pool). A
	// package often stays there for a while after the index has dropped it.
	Filename string `json:"filename"`
	// Size is the size of the .deb in bytes.
	Size int64 `json:"size"`
	// SHA256 is the digest of the .deb, 64 lower-case hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// String gives name and version, as apt writes them.
func (p Package) String() string { return p.Name + " " + p.Version }

// A Lock is the content of a lock file: the packages that everybody builds
// with.
type Lock struct {
	Kernel Package `json:"kernel"`
	// Stub is the zero value in a lock file of the first form, which had a
	// kernel alone. An image without UKI and disk can be built from it.
	Stub Package `json:"stub"`
}

// ErrNoStub says that a lock file names no boot stub, being of the first form.
var ErrNoStub = errors.New(`the lock file names a kernel alone, and the image needs a boot stub too; "make lock" (gatepost-image lock) adds it`)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
	digestForm  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	poolForm    = regexp.MustCompile(`^pool/[A-Za-z0-9/_.+~%-]+\.deb$`)
)

// check reports the first field that cannot be right. The fields become
// arguments of apt and parts of paths, so their form is checked strictly.
func (p Package) check() error {
	switch {
	case !nameForm.MatchString(p.Name):
		return fmt.Errorf("package name %q is not one that Debian allows", p.Name)
	case !versionForm.MatchString(p.Version):
		return fmt.Errorf("version %q is not one that Debian allows", p.Version)
	case !digestForm.MatchString(p.SHA256):
		return fmt.Errorf("sha256 %q is not 64 hexadecimal digits", p.SHA256)
	case p.Size <= 0:
		return fmt.Errorf("size %d is not the size of a package", p.Size)
	case p.Filename != "" && !poolForm.MatchString(p.Filename):
		return fmt.Errorf("filename %q is not a path in a Debian pool", p.Filename)
	}
	return nil
}

// ReadLock reads a lock file, of the first form ("package") too. An unknown key
// is an error, so that a misspelt one is not taken for absent.
func ReadLock(path string) (Lock, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Lock{}, fmt.Errorf("kernel lock: %w", err)
	}
	var file struct {
		Package *Package `json:"package"`
		Kernel  *Package `json:"kernel"`
		Stub    *Package `json:"stub"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return Lock{}, fmt.Errorf("kernel lock %s: %w", path, err)
	}
	var l Lock
	switch {
	case file.Package != nil && file.Kernel == nil && file.Stub == nil:
		l.Kernel = *file.Package
	case file.Package == nil && file.Kernel != nil && file.Stub != nil:
		l.Kernel, l.Stub = *file.Kernel, *file.Stub
	default:
		return Lock{}, fmt.Errorf(`kernel lock %s: got neither "kernel" and "stub" nor, as in older files, "package" alone`, path)
	}
	if err := l.check(); err != nil {
		return Lock{}, fmt.Errorf("kernel lock %s: %w", path, err)
	}
	return l, nil
}

func (l Lock) check() error {
	if err := l.Kernel.check(); err != nil {
		return err
	}
	if l.Stub == (Package{}) {
		return nil
	}
	return l.Stub.check()
}

// Write puts the lock at path, whole or not at all. Without a stub it has the
// first form.
func (l Lock) Write(path string) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("kernel lock %s: %w", path, err)
	}
	var form any = l
	if l.Stub == (Package{}) {
		form = map[string]Package{"package": l.Kernel}
	}
	data, err := json.MarshalIndent(form, "", "  ")
	if err != nil {
		return fmt.Errorf("kernel lock %s: %w", path, err)
	}
	if err := writeWhole(path, append(data, '\n')); err != nil {
		return fmt.Errorf("kernel lock: %w", err)
	}
	return nil
}

// writeWhole writes a file through a temporary one beside it.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
