package boot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(path, []byte("console=ttyAMA0 gatepost.watchdog=off  quiet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]bool{"gatepost.watchdog=off": true, "quiet": true, "gatepost.watchdog": false, "": false} {
		if got := Asked(path, word); got != want {
			t.Errorf("%q: got %v, want %v", word, got, want)
		}
	}
	if Asked(path+".missing", "quiet") {
		t.Error("a file that is not there asks for something")
	}
}
