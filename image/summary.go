package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatepost/board"
	"gatepost/image/kernel"
	"gatepost/image/manifest"
)

// Profile finds the board profile of this name.
func Profile(name string) (board.Profile, error) {
	p, ok := board.Lookup(name)
	if !ok {
		return board.Profile{}, fmt.Errorf("unknown board profile %q (there are: %s)",
			name, strings.Join(board.Names(), ", "))
	}
	return p, nil
}

// FetchKernel does only the kernel's part of Build.
func FetchKernel(ctx context.Context, s Spec) (kernel.Kernel, error) {
	s, err := s.withDefaults(ctx)
	if err != nil {
		return kernel.Kernel{}, err
	}
	return kernel.Get(ctx, s.Kernel, s.Profile.ModuleRoots())
}

// Relock writes the newest packages that Debian offers to the lock file. It
// returns what was locked before (zero if nothing was) and what is now.
func Relock(ctx context.Context, s Spec) (before, now kernel.Lock, err error) {
	s, err = s.withDefaults(ctx)
	if err != nil {
		return before, now, err
	}
	return kernel.Relock(ctx, s.Kernel)
}

// ReadManifest reads the manifest of the image in a folder.
func ReadManifest(dir string) (manifest.Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifest.FileName))
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("image: %w", err)
	}
	return manifest.Parse(data)
}

// Summary tells in a few lines what is in an image and how large it is.
func Summary(m manifest.Manifest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "gatepost %s for %s (%s), built as of %s with %s\n",
		m.Version, m.Profile, m.Architecture, m.BuildTime.Format("2006-01-02 15:04:05 MST"), m.Go)
	source := func(what string, s manifest.Source) {
		fmt.Fprintf(&b, "%-8s %s %s\n", what, s.Package.Name, s.Package.Version)
		if l := s.Locked; l != nil {
			fmt.Fprintf(&b, "         DIFFERS FROM THE LOCK FILE, which names %s %s\n", l.Name, l.Version)
		}
	}
	source("kernel", m.Kernel.Source)
	if m.Stub != nil {
		source("stub", *m.Stub)
	}
	var modules int64
	for _, f := range m.Modules {
		modules += f.Size
	}
	fmt.Fprintf(&b, "program  %8.2f MB\n", mb(m.Init.Size))
	fmt.Fprintf(&b, "modules  %8.2f MB, %d files\n", mb(modules), len(m.Modules))
	fmt.Fprintf(&b, "initramfs%8.2f MB before compression\n\n", mb(m.InitramfsRaw))
	fmt.Fprintf(&b, "%-17s %11s  %s\n", "artefact", "bytes", "sha256")
	for _, f := range m.Artefacts {
		fmt.Fprintf(&b, "%-17s %11d  %s\n", f.Name, f.Size, f.SHA256)
	}
	return b.String()
}

func mb(n int64) float64 { return float64(n) / 1e6 }
