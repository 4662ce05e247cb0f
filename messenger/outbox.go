package messenger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// A lane is a queue of a conversation. What is in one goes out in order; a lane
// does not wait for another.
type lane int64

const (
	laneMain     lane = iota // what a person did
	laneReceipts             // confirmations, which may wait a little
	laneUpkeep               // commits that nobody asked for
	laneAsk                  // requests to be taken in again
	lanes
)

// queue returns the number that the lane of a conversation has in the store.
func (l lane) queue(conversation int64) int64 { return conversation*int64(lanes) + int64(l) }

// An entryKind says what an entry of the outbox is.
type entryKind int

const (
	entryContent entryKind = iota + 1 // body is a MIMI message
	entryReceipt                      // body is empty: what is owed when it is sealed
	entryAction                       // body is an action
	entryAsk                          // body is empty
)

// An entry of the outbox is sealed when it goes out, for the epoch that its group
// is in then. A repeat submits the same bytes, until the relay says that the epoch
// has passed.
type entry struct {
	id           int64
	conversation int64
	lane         lane
	kind         entryKind
	submitID     []byte
	message      *int64
	messageID    []byte
	counter      uint64
	body         []byte
	sentAt       int64
	group        *int64
	epoch        uint64
	sealed       []byte
	welcome      []byte
	members      []byte
	welcomed     []byte
	due          time.Time
	tries        int
}

