package messenger

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"sealpost/content"
)

// A SendOption says more about a message.
type SendOption func(*sendOptions)

type sendOptions struct {
	replyTo MessageID
	expiry  *time.Duration
}

// ReplyTo names the message that is answered. It is in the same conversation.
func ReplyTo(id MessageID) SendOption { return func(o *sendOptions) { o.replyTo = id } }

// Disappearing has a message disappear so long after it was read, in whole seconds,
// whatever the conversation says; 0 for never.
func Disappearing(after time.Duration) SendOption {
	return func(o *sendOptions) { o.expiry = &after }
}

// Send puts a text into a conversation's outbox. When it returns, the message is
// on disk; Run sends it, after those before it.
//
// Its errors are [*TooLargeError], [ErrText], [ErrUnknownConversation],
// [ErrConversationClosed], [ErrNotAccepted], [ErrUnknownMessage] (of ReplyTo),
// [*KeyChangedError] and [ErrStore]; then no message was written.
func (c *Client) Send(ctx context.Context, to ConversationID, text string, options ...SendOption) (MessageID, error) {
	switch {
	case len(text) > MaxTextLen:
		return MessageID{}, &TooLargeError{Size: len(text), Limit: MaxTextLen}
	case text == "" || !utf8.ValidString(text):
		return MessageID{}, ErrText
	}
	var o sendOptions
	for _, set := range options {
		set(&o)
	}
	var id MessageID
	err := c.perform(ctx, to, func(u *unit, v *conversation) error {
		expiry, err := expiryOf(u, v, o)
		if err != nil {
			return err
		}
		var with []content.Option
		if expiry > 0 {
			with = append(with, content.WithExpiry(expiry))
		}
		if o.replyTo != (MessageID{}) {
			if _, err := findMessage(u, v, o.replyTo); err != nil {
				return err
			}
			with = append(with, content.WithReplyTo(content.MessageID(o.replyTo)))
		}
		m, err := content.NewText(text, with...)
		if err != nil {
			return fmt.Errorf("composing a message: %w", err)
		}
		if id, err = c.messageID(v, m); err != nil {
			return err
		}
		row := messageRow{kind: KindText, sender: c.self.username(), outgoing: true, id: &id, text: text, replyTo: o.replyTo, sentAt: u.now.UnixMilli()}
		if m.Expires != nil {
			row.ttl = int64(m.Expires.Seconds)
		}
		key, err := addRow(u, v, row)
		if err != nil {
			return err
		}
		message := int64(key)
		return c.queueContent(u, v, m, id, &message)
	})
	return id, err
}

