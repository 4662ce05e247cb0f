package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/messenger"
)

type searchCommand struct {
	profileFlags
	In    string   `placeholder:"TARGET" help:"Only in one conversation: NAME for a person, +NAME for a group, or an id."`
	Limit int      `default:"50" help:"How many at most, the newest of them (default: ${default})."`
	JSON  bool     `name:"json" help:"Print each as a line of JSON, like inbox."`
	Words []string `arg:"" name:"word" help:"What every message found has in it."`
}

// Help is shown by search --help.
func (*searchCommand) Help() string {
	return "Prints the messages that have every word, or words that begin so, oldest first. Case and accents do not matter. It works without the server, in the encrypted store."
}

// Run searches.
func (c *searchCommand) Run(env *environment) error {
	if c.Limit < 1 {
		return usageError(fmt.Errorf("--limit is at least 1"))
	}
	var t *target
	if c.In != "" {
		parsed, err := parseTarget(c.In)
		if err != nil {
			return err
		}
		t = &parsed
	}
	return c.local(env, func(client *messenger.Client) error {
		var in *messenger.ConversationID
		if t != nil {
			v, err := t.find(env.ctx, client, messenger.Active, messenger.Closed)
			if err != nil {
				return fmt.Errorf("searching in %s: %w", c.In, err)
			}
			in = &v.ID
		}
		found, err := client.Search(env.ctx, strings.Join(c.Words, " "), in, c.Limit)
		if err != nil {
			return err
		}
		slices.Reverse(found)
		rows, err := rowsOf(env.ctx, client, found)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if c.JSON {
				err = printJSON(env.stdout, newInboxLine(r))
			} else {
				err = printLines(env.stdout, messageLines(r, time.Now()), messageIndent)
			}
			if err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return &userError{status: exitFailure, code: "NOT_FOUND", err: fmt.Errorf("no message has %q in it", strings.Join(c.Words, " ")),
				hint: "each word has to stand at the beginning of a word; fewer words find more"}
		}
		return nil
	})
}
