package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// usageError is about how a command was typed. Where it says no hint, that is the
// command's own help.
func usageError(err error) *userError {
	return &userError{status: exitUsage, code: "USAGE", err: err}
}

// withUsage adds to an error about how a command was typed where to read of it.
func withUsage(err error, parsed *kong.Context) error {
	if told, ok := errors.AsType[*userError](err); ok && told.code == "USAGE" && told.hint == "" {
		told.hint = seeHelp(reached(parsed))
	}
	return err
}

func seeHelp(node *kong.Node) string { return "see " + node.FullPath() + " --help" }

// reached is the last command that a command line names.
func reached(parsed *kong.Context) *kong.Node {
	node := parsed.Model.Node
	for _, step := range parsed.Path {
		if step.Command != nil {
			node = step.Command
		}
	}
	return node
}

// parseError says what the parser has against a command line in our words: its own
// are for who writes a program.
func parseError(err error) error {
	told := usageError(err)
	failed, ok := errors.AsType[*kong.ParseError](err)
	if !ok {
		return told
	}
	node, text := reached(failed.Context), err.Error()
	told.hint = seeHelp(node)
	switch {
	case len(node.Children) > 0:
		told.hint, told.err = noCommand(node, text)
	case missing.MatchString(text):
		told.err = errors.New("missing: " + missing.FindStringSubmatch(text)[1])
		told.hint = "sealpost " + node.Summary() + "; " + told.hint
	case node.Name == "send" && strings.HasPrefix(text, "unexpected argument"):
		told.hint = `a text of several words goes into quotes: sealpost send bob "see you at six"`
	default:
		told.err = reword(err)
	}
	return told
}

var missing = regexp.MustCompile(`^(?:expected "|missing flags: )(.+?)"?$`)

// noCommand says what is wrong where a command has others below it, and none of
// them was named.
func noCommand(node *kong.Node, text string) (hint string, err error) {
	hint = seeHelp(node)
	switch {
	case strings.HasPrefix(text, "expected one of "):
		names := make([]string, len(node.Children))
		for i, child := range node.Children {
			names[i] = child.Name
		}
		text = fmt.Sprintf("%s needs one of its commands: %s", node.FullPath(), strings.Join(names, ", "))
	case strings.HasPrefix(text, "unexpected argument "):
		text = "no such command: " + strings.TrimPrefix(text, "unexpected argument ")
	case strings.HasPrefix(text, "unknown flag "):
		hint = "flags stand after the command, such as sealpost send --profile NAME; " + hint
	}
	return hint, errors.New(text)
}

// rewordings are the parser's texts about values, and ours for them.
var rewordings = []struct {
	theirs *regexp.Regexp
	ours   func(found []string) string
}{
	{regexp.MustCompile(`^(?:(--\S+)|\S+) must be one of (.+) but got (".*")$`), func(found []string) string {
		values := strings.NewReplacer(`,""`, "", `"`, "", ",", ", ").Replace(found[2])
		return prefixed(found[1], found[3]+" is none of "+values)
	}},
	{regexp.MustCompile(`^(?:(.+): )?expected duration but got (".*?"):? `), func(found []string) string {
		return prefixed(found[1], found[2]+" is no time such as 10s or 2m")
	}},
	{regexp.MustCompile(`^(?:(.+): )?expected a valid \d+ bit u?int but got (".*?")$`), func(found []string) string {
		return prefixed(found[1], found[2]+" is no whole number that fits")
	}},
	{regexp.MustCompile(`^(?:(.+): )?bool value must be .* but got (".*?")$`), func(found []string) string {
		return prefixed(found[1], found[2]+" is neither true nor false")
	}},
	{regexp.MustCompile(`^(unknown flag -[^-]), did you mean `), func(found []string) string {
		return found[1] // one letter is near to all others
	}},
	{regexp.MustCompile(`^(--\S+): expected .* value but got "EOL"`), func(found []string) string {
		return found[1] + " needs a value"
	}},
	{regexp.MustCompile(`^(--\S+): expected .* value but got (".*?") .*; perhaps try (.*)\?$`), func(found []string) string {
		return found[1] + " needs a value; if that is " + found[2] + ", type " + found[3]
	}},
}

func prefixed(flag, text string) string {
	if flag == "" {
		return text
	}
	return flag + ": " + text
}

func reword(err error) error {
	for _, wording := range rewordings {
		if found := wording.theirs.FindStringSubmatch(err.Error()); found != nil {
			return errors.New(wording.ours(found))
		}
	}
	return err
}
