package mls

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestValidationTable checks that VALIDATION.md names tests that this binary runs,
// none of which skips itself, and files that exist.
func TestValidationTable(t *testing.T) {
	table, err := os.ReadFile("VALIDATION.md")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := exec.Command(os.Args[0], "-test.list", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	runs := make(map[string]bool)
	for name := range strings.Lines(string(listed)) {
		runs[strings.TrimSpace(name)] = true
	}
	skips := testsThatSkip(t)
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(table, -1)
	if len(names) < 150 {
		t.Fatalf("table names only %d tests", len(names))
	}
	for _, m := range names {
		switch name := string(m[1]); {
		case !runs[name]:
			t.Errorf("%s does not run", name)
		case skips[name]:
			t.Errorf("%s skips itself", name)
		}
	}
	for _, m := range regexp.MustCompile(`[ (`+"`"+`]([a-z]\w*\.go)\b`).FindAllSubmatch(table, -1) {
		if _, err := os.Stat(string(m[1])); err != nil {
			t.Error(err)
		}
	}
}

// testsThatSkip returns the tests that call Skip outside of their subtests.
func testsThatSkip(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	skips := make(map[string]bool)
	for _, f := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					return false
				}
				s, ok := n.(*ast.SelectorExpr)
				if ok && types.ExprString(s.X) == "t" && strings.HasPrefix(s.Sel.Name, "Skip") {
					skips[f.Name.Name] = true
				}
				return true
			})
		}
	}
	return skips
}
