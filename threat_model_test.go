package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testsOfTheTree returns the names of all test and fuzz functions and of all scripts.
func testsOfTheTree(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || (path != "." && strings.HasPrefix(entry.Name(), "."))):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".txtar"):
			names[entry.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range function.FindAllStringSubmatch(string(source), -1) {
				names[match[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The table of attacks names tests that exist, and every test of an attack stands in
// it.
func TestThreatModelNamesItsTests(t *testing.T) {
	document, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := testsOfTheTree(t)
	named := make(map[string]bool)
	for _, match := range regexp.MustCompile("`((?:Test|Fuzz)\\w+|[\\w-]+\\.txtar)`").FindAllStringSubmatch(string(document), -1) {
		named[match[1]] = true
		if !exists[match[1]] {
			t.Errorf("docs/threat-model.md names %s, which does not exist", match[1])
		}
	}
	attack := regexp.MustCompile(`^(TestAttack\w+|FuzzAttack\w+|attack-.*\.txtar)$`)
	for name := range exists {
		if attack.MatchString(name) && !named[name] {
			t.Errorf("%s is not in docs/threat-model.md", name)
		}
	}
	if len(named) < 50 {
		t.Errorf("only %d tests are named", len(named))
	}
}

// Every row of the catalogue is there, met or open.
func TestThreatModelHasEveryRow(t *testing.T) {
	document, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	for group, last := range map[string]int{"A": 16, "B": 21, "C": 13, "D": 6, "E": 5, "F": 11, "G": 6} {
		for n := 1; n <= last; n++ {
			row := regexp.MustCompile(`(?m)^\| ` + group + strconv.Itoa(n) + ` \|`)
			if !row.Match(document) {
				t.Errorf("docs/threat-model.md has no row %s%d", group, n)
			}
		}
	}
}
