package sqlite

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
	"sealpost/relay"
)

// ErrNoInvite reports an invitation that does not exist.
var ErrNoInvite = errors.New("there is no such invitation")

// An Invite is an invitation to register. Its code is not kept.
type Invite struct {
	ID         string // the first group of the code
	Uses, Left int    // how many accounts it is for, and how many are yet to come
	Note       string // of the operator
	Created    time.Time
	Expires    time.Time // zero: never
}

// useInvite counts a registration against its invitation, in the transaction of
// the registration.
func (s *Store) useInvite(r relay.Registration) error {
	if !r.ByInvite {
		return nil
	}
	if r.Invite == nil {
		return relay.ErrInviteRequired
	}
	offered, valid := r.Invite.Hash(), 0
	err := s.writer.invite.text(1, r.Invite.ID()).int(2, r.At.Unix()).each(func(row *sqlite3.Stmt) bool {
		valid = subtle.ConstantTimeCompare(row.ColumnRawBlob(0), offered[:])
		return false
	})
	if err != nil {
		return fmt.Errorf("reading an invitation: %w", err)
	}
	if valid == 0 {
		return relay.ErrInviteInvalid
	}
	return s.writer.useInvite.text(1, r.Invite.ID()).exec()
}

// inviteTries is how often a code is made anew whose first group another has.
const inviteTries = 100

// AddInvite makes an invitation and its code. ID, Left and Created are set by it.
func (a *Admin) AddInvite(invite Invite, now time.Time) (identity.InviteCode, error) {
	if err := a.current(); err != nil {
		return identity.InviteCode{}, err
	}
	for range inviteTries {
		code := identity.NewInviteCode()
		if added, err := a.insertInvite(code, invite, now); added || err != nil {
			return code, err
		}
	}
	return identity.InviteCode{}, errors.New("too many invitations: revoke some")
}

func (a *Admin) insertInvite(code identity.InviteCode, invite Invite, now time.Time) (added bool, err error) {
	stmt, _, err := a.conn.Prepare(`INSERT OR IGNORE INTO invite (id, hash, uses, uses_left, note, created_at, expires_at)
		VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)`)
	if err != nil {
		return false, explain(err)
	}
	hash := code.Hash()
	insert := (&statement{stmt: stmt}).text(1, code.ID()).blob(2, hash[:]).int(3, int64(invite.Uses)).text(4, invite.Note).int(5, now.Unix())
	if invite.Expires.IsZero() {
		insert.null(6)
	} else {
		insert.int(6, invite.Expires.Unix())
	}
	err = errors.Join(insert.exec(), stmt.Close())
	if err != nil {
		return false, fmt.Errorf("adding an invitation: %w", explain(err))
	}
	return a.conn.Changes() > 0, nil
}

// Invites calls yield for each invitation, the oldest first, until it returns an
// error.
func (a *Admin) Invites(yield func(Invite) error) error {
	if err := a.current(); err != nil {
		return err
	}
	err := a.each(`SELECT id, uses, uses_left, note, created_at, coalesce(expires_at, 0) FROM invite ORDER BY created_at, id`,
		func(row *sqlite3.Stmt) error {
			invite := Invite{
				ID: row.ColumnText(0), Uses: row.ColumnInt(1), Left: row.ColumnInt(2), Note: row.ColumnText(3),
				Created: time.Unix(row.ColumnInt64(4), 0),
			}
			if expires := row.ColumnInt64(5); expires != 0 {
				invite.Expires = time.Unix(expires, 0)
			}
			return yield(invite)
		})
	if err != nil {
		return fmt.Errorf("reading the invitations: %w", err)
	}
	return nil
}

// RevokeInvite deletes an invitation. Who has registered with it stays. The error
// may be ErrNoInvite.
func (a *Admin) RevokeInvite(id string) error {
	if err := a.current(); err != nil {
		return err
	}
	stmt, _, err := a.conn.Prepare(`DELETE FROM invite WHERE id = ?`)
	if err == nil {
		err = errors.Join((&statement{stmt: stmt}).text(1, id).exec(), stmt.Close())
	}
	if err != nil {
		return fmt.Errorf("revoking an invitation: %w", explain(err))
	}
	if a.conn.Changes() == 0 {
		return ErrNoInvite
	}
	return nil
}
