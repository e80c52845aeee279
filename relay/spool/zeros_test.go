package spool

import (
	"os"
	"testing"
)

// A spare is filled with zeros after small messages, and only allocated after
// large ones that share their flushes.
func TestSparesAfterLargeMessages(t *testing.T) {
	for _, c := range []struct {
		name     string
		perFlush int64
		want     bool
	}{
		{"small messages", 8 << 10, true},
		{"large messages in company", 1 << 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			disk := &pageDisk{Disk: DirDisk(root), pages: map[string]int{}}
			l, err := Open(disk, Config{SegmentSize: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.perFlush = c.perFlush
			l.keepSpare()
			if got := disk.pages[".spare"] > 0; got != c.want {
				t.Errorf("zeros were written: %v, want %v", got, c.want)
			}
		})
	}
}
