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

	// Somebody changed the kernel, an artefact is gone, the machine had
	// another mke2fs, and here the program is another one.
	write(t, filepath.Join(s.Out, KernelName), []byte("the kernel!"))
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
	write(t, s.Init, append(readFile(t, s.Init), 'x'))
	told, err = verify()
	if !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "7 of 8") {
		t.Errorf("got %v\n%s, want all but the licences to differ", err, told)
	}
	for _, want := range []string{
		"note: mke2fs is ",
		"NO   vmlinuz           line 1 is \"the kernel!\" and \"the kernel\"\n",
		"NO   initrd.zst        inside: init: ",
		"NO   gatepost.img      boot partition: EFI/BOOT/BOOTAA64.EFI: section .initrd: inside: init: ",
		"NO   gatepost.img.zst  is not in both\n",
		"NO   sbom.spdx.json    line ",
		"NO   manifest.json     line ",
		"yes  LICENSES.txt ",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("got %s, want %q", told, want)
		}
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
