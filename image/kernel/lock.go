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

// A Lock is the content of a lock file: the kernel package that everybody
// builds with.
type Lock struct {
	Package Package `json:"package"`
}

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

// ReadLock reads a lock file. An unknown key is an error, so that a misspelt
// one is not taken for absent.
func ReadLock(path string) (Lock, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Lock{}, fmt.Errorf("kernel lock: %w", err)
	}
	var l Lock
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Lock{}, fmt.Errorf("kernel lock %s: %w", path, err)
	}
	if err := l.Package.check(); err != nil {
		return Lock{}, fmt.Errorf("kernel lock %s: %w", path, err)
	}
	return l, nil
}

// Write puts the lock at path, whole or not at all.
func (l Lock) Write(path string) error {
	if err := l.Package.check(); err != nil {
		return fmt.Errorf("kernel lock %s: %w", path, err)
	}
	data, err := json.MarshalIndent(l, "", "  ")
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
