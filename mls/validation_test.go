package mls

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// TestFilesHaveSections checks that doc.go says of each file what it holds.
func TestFilesHaveSections(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`\b\w+\.go\b`).FindAllString(string(text), -1)
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") && f != "doc.go" && !slices.Contains(listed, f) {
			t.Errorf("doc.go does not say what %s holds", f)
		}
	}
	for _, f := range listed {
		if !slices.Contains(files, f) {
			t.Errorf("doc.go speaks of %s", f)
		}
	}
}

// TestImports checks that the package takes nothing but the standard library and
// golang.org/x/crypto.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			domain, _, _ := strings.Cut(path, "/")
			if strings.Contains(domain, ".") && !strings.HasPrefix(path, "golang.org/x/crypto/") || domain == "sealpost" {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// notOfTheRFC lists the exported names that RFC 9420 has nothing to say about.
var notOfTheRFC = []string{
	"Config", "Record", "Client.LoadGroup", "Client.UnmarshalGroup", "Group.Marshal", "Group.Records", "Group.Save",
	"Group.Format", "Group.LogValue", "ValidationError", "ErrState",
}

// TestNamesHaveSections checks that the documentation of each exported name says which
// section of RFC 9420 it belongs to; a method, if its type does not.
func TestNamesHaveSections(t *testing.T) {
	var files []*ast.File
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, name := range names {
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(set, files, "sealpost/mls")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	check := func(name, text string) {
		checked++
		if !strings.Contains(text, "Section") && !slices.Contains(notOfTheRFC, name) {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, f := range p.Funcs {
		check(f.Name, f.Doc)
	}
	values := slices.Concat(p.Consts, p.Vars)
	for _, typ := range p.Types {
		values = slices.Concat(values, typ.Consts, typ.Vars)
		check(typ.Name, typ.Doc)
		for _, f := range typ.Funcs {
			check(f.Name, f.Doc)
		}
		for _, m := range typ.Methods {
			if typ.Name == "Group" || typ.Name == "Client" {
				check(typ.Name+"."+m.Name, m.Doc)
			}
		}
	}
	for _, group := range values { // constants and variables; the group may say it for all
		for _, spec := range group.Decl.Specs {
			v := spec.(*ast.ValueSpec)
			check(v.Names[0].Name, group.Doc+v.Doc.Text())
		}
	}
	if checked < 120 {
		t.Errorf("only %d names were found", checked)
	}
}
