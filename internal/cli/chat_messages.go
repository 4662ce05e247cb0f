package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sealpost/messenger"
)

// pick takes the message that a command is about, N or last, off an argument. own
// says whether last is ours or of somebody else.
func (c *chat) pick(argument string, own bool) (id messenger.MessageID, rest string, err error) {
	which, rest, _ := strings.Cut(argument, " ")
	rest = strings.TrimSpace(rest)
	if which == "last" {
		id, err = c.lastText(func(m messenger.Message) bool { return m.Outgoing == own && !m.Deleted })
		return id, rest, err
	}
	n, err := strconv.Atoi(which)
	if err != nil || n < 1 || n > len(c.numbered) {
		return id, rest, &userError{status: exitUsage, code: "NO_MESSAGE", err: errors.New("it is not clear which message is meant"), hint: "say last, or a number that /history shows now"}
	}
	return c.numbered[n-1], rest, nil
}

// lastText finds the last message in the conversation that is one of those wanted.
func (c *chat) lastText(wanted func(messenger.Message) bool) (messenger.MessageID, error) {
	var before messenger.RowID
	for {
		page, err := c.MessagesBefore(c.ctx, c.to.ID, before, 100)
		if err != nil {
			return messenger.MessageID{}, err
		}
		if len(page) == 0 {
			return messenger.MessageID{}, &userError{status: exitUsage, code: "NO_MESSAGE", err: errors.New("there is no such message"), hint: "/history shows those that there are"}
		}
		for i := len(page) - 1; i >= 0; i-- {
			if page[i].Kind == messenger.KindText && wanted(page[i]) {
				return page[i].ID, nil
			}
		}
		before = page[0].Row
	}
}

func (c *chat) reply(argument string) error {
	id, text, err := c.pick(argument, false)
	if err == nil && text == "" {
		err = chatUsage("/reply N TEXT, or /reply last TEXT")
	}
	if err != nil {
		return err
	}
	return c.send(text, messenger.ReplyTo(id))
}

func (c *chat) react(argument string) error {
	id, emoji, err := c.pick(argument, false)
	if err != nil {
		return err
	}
	err = c.React(c.ctx, id, emoji)
	if errors.Is(err, messenger.ErrText) {
		return &userError{status: exitUsage, code: "BAD_REACTION", err: errors.New("this cannot be a reaction"), hint: "type one emoji, as in /react last 👍"}
	}
	return err
}

func (c *chat) edit(argument string) error {
	id, text, err := c.pick(argument, true)
	if err == nil && text == "" {
		err = chatUsage("/edit N TEXT, or /edit last TEXT; /unsend takes a message back")
	}
	if err != nil {
		return err
	}
	return c.Edit(c.ctx, id, text)
}

func (c *chat) unsend(argument string) error {
	id, _, err := c.pick(argument, true)
	if err != nil {
		return err
	}
	return c.Unsend(c.ctx, id)
}

// retry sends again everything in the conversation that failed, in its order.
func (c *chat) retry() error {
	messages, err := c.Messages(c.ctx, c.to.ID, 0)
	if err != nil {
		return err
	}
	again := 0
	for _, m := range messages {
		if !m.Outgoing || m.State != messenger.Failed || m.Deleted {
			continue
		}
		if err := c.Retry(c.ctx, m.ID); err != nil {
			return fmt.Errorf("sending again: %w", err)
		}
		again++
		message := sent{id: m.ID, to: c.to.ID, text: m.Text, state: messenger.Queued}
		c.last[c.to.ID], c.open[m.ID] = message, message
	}
	if again == 0 {
		return c.print("Nothing failed here.")
	}
	return c.print("%d %s again.", again, plural(again, "message is sent", "messages are sent"))
}
