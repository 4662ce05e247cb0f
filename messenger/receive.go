package messenger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"sealpost/identity"
)

const (
	maxQuarantined = 1000 // what cannot be opened; the oldest goes first
	maxHeld        = 1000 // what waits for a decision
)

// What a person reads about payloads that open, but are not shown.
const (
	errClaim    = refusal("the message claims a name that its key does not belong to")
	errCounter  = refusal("the message repeats the number of another one")
	errHeld     = refusal("it was written under a changed key, and is shown once you accept the key")
	errStranger = refusal("it comes from an account whose key you have not verified, and is shown once you do")
	errHeldFull = refusal("it was written under a key that you have not accepted, and too many such wait already")
)

// receive takes one envelope in. When it returns nil, everything about it is on
// disk and the relay may forget it. The error is that of the directory, where
// it had to be asked and did not answer, or of the store.
func (c *Client) receive(ctx context.Context, payload []byte) error {
	o, err := c.sealer.Open(payload)
	if err != nil {
		var why refusal
		if !errors.As(err, &why) {
			return err
		}
		return c.commit(ctx, func(u *unit) error { return putAside(u, quarantined{payload: payload, reason: why}) })
	}
	l, err := c.vouch(ctx, o.sender, o.id)
	if err != nil {
		return err
	}
	return c.commit(ctx, func(u *unit) error { return c.take(u, payload, o, l) })
}

