package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// A writer is the one connection that writes.
type writer struct {
	conn *sqlite3.Conn

	account, addAccount, sameDevice, countDevices, addDevice statement
	invite, useInvite                                        statement

	mailboxUsage, addEntry, addPayload, reserve      statement
	acked, ackedPayloads, deleteAcked, deletePayload statement
	oldest, deleteEntry, expireInvites               statement
	setAcked, setLastSubmit                          statement

	submissionLog, logSubmissions, clearLog, expireLog               statement
	submissionRuns, submissionPages, submissionPage, addRun, addPage statement
	expirePages, expireRuns                                          statement
	layers, addLayer, expireLayers                                   statement

	group, addGroup, setGroup, useGroup, expireGroups statement
	addList, endList, deleteOldLists                  statement

	devicesOf, oldestKeyPackage, lastResort, stock, countKeyPackages statement
	addKeyPackage, setLastResort, takeKeyPackage                     statement
	expireKeyPackages, expireLastResorts                             statement

	addNonce, expireNonces statement
}

func (w *writer) prepare() error {
	return prepare(w.conn, map[*statement]string{
		&w.account:      `SELECT id, key FROM account WHERE username = ?`,
		&w.addAccount:   `INSERT INTO account (username, key, created_at) VALUES (?, ?, ?)`,
		&w.sameDevice:   `SELECT record FROM device WHERE id = ?`,
		&w.countDevices: `SELECT count(*) FROM device WHERE account = ?`,
		&w.addDevice:    `INSERT INTO device (account, id, key, record, registered_at) VALUES (?, ?, ?, ?, ?)`,

		&w.invite:    `SELECT hash FROM invite WHERE id = ? AND uses_left > 0 AND coalesce(expires_at > ?, TRUE)`,
		&w.useInvite: `UPDATE invite SET uses_left = uses_left - 1 WHERE id = ?`,

		&w.mailboxUsage: `SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE mailbox = ?`,
		&w.addEntry:     `INSERT INTO entry (sequence, mailbox, accepted_at, kind, size, shared, body, list) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		&w.addPayload:   `INSERT INTO payload (id, body) VALUES (?, ?)`,
		&w.reserve:      `UPDATE sequence_reserved SET upto = ?`,

		&w.acked:         `SELECT count(*), coalesce(sum(size), 0), count(shared) FROM entry WHERE mailbox = ? AND sequence <= ?`,
		&w.ackedPayloads: `SELECT shared FROM entry WHERE mailbox = ? AND sequence <= ? AND shared IS NOT NULL`,
		&w.deleteAcked:   `DELETE FROM entry WHERE mailbox = ? AND sequence <= ?`,
		&w.deletePayload: `DELETE FROM payload WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM entry WHERE shared = ?1)`,

		&w.oldest:        `SELECT sequence, accepted_at, shared, size, mailbox FROM entry ORDER BY sequence LIMIT ?`,
		&w.deleteEntry:   `DELETE FROM entry WHERE sequence = ?`,
		&w.expireInvites: `DELETE FROM invite WHERE id IN (SELECT id FROM invite WHERE expires_at <= ? LIMIT ?)`,

		&w.setAcked: `INSERT INTO device_state (mailbox, acked) VALUES (?, ?)
			ON CONFLICT DO UPDATE SET acked = excluded.acked WHERE excluded.acked > acked`,
		&w.setLastSubmit: `INSERT INTO device_state (mailbox, last_submit) VALUES (?, ?)
			ON CONFLICT DO UPDATE SET last_submit = excluded.last_submit`,

		&w.submissionLog:  `SELECT keys FROM submission_log`,
		&w.logSubmissions: `INSERT INTO submission_log (accepted_at, keys) VALUES (?, ?)`,
		&w.clearLog:       `DELETE FROM submission_log`,
		&w.expireLog: `DELETE FROM submission_log WHERE number IN
			(SELECT number FROM submission_log WHERE accepted_at < ? ORDER BY number LIMIT ?) RETURNING keys`,

		&w.submissionRuns:  `SELECT number, filter FROM submission_run ORDER BY number`,
		&w.submissionPages: `SELECT keys FROM submission_page WHERE run = ? ORDER BY first`,
		&w.submissionPage:  `SELECT keys FROM submission_page WHERE run = ? AND first <= ? ORDER BY first DESC LIMIT 1`,
		&w.addRun:          addRunQuery,
		&w.addPage:         addPageQuery,
		&w.expirePages: `DELETE FROM submission_page WHERE number IN (SELECT submission_page.number FROM submission_run
			JOIN submission_page ON run = submission_run.number WHERE newest < ? LIMIT ?) RETURNING keys`,
		&w.expireRuns: `DELETE FROM submission_run WHERE newest < ? AND NOT EXISTS
			(SELECT 1 FROM submission_page WHERE run = submission_run.number) RETURNING number`,

		&w.layers:       `SELECT first_run, last_run, filter FROM submission_layer ORDER BY first_run`,
		&w.addLayer:     `INSERT INTO submission_layer (first_run, last_run, filter) VALUES (?, ?, ?)`,
		&w.expireLayers: `DELETE FROM submission_layer WHERE NOT EXISTS (SELECT 1 FROM submission_run WHERE number BETWEEN first_run AND last_run)`,

		&w.group:    `SELECT number, epoch, list, members, used_at FROM mls_group WHERE id = ?`,
		&w.addGroup: `INSERT INTO mls_group (id, epoch, list, members, used_at) VALUES (?, ?, ?, ?, ?)`,
		&w.setGroup: `UPDATE mls_group SET epoch = ?, list = ?, members = ?, used_at = ? WHERE number = ?`,
		&w.useGroup: `UPDATE mls_group SET used_at = ? WHERE number = ?`,
		&w.expireGroups: `DELETE FROM mls_group WHERE number IN
			(SELECT number FROM mls_group WHERE used_at < ? ORDER BY used_at LIMIT ?) RETURNING list`,
		&w.addList: `INSERT INTO delivery_list (group_id, hash) VALUES (?, ?)`,
		&w.endList: `UPDATE delivery_list SET ended = ? WHERE number = ?`,
		&w.deleteOldLists: `DELETE FROM delivery_list WHERE ended IS NOT NULL
			AND ended <= coalesce((SELECT min(sequence) FROM entry), ended)`,

		&w.devicesOf: `SELECT device.mailbox, device.id FROM device JOIN account ON account.id = device.account
			WHERE account.username = ? ORDER BY device.mailbox`,
		&w.oldestKeyPackage: `SELECT number, body FROM key_package
			WHERE mailbox = ? AND body IS NOT NULL AND expires_at > ? ORDER BY number LIMIT 1`,
		&w.lastResort: `SELECT body FROM last_resort WHERE mailbox = ? AND expires_at > ?`,
		&w.stock:      `SELECT number, digest FROM key_package WHERE mailbox = ? AND body IS NOT NULL`,
		&w.countKeyPackages: `SELECT count(*) FROM key_package
			WHERE mailbox = ? AND body IS NOT NULL AND expires_at > ?`,
		&w.addKeyPackage: `INSERT INTO key_package (mailbox, digest, expires_at, body) VALUES (?, ?, ?, ?)
			ON CONFLICT DO NOTHING`,
		&w.setLastResort: `INSERT INTO last_resort (mailbox, expires_at, body) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body WHERE body <> excluded.body`,
		&w.takeKeyPackage:    `UPDATE key_package SET body = NULL WHERE number = ?`,
		&w.expireKeyPackages: `DELETE FROM key_package WHERE number IN (SELECT number FROM key_package WHERE expires_at <= ? LIMIT ?)`,
		&w.expireLastResorts: `DELETE FROM last_resort WHERE mailbox IN (SELECT mailbox FROM last_resort WHERE expires_at <= ? LIMIT ?)`,

		&w.addNonce:     `INSERT OR IGNORE INTO nonce (at, device, nonce) VALUES (?, ?, ?)`,
		&w.expireNonces: `DELETE FROM nonce WHERE (at, device, nonce) IN (SELECT at, device, nonce FROM nonce WHERE at < ? LIMIT ?)`,
	})
}

// transaction runs f and commits; when it returns an error, nothing is changed
// in the database.
func (s *Store) transaction(f func() error) (err error) {
	defer func() {
		if errors.Is(err, sqlite3.FULL) {
			err = fmt.Errorf("%w: %w", relay.ErrFull, err)
		}
	}()
	tx, err := s.writer.conn.BeginImmediate()
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		defer timed(s.metrics.commit)()
		tx.End(&err)
	}()
	return f()
}

// reservedBytes is how much of the disk is left for acknowledgements, which free
// room, and for writing the log back: nothing else is taken when less is free.
const reservedBytes = 64 << 20

// haveSpace returns ErrFull when the disk has no room but the reserved. A disk that
// does not tell is tried.
func (s *Store) haveSpace() error {
	if free, err := s.freeBytes(); err == nil && free < reservedBytes {
		return relay.ErrFull
	}
	return nil
}

// Register implements relay.Store.
func (s *Store) Register(_ context.Context, r relay.Registration) error {
	if err := s.haveSpace(); err != nil {
		return err
	}
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
	case account == 0 || key != r.Certificate.AccountKey:
		if err := s.useInvite(r); err != nil {
			return 0, err
		}
		if account != 0 {
			return 0, relay.ErrNameTaken // and the invitation is not used up
		}
		return s.addAccount(r)
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
	s.usage.bound()
	w := batchWrite{Store: s, ctx: ctx, batch: batch, submissions: batch.Submissions, reserved: s.reserved}
	if err := s.haveSpace(); err != nil {
		w.refuseAll(err)
	}
	if err := s.transaction(w.apply); err != nil {
		s.forget(w.added)
		return fmt.Errorf("writing a batch: %w", err)
	}
	s.reserved = w.reserved
	if len(w.run.keys) > 0 {
		s.forgetRecent(w.run)
	}
	s.given.Store(s.next - 1)
	return nil
}

// forget makes memory agree with a database that did not take a batch.
func (s *Store) forget(added []submissionKey) {
	s.usage.clear()
	s.groups.clear()
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
	run      submissionRun // that it made of the recent ids, if it did
	account  int64         // of the sender of the submission at hand

	submissions []*relay.Submission // of the batch, those that are tried
	full        bool                // the disk: nothing but acknowledgements
}

// refuseAll leaves nothing but the acknowledgements.
func (w *batchWrite) refuseAll(err error) {
	for _, submission := range w.submissions {
		submission.Err, submission.FirstSequence = err, 0
	}
	w.submissions, w.full = nil, true
}

func (w *batchWrite) apply() error {
	for _, ack := range w.batch.Acks {
		if err := w.ack(ack); err != nil {
			return fmt.Errorf("deleting acknowledged envelopes: %w", err)
		}
	}
	for _, submission := range w.submissions {
		if err := w.submit(submission); err != nil {
			return fmt.Errorf("storing an envelope: %w", err)
		}
	}
	if err := w.keepSubmissions(); err != nil {
		return err
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
	// A device cannot acknowledge what was never given to anybody.
	upto := int64(min(ack.Sequence, uint64(w.next-1)))
	if err := w.writer.setAcked.int(1, mailbox).int(2, upto).exec(); err != nil {
		return err
	}
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
	w.usage.gone(mailbox, upto, gone)
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
	sender, err := w.place(w.ctx, submission.Sender)
	if err != nil {
		return err
	}
	w.account = sender.account
	key := newSubmissionKey(sender.mailbox, submission.ID)
	if seen, err := w.seen(key); err != nil || seen {
		return err
	}
	if submission.Group == nil {
		err = w.submitToRecipients(key, submission)
	} else {
		err = w.submitToGroup(key, submission)
	}
	if err == nil {
		return nil
	}
	for _, refusal := range []error{relay.ErrUnknownRecipient, relay.ErrMailboxFull, relay.ErrNotAMember, relay.ErrStaleEpoch} {
		if errors.Is(err, refusal) {
			submission.Err = err
			return nil
		}
	}
	return err
}

func (w *batchWrite) submitToRecipients(key submissionKey, submission *relay.Submission) error {
	mailboxes, err := w.recipients(submission)
	if err != nil {
		return err
	}
	w.remember(key)
	submission.FirstSequence, err = w.deliver(envelope{submission.Kind, submission.Payload, 0}, mailboxes)
	return err
}

// recipients returns the mailboxes of a submission, all known and with room.
func (w *batchWrite) recipients(submission *relay.Submission) ([]int64, error) {
	mailboxes := make([]int64, len(submission.Recipients))
	for i, device := range submission.Recipients {
		mailbox, err := w.recipient(device)
		if err != nil {
			return nil, err
		}
		if err := w.room(device, mailbox, usage{1, int64(len(submission.Payload))}); err != nil {
			return nil, err
		}
		mailboxes[i] = mailbox
	}
	return mailboxes, nil
}

// recipient is mailbox with an error for the sender.
func (w *batchWrite) recipient(device identity.DeviceID) (int64, error) {
	mailbox, err := w.mailbox(w.ctx, device)
	if errors.Is(err, relay.ErrUnknownDevice) {
		err = relay.RecipientError{Device: device, Err: relay.ErrUnknownRecipient}
	}
	return mailbox, err
}

// room returns ErrMailboxFull or ErrMailboxShare when the mailbox of a device has
// no room for more of the sender.
func (w *batchWrite) room(device identity.DeviceID, mailbox int64, more usage) error {
	held, err := w.held(mailbox)
	if err != nil {
		return err
	}
	limit := usage{w.batch.MailboxRows, w.batch.MailboxBytes}
	if !held.plus(more).within(limit, 100) {
		return relay.RecipientError{Device: device, Err: relay.ErrMailboxFull}
	}
	if w.batch.MailboxShare == 0 {
		return nil
	}
	if of := held.of[w.account].all(); of.rows > 0 && !of.plus(more).within(limit, w.batch.MailboxShare) {
		return relay.RecipientError{Device: device, Err: relay.ErrMailboxShare}
	}
	return nil
}

// An envelope is what goes into mailboxes.
type envelope struct {
	kind    api.Kind
	payload []byte
	list    int64 // number of a delivery list, 0 outside a group
}

// deliver stores the payload and an entry for each mailbox, and returns the
// sequence number of the first, 0 if there is none.
func (w *batchWrite) deliver(e envelope, mailboxes []int64) (uint64, error) {
	if len(mailboxes) == 0 {
		return 0, nil
	}
	var payload int64
	if len(mailboxes) > 1 {
		payload = w.nextPayload
		if err := w.writer.addPayload.int(1, payload).blob(2, e.payload).exec(); err != nil {
			return 0, err
		}
		w.nextPayload++
	}
	first := uint64(w.next)
	for _, mailbox := range mailboxes {
		if err := w.addEntry(mailbox, e, payload); err != nil {
			return 0, err
		}
	}
	return first, nil
}

func (w *batchWrite) addEntry(mailbox int64, e envelope, payload int64) error {
	size := int64(len(e.payload))
	add := w.writer.addEntry.int(1, w.next).int(2, mailbox).int(3, w.batch.At.Unix()).int(4, int64(e.kind)).int(5, size)
	if payload == 0 {
		add.blob(7, e.payload)
	} else {
		add.int(6, payload)
	}
	if e.list != 0 {
		add.int(8, e.list)
	}
	if err := add.exec(); err != nil {
		return err
	}
	w.usage.add(mailbox, w.account, w.next, usage{1, size})
	w.next++
	return nil
}
