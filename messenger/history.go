package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/identity"
)

const (
	messageColumns = `m.id, m.kind, v.public_id, m.sender, m.outgoing, m.message_id, m.text, m.reply_to, m.edited_at > 0, m.deleted,
		m.ttl, m.expires_at, m.sent_at, m.stored_at, m.state, m.reason, m.missing, m.unread,
		(SELECT group_concat(r.sender || char(31) || r.emoji, char(30) ORDER BY r.sender, r.emoji) FROM reactions r WHERE r.target = m.message_id)`
	messageTables  = ` FROM messages m JOIN conversations v ON v.id = m.conversation `
	selectMessages = "SELECT " + messageColumns + messageTables
)

// scanMessage reads messageColumns, and more that follow them.
func scanMessage(scan func(...any) error, more ...any) (Message, error) {
	var (
		m                                Message
		conversation, id, replyTo        []byte
		ttl, expires, sent, stored, miss int64
		unread                           bool
		reactions                        sql.NullString
	)
	if err := scan(append([]any{&m.Row, &m.Kind, &conversation, &m.Sender, &m.Outgoing, &id, &m.Text, &replyTo, &m.Edited, &m.Deleted,
		&ttl, &expires, &sent, &stored, &m.State, &m.Reason, &miss, &unread, &reactions}, more...)...); err != nil {
		return Message{}, err
	}
	if len(conversation) != len(m.Conversation) {
		return Message{}, fmt.Errorf("reading a message: %w", ErrDamaged)
	}
	m.Conversation = ConversationID(conversation)
	if len(id) == len(m.ID) {
		m.ID = MessageID(id)
	}
	if len(replyTo) == len(m.ReplyTo) {
		m.ReplyTo = MessageID(replyTo)
	}
	// Neither separator can stand in a name or, being a control character, in a
	// reaction.
	for pair := range strings.SplitSeq(reactions.String, "\x1e") {
		if sender, emoji, ok := strings.Cut(pair, "\x1f"); ok {
			m.Reactions = append(m.Reactions, Reaction{Sender: identity.Username(sender), Emoji: emoji})
		}
	}
	m.Expiry = time.Duration(ttl) * time.Second
	if expires > 0 {
		m.Expires = fromMilli(expires)
	}
	m.Time, m.Stored, m.Missing, m.Read = fromMilli(sent), fromMilli(stored), uint64(miss), !unread
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
// of 0 means all. A conversation that is unknown, or a request, is empty.
func (c *Client) Messages(ctx context.Context, in ConversationID, limit int) ([]Message, error) {
	return c.MessagesBefore(ctx, in, 0, limit)
}

// MessagesBefore returns the last limit rows that stand before another one, to go
// back page by page. Row 0 stands for the end.
func (c *Client) MessagesBefore(ctx context.Context, in ConversationID, before RowID, limit int) ([]Message, error) {
	if limit == 0 {
		limit = -1
	}
	where := "WHERE m.conversation = (SELECT id FROM conversations WHERE public_id = ? AND state != ?)"
	args := []any{in[:], int(Request)}
	if before != 0 {
		where += " AND (m.position, m.counter) < (SELECT position, counter FROM messages WHERE id = ?)"
		args = append(args, int64(before))
	}
	all, err := c.readMessages(ctx, where+" ORDER BY m.position DESC, m.counter DESC LIMIT ?", append(args, limit)...)
	slices.Reverse(all)
	return all, err
}

// Message returns one. The error is [ErrUnknownMessage].
func (c *Client) Message(ctx context.Context, id MessageID) (Message, error) {
	all, err := c.readMessages(ctx, "WHERE m.message_id = ? AND v.state != ?", id[:], int(Request))
	if err == nil && len(all) == 0 {
		err = ErrUnknownMessage
	}
	if err != nil {
		return Message{}, err
	}
	return all[0], nil
}

// Unread returns the rows of all conversations but requests that came in and were
// not marked as read, oldest first.
func (c *Client) Unread(ctx context.Context) ([]Message, error) {
	return c.readMessages(ctx, "WHERE m.unread AND v.state != ? ORDER BY m.position, m.counter", int(Request))
}

// Search returns the last limit texts in which every word of the query begins a
// word, newest first, in one conversation or, if it is nil, in all. Upper and lower
// case and accents do not matter. A query without a word finds nothing.
func (c *Client) Search(ctx context.Context, query string, in *ConversationID, limit int) ([]Message, error) {
	match := searchQuery(query)
	if match == "" {
		return nil, nil
	}
	if in != nil {
		v, err := c.findConversation(ctx, c.store.reader, *in)
		if errors.Is(err, ErrUnknownConversation) {
			return nil, nil
		}
		if err != nil {
			return nil, c.readFailure(ctx, err)
		}
		// With AND, words that hold nothing to search for find nothing; side by side
		// they are as if they were not there.
		match = fmt.Sprintf("(%s) AND \"%c%d\"", match, conversationWord, v.id)
	}
	var all []Message
	// CROSS has the index come first: it finds the newest first, and stops.
	err := c.read(ctx, "SELECT "+messageColumns+` FROM messages_text t CROSS JOIN messages m ON m.id = t.rowid JOIN conversations v ON v.id = m.conversation
		WHERE t.messages_text MATCH ? AND v.state != ? ORDER BY t.rowid DESC LIMIT ?`, []any{match, int(Request), limit}, func(scan func(...any) error) error {
		m, err := scanMessage(scan)
		all = append(all, m)
		return err
	})
	return all, err
}

// conversationWord begins the word that stands for a conversation in the index for
// searching: a character of private use, which is part of a word for it.
const conversationWord = '\ue000'

// searchQuery makes a query of FTS5 of words that a person typed: each a quoted
// prefix, so that nothing in them is syntax.
func searchQuery(text string) string {
	var words []string
	for word := range strings.FieldsSeq(strings.Map(dropZero, text)) {
		words = append(words, `"`+strings.ReplaceAll(word, `"`, `""`)+`"*`)
	}
	return strings.Join(words, " ")
}

func dropZero(r rune) rune {
	if r == 0 {
		return -1
	}
	return r
}

// Receipts returns who confirmed a message of ours, in the order of their names.
func (c *Client) Receipts(ctx context.Context, id MessageID) ([]Receipt, error) {
	var all []Receipt
	err := c.read(ctx, `SELECT r.username, r.state FROM receipts r JOIN messages m ON m.id = r.message WHERE m.message_id = ? ORDER BY r.username`,
		[]any{id[:]}, func(scan func(...any) error) error {
			var r Receipt
			err := scan(&r.Username, &r.State)
			all = append(all, r)
			return err
		})
	return all, err
}

// MarkRead marks rows as read. Their senders are told, see [ReceiptPolicy], and
// messages that disappear begin to count.
func (c *Client) MarkRead(ctx context.Context, rows ...RowID) error {
	return c.commit(ctx, func(u *unit) error {
		for _, row := range rows {
			if err := c.markRead(u, row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Client) markRead(u *unit, row RowID) error {
	var (
		conversation int64
		kind         Kind
		sender       identity.Username
		id           []byte
	)
	err := u.QueryRowContext(u, `
		UPDATE messages SET unread = 0, expires_at = iif(ttl > 0, ? + ttl * 1000, 0) WHERE id = ? AND unread
		RETURNING conversation, kind, sender, message_id`, u.now.UnixMilli(), int64(row)).Scan(&conversation, &kind, &sender, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("marking a row as read: %w", err)
	}
	u.expires = true
	if kind != KindText {
		return nil
	}
	return c.oweReceipt(u, conversation, sender, id, Read)
}

const selectQuarantine = `SELECT id, reason, username, received_at, size FROM quarantine `

func scanQuarantined(scan func(...any) error) (Quarantined, error) {
	var (
		q  Quarantined
		at int64
	)
	err := scan(&q.ID, &q.Reason, &q.From, &at, &q.Size)
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

// messageRow is what goes into the messages.
type messageRow struct {
	kind     Kind
	sender   identity.Username
	outgoing bool
	id       *MessageID
	text     string
	replyTo  MessageID
	ttl      int64
	sentAt   int64
	missing  uint64
	// position and counter give the place; position 0 is after all others.
	position int64
	counter  uint64
}

// addRow puts a row into a conversation. Those that are not ours are unread, and
// told of, unless it is a request.
func addRow(u *unit, v *conversation, r messageRow) (RowID, error) {
	var id, replyTo []byte
	if r.id != nil {
		id = r.id[:]
	}
	if r.replyTo != (MessageID{}) {
		replyTo = r.replyTo[:]
	}
	state, expires := State(0), int64(0)
	if r.outgoing {
		state = Queued
		if r.ttl > 0 {
			expires = u.now.UnixMilli() + r.ttl*1000
			u.expires = true
		}
	}
	var key int64
	err := u.QueryRowContext(u, `
		INSERT INTO messages (conversation, position, counter, kind, sender, outgoing, message_id, text, reply_to, ttl, expires_at,
			sent_at, stored_at, state, missing, unread)
		VALUES (?1, iif(?2, ?2, (SELECT coalesce(max(id), 0) + 1 FROM messages)), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, NOT ?6)
		RETURNING id`,
		v.id, r.position, int64(r.counter), int(r.kind), string(r.sender), r.outgoing, id, r.text, replyTo, r.ttl, expires,
		r.sentAt, u.now.UnixMilli(), int(state), int64(r.missing)).Scan(&key)
	if err != nil {
		return 0, fmt.Errorf("storing a message: %w", err)
	}
	if _, err := u.ExecContext(u, "UPDATE conversations SET active_at = ? WHERE id = ?", u.now.UnixMilli(), v.id); err != nil {
		return 0, fmt.Errorf("storing a message: %w", err)
	}
	if r.outgoing || v.state == Request {
		return RowID(key), nil
	}
	m, err := messageByRow(u, RowID(key))
	if err != nil {
		return 0, err
	}
	u.tell(MessageReceived{Message: m})
	return RowID(key), nil
}

func messageByRow(u *unit, row RowID) (Message, error) {
	m, err := scanMessage(u.QueryRowContext(u, selectMessages+"WHERE m.id = ?", int64(row)).Scan)
	if err != nil {
		return m, fmt.Errorf("reading a message: %w", err)
	}
	return m, nil
}

func addNotice(u *unit, v *conversation, kind Kind, about identity.Username, text string) error {
	_, err := addRow(u, v, messageRow{kind: kind, sender: about, text: text, sentAt: u.now.UnixMilli()})
	return err
}

// findMessage gives [ErrUnknownMessage] where the conversation has none of this id.
func findMessage(u *unit, v *conversation, id MessageID) (*Message, error) {
	m, err := scanMessage(u.QueryRowContext(u, selectMessages+"WHERE m.message_id = ? AND m.conversation = ?", id[:], v.id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknownMessage
	}
	if err != nil {
		return nil, fmt.Errorf("reading a message: %w", err)
	}
	return &m, nil
}

// tellChanged says that a row is not what it was.
func tellChanged(u *unit, row RowID) error {
	m, err := messageByRow(u, row)
	if err != nil {
		return err
	}
	u.tell(MessageChanged{Message: m})
	return nil
}

// replaceText edits a message, or takes it back if text is nil: then what it said
// is gone from this disk.
func replaceText(u *unit, row RowID, text *string) error {
	set, args := "text = ?, edited_at = ?", []any{"", u.now.UnixMilli(), int64(row)}
	if text == nil {
		set = "text = ?, edited_at = ?, deleted = 1"
		if _, err := u.ExecContext(u, "DELETE FROM unsent WHERE message = ?", int64(row)); err != nil {
			return fmt.Errorf("forgetting a message that failed: %w", err)
		}
	} else {
		args[0] = *text
	}
	if _, err := u.ExecContext(u, "UPDATE messages SET "+set+" WHERE id = ?", args...); err != nil {
		return fmt.Errorf("changing a message: %w", err)
	}
	return tellChanged(u, row)
}

func addReaction(u *unit, target MessageID, sender identity.Username, emoji string, id MessageID) error {
	_, err := u.ExecContext(u, "INSERT INTO reactions (target, sender, emoji, reaction_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		target[:], string(sender), emoji, id[:])
	if err != nil {
		return fmt.Errorf("storing a reaction: %w", err)
	}
	return nil
}

// takeReactions removes the reactions of somebody to a message and returns their ids.
func takeReactions(u *unit, target MessageID, sender identity.Username) ([]MessageID, error) {
	rows, err := u.QueryContext(u, "DELETE FROM reactions WHERE target = ? AND sender = ? RETURNING reaction_id", target[:], string(sender))
	if err != nil {
		return nil, fmt.Errorf("removing a reaction: %w", err)
	}
	defer rows.Close()
	var ids []MessageID
	for rows.Next() {
		var id []byte
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("removing a reaction: %w", err)
		}
		if len(id) == len(MessageID{}) {
			ids = append(ids, MessageID(id))
		}
	}
	return ids, rows.Err()
}
