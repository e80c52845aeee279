package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTurnKnobs(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "kernel", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kernel", "modules_disabled")
	if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := TurnKnobs(dir, []Knob{{"kernel/folder", "1"}, {"kernel/modules_disabled", "1"}, {"kernel/not_here", "1"}})
	if n != 1 || err == nil || !strings.Contains(err.Error(), "kernel/folder") || strings.Contains(err.Error(), "not_here") {
		t.Errorf("got %d set and %v, want one set, an error for the folder alone", n, err)
	}
	if got, err := os.ReadFile(file); string(got) != "1" {
		t.Errorf("modules_disabled: got %q, %v; want 1 although the knob before it failed", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kernel", "not_here")); err == nil {
		t.Error("a knob that the kernel does not have was made")
	}
}

func TestMakeGroup(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second finds the folder of the first
		f, err := MakeGroup(dir, "web", 48<<20, 512)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for file, want := range map[string]string{"memory.max": "50331648", "memory.oom.group": "1", "pids.max": "512"} {
		if got, err := os.ReadFile(filepath.Join(dir, "web", file)); string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", file, got, err, want)
		}
	}
	if _, err := MakeGroup(filepath.Join(dir, "none"), "web", 1, 1); err == nil {
		t.Error("a group was made below a folder that is not there")
	}
}
