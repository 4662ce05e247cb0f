package identity

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Whoever writes another client finds every context of a signature in the protocol, and
// none that there is not.
func TestProtocolNamesEveryContext(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	find := func(text, pattern string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return all
	}
	_, list, _ := strings.Cut(read("../docs/protocol.md"), "Contexts: ")
	list, _, _ = strings.Cut(list, ". ")
	code, said := find(read("context.go"), `Context = "([^"]+)"`), find(list, "`([^`]+)`")
	if len(code) == 0 {
		t.Error("no context was found")
	}
	if !slices.Equal(code, said) {
		t.Errorf("the code has %q, the protocol %q", code, said)
	}
}
