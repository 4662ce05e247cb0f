package messenger

import (
	"context"
	"errors"
	"fmt"

	"sealpost/content"
	"sealpost/identity"
)

// maxRequests bounds the conversations that wait for an answer. What comes beyond
// is dropped: strangers cannot fill the disk.
const maxRequests = 100

// maxWaiting bounds the messages that wait in one of them, for the same reason.
const maxWaiting = 100

// mayWait refuses what a stranger says beyond that, and what is no message at all.
func mayWait(u *unit, v *conversation, kind content.Kind) error {
	if v.state != Request {
		return nil
	}
	if kind == content.KindReaction {
		return errTooMuch
	}
	var full bool
	if err := u.QueryRowContext(u, "SELECT count(*) >= ? FROM messages WHERE conversation = ?", maxWaiting, v.id).Scan(&full); err != nil {
		return fmt.Errorf("counting what waits: %w", err)
	}
	if full {
		return errTooMuch
	}
	return nil
}

// Accept takes a request: its messages are shown, and their senders may know that.
// The one who invited us becomes a contact. Accepting what is active already does
// nothing. The error is [ErrUnknownConversation] or [ErrConversationClosed].
func (c *Client) Accept(ctx context.Context, id ConversationID) error {
	return c.answer(ctx, id, func(u *unit, v *conversation) error {
		switch v.state {
		case Active:
			return nil
		case Closed:
			return ErrConversationClosed
		}
		return c.activate(u, v)
	})
}

// activate shows a conversation that was a request or closed, and accepts who
// brought us into it.
func (c *Client) activate(u *unit, v *conversation) error {
	if err := setConversationState(u, v, Active); err != nil {
		return err
	}
	for _, name := range []identity.Username{v.inviter, v.with} {
		if name == "" {
			continue
		}
		if _, err := u.ExecContext(u, "UPDATE contacts SET accepted = 1, blocked = 0 WHERE username = ?", string(name)); err != nil {
			return fmt.Errorf("accepting a contact: %w", err)
		}
	}
	rows, err := unreadRows(u, v)
	if err != nil {
		return err
	}
	for _, m := range rows {
		u.tell(MessageReceived{Message: m})
		if m.Kind == KindText {
			if err := c.oweReceipt(u, v.id, m.Sender, m.ID[:], Delivered); err != nil {
				return err
			}
		}
	}
	return nil
}

func unreadRows(u *unit, v *conversation) ([]Message, error) {
	rows, err := u.QueryContext(u, selectMessages+"WHERE m.conversation = ? AND m.unread ORDER BY m.position, m.counter", v.id)
	if err != nil {
		return nil, fmt.Errorf("reading what waited: %w", err)
	}
	defer rows.Close()
	var all []Message
	for rows.Next() {
		m, err := scanMessage(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("reading what waited: %w", err)
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// Decline closes a request and deletes what it said. The other side is not told; of
// a group, we leave. A later message makes a new request. The error is
// [ErrUnknownConversation], or [ErrConversationClosed] if it is no request.
func (c *Client) Decline(ctx context.Context, id ConversationID) error {
	return c.answer(ctx, id, func(u *unit, v *conversation) error {
		if v.state != Request {
			return ErrConversationClosed
		}
		return c.decline(u, v)
	})
}

func (c *Client) decline(u *unit, v *conversation) error {
	for _, statement := range []string{
		"DELETE FROM gaps WHERE conversation = ?",
		"DELETE FROM messages WHERE conversation = ?",
		"DELETE FROM early WHERE conversation = ?",
	} {
		if _, err := u.ExecContext(u, statement, v.id); err != nil {
			return fmt.Errorf("declining a request: %w", err)
		}
	}
	if v.kind == Group {
		return c.leave(u, v)
	}
	return setConversationState(u, v, Closed)
}

func (c *Client) answer(ctx context.Context, id ConversationID, do func(*unit, *conversation) error) error {
	var refused error
	err := c.commit(ctx, func(u *unit) error {
		v, err := c.findConversation(u, u, id)
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

// Block has everything of an account dropped from now on, without it being told,
// and declines its requests. It works without a line to the server. The error is
// [ErrUnknownContact].
func (c *Client) Block(ctx context.Context, username identity.Username) error {
	return c.setBlocked(ctx, username, true)
}

// Unblock takes Block back: an account that one has a conversation with is a contact
// again, and what others write is a request. What was dropped does not come back. The
// error is [ErrUnknownContact].
func (c *Client) Unblock(ctx context.Context, username identity.Username) error {
	return c.setBlocked(ctx, username, false)
}

func (c *Client) setBlocked(ctx context.Context, username identity.Username, blocked bool) error {
	known, err := c.knownContact(ctx, username)
	if err != nil {
		return err
	}
	if known == nil {
		return ErrUnknownContact
	}
	return c.commit(ctx, func(u *unit) error {
		if _, err := u.ExecContext(u, `UPDATE contacts SET blocked = ?1, accepted = NOT ?1 AND EXISTS (
			SELECT 1 FROM conversations WHERE contact = contacts.id AND state = ?2) WHERE id = ?3`, blocked, int(Active), known.id); err != nil {
			return fmt.Errorf("blocking: %w", err)
		}
		if !blocked {
			return nil
		}
		return c.dropRequests(u, username)
	})
}

// dropRequests declines every request that somebody made.
func (c *Client) dropRequests(u *unit, username identity.Username) error {
	for {
		v, err := scanOne(u.QueryRowContext(u, selectConversation+"WHERE v.state = ? AND v.inviter = ? LIMIT 1", int(Request), string(username)))
		if errors.Is(err, ErrUnknownConversation) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.decline(u, v); err != nil {
			return err
		}
	}
}