// expiryOf returns when a message disappears: what the person chose last counts,
// even if that waits in the outbox before the message.
func expiryOf(u *unit, v *conversation, o sendOptions) (time.Duration, error) {
	if o.expiry != nil {
		return *o.expiry, nil
	}
	seconds := v.expiry
	rows, err := u.QueryContext(u, "SELECT body FROM outbox WHERE message IS NULL AND +queue = ? AND kind = ? ORDER BY id",
		laneMain.queue(v.id), int(entryAction))
	if err != nil {
		return 0, fmt.Errorf("reading the changes that wait: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return 0, fmt.Errorf("reading the changes that wait: %w", err)
		}
		a, err := parseAction(body)
		if err != nil {
			return 0, err
		}
		if a.Op == opExpire {
			seconds = int64(a.Seconds)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("reading the changes that wait: %w", err)
	}
	return time.Duration(seconds) * time.Second, nil
}

// perform does what a person asks of a conversation, in one transaction. A refusal
// of do is what the caller gets, and nothing is written.
func (c *Client) perform(ctx context.Context, id ConversationID, do func(*unit, *conversation) error) error {
	var refused error
	err := c.commit(ctx, func(u *unit) error {
		v, err := c.findConversation(u, u, id)
		if err == nil {
			err = c.mayWrite(u, v)
		}
		if err == nil {
			err = do(u, v)
		}
		if isRefusal(err) {
			refused = err
		}
		return err
	})
	if refused != nil {
		return refused
	}
	return err
}

func (c *Client) mayWrite(u *unit, v *conversation) error {
	switch v.state {
	case Request:
		return ErrNotAccepted
	case Closed:
		return ErrConversationClosed
	}
	return stopped(u, u, v)
}

// isRefusal tells errors that say why something is not done from failures.
func isRefusal(err error) bool {
	var (
		changed   *KeyChangedError
		untrusted *UntrustedError
	)
	if errors.As(err, &changed) || errors.As(err, &untrusted) {
		return true
	}
	for _, known := range []error{
		ErrUnknownConversation, ErrConversationClosed, ErrNotAccepted, ErrUnknownMessage, ErrNotYours, ErrNotAdmin,
		ErrUnknownContact, ErrUnknownRecipient, ErrSelf, ErrText, ErrNotAGroup, ErrKeyMismatch, ErrNotFailed,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// messageID computes the id of a message of ours.
func (c *Client) messageID(v *conversation, m *content.Message) (MessageID, error) {
	id, err := m.ID(senderURI(c.self.username()), v.publicID.room())
	if err != nil {
		return MessageID{}, fmt.Errorf("naming a message: %w", err)
	}
	return MessageID(id), nil
}

// queueContent writes a message into the outbox. message is the row whose state it
// decides, nil if there is none.
func (c *Client) queueContent(u *unit, v *conversation, m *content.Message, id MessageID, message *int64) error {
	body, err := m.Marshal()
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	if _, err := u.ExecContext(u, "INSERT INTO seen (message_id) VALUES (?)", id[:]); err != nil {
		return fmt.Errorf("noting a message: %w", err)
	}
	return enqueue(u, entry{conversation: v.id, lane: laneMain, kind: entryContent, message: message, messageID: id[:], body: body})
}

// Edit replaces the text of a message of ours. Its errors are those of Send and
// [ErrNotYours].
func (c *Client) Edit(ctx context.Context, message MessageID, text string) error {
	switch {
	case len(text) > MaxTextLen:
		return &TooLargeError{Size: len(text), Limit: MaxTextLen}
	case text == "" || !utf8.ValidString(text):
		return ErrText
	}
	return c.amend(ctx, message, func(u *unit, v *conversation, m *Message) error {
		if !m.Outgoing || m.Deleted {
			return ErrNotYours
		}
		var with []content.Option
		if m.ReplyTo != (MessageID{}) {
			with = append(with, content.WithReplyTo(content.MessageID(m.ReplyTo)))
		}
		edit, err := content.Edit(content.MessageID(message), text, with...)
		if err != nil {
			return fmt.Errorf("composing an edit: %w", err)
		}
		if err := replaceText(u, m.Row, &text); err != nil {
			return err
		}
		return c.queueAmendment(u, v, edit)
	})
}

// Unsend takes a message of ours back: those who got it are asked to delete it.
// Its errors are those of Send and [ErrNotYours].
func (c *Client) Unsend(ctx context.Context, message MessageID) error {
	return c.amend(ctx, message, func(u *unit, v *conversation, m *Message) error {
		if !m.Outgoing {
			return ErrNotYours
		}
		if m.Deleted {
			return nil
		}
		deletion, err := content.Delete(content.MessageID(message))
		if err != nil {
			return fmt.Errorf("composing a deletion: %w", err)
		}
		if err := replaceText(u, m.Row, nil); err != nil {
			return err
		}
		return c.queueAmendment(u, v, deletion)
	})
}

// React sets or, with an empty emoji, takes back our reaction to a message. Its
// errors are those of Send.
func (c *Client) React(ctx context.Context, message MessageID, emoji string) error {
	return c.amend(ctx, message, func(u *unit, v *conversation, m *Message) error {
		mine, err := takeReactions(u, message, c.self.username())
		if err != nil {
			return err
		}
		for _, id := range mine {
			undo, err := content.Unreaction(content.MessageID(id), content.MessageID(message))
			if err != nil {
				return fmt.Errorf("composing a reaction: %w", err)
			}
			if err := c.queueAmendment(u, v, undo); err != nil {
				return err
			}
		}
		if emoji != "" {
			reaction, err := content.Reaction(content.MessageID(message), emoji)
			if err != nil {
				return ErrText
			}
			id, err := c.messageID(v, reaction)
			if err != nil {
				return err
			}
			if err := addReaction(u, message, c.self.username(), emoji, id); err != nil {
				return err
			}
			if err := c.queueContent(u, v, reaction, id, nil); err != nil {
				return err
			}
		}
		return tellChanged(u, m.Row)
	})
}

// amend finds a message and its conversation, and does something to it.
func (c *Client) amend(ctx context.Context, message MessageID, do func(*unit, *conversation, *Message) error) error {
	all, err := c.readMessages(ctx, "WHERE m.message_id = ?", message[:])
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return ErrUnknownMessage
	}
	return c.perform(ctx, all[0].Conversation, func(u *unit, v *conversation) error {
		m, err := findMessage(u, v, message)
		if err != nil {
			return err
		}
		return do(u, v, m)
	})
}

func (c *Client) queueAmendment(u *unit, v *conversation, m *content.Message) error {
	id, err := c.messageID(v, m)
	if err != nil {
		return err
	}
	return c.queueContent(u, v, m, id, nil)
}

// Retry puts a message that failed back at the end of the outbox, as the same
// message. Its errors are those of Send and [ErrNotFailed].
func (c *Client) Retry(ctx context.Context, message MessageID) error {
	return c.amend(ctx, message, func(u *unit, v *conversation, m *Message) error {
		if !m.Outgoing || m.State != Failed || m.Deleted {
			return ErrNotFailed
		}
		var body []byte
		if err := u.QueryRowContext(u, "SELECT body FROM unsent WHERE message = ?", int64(m.Row)).Scan(&body); err != nil {
			return fmt.Errorf("reading a message that failed: %w", err)
		}
		if _, err := u.ExecContext(u, "DELETE FROM unsent WHERE message = ?", int64(m.Row)); err != nil {
			return fmt.Errorf("reading a message that failed: %w", err)
		}
		if err := changeStates(u, "state = ?, reason = '' WHERE id = ?", int(Queued), int64(m.Row)); err != nil {
			return err
		}
		row := int64(m.Row)
		return enqueue(u, entry{conversation: v.id, lane: laneMain, kind: entryContent, message: &row, messageID: message[:], body: body})
	})
}
