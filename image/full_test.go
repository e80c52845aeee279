package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"gatepost/image/kernel"
	"gatepost/image/uki"
)

// efiProgram is the smallest EFI program that passes for a boot stub: headers
// with room for more sections, and one section.
func efiProgram() []byte {
	b := make([]byte, 0x1200)
	le := binary.LittleEndian
	copy(b, "MZ")
	b[60] = 64
	copy(b[64:], "PE\x00\x00\x64\xaa\x01\x00")
	le.PutUint16(b[84:], 112)
	o := b[88:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], 512)
	le.PutUint32(o[60:], 0x1000)
	le.PutUint16(o[68:], 10)
	copy(o[112:], ".text")
	for i, v := range []uint32{0x200, 0x1000, 0x200, 0x1000} {
		le.PutUint32(o[120+4*i:], v)
	}
	return b
}

// fullSpec is spec with all artefacts.
func fullSpec(t *testing.T) Spec {
	t.Helper()
	s := spec(t)
	s.DirectOnly = false
	l, err := kernel.ReadLock(s.Kernel.Lock)
	if err != nil {
		t.Fatal(err)
	}
	l.Stub = deb(t, s.Kernel.Cache, kernel.StubPackage, map[string]string{
		"usr/lib/systemd/boot/efi/linuxaa64.efi.stub":        string(efiProgram()),
		"usr/share/doc/" + kernel.StubPackage + "/copyright": "rights of the stub",
	})
	if err := l.Write(s.Kernel.Lock); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.Source, "LICENSE"), []byte("our licence\n"))
	write(t, filepath.Join(s.Source, "NOTICE"), []byte("our notice\n"))
	return s
}

func TestBuildAll(t *testing.T) {
	s := fullSpec(t)
	m, err := Build(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range m.Artefacts {
		names = append(names, a.Name)
	}
	if want := []string{KernelName, InitrdName, UKIName, SBOMName, RightsName, DiskName, PackedName}; !slices.Equal(names, want) {
		t.Errorf("got artefacts %v, want %v", names, want)
	}
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--strict", "-c", SumsName)
	cmd.Dir = s.Out
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != len(names)+1 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(s.Out, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}

	sections, err := uki.Sections(read(UKIName))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, x := range sections {
		got[x.Name] = x.Data
	}
	if string(got[".linux"]) != "the kernel" || !bytes.Equal(got[".initrd"], read(InitrdName)) {
		t.Error("the UKI has another kernel or initramfs than those beside it")
	}
	if line := string(got[".cmdline"]); line != m.CommandLine || !strings.Contains(line, "panic=10") {
		t.Errorf("got command line %q, manifest %q", line, m.CommandLine)
	}
	if text := string(got[".osrel"]); !strings.Contains(text, "IMAGE_VERSION=\"1.2.3\"\n") {
		t.Errorf("got os-release %q", text)
	}
	if m.Stub == nil || m.Stub.Package.Name != kernel.StubPackage || len(m.Tools) != 1 || m.Tools[0].Version == "" {
		t.Errorf("got manifest %+v, want the stub and mke2fs's version", m)
	}

	z, err := zstd.NewReader(bytes.NewReader(read(PackedName)))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	h := sha256.New()
	start := bytes.NewBuffer(nil) // of the disk: what the firmware reads
	if _, err := io.Copy(io.MultiWriter(start, h), io.LimitReader(z, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(start.Bytes(), read(UKIName)[:4096]) {
		t.Error("the disk does not have the UKI")
	}
	if _, err := io.Copy(h, z); err != nil {
		t.Fatal(err)
	}
	if img, _ := m.Artefact(DiskName); img.SHA256 != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("%s is not %s compressed", PackedName, DiskName)
	}
	if !json.Valid(read(SBOMName)) || !bytes.Contains(read(SBOMName), []byte(m.Init.SHA256)) {
		t.Error("the bill of materials does not name the program")
	}
	for _, want := range []string{"our licence", "rights of the kernel", "rights of the stub", "GNU GENERAL PUBLIC LICENSE"} {
		if !bytes.Contains(read(RightsName), []byte(want)) {
			t.Errorf("%s lacks %q", RightsName, want)
		}
	}
}

// What a folder has from a larger build is not taken for a part of a smaller one.
func TestNothingOldIsLeft(t *testing.T) {
	s := spec(t)
	write(t, filepath.Join(s.Out, DiskName), []byte("old"))
	write(t, filepath.Join(s.Out, "notes"), []byte("somebody's"))
	if _, err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.Out, DiskName)); !os.IsNotExist(err) {
		t.Errorf("the old disk: got %v, want it removed", err)
	}
	if _, err := os.Stat(filepath.Join(s.Out, "notes")); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
}

func TestALockWithoutStub(t *testing.T) {
	s := spec(t)
	s.DirectOnly = false
	if _, err := Build(t.Context(), s); err == nil || !strings.Contains(err.Error(), "make lock") {
		t.Errorf("got %v, want what to do", err)
	}
}
