package messenger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"sealpost/api"
	"sealpost/identity"
)

// Send seals a text to every device of an account and puts it into the outbox.
// When it returns, the message is on disk; Run sends it. The first message of a
// session to somebody asks the directory for the devices, and works without a
// line to the server only for a contact known already.
//
// Its errors are [*TooLargeError], [ErrText], [ErrSelf], [*KeyChangedError],
// [*UntrustedError], [ErrUnknownRecipient], [ErrServerUnavailable],
// [*ServerChangedError], [*CertificateError] and [ErrBadDirectory]; then no message was written.
func (c *Client) Send(ctx context.Context, to identity.Username, text string, options ...SendOption) (MessageID, error) {
	switch {
	case len(text) > MaxTextLen:
		return MessageID{}, &TooLargeError{Size: len(text), Limit: MaxTextLen}
	case text == "" || !utf8.ValidString(text):
		return MessageID{}, ErrText
	case to == c.self.username():
		return MessageID{}, ErrSelf
	}
	if err := c.prepare(ctx, to, c.sendOptions(options).trust); err != nil {
		return MessageID{}, err
	}
	message := content{kind: contentText, id: newMessageID(), time: c.clock(), body: []byte(text)}
	var refused error
	err := c.commit(ctx, func(u *unit) (err error) {
		refused, err = c.queueText(u, to, message)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return MessageID{}, err
	}
	return message.id, nil
}

// prepare makes sure that a recipient is a contact whose devices were asked for
// since the line came up, or at all if there is no line.
func (c *Client) prepare(ctx context.Context, to identity.Username, policy TrustPolicy) error {
	known, err := c.knownContact(ctx, to)
	if err != nil {
		return err
	}
	if known != nil && known.NewKey == nil && c.isFresh(to) {
		return nil
	}
	l, err := c.lookup(ctx, to)
	if known != nil && errors.Is(err, ErrServerUnavailable) {
		return nil // what it lacks is asked for before it goes out
	}
	if err != nil {
		return err
	}
	_, err = c.learn(ctx, l, policy)
	return err
}

// queueText writes a message of ours, sealed for every device. The counters, the
// row and the sealed bytes come into being together or not at all.
func (c *Client) queueText(u *unit, to identity.Username, message content) (refused, err error) {
	known, err := findContact(u, u, to)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return ErrUnknownRecipient, nil
	}
	if err := known.keyChanged(); err != nil {
		return err, nil
	}
	devices, err := listedDevices(u, known)
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 { // the key was accepted, and the server not asked since
		return fmt.Errorf("%w: the devices of the contact are not known yet", ErrServerUnavailable), nil
	}
	id, err := addRow(u, known, row{kind: KindText, outgoing: true, id: &message.id, text: string(message.body), sentAt: message.time.UnixMilli()})
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		if err := u.QueryRowContext(u, "UPDATE devices SET sent = sent + 1 WHERE contact = ? AND device_key = ? RETURNING sent",
			known.id, device.Certificate.DeviceKey[:]).Scan(&message.counter); err != nil {
			return nil, fmt.Errorf("counting a message: %w", err)
		}
		payload, err := c.sealer.Seal(device, message)
		if err != nil {
			return nil, err
		}
		if err := queue(u, known, device, &id, payload); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// queueReceipt tells the device that a message came from that it is stored here.
// A device that cannot be told goes without: nothing but a mark hangs on it.
func (c *Client) queueReceipt(u *unit, known *contact, o opened) error {
	var encoded []byte
	if err := u.QueryRowContext(u, "SELECT record FROM devices WHERE contact = ? AND device_key = ?",
		known.id, o.sender.DeviceKey[:]).Scan(&encoded); err != nil {
		return fmt.Errorf("reading a device: %w", err)
	}
	if encoded == nil {
		return nil
	}
	device, err := identity.ParseDeviceRecord(encoded)
	if err != nil {
		return fmt.Errorf("reading a device: %w", err)
	}
	payload, err := c.sealer.Seal(device, content{kind: contentReceipt, id: newMessageID(), time: u.now, body: o.id[:]})
	if err != nil {
		return err
	}
	return queue(u, known, device, nil, payload)
}

func queue(u *unit, known *contact, device identity.DeviceRecord, message *RowID, payload []byte) error {
	submitID := make([]byte, api.SubmitIDSize)
	rand.Read(submitID) // never fails (crypto/rand)
	var row any
	if message != nil {
		row = int64(*message)
	}
	_, err := u.ExecContext(u, "INSERT INTO outbox (contact, device_id, submit_id, message, payload) VALUES (?, ?, ?, ?, ?)",
		known.id, device.Certificate.DeviceID[:], submitID, row, payload)
	if err != nil {
		return fmt.Errorf("queueing a message: %w", err)
	}
	u.wakes = true
	return nil
}

// waiting is the oldest entry of the outbox for one device.
type waiting struct {
	device   identity.DeviceID
	contact  identity.Username
	submitID []byte
	payload  []byte
	due      time.Time
}

// heads returns what may go out next: for each device the oldest entry, unless
// the recipient's key changed. The recursion hops from device to device over the
// index, however long the queue of each is.
func (c *Client) heads(ctx context.Context) ([]waiting, error) {
	var all []waiting
	err := c.read(ctx, `
		WITH RECURSIVE device (id) AS (
			SELECT min(device_id) FROM outbox
			UNION ALL
			SELECT (SELECT min(device_id) FROM outbox WHERE device_id > device.id) FROM device WHERE device.id IS NOT NULL
		)
		SELECT o.device_id, c.username, o.submit_id, o.payload, o.due_at
		FROM device
		JOIN outbox o ON o.id = (SELECT min(id) FROM outbox WHERE device_id = device.id)
		JOIN contacts c ON c.id = o.contact
		WHERE c.new_key IS NULL
		ORDER BY o.id`, nil, func(scan func(...any) error) error {
		var (
			w      waiting
			device []byte
			due    int64
		)
		if err := scan(&device, &w.contact, &w.submitID, &w.payload, &due); err != nil {
			return err
		}
		id, err := identity.DeviceIDFromBytes(device)
		w.device, w.due = id, fromMilli(due)
		all = append(all, w)
		return err
	})
	return all, err
}

// settled notes the relay's final answer about a submission. A message is
// accepted when the relay took it for one device, and has answered for all.
func (c *Client) settled(ctx context.Context, submitID []byte, accepted bool, reason string) error {
	return c.commit(ctx, func(u *unit) error {
		var (
			message *int64
			known   contact
		)
		err := u.QueryRowContext(u, "DELETE FROM outbox WHERE submit_id = ? RETURNING message, contact", submitID).
			Scan(&message, &known.id)
		if errors.Is(err, sql.ErrNoRows) || (err == nil && message == nil) {
			return nil // the person decided meanwhile; or a receipt
		}
		if err != nil {
			return fmt.Errorf("clearing the outbox: %w", err)
		}
		if err := u.QueryRowContext(u, "SELECT username FROM contacts WHERE id = ?", known.id).Scan(&known.Username); err != nil {
			return fmt.Errorf("reading a contact: %w", err)
		}
		return changeStates(u, `
			UPDATE messages SET
				relayed = relayed OR ?2,
				state = iif(EXISTS (SELECT 1 FROM outbox WHERE message = ?1), state, iif(relayed OR ?2, ?3, ?4)),
				reason = iif(?2, '', ?5)
			WHERE id = ?1 AND state = ?6 RETURNING message_id, state, reason`,
			&known, *message, accepted, int(Accepted), int(Failed), reason, int(Queued))
	})
}

// postponed notes that the relay refused a submission for now.
func (c *Client) postponed(ctx context.Context, submitID []byte, until time.Time, reason string) error {
	return c.commit(ctx, func(u *unit) error {
		var known contact
		err := u.QueryRowContext(u, "SELECT c.id, c.username FROM contacts c JOIN outbox o ON o.contact = c.id WHERE o.submit_id = ?", submitID).
			Scan(&known.id, &known.Username)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // the person decided meanwhile
		}
		if err != nil {
			return fmt.Errorf("reading a contact: %w", err)
		}
		if _, err := u.ExecContext(u, "UPDATE outbox SET due_at = ? WHERE submit_id = ?", until.UnixMilli(), submitID); err != nil {
			return fmt.Errorf("postponing a message: %w", err)
		}
		return changeStates(u, `
			UPDATE messages SET reason = ?
			WHERE id = (SELECT message FROM outbox WHERE submit_id = ?) AND state = ? RETURNING message_id, state, reason`,
			&known, reason, submitID, int(Queued))
	})
}

// Wait waits until a message of ours has come to a state, while Run runs in
// another goroutine. The error is [*FailedError], a [*KeyChangedError] if the
// message is held because its recipient's key changed, [ErrUnknownMessage],
// [ErrClosed], or that of ctx.
func (c *Client) Wait(ctx context.Context, id MessageID, state State) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := c.Subscribe(ctx)
	for {
		done, err := c.reached(ctx, id, state)
		if done || err != nil {
			return err
		}
		if err := nextAbout(ctx, events, id); err != nil {
			return err
		}
	}
}

func nextAbout(ctx context.Context, events <-chan Event, id MessageID) error {
	for e := range events {
		switch e := e.(type) {
		case StateChanged:
			if e.ID == id {
				return nil
			}
		case Lagged, KeyChanged:
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return ErrClosed
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
	}
	if all[0].State == Queued {
		known, err := c.knownContact(ctx, all[0].With)
		if err != nil || known == nil {
			return false, err
		}
		return false, known.keyChanged()
	}
	return false, nil
}
