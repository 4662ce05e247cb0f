package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// keepExpiring deletes messages whose time is over, until ctx ends. It needs no line to
// the server.
func (c *Client) keepExpiring(ctx context.Context) error {
	for {
		rang := c.expiring.wait() // before looking, so that nothing is missed
		next, err := c.expire(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil //nolint:nilerr // the end that was asked for
		}
		if err != nil {
			return err
		}
		c.waitUntil(ctx, next, rang)
	}
}

// longestWait is how long nobody looks whether a time has come: clocks are set, and
// timers stand still while a computer sleeps.
const longestWait = time.Minute

// waitUntil waits for a time, if it is not zero, or for a bell. It may return early.
func (c *Client) waitUntil(ctx context.Context, at time.Time, rang <-chan struct{}) {
	var due <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(min(max(at.Sub(c.clock()), time.Millisecond), longestWait))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-rang:
	case <-due:
	case <-ctx.Done():
	}
}

// expire deletes messages whose time is over, and returns when the next one's is, zero
// if there is none.
func (c *Client) expire(ctx context.Context) (next time.Time, err error) {
	for {
		var first sql.NullInt64
		if err := c.store.reader.QueryRowContext(ctx, "SELECT min(expires_at) FROM messages WHERE expires_at > 0").Scan(&first); err != nil {
			return next, c.storeFailure(ctx, err)
		}
		if !first.Valid {
			return next, nil
		}
		if at := fromMilli(first.Int64); at.After(c.clock()) {
			return at, nil
		}
		if err := c.commit(ctx, c.deleteExpired); err != nil {
			return next, err
		}
	}
}

func (c *Client) deleteExpired(u *unit) error {
	gone, err := expired(u)
	if err != nil {
		return err
	}
	for _, m := range gone {
		for _, statement := range []string{
			"DELETE FROM reactions WHERE target = (SELECT message_id FROM messages WHERE id = ?)",
			"UPDATE outbox SET message = NULL WHERE message = ?",
			"DELETE FROM messages WHERE id = ?",
		} {
			if _, err := u.ExecContext(u, statement, int64(m.Row)); err != nil {
				return fmt.Errorf("deleting a message: %w", err)
			}
		}
		u.tell(MessageChanged{Message: m, Gone: true})
	}
	return nil
}

func expired(u *unit) ([]Message, error) {
	rows, err := u.QueryContext(u, `SELECT m.id, v.public_id FROM messages m JOIN conversations v ON v.id = m.conversation
		WHERE m.expires_at > 0 AND m.expires_at <= ? LIMIT 1000`, u.now.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("looking for messages whose time is over: %w", err)
	}
	defer rows.Close()
	var gone []Message
	for rows.Next() {
		var (
			m            Message
			conversation []byte
		)
		if err := rows.Scan(&m.Row, &conversation); err != nil {
			return nil, fmt.Errorf("looking for messages whose time is over: %w", err)
		}
		if len(conversation) == len(m.Conversation) {
			m.Conversation = ConversationID(conversation)
		}
		gone = append(gone, m)
	}
	return gone, rows.Err()
}
