// Package manifest is the description that travels with an image: which
// versions went into it and the digest of every artefact. The builder writes
// it, the updater reads it.
//
// The form is JSON. It says nothing about who vouches for the image: the
// manifest is not signed.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// FileName is the manifest's name beside the artefacts.
const FileName = "manifest.json"

// Format is the version of the form that this package writes.
const Format = 2

// maxBytes bounds a manifest that Parse accepts.
const maxBytes = 1 << 20

// A Manifest describes one image.
type Manifest struct {
	Format int `json:"format"`
	// Version is the program's version, BuildTime the time stamped into it
	// (UTC, whole seconds).
	Version   string    `json:"version"`
	BuildTime time.Time `json:"build_time"`
	// Profile is the board profile the image was built for, Architecture
	// the processor in Go's words.
	Profile      string `json:"profile"`
	Architecture string `json:"architecture"`
	// Go is the version of the toolchain.
	Go     string `json:"go"`
	Kernel Kernel `json:"kernel"`
	// Stub is the boot stub in the UKI and CommandLine the kernel's command
	// line there; nil and "" in an image without a UKI.
	Stub        *Source `json:"stub,omitempty"`
	CommandLine string  `json:"command_line,omitempty"`
	// Tools are the builder's programs whose version decides the bytes of an
	// artefact and that no lock file names.
	Tools []Tool `json:"tools"`
	// Modules are the kernel modules in the order of loading.
	Modules []File `json:"modules"`
	// Init is the one executable of the image.
	Init File `json:"init"`
	// InitramfsRaw is the initramfs's size before compression, in bytes.
	InitramfsRaw int64 `json:"initramfs_raw"`
	// DataTemplate is the empty data file system before compression, which
	// the initramfs has at layout.DataTemplate.
	DataTemplate File `json:"data_template"`
	// Artefacts are the files beside the manifest.
	Artefacts []File `json:"artefacts"`
}

// A Kernel tells which kernel is in the image.
type Kernel struct {
	Release string `json:"release"`
	Source
}

// A Source tells which package a part of the image is from.
type Source struct {
	Package Package `json:"package"`
	// Locked is set when the lock file names another package, which no
	// mirror had any more: such an image cannot be rebuilt bit for bit.
	Locked *Package `json:"locked,omitempty"`
}

// A Package is one Debian package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// A Tool is a program of the machine that built the image.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// A File is one file, its size in bytes and its digest.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ErrFormat says that a manifest is of a form that this program does not know,
// most likely because a newer program wrote it.
var ErrFormat = errors.New("the manifest's format is not known")

// Parse reads a manifest and checks its form.
func Parse(data []byte) (Manifest, error) {
	if len(data) > maxBytes {
		return Manifest{}, fmt.Errorf("manifest: %d bytes, at most %d are allowed", len(data), maxBytes)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if version.Format != Format {
		return Manifest{}, fmt.Errorf("manifest: %w: got %d, want %d", ErrFormat, version.Format, Format)
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, m.check()
}

var (
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$`)
)

// check reports what cannot be true of any image.
func (m Manifest) check() error {
	if m.Version == "" || m.BuildTime.IsZero() {
		return errors.New("manifest: no version or no build time")
	}
	if len(m.Artefacts) == 0 {
		return errors.New("manifest: no artefacts")
	}
	sources := []Source{m.Kernel.Source}
	if m.Stub != nil {
		sources = append(sources, *m.Stub)
	}
	var packages []Package
	for _, s := range sources {
		packages = append(packages, s.Package)
		if s.Locked != nil {
			packages = append(packages, *s.Locked)
		}
	}
	for _, p := range packages {
		if p.Name == "" || p.Version == "" || !digestForm.MatchString(p.SHA256) {
			return fmt.Errorf("manifest: package %q: no name, no version or bad sha256", p.Name)
		}
	}
	for _, f := range slices.Concat(m.Modules, m.Artefacts, []File{m.Init, m.DataTemplate}) {
		if !nameForm.MatchString(f.Name) || f.Size < 0 || !digestForm.MatchString(f.SHA256) {
			return fmt.Errorf("manifest: file %q: bad name, size or sha256", f.Name)
		}
	}
	return nil
}

// Encode writes a manifest; the same manifest always gives the same bytes.
func (m Manifest) Encode() ([]byte, error) {
	m.Format = Format
	m.BuildTime = m.BuildTime.UTC().Truncate(time.Second)
	if err := m.check(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// Artefact finds an artefact by name.
func (m Manifest) Artefact(name string) (File, bool) {
	i := slices.IndexFunc(m.Artefacts, func(f File) bool { return f.Name == name })
	if i < 0 {
		return File{}, false
	}
	return m.Artefacts[i], true
}
