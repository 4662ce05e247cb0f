package cli

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

// An appearance is how a message looked when it was shown, to tell what changed.
type appearance struct {
	text      uint64 // a hash
	deleted   bool
	reactions []messenger.Reaction
}

var appearanceSeed = maphash.MakeSeed()

// maxSeen bounds the messages that the chat can tell changes of. Older ones are
// shown again whole.
const maxSeen = 10000

func (c *chat) remember(m messenger.Message) {
	if len(c.seen) >= maxSeen {
		clear(c.seen)
	}
	c.seen[m.Row] = appearance{text: maphash.String(appearanceSeed, m.Text), deleted: m.Deleted, reactions: m.Reactions}
}

// show prints a row.
func (c *chat) show(r row) error {
	c.remember(r.Message)
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
	before, known := c.seen[event.Message.Row]
	if event.Gone {
		delete(c.seen, event.Message.Row)
		if !known {
			return nil
		}
		v, err := c.Conversation(c.ctx, event.Message.Conversation)
		if err != nil {
			return err
		}
		where := "with"
		if v.Kind == messenger.Group {
			where = "in"
		}
		return c.print("-- a message %s %s has disappeared --", where, title(v))
	}
	rows, err := rowsOf(c.ctx, c.Client, []messenger.Message{event.Message})
	if err != nil || !event.Message.Read {
		return err // what is unread is shown as it is
	}
	r := rows[0]
	c.remember(r.Message)
	where := ""
	if r.in.Kind == messenger.Group {
		where = " in " + title(r.in)
	}
	switch {
	case !known:
		return c.lines.Print(messageLines(r, time.Now()), messageIndent)
	case r.Deleted && !before.deleted:
		return c.print("-- %s took a message%s back --", r.who(), where)
	case maphash.String(appearanceSeed, r.Text) != before.text:
		return c.lines.Print(messageLines(r, time.Now()), messageIndent)
	}
	return c.showReactions(r, before.reactions, where)
}

func (c *chat) showReactions(r row, before []messenger.Reaction, where string) error {
	for _, reaction := range r.Reactions {
		if !slices.Contains(before, reaction) {
			if err := c.showReaction(r, reaction, "reacts with", where); err != nil {
				return err
			}
		}
	}
	for _, reaction := range before {
		if !slices.Contains(r.Reactions, reaction) {
			if err := c.showReaction(r, reaction, "takes back", where); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *chat) showReaction(r row, reaction messenger.Reaction, verb, where string) error {
	who := row{Message: messenger.Message{Sender: reaction.Sender}, self: r.self}.who()
	if who == "you" {
		verb = map[string]string{"reacts with": "react with", "takes back": "take back"}[verb]
	}
	return c.lines.Print(fmt.Sprintf("-- %s %s %s%s --\n      %s", who, verb, terminal.Printable(reaction.Emoji), where, quote(r)), messageIndent)
}
