package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"gatepost/board"
	"gatepost/image/disk"
	"gatepost/image/initramfs"
	"gatepost/image/kernel"
	"gatepost/image/manifest"
)

// Names of the artefacts in the output folder.
const (
	KernelName = "vmlinuz"
	InitrdName = "initrd.zst"
	TreeName   = "device-tree.dtb"
	UKIName    = "gatepost.efi"
	DiskName   = "gatepost.img"
	PackedName = "gatepost.img.zst"
	SBOMName   = "sbom.spdx.json"
	RightsName = "LICENSES.txt"
	SumsName   = "SHA256SUMS"
)

// artefacts are the names of all that Build may write, besides the manifest and
// the sums.
var artefacts = []string{KernelName, InitrdName, TreeName, UKIName, DiskName, PackedName, SBOMName, RightsName}

// templateName names the empty data file system in the manifest.
const templateName = "data.ext4"

// A Spec says what to build.
type Spec struct {
	// Source is the folder of the module gatepost.
	Source string
	// Out is the folder for the artefacts; it is made if it is not there.
	Out string
	// Profile is the board the image is for.
	Profile board.Profile
	// Version is stamped into the program; "" asks git.
	Version string
	// BuildTime is stamped into the program, to the second; the zero value
	// asks the environment's SOURCE_DATE_EPOCH, then git.
	BuildTime time.Time
	// Init is the path of a finished executable for the guest that is used
	// instead of building one; "" builds Source's ./cmd/gatepost.
	Init string
	// DirectOnly leaves out all but the kernel and the initramfs, which is what
	// a virtual machine boots fastest from.
	DirectOnly bool
	// Reuse keeps the initramfs that is already in Out when it holds exactly
	// what a new one would, so that nothing is compressed again.
	Reuse bool
	// Kernel says where the kernel comes from. An empty Lock means
	// image/kernel.lock.json below Source.
	Kernel kernel.Config
	// Progress gets lines for people; nil discards them.
	Progress io.Writer
}

