package cli

import (
	"context"
	"fmt"
	"time"

	"sealpost/messenger"
)

type retryCommand struct {
	profileFlags
	Timeout time.Duration `default:"10s" help:"How long to wait for the server (default: ${default})."`
	Message string        `arg:"" name:"id" help:"The id of a message that was not sent, as the error said it, or send --json or search --json."`
}

// Help is shown by retry --help.
func (*retryCommand) Help() string {
	return "Sends a message again that failed, as the same message. Ends as send does."
}

// Run sends it again.
func (c *retryCommand) Run(env *environment) error {
	if c.Timeout <= 0 {
		return errTimeout()
	}
	id, err := messenger.ParseMessageID(c.Message)
	if err != nil {
		return &userError{status: exitUsage, code: "BAD_MESSAGE_ID", err: err,
			hint: "the error that said that it was not sent names the id, and so does sealpost search --json WORD; in the chat, /retry needs none"}
	}
	return c.connected(env, func(s *session) error {
		if err := s.Retry(s.ctx, id); err != nil {
			return fmt.Errorf("sending again: %w", err)
		}
		ctx, cancel := context.WithTimeout(s.ctx, c.Timeout)
		defer cancel()
		return waitAccepted(ctx, s, id, "sending again")
	})
}
