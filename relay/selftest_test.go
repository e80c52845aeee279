package relay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDiskTest(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeTest(root); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, testFile))
	if err != nil || len(text) != testSize || !strings.Contains(string(text), "test of the disk") {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
	root.Close()
	if err := writeTest(root); err == nil {
		t.Error("no error for a folder that is gone")
	}
}

func TestDiskTestThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diskTest{began: time.Now()}
		if _, trouble := d.result(); trouble != "" {
			t.Errorf("at once: got %q", trouble)
		}
		time.Sleep(12 * time.Second)
		if _, trouble := d.result(); trouble != "the disk has not taken a test for 12 s" {
			t.Errorf("got %q", trouble)
		}
		d = &diskTest{err: os.ErrPermission}
		if _, trouble := d.result(); !strings.Contains(trouble, "permission denied") {
			t.Errorf("got %q", trouble)
		}
	})
}