// versionForm keeps a version from being taken for options of the linker.
var versionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~-]{0,63}$`)

// LockFile is where the kernel's lock file is, below the module's folder.
const LockFile = "image/kernel.lock.json"

// withDefaults fills in what the spec leaves to the machine.
func (s Spec) withDefaults(ctx context.Context) (Spec, error) {
	if s.Progress == nil {
		s.Progress = io.Discard
	}
	if s.Kernel.Progress == nil {
		s.Kernel.Progress = s.Progress
	}
	if s.Kernel.Lock == "" {
		s.Kernel.Lock = filepath.Join(s.Source, LockFile)
	}
	s.Kernel.WithStub, s.Kernel.DeviceTree = !s.DirectOnly, s.Profile.DeviceTree
	if s.Version == "" {
		s.Version = gitVersion(ctx, s.Source)
	}
	if !versionForm.MatchString(s.Version) {
		return s, fmt.Errorf("image: version %q: only letters, digits and . + - ~ are allowed", s.Version)
	}
	if s.BuildTime.IsZero() {
		t, err := sourceTime(ctx, s.Source, os.Getenv("SOURCE_DATE_EPOCH"))
		if err != nil {
			return s, err
		}
		s.BuildTime = t
	}
	s.BuildTime = s.BuildTime.UTC().Truncate(time.Second)
	return s, nil
}

// Build makes the image and returns its manifest. The folder's artefacts are
// replaced one by one, the manifest and the sums last; those of an earlier
// build that this one does not make are removed.
func Build(ctx context.Context, s Spec) (manifest.Manifest, error) {
	s, err := s.withDefaults(ctx)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if err := os.MkdirAll(s.Out, 0o755); err != nil {
		return manifest.Manifest{}, fmt.Errorf("image: %w", err)
	}
	k, err := kernel.Get(ctx, s.Kernel, s.Profile.ModuleRoots())
	if err != nil {
		return manifest.Manifest{}, err
	}
	program, err := s.program(ctx)
	if err != nil {
		return manifest.Manifest{}, err
	}
	template, err := disk.Template(ctx)
	if err != nil {
		return manifest.Manifest{}, err
	}
	content := initramfs.Content{Init: program}
	var packed bytes.Buffer
	if err := compress(&packed, bytes.NewReader(template), zstd.SpeedBestCompression); err != nil {
		return manifest.Manifest{}, err
	}
	content.DataTemplate = packed.Bytes()
	for _, m := range k.Modules {
		data, err := os.ReadFile(m.Path)
		if err != nil {
			return manifest.Manifest{}, fmt.Errorf("image: %w", err)
		}
		content.Modules = append(content.Modules, initramfs.Module{Name: m.Name, Data: data})
	}
	initrd, raw, err := s.pack(content)
	if err != nil {
		return manifest.Manifest{}, err
	}
	vmlinuz, err := os.ReadFile(k.Image.Path)
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("image: %w", err)
	}
	m := s.describe(k, program, raw)
	m.DataTemplate = describeFile(templateName, template)
	if m.Tools, err = tools(ctx); err != nil {
		return manifest.Manifest{}, err
	}
	put := func(name string, data []byte) {
		if err == nil {
			m.Artefacts = append(m.Artefacts, describeFile(name, data))
			err = replace(filepath.Join(s.Out, name), data)
		}
	}
	put(KernelName, vmlinuz)
	put(InitrdName, initrd)
	if k.DeviceTree.Name != "" {
		tree, err2 := os.ReadFile(k.DeviceTree.Path)
		err = errors.Join(err, err2)
		put(TreeName, tree)
	}
	if err != nil {
		return manifest.Manifest{}, err
	}
	if s.DirectOnly {
		return m, s.seal(m)
	}
	one, err := s.uki(k, vmlinuz, initrd)
	if err != nil {
		return manifest.Manifest{}, err
	}
	put(UKIName, one)
	spdx, licenses, err2 := s.bill(ctx, k, program)
	if err := errors.Join(err, err2); err != nil {
		return manifest.Manifest{}, err
	}
	put(SBOMName, spdx)
	put(RightsName, licenses)
	files, err2 := s.card(ctx, one, template)
	m.Artefacts = append(m.Artefacts, files...)
	if err := errors.Join(err, err2); err != nil {
		return manifest.Manifest{}, err
	}
	return m, s.seal(m)
}

// pack gives the compressed initramfs and its size before.
func (s Spec) pack(content initramfs.Content) (initrd []byte, raw int64, err error) {
	if s.Reuse {
		// Whatever is wrong with the old one, a new one mends.
		old, err := os.ReadFile(filepath.Join(s.Out, InitrdName))
		if err == nil {
			if raw, same := content.In(old); same {
				return old, raw, nil
			}
		}
	}
	fmt.Fprintln(s.Progress, "image: packing the initramfs")
	var b bytes.Buffer
	raw, err = content.Write(&b)
	return b.Bytes(), raw, err
}

// describe writes down what went into the image.
func (s Spec) describe(k kernel.Kernel, program []byte, raw int64) manifest.Manifest {
	m := manifest.Manifest{
		Format:       manifest.Format,
		Version:      s.Version,
		BuildTime:    s.BuildTime,
		Profile:      s.Profile.Name,
		Architecture: GOARCH,
		Go:           goVersion(program),
		Kernel:       manifest.Kernel{Release: k.Release, Source: describeSource(k.Fetched)},
		Init:         describeFile("init", program),
		InitramfsRaw: raw,
	}
	if k.Stub != nil {
		stub := describeSource(k.Stub.Fetched)
		m.Stub, m.CommandLine = &stub, s.commandLine()
	}
	for _, f := range k.Modules {
		m.Modules = append(m.Modules, manifest.File{Name: f.Name, Size: f.Size, SHA256: f.SHA256})
	}
	return m
}

func describeSource(f kernel.Fetched) manifest.Source {
	s := manifest.Source{Package: describePackage(f.Package)}
	if f.Differs() {
		locked := describePackage(f.Locked)
		s.Locked = &locked
	}
	return s
}

func describePackage(p kernel.Package) manifest.Package {
	return manifest.Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256}
}

func describeFile(name string, data []byte) manifest.File {
	sum := sha256.Sum256(data)
	return manifest.File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// tools names the machine's programs that wrote a part of the image.
func tools(ctx context.Context) ([]manifest.Tool, error) {
	version, err := disk.Version(ctx)
	return []manifest.Tool{{Name: "mke2fs", Version: version}}, err
}

// seal writes the manifest and the sums of everything beside them, and removes
// what is not named there.
func (s Spec) seal(m manifest.Manifest) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(s.Out, manifest.FileName), data); err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range append(m.Artefacts, describeFile(manifest.FileName, data)) {
		fmt.Fprintf(&sums, "%s  %s\n", f.SHA256, f.Name)
	}
	if err := replace(filepath.Join(s.Out, SumsName), []byte(sums.String())); err != nil {
		return err
	}
	for _, name := range artefacts {
		if _, ok := m.Artefact(name); ok {
			continue
		}
		if err := os.Remove(filepath.Join(s.Out, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}

// replace writes a file through a temporary one beside it, so that a reader
// (a running QEMU, say) never sees half of it.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("image: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