// enqueue puts an entry at the end of its lane.
func enqueue(u *unit, e entry) error {
	submitID := make([]byte, api.SubmitIDSize)
	rand.Read(submitID) // never fails (crypto/rand)
	var message, due any = nil, int64(0)
	if e.message != nil {
		message = *e.message
	}
	if !e.due.IsZero() {
		due = e.due.UnixMilli()
	}
	if e.body == nil {
		e.body = []byte{}
	}
	_, err := u.ExecContext(u, `
		INSERT INTO outbox (conversation, queue, kind, submit_id, message, message_id, body, sent_at, due_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.conversation, e.lane.queue(e.conversation), int(e.kind), submitID, message, e.messageID, e.body, u.now.UnixMilli(), due)
	if err != nil {
		return fmt.Errorf("queueing: %w", err)
	}
	u.wakes = true
	if e.message == nil {
		return nil
	}
	return waitLikeOthers(u, e)
}

// waitLikeOthers gives a message that joins a lane the reason for which the lane waits.
func waitLikeOthers(u *unit, e entry) error {
	_, err := u.ExecContext(u, `
		UPDATE messages SET reason = head.reason
		FROM (SELECT message FROM outbox WHERE queue = ? AND message IS NOT NULL ORDER BY id LIMIT 1) AS o JOIN messages AS head ON head.id = o.message
		WHERE messages.id = ? AND head.reason != ''`,
		e.lane.queue(e.conversation), *e.message)
	if err != nil {
		return fmt.Errorf("queueing: %w", err)
	}
	return nil
}

const selectEntries = `
	SELECT o.id, o.conversation, o.queue % 4, o.kind, o.submit_id, o.message, o.message_id, o.counter, o.body, o.sent_at,
		o.grp, o.epoch, o.sealed, o.welcome, o.members, o.welcomed, o.due_at, o.tries FROM `

func scanEntry(scan func(...any) error) (entry, error) {
	var (
		e   entry
		due int64
	)
	err := scan(&e.id, &e.conversation, &e.lane, &e.kind, &e.submitID, &e.message, &e.messageID, &e.counter, &e.body, &e.sentAt,
		&e.group, &e.epoch, &e.sealed, &e.welcome, &e.members, &e.welcomed, &due, &e.tries)
	e.due = fromMilli(due)
	return e, err
}

// heads returns what may go out next: the oldest entry of each lane. The recursion
// hops from lane to lane over the index, however long each is.
func (c *Client) heads(ctx context.Context) ([]entry, error) {
	var all []entry
	err := c.read(ctx, `
		WITH RECURSIVE head (queue) AS (
			SELECT min(queue) FROM outbox
			UNION ALL
			SELECT (SELECT min(queue) FROM outbox WHERE queue > head.queue) FROM head WHERE head.queue IS NOT NULL
		)`+selectEntries+`head JOIN outbox o ON o.id = (SELECT min(id) FROM outbox WHERE queue = head.queue) ORDER BY o.id`,
		nil, func(scan func(...any) error) error {
			e, err := scanEntry(scan)
			all = append(all, e)
			return err
		})
	return all, err
}

func findEntry(u *unit, submitID []byte) (*entry, error) {
	e, err := scanEntry(u.QueryRowContext(u, selectEntries+"outbox o WHERE o.submit_id = ?", submitID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil // the person decided meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading the outbox: %w", err)
	}
	return &e, nil
}

// keepSealed writes down what is about to be submitted, and for which epoch.
func keepSealed(u *unit, e *entry) error {
	_, err := u.ExecContext(u, `
		UPDATE outbox SET counter = ?, grp = ?, epoch = ?, sealed = ?, welcome = ?, members = ?, welcomed = ? WHERE id = ?`,
		int64(e.counter), *e.group, int64(e.epoch), e.sealed, e.welcome, e.members, e.welcomed, e.id)
	if err != nil {
		return fmt.Errorf("keeping what is sent: %w", err)
	}
	return nil
}

// unseal has an entry sealed anew when its turn comes.
func unseal(u *unit, id int64) error { return unsealAll(u, "id = ?", id) }

// unsealAll does so with all for which a condition holds.
func unsealAll(u *unit, where string, args ...any) error {
	_, err := u.ExecContext(u, "UPDATE outbox SET sealed = NULL, welcome = NULL, members = NULL, welcomed = NULL, grp = NULL WHERE "+where, args...)
	if err != nil {
		return fmt.Errorf("taking back what was sealed: %w", err)
	}
	return nil
}

func removeEntry(u *unit, id int64) error {
	if _, err := u.ExecContext(u, "DELETE FROM outbox WHERE id = ?", id); err != nil {
		return fmt.Errorf("clearing the outbox: %w", err)
	}
	return nil
}

// maxSubmits is how many ids of submissions are kept. The relay names the last that
// it accepted, which is one of those in the outbox or among these.
const maxSubmits = 256

// noteSubmit remembers that the relay accepted a submission of ours.
func noteSubmit(u *unit, submitID []byte) error {
	result, err := u.ExecContext(u, "INSERT INTO submits (submit_id) VALUES (?) ON CONFLICT DO NOTHING", submitID)
	if err == nil {
		var last int64
		if last, err = result.LastInsertId(); err == nil {
			_, err = u.ExecContext(u, "DELETE FROM submits WHERE id <= ?", last-maxSubmits)
		}
	}
	if err != nil {
		return fmt.Errorf("noting a submission: %w", err)
	}
	return nil
}

// giveWay puts another commit of the lane of upkeep behind the update that waits in it.
func giveWay(u *unit, e *entry) error {
	if e.lane != laneUpkeep {
		return nil
	}
	a, err := parseAction(e.body)
	if err != nil || a.Op == opUpdate {
		return err
	}
	if err := removeEntry(u, e.id); err != nil {
		return err
	}
	// Not a new id for the old row: that of an entry is given once.
	err = u.QueryRowContext(u, `
		INSERT INTO outbox (conversation, queue, kind, submit_id, body, sent_at, tries) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		e.conversation, e.lane.queue(e.conversation), int(e.kind), e.submitID, e.body, e.sentAt, e.tries).Scan(&e.id)
	if err != nil {
		return fmt.Errorf("queueing again: %w", err)
	}
	return nil
}

// settle ends an entry. A message of it becomes Accepted, or Failed with a reason.
func settle(u *unit, e *entry, reason string) error {
	if err := removeEntry(u, e.id); err != nil {
		return err
	}
	if e.message == nil {
		return nil
	}
	state := Accepted
	if reason != "" {
		state = Failed
		// It may have disappeared since the entry was read.
		if _, err := u.ExecContext(u, "INSERT INTO unsent (message, body) SELECT id, ? FROM messages WHERE id = ? AND NOT deleted ON CONFLICT DO NOTHING", e.body, *e.message); err != nil {
			return fmt.Errorf("keeping a message that failed: %w", err)
		}
	}
	return changeStates(u, "state = ?, reason = ? WHERE id = ? AND state = ?", int(state), reason, *e.message, int(Queued))
}

// postpone tries an entry again at a later time, and says why.
func postpone(u *unit, e *entry, until time.Time, reason string) error {
	if _, err := u.ExecContext(u, "UPDATE outbox SET due_at = ?, tries = tries + 1 WHERE id = ?", until.UnixMilli(), e.id); err != nil {
		return fmt.Errorf("postponing: %w", err)
	}
	return explainWaiting(u, e.conversation, reason)
}

