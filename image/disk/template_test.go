package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/image/layout"
)

func TestTemplate(t *testing.T) {
	needTools(t, "mke2fs", "dumpe2fs", "resize2fs")
	data, err := Template(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != layout.DataSize {
		t.Fatalf("got %d bytes, want %d", len(data), layout.DataSize)
	}
	img := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(img, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got := ask(t, "dumpe2fs", "-h", img)
	for _, want := range []string{
		layout.DataLabel, layout.DataUUID, "resize_inode", "64bit", "metadata_csum",
		"Total journal size:       8M", "Filesystem state:         clean",
		// A descriptor has 64 bytes and speaks for 128 MiB: 256 blocks for
		// 2 TiB, of which one is in use.
		"Reserved GDT blocks:      255",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q", got, want)
		}
	}
	// What the kernel is asked to do online, resize2fs does here: to 1 TB, in
	// a sparse file.
	if err := os.Truncate(img, 1e12); err != nil {
		t.Fatal(err)
	}
	ask(t, "resize2fs", img)
	if got := ask(t, "dumpe2fs", "-h", img); !strings.Contains(got, "Block count:              244140625") ||
		!strings.Contains(got, "Reserved GDT blocks:      139") {
		t.Errorf("after growing got %s, want all of the 1 TB, by the blocks that were reserved for it", got)
	}
}
