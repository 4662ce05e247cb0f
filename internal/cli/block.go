package cli

import (
	"fmt"

	"sealpost/identity"
	"sealpost/messenger"
)

type blockCommand struct {
	profileFlags
	Name string `arg:"" help:"Whom."`
}

// Help is shown by block --help.
func (*blockCommand) Help() string {
	return "Everything from them is dropped from now on, and their requests with it. They are not told. It works without the server."
}

// Run blocks somebody.
func (c *blockCommand) Run(env *environment) error {
	return changeContact(env, c.profileFlags, c.Name, "blocking", func(client *messenger.Client, name identity.Username) (string, error) {
		return fmt.Sprintf("%s is blocked. sealpost unblock %s takes that back.", name, name), client.Block(env.ctx, name)
	})
}

type unblockCommand struct{ blockCommand }

// Help is shown by unblock --help.
func (*unblockCommand) Help() string {
	return "What they write comes in again: in a conversation that you have, or as a request. What was dropped does not."
}

// Run takes a block back.
func (c *unblockCommand) Run(env *environment) error {
	return changeContact(env, c.profileFlags, c.Name, "unblocking", func(client *messenger.Client, name identity.Username) (string, error) {
		return fmt.Sprintf("%s is not blocked any more. What they write comes in again.", name), client.Unblock(env.ctx, name)
	})
}

func changeContact(env *environment, profile profileFlags, address, doing string, change func(*messenger.Client, identity.Username) (string, error)) error {
	name, err := parseUser(address)
	if err != nil {
		return err
	}
	return profile.local(env, func(client *messenger.Client) error {
		said, err := change(client, name)
		if err != nil {
			return fmt.Errorf("%s %s: %w", doing, name, err)
		}
		return printLines(env.stdout, said, 0)
	})
}
