package demo

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every attack takes place, and is told from beginning to end.
func TestEveryAttackIsShown(t *testing.T) {
	model, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			var steps []Step
			if err := RunAttack(t.Context(), a.name, func(step Step) error { steps = append(steps, step); return nil }); err != nil {
				t.Fatal(err)
			}
			last := steps[len(steps)-1]
			if last.Number != len(steps) || !strings.HasPrefix(last.Title, a.title) || last.Told == "" || len(last.Facts) == 0 {
				t.Errorf("it ends with %+v", last)
			}
			if a.id != "" && !regexp.MustCompile(`(?m)^\| `+a.id+` \|`).Match(model) {
				t.Errorf("%s is not in the threat model", a.id)
			}
			for _, fact := range last.Facts {
				t.Logf("%s %s: %s %s", fact.Who, fact.Name, fact.Value, fact.Note)
			}
		})
	}
}

func TestUnknownAttack(t *testing.T) {
	if err := RunAttack(t.Context(), "no-such-attack", func(Step) error { return nil }); err == nil {
		t.Error("it was played")
	}
	if HasAttack("no-such-attack") || !HasAttack("flip-bit") || len(Attacks()) != len(attacks) {
		t.Error("the list of attacks is false")
	}
}
