package messenger

import (
	"context"
	"fmt"
	"slices"

	"sealpost/identity"
)

const selectMessages = `
	SELECT m.id, m.kind, c.username, m.outgoing, m.message_id, m.text, m.sent_at, m.stored_at, m.state, m.reason, m.missing, m.unread
	FROM messages m JOIN contacts c ON c.id = m.contact `

func scanMessage(scan func(...any) error) (Message, error) {
	var (
		m            Message
		id           []byte
		sent, stored int64
		unread       bool
	)
	if err := scan(&m.Row, &m.Kind, &m.With, &m.Outgoing, &id, &m.Text, &sent, &stored, &m.State, &m.Reason, &m.Missing, &unread); err != nil {
		return Message{}, err
	}
	if len(id) == len(m.ID) {
		m.ID = MessageID(id)
	}
	m.Time, m.Stored, m.Read = fromMilli(sent), fromMilli(stored), !unread
	return m, nil
}

// read runs a query beside the writer and hands every row to scan.
func (c *Client) read(ctx context.Context, query string, args []any, scan func(func(...any) error) error) error {
	if c.closing.Err() != nil {
		return ErrClosed
	}
	rows, err := c.store.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return c.storeFailure(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return c.storeFailure(ctx, err)
		}
	}
	if err := rows.Err(); err != nil {
		return c.storeFailure(ctx, err)
	}
	return nil
}

func (c *Client) readMessages(ctx context.Context, where string, args ...any) ([]Message, error) {
	var all []Message
	err := c.read(ctx, selectMessages+where, args, func(scan func(...any) error) error {
		m, err := scanMessage(scan)
		all = append(all, m)
		return err
	})
	return all, err
}

// Messages returns the last limit rows of a conversation, oldest first. A limit
// of 0 means all. A conversation with nobody known is empty.
func (c *Client) Messages(ctx context.Context, with identity.Username, limit int) ([]Message, error) {
	if limit == 0 {
		limit = -1
	}
	all, err := c.readMessages(ctx, `
		WHERE m.contact = (SELECT id FROM contacts WHERE username = ?)
		ORDER BY m.position DESC, m.counter DESC LIMIT ?`, string(with), limit)
	slices.Reverse(all)
	return all, err
}

// Unread returns the rows of all conversations that came in and were not marked
// as read, oldest first.
func (c *Client) Unread(ctx context.Context) ([]Message, error) {
	return c.readMessages(ctx, "WHERE m.unread ORDER BY m.position, m.counter")
}

// MarkRead marks rows as read.
func (c *Client) MarkRead(ctx context.Context, rows ...RowID) error {
	return c.commit(ctx, func(u *unit) error {
		for _, row := range rows {
			if _, err := u.ExecContext(u, "UPDATE messages SET unread = 0 WHERE id = ?", int64(row)); err != nil {
				return fmt.Errorf("marking a row as read: %w", err)
			}
		}
		return nil
	})
}

const selectQuarantine = `SELECT id, reason, username, payload IS NOT NULL, received_at, size FROM quarantine `

func scanQuarantined(scan func(...any) error) (Quarantined, error) {
	var (
		q  Quarantined
		at int64
	)
	err := scan(&q.ID, &q.Reason, &q.From, &q.Held, &at, &q.Size)
	q.Received = fromMilli(at)
	return q, err
}

// Quarantine returns what was put aside and not shown, oldest first.
func (c *Client) Quarantine(ctx context.Context) ([]Quarantined, error) {
	var all []Quarantined
	err := c.read(ctx, selectQuarantine+"ORDER BY id", nil, func(scan func(...any) error) error {
		q, err := scanQuarantined(scan)
		all = append(all, q)
		return err
	})
	return all, err
}

// row is what goes into the messages.
type row struct {
	kind     Kind
	outgoing bool
	id       *MessageID
	text     string
	sentAt   int64
	missing  uint64
	// position and counter give the place; position 0 is after all others.
	position int64
	counter  uint64
}

// addRow puts a row into a conversation. Those that are not ours are unread, and
// told of.
func addRow(u *unit, known *contact, r row) (RowID, error) {
	var id []byte
	if r.id != nil {
		id = r.id[:]
	}
	state := State(0)
	if r.outgoing {
		state = Queued
	}
	var key int64
	err := u.QueryRowContext(u, `
		INSERT INTO messages (contact, position, counter, kind, outgoing, message_id, text, sent_at, stored_at, state, missing, unread)
		VALUES (?1, iif(?2, ?2, (SELECT coalesce(max(id), 0) + 1 FROM messages)), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NOT ?5)
		RETURNING id`,
		known.id, r.position, int64(r.counter), int(r.kind), r.outgoing, id, r.text, r.sentAt, u.now.UnixMilli(), int(state), int64(r.missing)).
		Scan(&key)
	if err != nil {
		return 0, fmt.Errorf("storing a message: %w", err)
	}
	if r.outgoing {
		return RowID(key), nil
	}
	m, err := scanMessage(u.QueryRowContext(u, selectMessages+"WHERE m.id = ?", key).Scan)
	if err != nil {
		return 0, fmt.Errorf("reading a message: %w", err)
	}
	u.tell(MessageReceived{Message: m})
	return RowID(key), nil
}

func addNotice(u *unit, known *contact, kind Kind, text string) error {
	_, err := addRow(u, known, row{kind: kind, text: text, sentAt: u.now.UnixMilli()})
	return err
}

// changeStates runs an update that returns message_id, state and reason, and
// tells of each.
func changeStates(u *unit, update string, known *contact, args ...any) error {
	rows, err := u.QueryContext(u, update, args...)
	if err != nil {
		return fmt.Errorf("changing the state of messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e := StateChanged{With: known.Username}
		var id []byte
		if err := rows.Scan(&id, &e.State, &e.Reason); err != nil {
			return fmt.Errorf("changing the state of messages: %w", err)
		}
		e.ID = MessageID(id)
		u.tell(e)
	}
	return rows.Err()
}
