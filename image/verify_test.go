package image

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/board"
	"gatepost/image/manifest"
)

func TestVerify(t *testing.T) {
	s := fullSpec(t)
	var ok bool
	if s.Profile, ok = board.Lookup("none"); !ok {
		t.Fatal("there is no profile without lights")
	}
	if _, err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	verify := func() (string, error) {
		var told bytes.Buffer
		other := s
		other.Version, other.Out = "9.9.9", "/nowhere" // the manifest's count
		err := Verify(t.Context(), other, s.Out, &told)
		return told.String(), err
	}
	told, err := verify()
	if err != nil || strings.Count(told, "yes  ") != 8 || strings.Contains(told, "NO ") {
		t.Errorf("got %v\n%s, want yes eight times", err, told)
	}

	// Somebody changed the kernel.
	path := filepath.Join(s.Out, KernelName)
	write(t, path, []byte("the kernel!"))
	told, err = verify()
	if !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "1 of 8") ||
		!strings.Contains(told, "NO   vmlinuz           line 1 is \"the kernel!\" and \"the kernel\"\n") {
		t.Errorf("got %v\n%s, want the kernel", err, told)
	}
	write(t, path, []byte("the kernel"))

	// The image was built with another program.
	write(t, s.Init, append(readFile(t, s.Init), 'x'))
	told, err = verify()
	if !errors.Is(err, ErrDiffers) || !strings.Contains(told, "NO   initrd.zst        inside: init: ") ||
		!strings.Contains(told, "yes  vmlinuz") {
		t.Errorf("got %v\n%s, want the program in the initramfs", err, told)
	}

	// An artefact is gone, and a machine that had another mke2fs.
	if err := os.Remove(filepath.Join(s.Out, PackedName)); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(s.Out)
	if err != nil {
		t.Fatal(err)
	}
	m.Tools[0].Version = "0.1"
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.Out, manifest.FileName), data)
	told, err = verify()
	if !errors.Is(err, ErrDiffers) || !strings.Contains(told, "NO   gatepost.img.zst  is not in both") ||
		!strings.Contains(told, "note: mke2fs is") {
		t.Errorf("got %v\n%s, want the missing artefact and the other tool", err, told)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
