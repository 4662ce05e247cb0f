package cli

import (
	"strings"
	"testing"

	"sealpost/internal/terminal"
)

func TestNearestCommand(t *testing.T) {
	tests := map[string]string{
		"invte": "add", "invite": "add", "serach": "search", "hlep": "", "hepl": "", "helpp": "help", "exit": "quit", "q": "", "foo": "",
		"verify": "safety", "request": "requests", "memebers": "members", "teleport": "", "\x1b[31m": "", strings.Repeat("t", 1<<16): "",
	}
	for typed, want := range tests {
		if got := nearestCommand(typed); got != want {
			t.Errorf("nearestCommand(%.20q) = %q, want %q", typed, got, want)
		}
	}
	for word, command := range chatWords {
		if _, ok := chatCommands[word]; ok || chatCommands[command] == nil {
			t.Errorf("%s for %s: the one is a command, or the other is not", word, command)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{{"", "", 0}, {"add", "add", 0}, {"ad", "add", 1}, {"add", "ad", 1}, {"abc", "cba", 2}, {"invte", "invite", 1}, {"hlep", "help", 2}, {"to", "teleport", 3}}
	for _, test := range tests {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// The help of the chat stands on a small screen, with the prompt below it, and has
// every command.
func TestChatHelp(t *testing.T) {
	lines := strings.Split(chatHelp, "\n")
	if len(lines) > 22 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if terminal.Width(line) > 39 {
			t.Errorf("over 39 columns: %q", line)
		}
	}
	for name := range chatCommands {
		if name != "help" && !strings.Contains(chatHelp, "/"+name) {
			t.Errorf("/%s is missing", name)
		}
	}
}
