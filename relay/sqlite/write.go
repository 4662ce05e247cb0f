package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
	"sealpost/relay"
)

// A writer is the one connection that writes.
type writer struct {
	conn *sqlite3.Conn

	account, addAccount, sameDevice, countDevices, addDevice statement

	mailboxUsage, addEntry, addPayload, reserve      statement
	acked, ackedPayloads, deleteAcked, deletePayload statement
	oldest, deleteEntry, deleteOldSubmissions        statement
	submitted, addRecent, recent, merge, clearRecent statement
}

func (w *writer) prepare() error {
	return prepare(w.conn, map[*statement]string{
		&w.account:      `SELECT id, key FROM account WHERE username = ?`,
		&w.addAccount:   `INSERT INTO account (username, key, created_at) VALUES (?, ?, ?)`,
		&w.sameDevice:   `SELECT record FROM device WHERE id = ?`,
		&w.countDevices: `SELECT count(*) FROM device WHERE account = ?`,
		&w.addDevice:    `INSERT INTO device (account, id, key, record, registered_at) VALUES (?, ?, ?, ?, ?)`,

		&w.mailboxUsage: `SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE mailbox = ?`,
		&w.addEntry:     `INSERT INTO entry (sequence, mailbox, accepted_at, kind, size, shared, body) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		&w.addPayload:   `INSERT INTO payload (id, body) VALUES (?, ?)`,
		&w.reserve:      `UPDATE sequence_reserved SET upto = ?`,

		&w.acked:         `SELECT count(*), coalesce(sum(size), 0), count(shared) FROM entry WHERE mailbox = ? AND sequence <= ?`,
		&w.ackedPayloads: `SELECT shared FROM entry WHERE mailbox = ? AND sequence <= ? AND shared IS NOT NULL`,
		&w.deleteAcked:   `DELETE FROM entry WHERE mailbox = ? AND sequence <= ?`,
		&w.deletePayload: `DELETE FROM payload WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM entry WHERE shared = ?1)`,

		&w.oldest:               `SELECT sequence, accepted_at, shared FROM entry ORDER BY sequence LIMIT ?`,
		&w.deleteEntry:          `DELETE FROM entry WHERE sequence = ?`,
		&w.deleteOldSubmissions: `DELETE FROM submission WHERE accepted_at < ?`,

		&w.submitted:   `SELECT 1 FROM submission WHERE mailbox = ? AND id = ?`,
		&w.addRecent:   `INSERT INTO submission_recent (mailbox, id, accepted_at) VALUES (?, ?, ?)`,
		&w.recent:      `SELECT mailbox, id FROM submission_recent`,
		&w.merge:       `INSERT OR IGNORE INTO submission SELECT mailbox, id, accepted_at FROM submission_recent ORDER BY mailbox, id`,
		&w.clearRecent: `DELETE FROM submission_recent`,
	})
}

// transaction runs f and commits; when it returns an error, nothing is changed
// in the database.
func (s *Store) transaction(f func() error) (err error) {
	tx, err := s.writer.conn.BeginImmediate()
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.End(&err)
	return f()
}

// Register implements relay.Store.
func (s *Store) Register(_ context.Context, r relay.Registration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transaction(func() error {
		registered, err := s.registered(r)
		if err != nil || registered {
			return err
		}
		account, err := s.accountFor(r)
		if err != nil {
			return err
		}
		c := r.Certificate
		err = s.writer.addDevice.int(1, account).blob(2, c.DeviceID[:]).blob(3, c.DeviceKey[:]).
			blob(4, r.Record).int(5, r.At.Unix()).exec()
		if err != nil {
			return fmt.Errorf("adding a device: %w", err)
		}
		return nil
	})
}

// registered tells whether the very record is there.
func (s *Store) registered(r relay.Registration) (same bool, err error) {
	found := false
	err = s.writer.sameDevice.blob(1, r.Certificate.DeviceID[:]).each(func(row *sqlite3.Stmt) bool {
		found = true
		same = string(row.ColumnRawBlob(0)) == string(r.Record)
		return false
	})
	if err == nil && found && !same {
		err = relay.ErrDeviceTaken
	}
	return same, err
}

// accountFor returns the account that a device is to be added to.
func (s *Store) accountFor(r relay.Registration) (account int64, err error) {
	var key identity.AccountKey
	err = s.writer.account.text(1, string(r.Certificate.Username)).each(func(row *sqlite3.Stmt) bool {
		account = row.ColumnInt64(0)
		copy(key[:], row.ColumnRawBlob(1))
		return false
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("reading an account: %w", err)
	case account == 0:
		return s.addAccount(r)
	case key != r.Certificate.AccountKey:
		return 0, relay.ErrNameTaken
	}
	devices := 0
	err = s.writer.countDevices.int(1, account).each(func(row *sqlite3.Stmt) bool {
		devices = row.ColumnInt(0)
		return false
	})
	if err == nil && devices >= r.MaxDevices {
		err = relay.ErrTooManyDevices
	}
	return account, err
}

func (s *Store) addAccount(r relay.Registration) (int64, error) {
	c := r.Certificate
	if err := s.writer.addAccount.text(1, string(c.Username)).blob(2, c.AccountKey[:]).int(3, r.At.Unix()).exec(); err != nil {
		return 0, fmt.Errorf("adding an account: %w", err)
	}
	return s.writer.conn.LastInsertRowID(), nil
}

// Write implements relay.Store.
func (s *Store) Write(ctx context.Context, batch *relay.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mergeRecent(); err != nil {
		return err
	}
	w := batchWrite{Store: s, ctx: ctx, batch: batch, reserved: s.reserved}
	if err := s.transaction(w.apply); err != nil {
		s.forget(w.added)
		return fmt.Errorf("writing a batch: %w", err)
	}
	s.reserved = w.reserved
	return nil
}

// forget makes memory agree with a database that did not take a batch.
func (s *Store) forget(added []submissionKey) {
	clear(s.usage)
	for _, key := range added {
		delete(s.recent, key)
	}
}

// A batchWrite is one batch on its way into the database.
type batchWrite struct {
	*Store
	ctx      context.Context
	batch    *relay.Batch
	reserved int64
	added    []submissionKey
}

func (w *batchWrite) apply() error {
	for _, ack := range w.batch.Acks {
		if err := w.ack(ack); err != nil {
			return fmt.Errorf("deleting acknowledged envelopes: %w", err)
		}
	}
	for _, submission := range w.batch.Submissions {
		if err := w.submit(submission); err != nil {
			return fmt.Errorf("storing an envelope: %w", err)
		}
	}
	if w.next-1 <= w.reserved {
		return nil
	}
	w.reserved = w.next + reserveAhead
	return w.writer.reserve.int(1, w.reserved).exec()
}

// reserveAhead is how many sequence numbers are set aside at once.
const reserveAhead = 1 << 20

func (w *batchWrite) ack(ack relay.Acknowledgement) error {
	mailbox, err := w.mailbox(w.ctx, ack.Device)
	if errors.Is(err, relay.ErrUnknownDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	upto := int64(min(ack.Sequence, relay.MaxSequence))
	var gone usage
	shared := 0
	err = w.writer.acked.int(1, mailbox).int(2, upto).each(func(row *sqlite3.Stmt) bool {
		gone = usage{row.ColumnInt(0), row.ColumnInt64(1)}
		shared = row.ColumnInt(2)
		return false
	})
	if err != nil || gone.rows == 0 {
		return err
	}
	if err := w.deleteAcked(mailbox, upto, shared); err != nil {
		return err
	}
	if used, ok := w.usage[mailbox]; ok {
		w.usage[mailbox] = usage{used.rows - gone.rows, used.bytes - gone.bytes}
	}
	return nil
}

// deleteAcked deletes entries, and those of their shared payloads that no other
// entry needs.
func (w *batchWrite) deleteAcked(mailbox, upto int64, shared int) error {
	payloads := make([]int64, 0, shared)
	if shared > 0 {
		err := w.writer.ackedPayloads.int(1, mailbox).int(2, upto).each(func(row *sqlite3.Stmt) bool {
			payloads = append(payloads, row.ColumnInt64(0))
			return true
		})
		if err != nil {
			return err
		}
	}
	if err := w.writer.deleteAcked.int(1, mailbox).int(2, upto).exec(); err != nil {
		return err
	}
	return w.deleteUnused(payloads)
}

func (s *Store) deleteUnused(payloads []int64) error {
	for _, id := range payloads {
		if err := s.writer.deletePayload.int(1, id).exec(); err != nil {
			return err
		}
	}
	return nil
}

func (w *batchWrite) submit(submission *relay.Submission) error {
	submission.Err, submission.FirstSequence = nil, 0
	sender, err := w.mailbox(w.ctx, submission.Sender)
	if err != nil {
		return err
	}
	key := submissionKey{sender, submission.ID}
	if seen, err := w.seen(key); err != nil || seen {
		return err
	}
	mailboxes, err := w.recipients(submission)
	if errors.Is(err, relay.ErrUnknownRecipient) || errors.Is(err, relay.ErrMailboxFull) {
		submission.Err = err
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.remember(key); err != nil {
		return err
	}
	return w.deliver(submission, mailboxes)
}

// recipients returns the mailboxes of a submission, all known and with room.
func (w *batchWrite) recipients(submission *relay.Submission) ([]int64, error) {
	mailboxes := make([]int64, len(submission.Recipients))
	for i, device := range submission.Recipients {
		mailbox, err := w.mailbox(w.ctx, device)
		if errors.Is(err, relay.ErrUnknownDevice) {
			return nil, relay.ErrUnknownRecipient
		}
		if err != nil {
			return nil, err
		}
		used, err := w.used(mailbox)
		if err != nil {
			return nil, err
		}
		if used.rows >= w.batch.MailboxRows || used.bytes+int64(len(submission.Payload)) > w.batch.MailboxBytes {
			return nil, relay.ErrMailboxFull
		}
		mailboxes[i] = mailbox
	}
	return mailboxes, nil
}

func (s *Store) used(mailbox int64) (usage, error) {
	if used, ok := s.usage[mailbox]; ok {
		return used, nil
	}
	var used usage
	err := s.writer.mailboxUsage.int(1, mailbox).each(func(row *sqlite3.Stmt) bool {
		used = usage{row.ColumnInt(0), row.ColumnInt64(1)}
		return false
	})
	if err == nil {
		s.usage[mailbox] = used
	}
	return used, err
}

// deliver stores the payload and an entry for each mailbox.
func (w *batchWrite) deliver(submission *relay.Submission, mailboxes []int64) error {
	var payload int64
	if len(mailboxes) > 1 {
		payload = w.nextPayload
		if err := w.writer.addPayload.int(1, payload).blob(2, submission.Payload).exec(); err != nil {
			return err
		}
		w.nextPayload++
	}
	submission.FirstSequence = uint64(w.next)
	size := int64(len(submission.Payload))
	for _, mailbox := range mailboxes {
		add := w.writer.addEntry.int(1, w.next).int(2, mailbox).int(3, w.batch.At.Unix()).
			int(4, int64(submission.Kind)).int(5, size)
		if payload == 0 {
			add.null(6).blob(7, submission.Payload)
		} else {
			add.int(6, payload).null(7)
		}
		if err := add.exec(); err != nil {
			return err
		}
		w.next++
		used := w.usage[mailbox]
		w.usage[mailbox] = usage{used.rows + 1, used.bytes + size}
	}
	return nil
}

// expireBatch is how many envelopes one transaction expires, so that submits
// wait only a moment.
const expireBatch = 1000

// Expire implements relay.Store. Entries stand in the order of their time, so it
// looks at the oldest until it meets one that stays.
func (s *Store) Expire(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for {
		n, err := s.expireSome(before)
		total += n
		if err != nil {
			return total, fmt.Errorf("expiring envelopes: %w", err)
		}
		if n < expireBatch {
			break
		}
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
	}
	if err := s.expireSubmissions(before); err != nil {
		return total, fmt.Errorf("expiring submit ids: %w", err)
	}
	s.checkpointer.truncate()
	return total, nil
}

func (s *Store) expireSome(before time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sequences, payloads []int64
	err := s.writer.oldest.int(1, expireBatch).each(func(row *sqlite3.Stmt) bool {
		if row.ColumnInt64(1) >= before.Unix() {
			return false
		}
		sequences = append(sequences, row.ColumnInt64(0))
		if row.ColumnType(2) != sqlite3.NULL {
			payloads = append(payloads, row.ColumnInt64(2))
		}
		return true
	})
	if err != nil || len(sequences) == 0 {
		return 0, err
	}
	clear(s.usage)
	return len(sequences), s.transaction(func() error {
		for _, sequence := range sequences {
			if err := s.writer.deleteEntry.int(1, sequence).exec(); err != nil {
				return err
			}
		}
		return s.deleteUnused(payloads)
	})
}
