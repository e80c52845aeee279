package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// A Kernel is a kernel on disk, ready to be put into an image.
type Kernel struct {
	Fetched
	// Release is the kernel's own name for itself (uname -r).
	Release string
	// Image is the path of the kernel image, as Debian built it.
	Image File
	// Modules are the wanted modules and all they need, in the order in
	// which to load them.
	Modules []File
	// Copyright is the package's list of licences; without a Name if it has
	// none.
	Copyright File
	// DeviceTree is what Config.DeviceTree asked for; without a Name if it
	// asked for none.
	DeviceTree File
	// Stub is the boot stub, if Config.WithStub asked for it.
	Stub *Stub
}

// A File is one file of the unpacked kernel.
type File struct {
	Name   string `json:"name"` // without folder
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Path is where it is now.
	Path string `json:"-"`
}

// Get fetches the kernel package and unpacks its image and those modules
// that roots name, with all that they need. A root with a leading "?" may be
// missing. What was unpacked is kept in the cache: a second call with the
// same package and roots takes as long as it takes to read the files once.
func Get(ctx context.Context, c Config, roots []string) (Kernel, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Kernel{}, err
	}
	f, fs, err := Fetch(ctx, c)
	if err != nil {
		return Kernel{}, err
	}
	var stub *Stub
	if c.WithStub {
		if stub, err = readStub(ctx, fs); err != nil {
			return Kernel{}, fmt.Errorf("kernel: %w", err)
		}
	}
	dir := filepath.Join(c.Cache, "kernels", unpackedName(f.Package, append([]string{c.DeviceTree}, roots...)))
	if k, err := load(dir); err == nil {
		k.Fetched, k.Stub = f, stub
		return k, nil
	}
	fmt.Fprintf(c.Progress, "kernel: unpacking %s\n", f.Package)
	if err := c.unpackTo(ctx, f.Path, dir, roots); err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	k, err := load(dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	k.Fetched, k.Stub = f, stub
	return k, nil
}

// unpackedForm is raised when the content of a folder of unpacked files
// changes its form.
const unpackedForm = "3"

// unpackedName names the folder for a package and a set of modules.
func unpackedName(p Package, roots []string) string {
	h := sha256.New()
	for _, s := range append([]string{unpackedForm, p.SHA256}, roots...) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return p.SHA256[:16] + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// An index is the list of an unpacked kernel's files, kept beside them.
type index struct {
	Release string `json:"release"`
	Image   File   `json:"image"`
	Modules []File `json:"modules"`
	Rights  *File  `json:"copyright,omitempty"`
	Device  *File  `json:"device_tree,omitempty"`
}

const indexFile = "index.json"

// load reads a folder that unpackTo made, and checks every file in it.
func load(dir string) (Kernel, error) {
	data, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil {
		return Kernel{}, err
	}
	var x index
	if err := json.Unmarshal(data, &x); err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", filepath.Join(dir, indexFile), err)
	}
	k := Kernel{Release: x.Release, Image: x.Image, Modules: x.Modules}
	k.Image.Path = filepath.Join(dir, x.Image.Name)
	for i := range k.Modules {
		k.Modules[i].Path = filepath.Join(dir, k.Modules[i].Name)
	}
	all := append([]File{k.Image}, k.Modules...)
	for _, more := range []struct{ from, to *File }{{x.Rights, &k.Copyright}, {x.Device, &k.DeviceTree}} {
		if more.from != nil {
			*more.to = *more.from
			more.to.Path = filepath.Join(dir, more.to.Name)
			all = append(all, *more.to)
		}
	}
	for _, f := range all {
		size, sum, err := digest(f.Path)
		if err != nil {
			return Kernel{}, err
		}
		if size != f.Size || sum != f.SHA256 {
			return Kernel{}, fmt.Errorf("%s: the cached file is damaged", f.Path)
		}
	}
	return k, nil
}

// unpackTo makes the folder dir, whole or not at all.
func (c Config) unpackTo(ctx context.Context, deb, dir string, roots []string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".unpack-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	all, result := filepath.Join(tmp, "all"), filepath.Join(tmp, "result")
	if err := errors.Join(os.Mkdir(all, 0o755), os.Mkdir(result, 0o755)); err != nil {
		return err
	}
	t, err := unpack(ctx, deb, all, c.DeviceTree)
	if err != nil {
		return err
	}
	order, err := closure(t, roots)
	if err != nil {
		return err
	}
	x := index{Release: t.release}
	if x.Image, err = keep(t.vmlinuz, result); err != nil {
		return err
	}
	if c.DeviceTree != "" && t.device == "" {
		return fmt.Errorf("the kernel has no device tree %s", c.DeviceTree)
	}
	for _, more := range []struct {
		path string
		to   **File
	}{{t.rights, &x.Rights}, {t.device, &x.Device}} {
		if more.path == "" {
			continue
		}
		f, err := keep(more.path, result)
		if err != nil {
			return err
		}
		*more.to = &f
	}
	for _, name := range order {
		f, err := keep(t.modules[name], result)
		if err != nil {
			return err
		}
		x.Modules = append(x.Modules, f)
	}
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(result, indexFile), data, 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // a damaged one
		return err
	}
	return os.Rename(result, dir)
}

// keep moves a file into dir.
func keep(path, dir string) (File, error) {
	f := File{Name: filepath.Base(path)}
	f.Path = filepath.Join(dir, f.Name)
	if err := os.Rename(path, f.Path); err != nil {
		return File{}, err
	}
	var err error
	f.Size, f.SHA256, err = digest(f.Path)
	return f, err
}

// info reads one module of an unpacked package.
func (t tree) info(name string) (modinfo, bool, error) {
	path, ok := t.modules[name]
	if !ok {
		return modinfo{}, false, nil
	}
	m, err := readModinfo(path)
	return m, err == nil, err
}

func (t tree) isBuiltin(name string) bool { return t.builtin[name] }

// ModulesSize gives the size of all modules together, in bytes.
func (k Kernel) ModulesSize() int64 {
	var n int64
	for f := range slices.Values(k.Modules) {
		n += f.Size
	}
	return n
}
