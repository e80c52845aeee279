package mtasts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentNamesTests: each row of docs/rfc8461.md names a test, and each
// named test exists.
func TestDocumentNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/rfc8461.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "../cmd/mtasts/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %v, %v", pattern, files, err)
		}
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(code)
		}
	}
	name := regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Za-z_]+)`")
	rows := 0
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| rule |") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 4 && len(cells) != 3 || name.FindString(cells[len(cells)-1]) == "" {
			t.Errorf("line %d: no test in the last cell: %s", i+1, line)
		}
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(source.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("line %d: %s does not exist", i+1, m[1])
			}
		}
	}
	if rows < 60 {
		t.Errorf("got %d rows, want 60 or more", rows)
	}
}
