package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"go.uber.org/goleak"

	"sealpost/internal/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemoTellsTheWholeStory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var steps []Step
	var out bytes.Buffer
	show := JSON(&out)
	err := Run(t.Context(), func(step Step) error {
		steps = append(steps, step)
		return show(step)
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(&out)
	for i, step := range steps {
		if step.Number != i+1 || step.Title == "" || step.Told == "" || len(step.Facts) == 0 {
			t.Errorf("step %d is not whole: %+v", i+1, step)
		}
		var line Step
		if err := lines.Decode(&line); err != nil || line.Title != step.Title {
			t.Errorf("step %d in JSON: %+v, %v", i+1, line, err)
		}
	}
	if len(steps) != 12 {
		t.Fatalf("%d steps, want 12", len(steps))
	}
	for _, want := range []struct{ step, name, value string }{
		{"Bob opens it", "reads", aliceWrites},
		{"Bob comes on line: a stranger wants to talk", "messages that he is shown", "0"},
		{"What leaves Alice's machine", "content type", "application message"},
		{"What leaves Alice's machine", "authenticated data", "none"},
		{"Bob answers", "reads", bobAnswers},
		{"They compare safety numbers", "the same?", "yes"},
		{"Now the relay turns evil and flips one bit", "sees the gap", "1 message missing before this one"},
	} {
		if !told(steps, want.step, want.name, want.value) {
			t.Errorf("%q does not tell that %q is %q", want.step, want.name, want.value)
		}
	}
	for _, step := range steps {
		for _, fact := range step.Facts {
			if strings.HasPrefix(fact.Name, "Alice's words anywhere") && fact.Verdict != "no" {
				t.Errorf("%s: plaintext on disk: %s", fact.Who, fact.Value)
			}
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func told(steps []Step, title, name, value string) bool {
	for _, step := range steps {
		for _, fact := range step.Facts {
			if step.Title == title && fact.Name == name && fact.Value == value {
				return true
			}
		}
	}
	return false
}

func TestDemoStopsWhereItsAudienceLeaves(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	gone := errors.New("gone")
	for stopAt := 1; stopAt <= 11; stopAt += 5 {
		err := Run(t.Context(), func(step Step) error {
			if step.Number == stopAt {
				return gone
			}
			return nil
		})
		if !errors.Is(err, gone) {
			t.Errorf("stopped at step %d: got %v", stopAt, err)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestScreenFitsAndIsHarmless(t *testing.T) {
	step := Step{
		Number: 1, Title: "A title that is longer than twenty columns", Told: strings.Repeat("some words ", 20),
		Flow: &Flow{From: Alice, To: Relay, Label: "sealed"},
		Facts: []Fact{
			{Who: Alice, Name: "types", Value: "evil\x1b]52;c;AAAA\a\u202etext", Note: "a note that does not fit into a line of the narrow screen"},
			{Who: Bob, Name: "bytes", Value: strings.Repeat("0f", 300), Hex: true},
			{Who: Relay, Name: "the same?", Value: "yes", Verdict: "yes"},
		},
	}
	for _, width := range []int{20, 40, 59, 60, 80, 300} {
		for _, color := range []bool{false, true} {
			var out bytes.Buffer
			screen := &Screen{Out: &out, Width: width, Color: color, Safe: terminal.Printable}
			if err := screen.Show(step); err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(out.String(), "\n") {
				if lipgloss.Width(line) > max(width, 20) {
					t.Errorf("width %d: line of %d columns: %q", width, lipgloss.Width(line), line)
				}
			}
			if strings.Contains(out.String(), "\x1b]52") || strings.Contains(out.String(), "\u202e") {
				t.Errorf("width %d: an escape sequence came through", width)
			}
			if !color && strings.Contains(out.String(), "\x1b") {
				t.Errorf("width %d: escape sequences without colour", width)
			}
		}
	}
}

func BenchmarkDemo(b *testing.B) {
	for b.Loop() {
		if err := Run(b.Context(), func(Step) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
