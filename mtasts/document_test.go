package mtasts

import (
	"go/ast"
	"go/parser"
	"go/token"
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
	rows, untested := 0, 0
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| rule |") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if last := cells[len(cells)-1]; strings.HasPrefix(last, "none: ") {
			untested++
		} else if len(cells) != 4 && len(cells) != 3 || name.FindString(last) == "" {
			t.Errorf("line %d: no test in the last cell: %s", i+1, line)
		}
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(source.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("line %d: %s does not exist", i+1, m[1])
			}
		}
	}
	if rows < 90 || untested > 2 {
		t.Errorf("got %d rows, %d without a test, want 90 or more and 2 at most", rows, untested)
	}
}

// TestEntryPointsHaveExamples: every exported function and method is called in
// a runnable example, but for those that an interface asks for.
func TestEntryPointsHaveExamples(t *testing.T) {
	var examples strings.Builder
	for _, file := range []string{"example_test.go", "example_cache_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples.Write(text)
	}
	asked := map[string]bool{"Error": true, "Is": true, "Unwrap": true, "Delete": true, "List": true}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	entries := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || asked[f.Name.Name] || !exportedReceiver(f) {
				continue
			}
			entries++
			name := f.Name.Name
			if !strings.Contains(examples.String(), "."+name+"(") && !strings.Contains(examples.String(), "_"+name+"()") {
				t.Errorf("%s: no example calls %s", file, name)
			}
		}
	}
	if entries < 30 {
		t.Errorf("got %d entry points", entries)
	}
}

// exportedReceiver is false for methods of types that no caller sees.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	kind := f.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.IsExported()
}
