package cli

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealpost/identity"
	"sealpost/messenger"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{messenger.ErrWrongPassphrase, exitFailure, "WRONG_PASSPHRASE"},
		{&messenger.KeyChangedError{Username: "bob"}, exitKeyChanged, "KEY_CHANGED"},
		{&messenger.UntrustedError{Username: "bob"}, exitKeyChanged, "NOT_VERIFIED"},
		{&messenger.ServerChangedError{Address: "host:1"}, exitFailure, "SERVER_CHANGED"},
		{&messenger.CertificateError{Address: "host:1", Err: errors.New("expired")}, exitFailure, "SERVER_CERTIFICATE"},
		{&messenger.ProfileInUseError{PID: 7}, exitFailure, "PROFILE_IN_USE"},
		{&messenger.TooLargeError{Size: 2, Limit: 1}, exitFailure, "TOO_LARGE"},
		{&messenger.FailedError{Reason: "x"}, exitFailure, "NOT_SENT"},
		{messenger.ErrServerUnavailable, exitUnavailable, "SERVER_UNAVAILABLE"},
		{messenger.ErrStore, exitFailure, "STORE"},
		{context.DeadlineExceeded, exitUnavailable, "TIMEOUT"},
		{context.Canceled, exitFailure, "INTERRUPTED"},
		{identity.ErrForeignServer, exitUsage, "FOREIGN_SERVER"},
		{errors.New("something"), exitFailure, "FAILED"},
		{usageError(errors.New("x")), exitUsage, "USAGE"},
	}
	for _, test := range tests {
		got := explain(fmt.Errorf("doing: %w", test.err))
		if got.status != test.status || got.code != test.code {
			t.Errorf("%v: status %d code %s, want %d %s", test.err, got.status, got.code, test.status, test.code)
		}
	}
}

func TestExplanationsAreDistinct(t *testing.T) {
	seen := map[error]bool{}
	for _, e := range explanations {
		if seen[e.target] {
			t.Errorf("%v stands there twice", e.target)
		}
		seen[e.target] = true
		if e.code == "" || e.status == exitOK {
			t.Errorf("%v has no code or status", e.target)
		}
	}
}

// neverShown are errors that no command can meet: they say that a program uses the
// messenger in a wrong way.
var neverShown = []string{"ErrClosed", "ErrRunning"}

// TestEveryErrorIsExplained reads which errors the messenger has.
func TestEveryErrorIsExplained(t *testing.T) {
	explained, err := os.ReadFile("explain.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../../messenger/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, object := range file.Scope.Objects {
		isError := object.Kind == ast.Var && strings.HasPrefix(name, "Err") || object.Kind == ast.Typ && strings.HasSuffix(name, "Error")
		if !isError || !ast.IsExported(name) || slices.Contains(neverShown, name) {
			continue
		}
		found++
		if !regexp.MustCompile(`messenger\.` + name + `\b`).Match(explained) {
			t.Errorf("nothing says what to do about messenger.%s", name)
		}
	}
	if found < 30 {
		t.Errorf("only %d errors were found", found)
	}
}

// TestAttackF1Report: what others put into an error stays in its line.
func TestAttackF1Report(t *testing.T) {
	var out strings.Builder
	status := report(&out, errors.New("the server said: \x1b[2J\u202e\nsealpost: all is well"))
	want := `sealpost: error: the server said: \x1b[2J\u202e\x0asealpost: all is well` + "\n"
	if status != exitFailure || out.String() != want {
		t.Errorf("status %d, %q, want %q", status, out.String(), want)
	}
}
