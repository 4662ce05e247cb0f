package messenger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"sealpost/content"
	"sealpost/identity"
)

// A ReceiptPolicy says which confirmations go out to contacts. Others never get any.
type ReceiptPolicy int

// The confirmations, to be added up.
const (
	// SendDelivered tells senders that a message is stored here.
	SendDelivered ReceiptPolicy = 1 << iota
	// SendRead tells senders that a message was marked as read.
	SendRead
)

const (
	// receiptDelay is the longest that a receipt waits. The wait is random: when a
	// person looked at a message is nobody's business to the millisecond, and one
	// message confirms many.
	receiptDelay = 2 * time.Second
	// maxConfirmers is the size of the largest conversation, in devices, in which
	// receipts are sent: everybody gets everybody's.
	maxConfirmers = 32
)

// ReceiptPolicy returns which confirmations this profile sends. Both are on at first.
func (c *Client) ReceiptPolicy(ctx context.Context) (ReceiptPolicy, error) {
	var p ReceiptPolicy
	if c.closing.Err() != nil {
		return 0, ErrClosed
	}
	if err := c.store.reader.QueryRowContext(ctx, "SELECT receipts FROM profile").Scan(&p); err != nil {
		return 0, c.storeFailure(ctx, err)
	}
	return p, nil
}

// SetReceiptPolicy changes which confirmations this profile sends from now on.
func (c *Client) SetReceiptPolicy(ctx context.Context, p ReceiptPolicy) error {
	return c.commit(ctx, func(u *unit) error {
		_, err := u.ExecContext(u, "UPDATE profile SET receipts = ?", int(p&(SendDelivered|SendRead)))
		return err
	})
}

// upTo returns a random time of at most d.
func upTo(d time.Duration) time.Duration {
	return rand.N(d + 1) //nolint:gosec // it spreads load and blurs times; no key depends on it
}

// oweReceipt notes that a message is to be confirmed, if its sender may know.
func (c *Client) oweReceipt(u *unit, conversation int64, sender identity.Username, id []byte, state State) error {
	wanted := SendDelivered
	if state == Read {
		wanted = SendRead
	}
	var may bool
	err := u.QueryRowContext(u, `
		SELECT (SELECT receipts FROM profile) & ?1 != 0
			AND EXISTS (SELECT 1 FROM contacts WHERE username = ?2 AND accepted AND NOT blocked AND new_key IS NULL)
			AND (SELECT state FROM conversations WHERE id = ?3) = ?4
			AND (SELECT count(*) FROM members m JOIN groups g ON g.id = m.grp WHERE g.conversation = ?3 AND g.state = 2) BETWEEN 1 AND ?5`,
		int(wanted), string(sender), conversation, int(Active), maxConfirmers).Scan(&may)
	if err != nil {
		return fmt.Errorf("deciding about a receipt: %w", err)
	}
	if !may {
		return nil
	}
	var waiting bool
	if err := u.QueryRowContext(u, "SELECT EXISTS (SELECT 1 FROM outbox WHERE queue = ? AND sealed IS NULL)",
		laneReceipts.queue(conversation)).Scan(&waiting); err != nil {
		return fmt.Errorf("queueing a receipt: %w", err)
	}
	if err := owe(u, conversation, id, state); err != nil {
		return err
	}
	if waiting {
		return nil // it will say this, too
	}
	due := u.now.Add(upTo(c.tuning.receiptDelay))
	return enqueue(u, entry{conversation: conversation, lane: laneReceipts, kind: entryReceipt, due: due})
}

func owe(u *unit, conversation int64, id []byte, state State) error {
	_, err := u.ExecContext(u, `
		INSERT INTO owed (conversation, message_id, state) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET state = max(state, excluded.state)`, conversation, id, int(state))
	if err != nil {
		return fmt.Errorf("queueing a receipt: %w", err)
	}
	return nil
}

// oweAgain puts back what a receipt says that did not go out: it was sealed for an
// epoch that was over when it came to the relay.
func oweAgain(u *unit, conversation int64, receipt []byte) error {
	if len(receipt) == 0 {
		return nil
	}
	m, err := content.Parse(receipt)
	if err != nil {
		return fmt.Errorf("reading a receipt that waits: %w: %w", ErrDamaged, err)
	}
	for _, s := range m.View().Report {
		if err := owe(u, conversation, s.ID[:], receiptStates[s.Status]); err != nil {
			return err
		}
	}
	return nil
}

// receiptStates are the states that receipts tell of.
var receiptStates = map[content.Status]State{content.StatusDelivered: Delivered, content.StatusRead: Read}

// composeReceipt takes what is owed in a conversation. It returns nil if that is
// nothing.
func composeReceipt(u *unit, conversation int64) ([]byte, error) {
	rows, err := u.QueryContext(u, `
		DELETE FROM owed WHERE conversation = ?1 AND message_id IN (SELECT message_id FROM owed WHERE conversation = ?1 LIMIT ?2)
		RETURNING message_id, state`, conversation, content.MaxElements)
	if err != nil {
		return nil, fmt.Errorf("reading what is to be confirmed: %w", err)
	}
	defer rows.Close()
	var report content.StatusReport
	for rows.Next() {
		var (
			id    []byte
			state State
		)
		if err := rows.Scan(&id, &state); err != nil {
			return nil, fmt.Errorf("reading what is to be confirmed: %w", err)
		}
		status := content.StatusDelivered
		if state == Read {
			status = content.StatusRead
		}
		if len(id) == len(content.MessageID{}) {
			report = append(report, content.MessageStatus{ID: content.MessageID(id), Status: status})
		}
	}
	if err := rows.Err(); err != nil || len(report) == 0 {
		return nil, err
	}
	if len(report) == content.MaxElements { // there may be more
		if err := enqueue(u, entry{conversation: conversation, lane: laneReceipts, kind: entryReceipt}); err != nil {
			return nil, err
		}
	}
	m, err := content.NewReport(report)
	if err != nil {
		return nil, fmt.Errorf("composing a receipt: %w", err)
	}
	return m.Marshal()
}

// takeReceipts believes a member about messages of ours in this conversation only.
func takeReceipts(u *unit, v *conversation, sender identity.Username, report content.StatusReport) error {
	for _, s := range report {
		state, known := receiptStates[s.Status]
		if !known {
			continue
		}
		if _, err := u.ExecContext(u, `
			INSERT INTO receipts (message, username, state)
			SELECT id, ?, ? FROM messages WHERE message_id = ? AND conversation = ? AND outgoing AND state != ?
			ON CONFLICT DO UPDATE SET state = max(state, excluded.state)`,
			string(sender), int(state), s.ID[:], v.id, int(Failed)); err != nil {
			return fmt.Errorf("noting a receipt: %w", err)
		}
		// A receipt can come before the relay's answer: the message came to somebody,
		// so the relay had it.
		if err := changeStates(u, "state = ?, reason = '' WHERE message_id = ? AND conversation = ? AND outgoing AND state < ?",
			int(state), s.ID[:], v.id, int(state)); err != nil {
			return err
		}
	}
	return nil
}
