package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A border is an import rule of the house (docs/architecture.md).
type border struct {
	from   string   // a package and those below it
	never  []string // packages, and those below them
	reason string
}

// borders look at a package and all that it links, tests left out.
var borders = []border{
	{"sealpost/mls", []string{"sealpost/", "net", "database/sql", "google.golang.org", "github.com", "filippo.io"},
		"mls computes; it knows no network, database or Sealpost type"},
	{"sealpost/relay", []string{"sealpost/mls", "sealpost/messenger", "sealpost/content", "sealpost/seal", "filippo.io/age"},
		"the relay does not even link the code that could open an envelope"},
	{"sealpost/messenger", []string{"sealpost/relay", "sealpost/internal"},
		"the client meets the relay over the wire alone"},
	{"sealpost/identity", []string{"sealpost/", "net", "database/sql", "google.golang.org"},
		"everybody stands on identity; it stands on nobody"},
	{"sealpost/api", []string{"sealpost/"}, "the wire holds no logic"},
	{"sealpost/content", []string{"sealpost/", "net", "database/sql"}, "what a message holds is the same whoever carries it"},
	{"sealpost/seal", []string{"sealpost/relay", "sealpost/messenger", "sealpost/api", "sealpost/internal", "google.golang.org"},
		"sealing a file needs no server"},
	{"sealpost/internal/terminal", []string{"sealpost/"}, "it is shared by all front ends"},
}

// directBorders look only at what a package imports itself.
var directBorders = []border{
	{"sealpost/mls", []string{"os"}, "mls computes; it touches no file and prints nothing (log/slog is there to redact keys)"},
	{"sealpost/internal", []string{"sealpost/mls", "crypto/hpke", "crypto/ed25519"}, "front ends never touch a key"},
	{"sealpost/internal/cli", []string{"sealpost/api", "google.golang.org/grpc"}, "front ends talk to the messenger"},
}

// excepted may import one package in spite of a border: the load generator seals
// with keys that it makes itself and that are nobody's.
var excepted = map[string]string{"sealpost/internal/bench": "sealpost/mls"}

// libraries are all that a package may link beside the standard library.
var libraries = map[string][]string{
	"sealpost/content": {"github.com/fxamacker/cbor/v2", "github.com/x448/float16"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportBorders(t *testing.T) {
	packages := listPackages(t)
	checkBorders(t, packages, borders, "links", func(p listed) []string { return p.Deps })
	checkBorders(t, packages, directBorders, "imports", func(p listed) []string { return p.Imports })
}

func TestLibraries(t *testing.T) {
	seen := 0
	for _, p := range listPackages(t) {
		allowed, ok := libraries[p.ImportPath]
		if !ok {
			continue
		}
		seen++
		for _, dep := range p.Deps {
			first, _, _ := strings.Cut(dep, "/")
			if strings.Contains(first, ".") && !slices.Contains(allowed, dep) {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
	if seen != len(libraries) {
		t.Errorf("%d of %d packages exist", seen, len(libraries))
	}
}

func checkBorders(t *testing.T, packages []listed, borders []border, verb string, reached func(listed) []string) {
	t.Helper()
	for _, border := range borders {
		for _, p := range packages {
			if !within(p.ImportPath, border.from) {
				continue
			}
			for _, dep := range reached(p) {
				if forbidden(dep, border.from, border.never) && excepted[p.ImportPath] != dep {
					t.Errorf("%s %s %s: %s", p.ImportPath, verb, dep, border.reason)
				}
			}
		}
	}
}

// The test would pass over a rule whose package has gone or moved.
func TestImportBordersNameRealPackages(t *testing.T) {
	packages := listPackages(t)
	for _, border := range borders {
		found := false
		for _, p := range packages {
			found = found || within(p.ImportPath, border.from)
		}
		if !found {
			t.Errorf("no package %s", border.from)
		}
	}
}

func forbidden(dep, from string, never []string) bool {
	if within(dep, from) {
		return false
	}
	for _, path := range never {
		if within(dep, path) {
			return true
		}
	}
	return false
}

func within(path, root string) bool {
	root = strings.TrimSuffix(root, "/")
	return path == root || strings.HasPrefix(path, root+"/")
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p listed
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}
