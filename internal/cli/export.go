package cli

import (
	"errors"
	"fmt"

	"sealpost/messenger"
)

type exportCommand struct {
	profileFlags
	Format string `default:"markdown" enum:"markdown,jsonl" help:"markdown to read, or jsonl for programs, a JSON object a line (default: ${default})."`
	Output string `short:"o" placeholder:"FILE" help:"Where to write (default: standard output). The file appears when it is complete."`
	From   string `arg:"" name:"target" help:"Which conversation: NAME for a person, +NAME for a group, or an id."`
}

// Help is shown by export --help.
func (*exportCommand) Help() string {
	return "The file is not encrypted: sealpost encrypt does that. Messages that disappear are named and not kept. It works without the server."
}

// Run writes a conversation.
func (c *exportCommand) Run(env *environment) error {
	t, err := parseTarget(c.From)
	if err != nil {
		return err
	}
	format := messenger.ExportMarkdown
	if c.Format == "jsonl" {
		format = messenger.ExportJSON
	}
	return c.local(env, func(client *messenger.Client) error {
		v, err := t.find(env.ctx, client, messenger.Active, messenger.Closed)
		if err != nil {
			return fmt.Errorf("exporting %s: %w", c.From, err)
		}
		out, err := (&files{environment: env}).create(c.Output, plaintextMode)
		if err != nil {
			return explainFile(err)
		}
		if err := client.Export(env.ctx, v.ID, format, out); err != nil {
			return errors.Join(fmt.Errorf("exporting %s: %w", c.From, err), out.discard())
		}
		return wrap("writing", out.commit())
	})
}
