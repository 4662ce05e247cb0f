package cli

import (
	"context"
	"errors"
	"fmt"

	"sealpost/messenger"
)

// answerCommand is what accept and decline have in common.
type answerCommand struct {
	profileFlags
	To string `arg:"" name:"target" help:"Whose request: NAME for a person, +NAME for a group, or the id of a conversation."`
}

type acceptCommand struct {
	answerCommand
	trustFlags
}

// Help is shown by accept --help.
func (*acceptCommand) Help() string {
	return "What waited is shown, and the other side may learn that it arrived. " +
		"The name of a person who has not written yet is accepted in advance: what they write is then shown at once."
}

// Run accepts a request, or a person in advance.
func (c *acceptCommand) Run(env *environment) error {
	t, err := parseTarget(c.To)
	if err != nil {
		return err
	}
	return c.connected(env, func(s *session) error {
		said, err := accept(s, t, c.options())
		if err != nil {
			return fmt.Errorf("accepting %s: %w", c.To, err)
		}
		if err := printLines(env.stdout, said, 0); err != nil {
			return err
		}
		return s.flush(receiptTime)
	})
}

// accept accepts a request, or a person in advance, and says so in words.
func accept(s *session, t target, options []messenger.ContactOption) (string, error) {
	if t.name == "" {
		v, err := t.request(s)
		if err != nil {
			return "", err
		}
		if err := s.Accept(s.ctx, v.ID); err != nil {
			return "", err
		}
		return fmt.Sprintf("You are in the conversation %s now.", title(v)), nil
	}
	v, err := s.Conversation(s.ctx, s.DirectID(t.name))
	switch {
	case err != nil && !errors.Is(err, messenger.ErrUnknownConversation):
		return "", err
	case err == nil && v.State == messenger.Request:
		err = s.Accept(s.ctx, v.ID)
	default:
		ctx, cancel := context.WithTimeout(s.ctx, networkTimeout)
		defer cancel()
		v, err = s.Direct(ctx, t.name, options...)
	}
	if err != nil {
		return "", s.cause(err)
	}
	return fmt.Sprintf("%s may write to you, and you to them.", v.With), nil
}
