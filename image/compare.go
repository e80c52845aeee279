package image

import (
	"crypto/sha256"
	"encoding/hex"
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
		pathA, pathB := filepath.Join(a, name), filepath.Join(b, name)
		sumA, errA := digest(pathA)
		sumB, errB := digest(pathB)
		switch err := errors.Join(errA, errB); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(w, "MISSING  %-17s is not in both\n", name)
			continue
		case err != nil:
			return 0, 0, fmt.Errorf("image: %w", err)
		case sumA == sumB:
			equal++
			fmt.Fprintf(w, "equal    %-17s %s\n", name, sumA)
			continue
		}
		what, err := explain(name, pathA, pathB)
		if err != nil {
			return 0, 0, fmt.Errorf("image: %w", err)
		}
		fmt.Fprintf(w, "DIFFERS  %-17s %s\n", name, what)
	}
	return len(names), equal, nil
}

// digest gives the SHA-256 of a file, which may be a whole disk.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// explain reads both files whole.
func explain(name, pathA, pathB string) (string, error) {
	a, errA := os.ReadFile(pathA)
	b, errB := os.ReadFile(pathB)
	if err := errors.Join(errA, errB); err != nil {
		return "", err
	}
	return differ.Explain(name, a, b), nil
}
