package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sealpost/identity"
)

// contact is a row of the contacts.
type contact struct {
	id int64
	Contact
}

// querier is what a transaction and a pool of readers have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const selectContacts = `SELECT id, username, account_key, pinned_at, verified, new_key, accepted, blocked FROM contacts `

func scanContact(scan func(...any) error) (contact, error) {
	var (
		k            contact
		pinned, next []byte
		at           int64
	)
	if err := scan(&k.id, &k.Username, &pinned, &at, &k.Verified, &next, &k.Accepted, &k.Blocked); err != nil {
		return contact{}, err
	}
	if len(pinned) != len(k.AccountKey) || (next != nil && len(next) != len(k.AccountKey)) {
		return contact{}, fmt.Errorf("reading the key of a contact: %w", ErrDamaged)
	}
	k.AccountKey, k.Pinned = identity.AccountKey(pinned), fromMilli(at)
	if next != nil {
		key := identity.AccountKey(next)
		k.NewKey = &key
	}
	return k, nil
}

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// findContact returns nil where there is no contact of this name.
func findContact(ctx context.Context, q querier, username identity.Username) (*contact, error) {
	k, err := scanContact(q.QueryRowContext(ctx, selectContacts+"WHERE username = ?", string(username)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a contact: %w", err)
	}
	return &k, nil
}

// keyChanged returns the error that stops whatever would use the contact, or
// nil.
func (k *contact) keyChanged() error {
	if k.NewKey == nil {
		return nil
	}
	return &KeyChangedError{Username: k.Username, Pinned: k.AccountKey, Offered: *k.NewKey, Verified: k.Verified}
}

// learn applies the trust policy to what the directory says of an account and
// keeps what follows. The error is a [*KeyChangedError] or [*UntrustedError].
func (c *Client) learn(ctx context.Context, l listing, policy TrustPolicy) (*contact, error) {
	var (
		known   *contact
		refused error
	)
	err := c.commit(ctx, func(u *unit) (err error) {
		known, refused, err = c.learnIn(u, l, policy)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	c.setFresh(l.username)
	return known, nil
}

// learnIn is learn in a transaction. What it notes is to be committed, refused
// or not.
func (c *Client) learnIn(u *unit, l listing, policy TrustPolicy) (known *contact, refused, err error) {
	known, err = findContact(u, u, l.username)
	switch {
	case err != nil:
		return nil, nil, err
	case known == nil && policy == TrustStrict:
		return nil, &UntrustedError{Username: l.username, Offered: l.accountKey}, nil
	case known == nil:
		known, err = c.pin(u, l)
	case known.AccountKey == l.accountKey:
		// as it was
	case policy == TrustAcceptNew && !known.Verified:
		err = c.replaceKey(u, known, l.accountKey)
	default:
		err = c.noteNewKey(u, known, l.accountKey)
	}
	if err != nil {
		return nil, nil, err
	}
	return known, known.keyChanged(), nil
}

// pin makes a contact.
func (c *Client) pin(u *unit, l listing) (*contact, error) {
	result, err := u.ExecContext(u, "INSERT INTO contacts (username, account_key, pinned_at) VALUES (?, ?, ?)",
		string(l.username), l.accountKey[:], u.now.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("pinning a contact: %w", err)
	}
	known := &contact{Contact: Contact{Username: l.username, AccountKey: l.accountKey, Pinned: fromMilli(u.now.UnixMilli())}}
	if known.id, err = result.LastInsertId(); err != nil {
		return nil, fmt.Errorf("pinning a contact: %w", err)
	}
	return known, releaseHeld(u, known)
}

const (
	reasonKeyChanged = "the recipient's key changed; it waits until you accept the new one"
	reasonOldKey     = "it was sealed for the key that the recipient had before; write it again"
)

// noteNewKey stops everything to a contact under whose name another key
// appeared, and says so wherever the contact is.
func (c *Client) noteNewKey(u *unit, known *contact, key identity.AccountKey) error {
	if known.NewKey != nil && *known.NewKey == key {
		return nil // said before
	}
	known.NewKey = &key
	if _, err := u.ExecContext(u, "UPDATE contacts SET new_key = ? WHERE id = ?", key[:], known.id); err != nil {
		return fmt.Errorf("noting a changed key: %w", err)
	}
	u.tell(KeyChanged{Contact: known.Contact})
	return c.withConversations(u, known, func(v *conversation) error {
		if err := addNotice(u, v, KindKeyChanged, known.Username, key.String()); err != nil {
			return err
		}
		return explainWaiting(u, v.id, reasonKeyChanged)
	})
}

// withConversations does something in every conversation that a contact is in.
func (c *Client) withConversations(u *unit, known *contact, do func(*conversation) error) error {
	rows, err := u.QueryContext(u, `
		SELECT v.id FROM conversations v WHERE v.contact = ? OR EXISTS (
			SELECT 1 FROM groups g JOIN members m ON m.grp = g.id WHERE g.conversation = v.id AND g.state = ? AND m.username = ?)`,
		known.id, int(groupLive), string(known.Username))
	if err != nil {
		return fmt.Errorf("looking for the conversations of a contact: %w", err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("looking for the conversations of a contact: %w", err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("looking for the conversations of a contact: %w", err)
	}
	for _, id := range ids {
		v, err := conversationByRow(u, u, id)
		if err == nil {
			err = do(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replaceKey pins another key. What was written for the old one and is still here
// fails: sealing it for a new key without asking is just what somebody who swapped
// the key would want.
func (c *Client) replaceKey(u *unit, known *contact, key identity.AccountKey) error {
	if _, err := u.ExecContext(u, "UPDATE contacts SET account_key = ?, new_key = NULL, verified = 0, pinned_at = ? WHERE id = ?",
		key[:], u.now.UnixMilli(), known.id); err != nil {
		return fmt.Errorf("pinning the new key: %w", err)
	}
	known.AccountKey, known.NewKey, known.Verified, known.Pinned = key, nil, false, fromMilli(u.now.UnixMilli())
	u.tell(KeyChanged{Contact: known.Contact})
	if err := c.withConversations(u, known, func(v *conversation) error {
		if v.kind == Direct {
			if err := c.leaveOldKey(u, v); err != nil {
				return err
			}
		}
		if err := explainWaiting(u, v.id, ""); err != nil {
			return err
		}
		return addNotice(u, v, KindKeyAccepted, known.Username, key.String())
	}); err != nil {
		return err
	}
	u.wakes = true
	return releaseHeld(u, known)
}

// leaveOldKey ends the groups of a direct conversation, which the old key is in.
func (c *Client) leaveOldKey(u *unit, v *conversation) error {
	if err := c.failWaiting(u, v, reasonOldKey); err != nil {
		return err
	}
	for _, state := range []groupState{groupNew, groupLive, groupLost} {
		old, err := groupsIn(u, v.id, state)
		if err != nil {
			return err
		}
		for _, g := range old {
			if err := c.setGroupState(u, g, groupGone); err != nil {
				return err
			}
		}
	}
	if _, err := u.ExecContext(u, "DELETE FROM counters WHERE conversation = ?", v.id); err != nil {
		return fmt.Errorf("leaving the old key: %w", err)
	}
	return nil
}

// Contacts returns the pinned contacts in the order of their names.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) {
	var all []Contact
	err := c.read(ctx, selectContacts+"ORDER BY username", nil, func(scan func(...any) error) error {
		k, err := scanContact(scan)
		all = append(all, k.Contact)
		return err
	})
	return all, err
}

// Identify returns what is known of an account and what the server says of it
// now, and pins nothing. For a new contact Pinned is zero and AccountKey is what
// the server says; for a contact whose key changed, NewKey is. If the
// server cannot be reached, a pinned contact comes from the store alone.
func (c *Client) Identify(ctx context.Context, username identity.Username) (Contact, error) {
	known, err := c.knownContact(ctx, username)
	if err != nil {
		return Contact{}, err
	}
	l, err := c.lookup(ctx, username)
	switch {
	case err != nil && known != nil && errors.Is(err, ErrServerUnavailable):
		return known.Contact, nil
	case err != nil:
		return Contact{}, err
	case known == nil:
		return Contact{Username: username, AccountKey: l.accountKey}, nil
	case known.AccountKey != l.accountKey:
		known.NewKey = &l.accountKey
	}
	return known.Contact, nil
}

func (c *Client) knownContact(ctx context.Context, username identity.Username) (*contact, error) {
	if c.closing.Err() != nil {
		return nil, ErrClosed
	}
	known, err := findContact(ctx, c.store.reader, username)
	if err != nil {
		return nil, c.storeFailure(ctx, err)
	}
	return known, nil
}

// SafetyNumber returns the 60 digits that stand for this account and the other
// one. It is that of the pinned key, or of the key that the server offers if
// none is pinned; for a key that changed, see [Client.SafetyNumberOf].
func (c *Client) SafetyNumber(ctx context.Context, username identity.Username) (string, error) {
	known, err := c.knownContact(ctx, username)
	if err != nil {
		return "", err
	}
	if known != nil {
		return c.SafetyNumberOf(known.AccountKey), nil
	}
	l, err := c.lookup(ctx, username)
	if err != nil {
		return "", err
	}
	return c.SafetyNumberOf(l.accountKey), nil
}

// SafetyNumberOf returns the 60 digits that stand for this account and another
// account key.
func (c *Client) SafetyNumberOf(key identity.AccountKey) string {
	return identity.SafetyNumber(c.self.accountKey(), key)
}

// AcceptKey pins key for a contact, in place of another that was pinned. The key
// must be the one that the contact's NewKey holds or the server offers now,
// otherwise the error is [ErrKeyMismatch]. The contact is then not verified.
// Messages to it that are still queued were written for the old key: they fail, and
// say so; they are never sealed for another by themselves. Invitations held under
// the new key are taken. Accepting the key that is pinned already means to stay with it, and
// forgets the other.
func (c *Client) AcceptKey(ctx context.Context, username identity.Username, key identity.AccountKey) error {
	return c.decide(ctx, username, key, false)
}

// Verify says that a person compared key, or its safety number, with the
// contact. It pins the key if none is pinned, accepts it if it is the changed
// one (as AcceptKey does), and marks the contact as verified.
func (c *Client) Verify(ctx context.Context, username identity.Username, key identity.AccountKey) error {
	return c.decide(ctx, username, key, true)
}

func (c *Client) decide(ctx context.Context, username identity.Username, key identity.AccountKey, verified bool) error {
	known, err := c.knownContact(ctx, username)
	if err != nil {
		return err
	}
	l := listing{username: username, accountKey: key}
	if known == nil || known.AccountKey != key {
		l, err = c.lookup(ctx, username)
		held := known != nil && known.NewKey != nil && *known.NewKey == key
		switch {
		case held && (err != nil || l.accountKey != key):
			l = listing{username: username, accountKey: key} // its devices come later
		case err != nil:
			return err
		case l.accountKey != key:
			return ErrKeyMismatch
		}
	}
	if err := c.commit(ctx, func(u *unit) error { return c.decideIn(u, l, verified) }); err != nil {
		return err
	}
	return nil
}

func (c *Client) decideIn(u *unit, l listing, verified bool) error {
	known, err := findContact(u, u, l.username)
	if err != nil {
		return err
	}
	switch {
	case known == nil:
		known, err = c.pin(u, l)
	case known.AccountKey != l.accountKey:
		err = c.replaceKey(u, known, l.accountKey)
	case known.NewKey != nil:
		err = c.keepKey(u, known)
	}
	if err != nil || !verified {
		return err
	}
	_, err = u.ExecContext(u, "UPDATE contacts SET verified = 1 WHERE id = ?", known.id)
	return err
}

// keepKey stays with the pinned key and lets the queue go on.
func (c *Client) keepKey(u *unit, known *contact) error {
	if _, err := u.ExecContext(u, "UPDATE contacts SET new_key = NULL WHERE id = ?", known.id); err != nil {
		return fmt.Errorf("keeping the pinned key: %w", err)
	}
	known.NewKey = nil
	u.wakes = true
	return c.withConversations(u, known, func(v *conversation) error { return explainWaiting(u, v.id, "") })
}
