package cli

import (
	"fmt"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type passphraseCommand struct{ profileFlags }

// Help is shown by passphrase --help.
func (*passphraseCommand) Help() string {
	return "Asks for the present passphrase, where there is one, and for the new one twice; an empty one means none. From a pipe, each is a line. " +
		"Copies of the profile made before still open with the old passphrase."
}

// Run changes what protects the profile.
func (c *passphraseCommand) Run(env *environment) error {
	console := terminal.NewConsole(env.stdin, env.stderr)
	client, options, err := c.openWith(env, console) // what is wrong is said before more is asked
	if err == nil {
		err = client.Close()
	}
	if err != nil {
		return err
	}
	to, err := (&setup{env: env, console: console, dir: options.Dir}).askProtection()
	if err != nil {
		return err
	}
	if err := messenger.ChangeProtection(env.ctx, options, to); err != nil {
		return fmt.Errorf("changing the passphrase of profile %s: %w", c.Profile, err)
	}
	said := "The new passphrase opens the profile from now on."
	if to.Kind() != messenger.ProtectionPassphrase {
		said = "The profile opens without a passphrase from now on."
	}
	return printLines(env.stdout, said, 0)
}
