package mls

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestValidationTable checks that VALIDATION.md names tests that exist.
func TestValidationTable(t *testing.T) {
	table, err := os.ReadFile("VALIDATION.md")
	if err != nil {
		t.Fatal(err)
	}
	var code []byte
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code = append(code, b...)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(table, -1)
	if len(names) < 50 {
		t.Fatalf("table names only %d tests", len(names))
	}
	for _, m := range names {
		if !bytes.Contains(code, append(append([]byte("\nfunc "), m[1]...), '(')) {
			t.Errorf("%s does not exist", m[1])
		}
	}
}

// TestMessageVersion gives a key package another version than its message has
// (RFC 9420, Section 10).
func TestMessageVersion(t *testing.T) {
	k := newPerson(t, "p", classic, Config{}).tamperKeyPackage(func(k *KeyPackage) { k.Version = 2 })
	_, err := ParseMessage(k.Message())
	wantError(t, err, "another version than its message")
}