// vouch asks the directory about the sender, where the store does not say all:
// the name is new, or its key is not the pinned one, or the device is new. It
// returns nil where there is nothing to ask, or no answer to be had.
func (c *Client) vouch(ctx context.Context, sender identity.Certificate, id MessageID) (*listing, error) {
	var settled bool
	err := c.store.reader.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM seen WHERE device_key = ?1 AND message_id = ?2)
		OR EXISTS (SELECT 1 FROM contacts c JOIN devices d ON d.contact = c.id
			WHERE c.username = ?3 AND c.account_key = ?4 AND d.device_key = ?1 AND d.record IS NOT NULL)`,
		sender.DeviceKey[:], id[:], string(sender.Username), sender.AccountKey[:]).Scan(&settled)
	if err != nil {
		return nil, c.storeFailure(ctx, err)
	}
	if settled {
		return nil, nil
	}
	l, err := c.lookup(ctx, sender.Username)
	if errors.Is(err, ErrUnknownRecipient) || errors.Is(err, ErrBadDirectory) {
		return nil, nil // then only a pinned key counts
	}
	if err != nil {
		return nil, fmt.Errorf("asking who sent a message: %w", err)
	}
	return &l, nil
}

// take decides about a message that opened, by its sender's key: the pinned one,
// one that waits for a decision, or a false one.
func (c *Client) take(u *unit, payload []byte, o opened, l *listing) error {
	sender := o.sender
	var seen bool
	if err := u.QueryRowContext(u, "SELECT EXISTS (SELECT 1 FROM seen WHERE device_key = ? AND message_id = ?)",
		sender.DeviceKey[:], o.id[:]).Scan(&seen); err != nil {
		return fmt.Errorf("looking for a repeat: %w", err)
	}
	if seen {
		return nil
	}
	known, err := c.judge(u, sender, l)
	if err != nil {
		return err
	}
	q := quarantined{payload: payload, username: sender.Username, accountKey: sender.AccountKey}
	switch {
	case known != nil && known.AccountKey == sender.AccountKey:
		return c.deliver(u, known, payload, o)
	case known != nil && known.NewKey != nil && *known.NewKey == sender.AccountKey:
		q.reason, q.held = errHeld, true
	case known == nil && l != nil && l.accountKey == sender.AccountKey:
		q.reason, q.held = errStranger, true
	default:
		q.reason = errClaim
	}
	return putAside(u, q)
}

// judge applies the trust policy to what the directory says of a sender, and
// returns the contact of this name, nil if there is none. A claim that the
// directory contradicts makes nobody a contact.
func (c *Client) judge(u *unit, sender identity.Certificate, l *listing) (*contact, error) {
	known, err := findContact(u, u, sender.Username)
	if err != nil || l == nil || (known == nil && l.accountKey != sender.AccountKey) {
		return known, err
	}
	if _, _, err := c.learnIn(u, *l, c.self.trust); err != nil {
		return nil, err
	}
	return findContact(u, u, sender.Username)
}

// deliver stores what a contact's own device said.
func (c *Client) deliver(u *unit, known *contact, payload []byte, o opened) error {
	var (
		place row
		err   error
	)
	if o.kind == contentText {
		place, err = placeOf(u, known, o)
		if errors.Is(err, errCounter) {
			return putAside(u, quarantined{payload: payload, username: known.Username, reason: errCounter})
		}
		if err != nil {
			return err
		}
	}
	if _, err := u.ExecContext(u, "INSERT INTO seen (device_key, message_id) VALUES (?, ?)", o.sender.DeviceKey[:], o.id[:]); err != nil {
		return fmt.Errorf("noting what has come: %w", err)
	}
	if o.kind == contentReceipt {
		return takeReceipt(u, known, o.body)
	}
	place.kind, place.id, place.text, place.sentAt = KindText, &o.id, string(o.body), o.time.UnixMilli()
	if _, err := addRow(u, known, place); err != nil {
		return err
	}
	return c.queueReceipt(u, known, o)
}

// placeOf finds where a text belongs by its counter, and keeps the notices of
// missing ones.
func placeOf(u *unit, known *contact, o opened) (row, error) {
	key := o.sender.DeviceKey[:]
	var received uint64
	if err := u.QueryRowContext(u, `
		INSERT INTO devices (contact, device_key) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET received = received RETURNING received`, known.id, key).Scan(&received); err != nil {
		return row{}, fmt.Errorf("reading what came from a device: %w", err)
	}
	if o.counter <= received {
		return fillGap(u, known, o)
	}
	if o.counter > received+1 {
		if err := addGap(u, known, key, gap{first: received + 1, last: o.counter - 1}); err != nil {
			return row{}, err
		}
	}
	if _, err := u.ExecContext(u, "UPDATE devices SET received = ? WHERE contact = ? AND device_key = ?", int64(o.counter), known.id, key); err != nil {
		return row{}, fmt.Errorf("counting what came from a device: %w", err)
	}
	return row{counter: o.counter}, nil
}

// gap is a range of counters that have not come, both ends included.
type gap struct {
	first, last uint64
	position    int64 // 0: after all others
}

// addGap costs the same however many are missing.
func addGap(u *unit, known *contact, deviceKey []byte, g gap) error {
	id, err := addRow(u, known, row{
		kind: KindGap, sentAt: u.now.UnixMilli(), missing: g.last - g.first + 1, position: g.position, counter: g.first,
	})
	if err != nil {
		return err
	}
	_, err = u.ExecContext(u, "INSERT INTO gaps (contact, device_key, first, last, message) VALUES (?, ?, ?, ?, ?)",
		known.id, deviceKey, int64(g.first), int64(g.last), int64(id))
	if err != nil {
		return fmt.Errorf("noting missing messages: %w", err)
	}
	return nil
}

// fillGap gives a late text the place where it was missing. A counter that was
// not missing is a refusal: it was used twice.
func fillGap(u *unit, known *contact, o opened) (row, error) {
	key := o.sender.DeviceKey[:]
	var (
		g      gap
		notice int64
	)
	err := u.QueryRowContext(u, `
		SELECT g.first, g.last, g.message, m.position FROM gaps g JOIN messages m ON m.id = g.message
		WHERE g.contact = ? AND g.device_key = ? AND g.first <= ? ORDER BY g.first DESC LIMIT 1`,
		known.id, key, int64(o.counter)).Scan(&g.first, &g.last, &notice, &g.position)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && o.counter > g.last) {
		return row{}, errCounter
	}
	if err != nil {
		return row{}, fmt.Errorf("looking for a gap: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM gaps WHERE contact = ? AND device_key = ? AND first = ?", known.id, key, int64(g.first)); err != nil {
		return row{}, fmt.Errorf("filling a gap: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM messages WHERE id = ?", notice); err != nil {
		return row{}, fmt.Errorf("filling a gap: %w", err)
	}
	for _, rest := range []gap{{g.first, o.counter - 1, g.position}, {o.counter + 1, g.last, g.position}} {
		if rest.first > rest.last {
			continue
		}
		if err := addGap(u, known, key, rest); err != nil {
			return row{}, err
		}
	}
	return row{position: g.position, counter: o.counter}, nil
}

// takeReceipt believes a contact about messages to this contact only.
func takeReceipt(u *unit, known *contact, body []byte) error {
	for size := len(MessageID{}); len(body) >= size; body = body[size:] {
		if err := changeStates(u, `
			UPDATE messages SET state = ?, reason = '' WHERE message_id = ? AND contact = ? AND outgoing AND state != ?
			RETURNING message_id, state, reason`,
			known, int(Delivered), body[:size], known.id, int(Delivered)); err != nil {
			return err
		}
	}
	return nil
}

// quarantined is an envelope to put aside.
type quarantined struct {
	payload    []byte
	reason     refusal
	username   identity.Username   // who claims to have sent it, where it opened
	accountKey identity.AccountKey // of a held one
	held       bool                // keep the payload and show it once accountKey is accepted
}

// putAside keeps a note of an envelope that is not shown, and the envelope
// itself where a decision can still bring it out. Each stands there once,
// however often the relay repeats it.
func putAside(u *unit, q quarantined) error {
	var payload, accountKey []byte
	if q.held {
		var waiting int
		if err := u.QueryRowContext(u, "SELECT count(*) FROM quarantine WHERE payload IS NOT NULL").Scan(&waiting); err != nil {
			return fmt.Errorf("counting what is held: %w", err)
		}
		if waiting < maxHeld {
			payload, accountKey = q.payload, q.accountKey[:]
		} else {
			q.reason = errHeldFull
		}
	}
	hash := sha256.Sum256(q.payload)
	var id int64
	err := u.QueryRowContext(u, `
		INSERT INTO quarantine (hash, size, reason, username, account_key, payload, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING RETURNING id`,
		hash[:], len(q.payload), string(q.reason), string(q.username), accountKey, payload, u.now.UnixMilli()).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("putting an envelope aside: %w", err)
	}
	entry, err := scanQuarantined(u.QueryRowContext(u, selectQuarantine+"WHERE id = ?", id).Scan)
	if err != nil {
		return fmt.Errorf("putting an envelope aside: %w", err)
	}
	u.tell(EnvelopeQuarantined{Quarantined: entry})
	_, err = u.ExecContext(u, `
		DELETE FROM quarantine WHERE payload IS NULL AND id <=
		(SELECT id FROM quarantine WHERE payload IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?)`, maxQuarantined)
	if err != nil {
		return fmt.Errorf("bounding what is put aside: %w", err)
	}
	return nil
}

// release takes what was held for the key that is now pinned, as if it came now.
func (c *Client) release(u *unit, known *contact) error {
	held, err := heldFor(u, known)
	if err != nil {
		return err
	}
	if _, err := u.ExecContext(u, "DELETE FROM quarantine WHERE payload IS NOT NULL AND username = ? AND account_key = ?",
		string(known.Username), known.AccountKey[:]); err != nil {
		return fmt.Errorf("taking what was held: %w", err)
	}
	for _, payload := range held {
		o, err := c.sealer.Open(payload)
		if err != nil {
			return fmt.Errorf("opening what was held: %w", err)
		}
		if err := c.take(u, payload, o, nil); err != nil {
			return err
		}
	}
	return nil
}

func heldFor(u *unit, known *contact) ([][]byte, error) {
	rows, err := u.QueryContext(u, `
		SELECT payload FROM quarantine WHERE payload IS NOT NULL AND username = ? AND account_key = ? ORDER BY id`,
		string(known.Username), known.AccountKey[:])
	if err != nil {
		return nil, fmt.Errorf("reading what was held: %w", err)
	}
	defer rows.Close()
	var held [][]byte
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			return nil, fmt.Errorf("reading what was held: %w", err)
		}
		held = append(held, payload)
	}
	return held, rows.Err()
}
