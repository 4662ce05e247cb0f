package cli

import (
	"fmt"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type doctorCommand struct {
	profileFlags
	JSON bool `name:"json" help:"Print each finding as a line of JSON."`
}

// Help is shown by doctor --help.
func (*doctorCommand) Help() string {
	return "Looks at the profile's files, keys and database, at the server, the clock and what waits to be sent. " +
		"It repairs what needs no decision of yours and says what to do about the rest. Ends with status 1 where something is broken, not where it will work again by itself."
}

// findingLine is a line of doctor --json.
type findingLine struct {
	Check string `json:"check"`
	State string `json:"state"`
	Text  string `json:"text"`
}

// findingMarks stand before what was found.
var findingMarks = map[messenger.FindingState]string{
	messenger.Sound: "✓", messenger.Repaired: "✓ repaired:", messenger.Attention: "!", messenger.Broken: "✗",
}

// Run examines the profile.
func (c *doctorCommand) Run(env *environment) error {
	options, err := c.options(env)
	if err != nil {
		return err
	}
	broken := 0
	for _, f := range messenger.Diagnose(env.ctx, options) {
		if f.State == messenger.Broken {
			broken++
		}
		if c.JSON {
			err = printJSON(env.stdout, findingLine{f.Check, f.State.String(), f.Text})
		} else {
			err = printLines(env.stdout, fmt.Sprintf("%-13s %s %s", f.Check, findingMarks[f.State], terminal.Printable(f.Text)), 14)
		}
		if err != nil {
			return err
		}
	}
	if err := env.ctx.Err(); err != nil {
		return err
	}
	if broken > 0 {
		return &userError{status: exitFailure, code: "BROKEN", err: fmt.Errorf("%d %s not work", broken, plural(broken, "thing does", "things do")),
			hint: "what is marked with ✗ says what to do"}
	}
	return nil
}

// options are those to open the profile with. Of one that says not how, the doctor
// says what is wrong.
func (c *doctorCommand) options(env *environment) (messenger.Options, error) {
	dir, err := messenger.ProfileDir(c.Profile)
	options := messenger.Options{Dir: dir, Unlock: messenger.KeyFile()}
	if err != nil {
		return options, err
	}
	protection, err := messenger.Protection(dir)
	if err != nil {
		return options, nil //nolint:nilerr // Diagnose finds it again
	}
	options.Unlock, err = c.unlocker(env, terminal.NewConsole(env.stdin, env.stderr), protection)
	return options, err
}
