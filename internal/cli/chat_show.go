package cli

import (
	"context"
	"fmt"
	"time"

	"sealpost/messenger"
)

// show prints a row.
func (c *chat) show(r row) error {
	c.seen.remember(r.Message)
	return c.lines.Print(messageLines(r, time.Now()), messageIndent)
}

func (c *chat) showUnread() error {
	return showUnread(c.ctx, c.Client, c.show)
}

// showUnread shows what came in and was not shown, and marks it as read once
// show has succeeded for all of it.
func showUnread(ctx context.Context, client *messenger.Client, show func(row) error) error {
	messages, err := client.Unread(ctx)
	if err != nil {
		return fmt.Errorf("reading new messages: %w", err)
	}
	rows, err := rowsOf(ctx, client, messages)
	if err != nil {
		return fmt.Errorf("reading new messages: %w", err)
	}
	shown := make([]messenger.RowID, 0, len(rows))
	for _, r := range rows {
		if err := show(r); err != nil {
			return fmt.Errorf("showing a message: %w", err)
		}
		shown = append(shown, r.Row)
	}
	if len(shown) == 0 {
		return nil
	}
	if err := client.MarkRead(ctx, shown...); err != nil {
		return fmt.Errorf("marking messages as read: %w", err)
	}
	return nil
}

// showRequests shows who waits for an answer, and says none where nobody does.
func (c *chat) showRequests(none string) error {
	pending, err := pendingRequests(c.ctx, c.Client)
	if err != nil {
		return err
	}
	if len(pending) == 0 && none != "" {
		return c.print("%s", none)
	}
	for _, r := range pending {
		if err := c.lines.Print(r.lines("/", chatArgument(r.Conversation)), messageIndent); err != nil {
			return err
		}
	}
	return nil
}

func (c *chat) showRequest(v messenger.Conversation) error {
	r, err := requestOf(c.ctx, c.Client, v)
	if err != nil {
		return err
	}
	return c.lines.Print(r.lines("/", chatArgument(r.Conversation)), messageIndent)
}

// showChange says what became of a message that was shown before.
func (c *chat) showChange(event messenger.MessageChanged) error {
	changed, err := c.seen.change(c.ctx, c.Client, event)
	if err != nil || changed == nil {
		return err
	}
	return c.lines.Print(changed.lines, messageIndent)
}
