package cli

import (
	"errors"
	"fmt"
	"strings"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type clientCommand struct {
	profileFlags
	trustFlags
	Server string `placeholder:"HOST[:PORT]" help:"The server of a new profile, instead of the question."`
	Plain  bool   `help:"Chat line by line, on any terminal."`
}

// Help is shown by client --help.
func (*clientCommand) Help() string {
	return "The first run asks for a name, a server and a passphrase, and last for an invite code where the server wants one. Questions and lines may come from a pipe as well: " +
		"the passphrase, where there is one, is the first line; at the end of the input the client waits until the server " +
		"has what was written, and ends with status 4 where it does not come to that."
}

// Run chats.
func (c *clientCommand) Run(env *environment) (err error) {
	console := terminal.NewConsole(env.stdin, env.stderr)
	client, err := c.openOrCreate(env, console)
	if err != nil {
		return err
	}
	s := start(env.ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	lines, err := console.Lines(env.stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	return newChat(s, lines, c.options()).run()
}

// rightServer closes a client that is not of the server that is wanted.
func (c *clientCommand) rightServer(client *messenger.Client) error {
	if c.Server == "" {
		return nil
	}
	wanted, err := parseServer(c.Server)
	if has := client.Self().Server; err == nil && !strings.EqualFold(has, wanted) {
		err = &userError{status: exitUsage, code: "OTHER_SERVER", err: fmt.Errorf("profile %s is of the server %s, not of %s", c.Profile, has, wanted),
			hint: "leave out --server, or make another profile with --profile and another name"}
	}
	if err != nil {
		return errors.Join(err, client.Close())
	}
	return nil
}

func (c *clientCommand) openOrCreate(env *environment, console *terminal.Console) (*messenger.Client, error) {
	dir, err := messenger.ProfileDir(c.Profile)
	if err != nil {
		return nil, err
	}
	if messenger.Exists(dir) {
		client, err := c.open(env, console)
		if err != nil {
			return nil, err
		}
		return client, c.rightServer(client)
	}
	return (&setup{env: env, console: console, dir: dir, server: c.Server, trust: c.policy()}).run()
}
