package smtpd

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

// TestDocumentNamesTests: each row of the tables of docs/smtp.md names a test,
// and each named test exists.
func TestDocumentNamesTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/smtp.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(code)
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	rows, head := 0, true
	for i, line := range strings.Split(string(text), "\n") {
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(source.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("line %d: %s does not exist", i+1, m[1])
			}
		}
		if !strings.HasPrefix(line, "| ") {
			head = true
			continue
		}
		if head { // the names of the columns
			head = false
			continue
		}
		if strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| **") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if name.FindString(cells[len(cells)-1]) == "" {
			t.Errorf("line %d: no test in the last cell: %s", i+1, line)
		}
	}
	if rows < 100 {
		t.Errorf("got %d rows, want 100 or more", rows)
	}
}

// TestEveryExitIsMapped: go-smtp makes permanent failures of errors that it
// does not know, and shows their text. So every error that leaves for it is made
// by refuse, by smtpError or in place as a *smtp.SMTPError.
func TestEveryExitIsMapped(t *testing.T) {
	exits := map[string]bool{"newSession": true, "Mail": true, "Rcpt": true, "Data": true, "Logout": true, "Auth": true, "Next": true, "login": true, "loginFailed": true}
	makers := map[string]bool{"refuse": true, "smtpError": true, "login": true, "loginFailed": true}
	seen := map[string]bool{}
	for _, file := range []string{"session.go", "auth.go", "data.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !exits[f.Name.Name] {
				continue
			}
			seen[f.Name.Name] = true
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					return false
				}
				ret, ok := n.(*ast.ReturnStmt)
				if !ok {
					return true
				}
				switch e := ret.Results[len(ret.Results)-1].(type) {
				case *ast.Ident:
					if e.Name == "nil" {
						return true
					}
				case *ast.CallExpr:
					if sel, ok := e.Fun.(*ast.SelectorExpr); ok && makers[sel.Sel.Name] {
						return true
					}
				case *ast.UnaryExpr:
					if lit, ok := e.X.(*ast.CompositeLit); ok {
						if sel, ok := lit.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "SMTPError" {
							return true
						}
					}
				}
				t.Errorf("%s: %s returns an error that is not mapped", file, f.Name.Name)
				return true
			})
		}
	}
	if len(seen) != len(exits) {
		t.Errorf("got %d of the %d exits: %v", len(seen), len(exits), seen)
	}
}
