package cli

import (
	"io"
	"os"
	"strings"
	"testing"

	"sealpost/internal/terminal"
)

// The parser's own texts are for who writes a program; these are what a person gets
// for each way to mistype a command.
func TestUsageErrors(t *testing.T) {
	tests := []struct{ line, want, hint string }{
		{"teleport", "no such command: teleport", "see sealpost --help"},
		{"snd bob hi", `no such command: snd, did you mean "send"?`, "see sealpost --help"},
		{"--profile x send bob hi", "unknown flag --profile", "flags stand after the command, such as sealpost send --profile NAME; see sealpost --help"},
		{"group", "sealpost group needs one of its commands: list, create, members, add, remove, admin, rename, expire, leave", "see sealpost group --help"},
		{"group foo", "no such command: foo", "see sealpost group --help"},
		{"admin invite", "sealpost admin invite needs one of its commands: create, list, revoke", "see sealpost admin invite --help"},
		{"send", "missing: <target> <text>", "sealpost send <target> <text> [flags]; see sealpost send --help"},
		{"send bob see you", "unexpected argument you", `a text of several words goes into quotes: sealpost send bob "see you at six"`},
		{"send --timeout soon bob hi", `--timeout: "soon" is no time such as 10s or 2m`, "see sealpost send --help"},
		{"send bob hi --profile", "--profile needs a value", "see sealpost send --help"},
		{"send --profile --json bob hi", `--profile needs a value; if that is "--json", type --profile="--json"`, "see sealpost send --help"},
		{"send --timeout=-1s bob hi", "--timeout has to be longer than 0", "say for how long, such as --timeout 10s"},
		{"retry --timeout=0s message:", "--timeout has to be longer than 0", "say for how long, such as --timeout 10s"},
		{"group add +walks", "missing: <user> ...", "sealpost group add <+group> <user> ... [flags]; see sealpost group add --help"},
		{"inbox alice", "unexpected argument alice", "see sealpost inbox --help"},
		{"inbox --tail", "unknown flag --tail", "see sealpost inbox --help"},
		{"inbox -f", "unknown flag -f", "see sealpost inbox --help"},
		{"inbox --folow", `unknown flag --folow, did you mean "--follow"?`, "see sealpost inbox --help"},
		{"verify +walks", `"+walks" is a group, and here goes a person`, "names of people look like bob or anna-k"},
		{"group add bob +walks", `"+walks" is a group, and here goes a person`, "names of people look like bob or anna-k"},
		{"inbox --profile Alice", "a profile's name has 1 to 32 characters: a-z, 0-9, dash and underscore, and starts with a letter or a digit", "profiles are called such as alice or work-2"},
		{"receipts maybe", `"maybe" is none of on, delivered, off`, "see sealpost receipts --help"},
		{"export --format html bob", `--format: "html" is none of markdown, jsonl`, "see sealpost export --help"},
		{"search --limit many x", `--limit: "many" is no whole number that fits`, "see sealpost search --help"},
		{"search --limit 0 x", "--limit is at least 1", "see sealpost search --help"},
		{"encrypt", "missing: --recipient=KEY", "sealpost encrypt --recipient=KEY [<file>] [flags]; see sealpost encrypt --help"},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			var stdout, stderr strings.Builder
			env := &environment{ctx: t.Context(), stdin: os.Stdin, stdout: &stdout, stderr: &stderr}
			if status := run(env, strings.Fields(test.line)); status != exitUsage {
				t.Errorf("exit status %d, want %d", status, exitUsage)
			}
			want := "sealpost: error: " + test.want + "\nsealpost: hint: " + test.hint + "\n"
			if stderr.String() != want || stdout.Len() != 0 {
				t.Errorf("it says\n%s%s\nwant\n%s", stdout.String(), stderr.String(), want)
			}
		})
	}
}

// No line of help is wider than a usual terminal.
func TestHelpWidth(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	var look func(words []string)
	look = func(words []string) {
		var stdout strings.Builder
		env := &environment{ctx: t.Context(), stdin: os.Stdin, stdout: &stdout, stderr: io.Discard}
		if status := run(env, append(words, "--help")); status != exitOK {
			t.Fatalf("%q: exit status %d", words, status)
		}
		_, below, _ := strings.Cut(stdout.String(), "\nCommands:\n")
		for line := range strings.Lines(below) {
			if name, ok := strings.CutPrefix(line, "  "); ok && !strings.HasPrefix(name, " ") {
				look(strings.Fields(name)[:len(words)+1])
			}
		}
		for line := range strings.Lines(stdout.String()) {
			if width := terminal.Width(strings.TrimSuffix(line, "\n")); width > 80 {
				t.Errorf("%q: %d columns: %s", words, width, line)
			}
		}
	}
	look(nil)
}
