package disk

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatepost/image/layout"
)

// card has a UKI that no compression or sparseness makes smaller, of an odd
// size.
func card() Card {
	uki := make([]byte, 5<<20+77)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(uki) // never fails
	data := make([]byte, layout.DataSize)
	copy(data[4096:], "the data file system")
	return Card{UKI: uki, Data: data, Time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}
}

// part copies a part of a file into another.
func part(t *testing.T, img string, at, size int64) string {
	t.Helper()
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Each part of the disk is looked at by the program that Debian has for it.
func TestCard(t *testing.T) {
	needTools(t, "mke2fs", "e2fsck", "sgdisk", "fsck.vfat", "mdir", "mtype")
	c := card()
	var err error
	if c.Data, err = Template(t.Context()); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(t.TempDir(), "gatepost.img")
	if err := c.Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(img)
	if err != nil || info.Size() != cardSize {
		t.Fatalf("got %v, %v, want %d bytes", info, err, cardSize)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > int64(len(c.UKI))+8<<20 {
		t.Errorf("the file takes %d bytes, want it sparse", used)
	}

	if got := ask(t, "sgdisk", "-v", img); !strings.Contains(got, "No problems found") {
		t.Errorf("sgdisk says %s", got)
	}
	for index, want := range map[string][]string{
		"1": {layout.TypeESP, layout.BootGUID, "'" + layout.BootName + "'", "First sector: 2048 ", "Partition size: 393216 sectors"},
		"2": {layout.TypeData, layout.DataGUID, "'" + layout.DataName + "'", "First sector: 395264 ", "Partition size: 65536 sectors"},
	} {
		got := ask(t, "sgdisk", "-i", index, img)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("partition %s: got %s, want %q", index, got, w)
			}
		}
	}
	if got := ask(t, "sgdisk", "-p", img); !strings.Contains(got, layout.DiskGUID) {
		t.Errorf("got %s, want the disk's GUID", got)
	}

	esp := part(t, img, layout.BootStart, layout.BootSize)
	ask(t, "fsck.vfat", "-n", esp) // ends with an error unless all is well
	if got := ask(t, "mtype", "-i", esp, "::"+layout.SlotA); !bytes.Equal([]byte(got), c.UKI) {
		t.Errorf("slot A has %d bytes, which are not the %d that were given", len(got), len(c.UKI))
	}
	got := ask(t, "mdir", "-/", "-a", "-i", esp, "::")
	if !strings.Contains(got, "Volume in drive : is "+layout.BootLabel) || strings.Count(got, "2026-01-02   3:04") < 4 ||
		!strings.Contains(got, "Directory for ::/EFI/gatepost") {
		t.Errorf("got %s, want the label, the time, and the folder for slot B", got)
	}
	free := regexp.MustCompile(`\s([0-9 ]+) bytes free`).FindStringSubmatch(got)
	if free == nil || len(strings.ReplaceAll(free[1], " ", "")) < 9 {
		t.Errorf("got %s, want room for slot B and the updater", got)
	}

	data := part(t, img, layout.DataStart, layout.DataSize)
	ask(t, "e2fsck", "-fn", data)
	if got, err := os.ReadFile(data); err != nil || sha256.Sum256(got) != sha256.Sum256(c.Data) {
		t.Errorf("the data partition is not the template (%v)", err)
	}
}

func TestSameCardGivesSameBytes(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1500000000") // has no say
	var sums [][32]byte
	for range 2 {
		img := filepath.Join(t.TempDir(), "gatepost.img")
		if err := card().Write(t.Context(), img); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sha256.Sum256(data))
		t.Setenv("TZ", "Asia/Tokyo")
		old := syscall.Umask(0o077)
		defer syscall.Umask(old)
	}
	if sums[0] != sums[1] {
		t.Error("two disks of the same content differ")
	}
	if got := os.Getenv("SOURCE_DATE_EPOCH"); got != "1500000000" {
		t.Errorf("the environment has %q now", got)
	}
}

func TestBadCards(t *testing.T) {
	for _, tt := range []struct {
		edit func(c *Card)
		want string
	}{
		{func(c *Card) { c.UKI = make([]byte, layout.SlotSize+1) }, "a slot takes"},
		{func(c *Card) { c.Data = c.Data[1:] }, "data file system"},
		{func(c *Card) { c.Time = time.Time{} }, "the year 1"},
	} {
		c := card()
		tt.edit(&c)
		dir := t.TempDir()
		if err := c.Write(t.Context(), filepath.Join(dir, "x")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want it to contain %q", err, tt.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestBootFiles(t *testing.T) {
	c := card()
	name := filepath.Join(t.TempDir(), "x.img")
	if err := c.Write(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files, err := BootFiles(img)
	if err != nil || len(files) != 1 || files[0].Name != layout.SlotA || !bytes.Equal(files[0].Data, c.UKI) {
		t.Errorf("got %d files, %v, want slot A alone", len(files), err)
	}
	if _, err := BootFiles(img[:layout.DataStart-1]); err == nil {
		t.Error("half a disk: got no error")
	}
	if _, err := BootFiles(make([]byte, len(img))); err == nil {
		t.Error("an empty disk: got no error")
	}
}