// explainWaiting gives the messages of a conversation that wait a reason, or none.
func explainWaiting(u *unit, conversation int64, reason string) error {
	return changeStates(u, "reason = ? WHERE id IN (SELECT message FROM outbox WHERE queue = ?) AND state = ? AND reason != ?",
		reason, laneMain.queue(conversation), int(Queued), reason)
}

// changeStates runs an update of messages, and tells of each.
func changeStates(u *unit, update string, args ...any) error {
	rows, err := u.QueryContext(u, `UPDATE messages SET `+update+`
		RETURNING message_id, (SELECT public_id FROM conversations WHERE id = conversation), state, reason`, args...)
	if err != nil {
		return fmt.Errorf("changing the state of messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			e                StateChanged
			id, conversation []byte
		)
		if err := rows.Scan(&id, &conversation, &e.State, &e.Reason); err != nil {
			return fmt.Errorf("changing the state of messages: %w", err)
		}
		if len(id) == len(e.ID) && len(conversation) == len(e.Conversation) {
			e.ID, e.Conversation = MessageID(id), ConversationID(conversation)
			u.tell(e)
		}
	}
	return rows.Err()
}

// Wait waits until a message of ours has come to a state, while Run runs in
// another goroutine. The error is [*FailedError], a [*KeyChangedError] if the
// message is held because its recipient's key changed, [ErrUnknownMessage],
// [ErrClosed], or that of ctx.
func (c *Client) Wait(ctx context.Context, id MessageID, state State) error {
	return c.await(ctx, func() (bool, error) { return c.reached(ctx, id, state) })
}

// Flush waits until nothing waits in the outbox that could go out now: what is
// left is postponed, see Message.Reason. The error is [ErrClosed] or that of ctx.
func (c *Client) Flush(ctx context.Context) error {
	return c.await(ctx, func() (bool, error) {
		var waiting bool
		err := c.store.reader.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM outbox WHERE tries = 0)").Scan(&waiting)
		if err != nil {
			return false, c.storeFailure(ctx, err)
		}
		return !waiting, nil
	})
}

// await asks again after everything that was written, until done.
func (c *Client) await(ctx context.Context, ask func() (done bool, err error)) error {
	for {
		rang := c.written.wait()
		done, err := ask()
		if done || err != nil {
			return err
		}
		select {
		case <-rang:
		case <-c.closing.Done():
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) reached(ctx context.Context, id MessageID, state State) (bool, error) {
	all, err := c.readMessages(ctx, "WHERE m.outgoing AND m.message_id = ?", id[:])
	switch {
	case err != nil:
		return false, err
	case len(all) == 0:
		return false, ErrUnknownMessage
	case all[0].State == Failed && state != Failed:
		return false, &FailedError{ID: id, Reason: all[0].Reason}
	case all[0].State >= state:
		return true, nil
	case all[0].State > Queued:
		return false, nil
	}
	v, err := c.findConversation(ctx, c.store.reader, all[0].Conversation)
	if err != nil {
		return false, c.readFailure(ctx, err)
	}
	var changed *KeyChangedError
	if err := stopped(ctx, c.store.reader, v); errors.As(err, &changed) {
		return false, changed
	} else if err != nil {
		return false, c.storeFailure(ctx, err)
	}
	return false, nil
}

// stopped returns a [*KeyChangedError] if nothing may go out in a conversation,
// since somebody in it shows another account key than the pinned one.
func stopped(ctx context.Context, q querier, v *conversation) error {
	where, arg := `WHERE username = (SELECT k.username FROM contacts k JOIN conversations v ON v.contact = k.id WHERE v.id = ?) AND new_key IS NOT NULL`, any(v.id)
	if v.kind == Group {
		where = `WHERE new_key IS NOT NULL AND username IN (
			SELECT m.username FROM members m JOIN groups g ON g.id = m.grp WHERE g.conversation = ? AND g.state = 2) LIMIT 1`
	}
	k, err := scanContact(q.QueryRowContext(ctx, selectContacts+where, arg).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for changed keys: %w", err)
	}
	return k.keyChanged()
}

// deviceIDs splits a list of ids that were joined.
func deviceIDs(joined []byte) [][]byte {
	size := len(identity.DeviceID{})
	var ids [][]byte
	for ; len(joined) >= size; joined = joined[size:] {
		ids = append(ids, joined[:size])
	}
	return ids
}
