package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gatepost/image/differ"
	"gatepost/image/manifest"
)

// Compare holds the artefacts of two images against each other, the manifests
// included, and writes a line for each: its digest, or where it begins to
// differ. It returns how many there are in either and how many are equal. The
// error says that an image cannot be read, not that they differ.
func Compare(a, b string, w io.Writer) (n, equal int, err error) {
	var names []string
	for _, dir := range []string{a, b} {
		m, err := ReadManifest(dir)
		if err != nil {
			return 0, 0, err
		}
		for _, f := range m.Artefacts {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	names = append(names, manifest.FileName)
	for _, name := range names {
		x, errX := os.ReadFile(filepath.Join(a, name))
		y, errY := os.ReadFile(filepath.Join(b, name))
		switch err := errors.Join(errX, errY); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(w, "MISSING  %-17s is not in both\n", name)
			continue
		case err != nil:
			return n, equal, fmt.Errorf("image: %w", err)
		}
		if what := differ.Explain(name, x, y); what != "" {
			fmt.Fprintf(w, "DIFFERS  %-17s %s\n", name, what)
			continue
		}
		equal++
		fmt.Fprintf(w, "equal    %-17s %s\n", name, describeFile(name, x).SHA256)
	}
	return len(names), equal, nil
}
