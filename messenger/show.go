package messenger

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/content"
	"sealpost/identity"
)

// maxEarly bounds the edits and deletions of messages that have not come.
const maxEarly = 1000

// said is what a member said, opened and attributed.
type said struct {
	sender  memberDevice
	contact *contact // nil for our own account
	counter uint64
	sentAt  int64
	body    []byte
}

// show puts what somebody said into a conversation. It returns a refusal for what
// cannot be shown.
func (c *Client) show(u *unit, v *conversation, s said) error {
	if s.contact != nil && s.contact.Blocked {
		return countDropped(u, v, s) // and nobody is told
	}
	m, err := content.Parse(s.body)
	if err != nil {
		return errContent
	}
	if err := mayWait(u, v, m.Kind()); err != nil {
		return err
	}
	id, err := m.ID(senderURI(s.sender.username), v.publicID.room())
	if err != nil {
		return errContent
	}
	result, err := u.ExecContext(u, "INSERT INTO seen (message_id) VALUES (?) ON CONFLICT DO NOTHING", id[:])
	if err != nil {
		return fmt.Errorf("looking for a repeat: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	place, err := c.placeOf(u, v, s)
	if err != nil {
		return err
	}
	if v.state == Closed {
		if v.kind == Group {
			return nil // we left
		}
		// Somebody whose request was declined writes again.
		v.state = Request
		if err := setConversationState(u, v, Request); err != nil {
			return err
		}
	}
	view := m.View()
	sender := s.sender.username
	switch view.Kind {
	case content.KindEdit:
		return changeText(u, v, MessageID(m.Replaces), sender, &view.Text, s.sentAt)
	case content.KindDelete:
		return changeText(u, v, MessageID(m.Replaces), sender, nil, s.sentAt)
	case content.KindReaction:
		return showReactions(u, v, sender, m, view, MessageID(id))
	case content.KindUnreaction:
		return hideReaction(u, v, sender, MessageID(m.Replaces))
	case content.KindStatusReport:
		return takeReceipts(u, v, sender, view.Report)
	}
	place.kind, place.sender, place.id = KindText, sender, (*MessageID)(&id)
	place.text, place.replyTo, place.sentAt = textOf(view), MessageID(m.InReplyTo), s.sentAt
	if m.Expires != nil {
		place.ttl = ttlOf(*m.Expires, u.now)
	}
	row, err := addRow(u, v, place)
	if err != nil {
		return err
	}
	if err := applyEarly(u, v, MessageID(id), sender, row); err != nil {
		return err
	}
	return c.oweReceipt(u, v.id, sender, id[:], Delivered)
}

// countDropped has nobody wait, after a block was taken back, for what it dropped.
func countDropped(u *unit, v *conversation, s said) error {
	_, err := u.ExecContext(u, "UPDATE counters SET received = max(received, ?) WHERE conversation = ? AND device_id = ?",
		int64(s.counter), v.id, s.sender.deviceID[:])
	if err != nil {
		return fmt.Errorf("counting what a block dropped: %w", err)
	}
	return nil
}

// textOf says what can be read of a message.
func textOf(view content.View) string {
	text := view.Text
	if n := len(view.Attachments) + view.Omitted; n > 0 || view.Kind == content.KindUnknown {
		text = strings.TrimSpace(text + "\n\n[something that this version cannot show]")
	}
	return text
}

// ttlOf returns the seconds from reading to disappearing, by our clock alone.
func ttlOf(e content.Expiration, now time.Time) int64 {
	if e.Check(now) != nil {
		return 0
	}
	if e.Relative {
		return int64(e.Seconds)
	}
	return max(int64(e.Seconds)-now.Unix(), 1)
}

// placeOf finds where a message belongs by its counter, and keeps the notices of
// missing ones.
func (c *Client) placeOf(u *unit, v *conversation, s said) (messageRow, error) {
	if s.counter == 0 {
		return messageRow{}, nil
	}
	device := s.sender.deviceID[:]
	var received sql.NullInt64
	err := u.QueryRowContext(u, "SELECT received FROM counters WHERE conversation = ? AND device_id = ?", v.id, device).Scan(&received)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return messageRow{}, fmt.Errorf("reading what came from a device: %w", err)
	}
	last := uint64(received.Int64)
	if received.Valid && s.counter <= last {
		return fillGap(u, v, s)
	}
	// Who is new, here or there, does not miss what was said before.
	if received.Valid && s.counter > last+1 {
		if err := addGap(u, v, s.sender, gap{first: last + 1, last: s.counter - 1}); err != nil {
			return messageRow{}, err
		}
	}
	if _, err := u.ExecContext(u, "INSERT INTO counters (conversation, device_id, received) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET received = excluded.received",
		v.id, device, int64(s.counter)); err != nil {
		return messageRow{}, fmt.Errorf("counting what came from a device: %w", err)
	}
	return messageRow{counter: s.counter}, nil
}

// gap is a range of counters that have not come, both ends included.
type gap struct {
	first, last uint64
	position    int64 // 0: after all others
}

// addGap costs the same however many are missing.
func addGap(u *unit, v *conversation, sender memberDevice, g gap) error {
	id, err := addRow(u, v, messageRow{
		kind: KindGap, sender: sender.username, sentAt: u.now.UnixMilli(), missing: g.last - g.first + 1, position: g.position, counter: g.first,
	})
	if err != nil {
		return err
	}
	_, err = u.ExecContext(u, "INSERT INTO gaps (conversation, device_id, first, last, message) VALUES (?, ?, ?, ?, ?)",
		v.id, sender.deviceID[:], int64(g.first), int64(g.last), int64(id))
	if err != nil {
		return fmt.Errorf("noting missing messages: %w", err)
	}
	return nil
}

// fillGap gives a late message the place where it was missing. One that was not
// missed stands at the end: it comes from a device that began to count anew.
func fillGap(u *unit, v *conversation, s said) (messageRow, error) {
	device := s.sender.deviceID[:]
	var (
		g      gap
		notice int64
	)
	err := u.QueryRowContext(u, `
		SELECT g.first, g.last, g.message, m.position FROM gaps g JOIN messages m ON m.id = g.message
		WHERE g.conversation = ? AND g.device_id = ? AND g.first <= ? ORDER BY g.first DESC LIMIT 1`,
		v.id, device, int64(s.counter)).Scan(&g.first, &g.last, &notice, &g.position)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && s.counter > g.last) {
		return messageRow{counter: s.counter}, nil
	}
	if err != nil {
		return messageRow{}, fmt.Errorf("looking for a gap: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM gaps WHERE conversation = ? AND device_id = ? AND first = ?", v.id, device, int64(g.first)); err != nil {
		return messageRow{}, fmt.Errorf("filling a gap: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM messages WHERE id = ?", notice); err != nil {
		return messageRow{}, fmt.Errorf("filling a gap: %w", err)
	}
	for _, rest := range []gap{{g.first, s.counter - 1, g.position}, {s.counter + 1, g.last, g.position}} {
		if rest.first > rest.last {
			continue
		}
		if err := addGap(u, v, s.sender, rest); err != nil {
			return messageRow{}, err
		}
	}
	return messageRow{position: g.position, counter: s.counter}, nil
}

// isGone says whether a message came and is not here any more: nothing is kept for it.
func isGone(u *unit, id MessageID) (gone bool, err error) {
	err = u.QueryRowContext(u, `SELECT EXISTS (SELECT 1 FROM seen WHERE message_id = ?1) AND NOT EXISTS (SELECT 1 FROM messages WHERE message_id = ?1)`,
		id[:]).Scan(&gone)
	if err != nil {
		return false, fmt.Errorf("looking for a message that disappeared: %w", err)
	}
	return gone, nil
}

// changeText applies an edit, or a deletion if text is nil, of a message by the one
// who wrote it. What comes before its message waits for it.
func changeText(u *unit, v *conversation, target MessageID, sender identity.Username, text *string, sentAt int64) error {
	m, err := findMessage(u, v, target)
	if errors.Is(err, ErrUnknownMessage) {
		if gone, err := isGone(u, target); err != nil || gone {
			return err
		}
		var waiting int
		if err := u.QueryRowContext(u, "SELECT count(*) FROM early").Scan(&waiting); err != nil {
			return fmt.Errorf("keeping an early edit: %w", err)
		}
		if waiting >= maxEarly {
			return nil
		}
		if _, err := u.ExecContext(u, "INSERT INTO early (conversation, target, sender, text, sent_at) VALUES (?, ?, ?, ?, ?)",
			v.id, target[:], string(sender), text, sentAt); err != nil {
			return fmt.Errorf("keeping an early edit: %w", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if m.Sender != sender || m.Deleted {
		return nil // who did not write it has no say in it
	}
	return replaceText(u, m.Row, text)
}

// applyEarly applies the edits and deletions that came before their message.
func applyEarly(u *unit, v *conversation, id MessageID, sender identity.Username, row RowID) error {
	rows, err := u.QueryContext(u, "DELETE FROM early WHERE conversation = ? AND target = ? RETURNING sender, text", v.id, id[:])
	if err != nil {
		return fmt.Errorf("applying an early edit: %w", err)
	}
	defer rows.Close()
	var texts []sql.NullString
	for rows.Next() {
		var (
			by   identity.Username
			text sql.NullString
		)
		if err := rows.Scan(&by, &text); err != nil {
			return fmt.Errorf("applying an early edit: %w", err)
		}
		if by == sender {
			texts = append(texts, text)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("applying an early edit: %w", err)
	}
	for _, text := range texts {
		if !text.Valid {
			return replaceText(u, row, nil)
		}
		if err := replaceText(u, row, &text.String); err != nil {
			return err
		}
	}
	return nil
}

// maxReactions is how many of one person to one message are shown: each is read again
// with every change of the message.
const maxReactions = 32

func showReactions(u *unit, v *conversation, sender identity.Username, m *content.Message, view content.View, id MessageID) error {
	target := MessageID(m.InReplyTo)
	if m.Replaces != (content.MessageID{}) {
		if _, err := u.ExecContext(u, "DELETE FROM reactions WHERE reaction_id = ? AND sender = ?", m.Replaces[:], string(sender)); err != nil {
			return fmt.Errorf("replacing a reaction: %w", err)
		}
	}
	if gone, err := isGone(u, target); err != nil || gone {
		return err
	}
	var there int
	if err := u.QueryRowContext(u, "SELECT count(*) FROM reactions WHERE target = ? AND sender = ?", target[:], string(sender)).Scan(&there); err != nil {
		return fmt.Errorf("counting reactions: %w", err)
	}
	for _, emoji := range view.Reactions[:min(len(view.Reactions), max(maxReactions-there, 0))] {
		if err := addReaction(u, target, sender, emoji, id); err != nil {
			return err
		}
	}
	return tellTarget(u, v, target)
}

func hideReaction(u *unit, v *conversation, sender identity.Username, reaction MessageID) error {
	var target []byte
	err := u.QueryRowContext(u, "DELETE FROM reactions WHERE reaction_id = ? AND sender = ? RETURNING target", reaction[:], string(sender)).Scan(&target)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing a reaction: %w", err)
	}
	return tellTarget(u, v, MessageID(target))
}

func tellTarget(u *unit, v *conversation, target MessageID) error {
	m, err := findMessage(u, v, target)
	if errors.Is(err, ErrUnknownMessage) || v.state == Request {
		return nil
	}
	if err != nil {
		return err
	}
	u.tell(MessageChanged{Message: *m})
	return nil
}

// tellChange puts notices of what a commit changed into the conversation.
func tellChange(u *unit, v *conversation, ch *change) error {
	by := ch.committer.username
	switch {
	case v.state == Closed:
		return nil
	case v.kind == Direct:
		return tellExpiry(u, v, by, ch)
	}
	var joined, left, removed []string
	for _, name := range names(ch.added) {
		if !hasAccount(without(ch.roster, ch.added), identity.Username(name)) && name != string(by) {
			joined = append(joined, name)
		}
	}
	for _, name := range names(ch.removed) {
		switch {
		case hasAccount(ch.roster, identity.Username(name)):
		case hasAccount(ch.left, identity.Username(name)):
			left = append(left, name)
		default:
			removed = append(removed, name)
		}
	}
	for _, name := range left {
		if err := addNotice(u, v, KindMembers, identity.Username(name), "left the group"); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		verb  string
		names []string
	}{{"added ", joined}, {"removed ", removed}} {
		if len(n.names) > 0 {
			if err := addNotice(u, v, KindMembers, by, n.verb+strings.Join(n.names, ", ")); err != nil {
				return err
			}
		}
	}
	return tellSettings(u, v, by, ch)
}

func names(devices []memberDevice) []string {
	var all []string
	seen := make(map[identity.Username]bool)
	for _, m := range devices {
		if !seen[m.username] {
			seen[m.username] = true
			all = append(all, string(m.username))
		}
	}
	return all
}

func tellSettings(u *unit, v *conversation, by identity.Username, ch *change) error {
	var said []string
	if ch.after.Name != ch.before.Name {
		said = append(said, "named the group "+ch.after.Name)
	}
	for _, admin := range ch.after.Admins {
		if !slices.Contains(ch.before.Admins, admin) {
			said = append(said, "made "+admin+" an administrator")
		}
	}
	for _, admin := range ch.before.Admins {
		if !slices.Contains(ch.after.Admins, admin) && hasAccount(ch.roster, identity.Username(admin)) {
			said = append(said, "made "+admin+" an ordinary member")
		}
	}
	for _, text := range said {
		if err := addNotice(u, v, KindMembers, by, text); err != nil {
			return err
		}
	}
	return tellExpiry(u, v, by, ch)
}

func tellExpiry(u *unit, v *conversation, by identity.Username, ch *change) error {
	switch ch.after.Expiry {
	case ch.before.Expiry:
		return nil
	case 0:
		return addNotice(u, v, KindMembers, by, "made messages stay")
	}
	return addNotice(u, v, KindMembers, by, "made messages disappear "+span(ch.after.Expiry)+" after they were read")
}

// span says a time in words, in the largest unit that divides it.
func span(seconds uint32) string {
	for _, unit := range []struct {
		length uint32
		name   string
	}{{24 * 60 * 60, "day"}, {60 * 60, "hour"}, {60, "minute"}, {1, "second"}} {
		switch n := seconds / unit.length; {
		case seconds%unit.length != 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "" // not reached: one second divides all
}
