package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the errors of testdata/broken anew; read them before you commit")

// Each broken file has the whole error that a person gets in a file beside it.
func TestBrokenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.toml")
	if err != nil || len(files) < 40 {
		t.Fatalf("got %d broken files (%v), want at least 40", len(files), err)
	}
	faulty := map[string]bool{} // keys on whose line a fault is told
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse("config.toml", data)
		if err == nil {
			t.Errorf("%s: got no error", path)
			continue
		}
		beside := strings.TrimSuffix(path, ".toml") + ".error"
		if *update {
			if err := os.WriteFile(beside, []byte(err.Error()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, readErr := os.ReadFile(beside)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if got := err.Error() + "\n"; got != string(want) {
			t.Errorf("%s:\ngot  %swant %s", filepath.Base(path), got, want)
		}
		noteFaults(faulty, string(data), err)
	}
	if orphans, _ := filepath.Glob("testdata/broken/*.error"); len(orphans) != len(files) {
		t.Errorf("%d files with errors for %d broken ones", len(orphans), len(files))
	}
	for table, list := range keys {
		for _, key := range list {
			path := join(table, key)
			if _, isTable := keys[path]; !isTable && !faulty[path] {
				t.Errorf("no broken file shows what is said of a wrong %s", path)
			}
		}
	}
}

// noteFaults notes the keys on the lines that an error names. A fault of a
// table stands at its head and names the key.
func noteFaults(faulty map[string]bool, text string, err error) {
	lines := indexLines(text)
	for _, f := range Faults(err) {
		for table, list := range keys {
			for _, key := range list {
				path := join(table, key)
				for have, line := range lines {
					bare := numbered.ReplaceAllString(have, "")
					if line == f.Line && (bare == path || bare == table && strings.Contains(f.Text, strings.TrimSuffix(key, "s"))) {
						faulty[path] = true
					}
				}
			}
		}
	}
}

// Each good file is right, and what it sets counts.
func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatalf("got %d good files (%v), want at least 4", len(files), err)
	}
	seen := map[string]string{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(filepath.Base(path), data)
		if err != nil {
			t.Error(err)
			continue
		}
		if other := seen[Hash(c)]; other != "" {
			t.Errorf("%s and %s mean the same", path, other)
		}
		seen[Hash(c)] = path
	}
}

func TestFaults(t *testing.T) {
	_, err := Parse("c", []byte("version = 1\nbogus = 1\n[relay]\nparallel = 0\n"))
	got := Faults(err)
	if len(got) != 2 || got[0].Line != 2 || got[1].Line != 4 {
		t.Errorf("got %v, want faults of lines 2 and 4", got)
	}
	if got := Faults(errors.New("disk on fire")); len(got) != 1 || got[0].Line != 0 || got[0].Text != "disk on fire" {
		t.Errorf("another error: got %v", got)
	}
	if got := Faults(nil); got != nil {
		t.Errorf("no error: got %v", got)
	}
}
