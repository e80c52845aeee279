package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatepost/image/kernel"
	"gatepost/image/manifest"
)

// ErrDiffers says that an image is not what its sources give. The lines that
// were written before say which artefact, and where it begins to differ.
var ErrDiffers = errors.New("the image is not what these sources and this lock file give")

// Verify builds the image in the folder dir again, from s.Source and the lock
// file, with the version, the time and the profile that its manifest gives, and
// writes yes or no for each artefact to w. Before that it names what is another
// here than where the image was built. The folder is only read.
func Verify(ctx context.Context, s Spec, dir string, w io.Writer) (err error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	if s.Profile, err = Profile(m.Profile); err != nil {
		return err
	}
	_, full := m.Artefact(UKIName)
	s.Version, s.BuildTime, s.DirectOnly = m.Version, m.BuildTime, !full
	if s, err = s.withDefaults(ctx); err != nil {
		return err
	}
	for _, note := range s.otherThan(ctx, m) {
		fmt.Fprintln(w, "note:", note)
	}
	tmp, err := os.MkdirTemp("", "gatepost-verify-*")
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	s.Out = filepath.Join(tmp, "image")
	if _, err := Build(ctx, s); err != nil {
		return err
	}
	n, equal, err := Compare(dir, s.Out, answers{w})
	if err != nil {
		return err
	}
	if equal < n {
		return fmt.Errorf("%w: %d of %d artefacts differ", ErrDiffers, n-equal, n)
	}
	fmt.Fprintf(w, "all %d artefacts are what these sources and this lock file give\n", n)
	return nil
}

// answers turns the lines of Compare into answers.
type answers struct{ w io.Writer }

func (a answers) Write(p []byte) (int, error) {
	line := string(p)
	if rest, ok := strings.CutPrefix(line, "equal    "); ok {
		line = "yes  " + rest
	} else {
		_, rest, _ := strings.Cut(line, "  ")
		line = "NO   " + rest
	}
	_, err := io.WriteString(a.w, line)
	return len(p), err
}

// otherThan lists why this machine may give other bytes than m's.
func (s Spec) otherThan(ctx context.Context, m manifest.Manifest) []string {
	var notes []string
	note := func(what, here, there string) {
		if here != there && here != "" {
			notes = append(notes, fmt.Sprintf("%s is %s here and was %s there", what, here, there))
		}
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = s.Source
	// What cannot be asked now stops the build, which says why.
	out, _ := cmd.Output()
	note("Go", strings.TrimSpace(string(out)), m.Go)
	if here, err := tools(ctx); err == nil {
		for _, t := range m.Tools {
			for _, h := range here {
				if h.Name == t.Name {
					note(t.Name, h.Version, t.Version)
				}
			}
		}
	}
	if lock, err := kernel.ReadLock(s.Kernel.Lock); err == nil {
		note("the locked kernel", lock.Kernel.Version, m.Kernel.Package.Version)
		if m.Stub != nil {
			note("the locked boot stub", lock.Stub.Version, m.Stub.Package.Version)
		}
	}
	if here := gitVersion(ctx, s.Source); here != unreleased {
		note("the sources' version", here, m.Version)
	}
	return notes
}
