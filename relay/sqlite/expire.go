package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
	"sealpost/relay"
)

// One step of expiry deletes no more than this, so that who submits meanwhile
// waits only a moment: deleting means overwriting.
const (
	expireRows  = 200
	expireBytes = 256 << 10 // of payload
)

// An expiryStep deletes some of what is due, and tells how many that was and
// whether there may be more.
type expiryStep func(ctx context.Context) (gone int, more bool, err error)

// Expire implements relay.Store.
func (s *Store) Expire(ctx context.Context, due relay.Due) (relay.Expired, error) {
	var gone relay.Expired
	for _, kind := range []struct {
		name string
		gone *int
		step expiryStep
	}{
		{"envelopes", &gone.Envelopes, s.expireEntries(due.Before)},
		{"recent submit ids", &gone.SubmitIDs, s.expireLog(due.Before)},
		{"submit ids", &gone.SubmitIDs, s.expireRuns(due.Before)},
		{"nonces", &gone.Nonces, s.expireWith(&s.writer.expireNonces, due.Nonces)},
		{"key packages", &gone.KeyPackages, s.expireWith(&s.writer.expireKeyPackages, due.At)},
		{"last key packages", &gone.KeyPackages, s.expireWith(&s.writer.expireLastResorts, due.At)},
		{"invitations", &gone.Invites, s.expireWith(&s.writer.expireInvites, due.At)},
		{"groups", &gone.Groups, s.expireGroups(due.Groups)},
		{"delivery lists", new(int), s.forgetLists},
	} {
		for more := true; more; {
			began := time.Now()
			n, again, err := kind.step(ctx)
			*kind.gone += n
			pause(ctx, time.Since(began))
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return gone, fmt.Errorf("expiring %s: %w", kind.name, err)
			}
			more = again
		}
	}
	s.checkpointer.truncate()
	return gone, nil
}

// pause leaves the disk to others for as long as a step took.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// expireEntries looks at the oldest entries until it meets one that stays: they
// stand in the order of their time.
func (s *Store) expireEntries(before time.Time) expiryStep {
	return func(context.Context) (gone int, more bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var due []dueEntry
		var payloads []int64
		var bytes int64
		err = s.writer.oldest.int(1, expireRows).each(func(row *sqlite3.Stmt) bool {
			if row.ColumnInt64(1) >= before.Unix() {
				more = false
				return false
			}
			due = append(due, dueEntry{row.ColumnInt64(0), row.ColumnInt64(4), row.ColumnInt64(3)})
			if row.ColumnType(2) != sqlite3.NULL {
				payloads = append(payloads, row.ColumnInt64(2))
			}
			bytes += row.ColumnInt64(3)
			more = len(due) == expireRows || bytes >= expireBytes
			return !more
		})
		if err != nil || len(due) == 0 {
			return 0, false, err
		}
		err = s.transaction(func() error {
			for _, e := range due {
				if err := s.writer.deleteEntry.int(1, e.sequence).exec(); err != nil {
					return err
				}
			}
			return s.deleteUnused(payloads)
		})
		if err != nil {
			return 0, more, err
		}
		for _, e := range due { // each was the oldest of its mailbox
			s.usage.gone(e.mailbox, e.sequence, usage{1, e.size})
		}
		return len(due), more, nil
	}
}

// A dueEntry is one that expires.
type dueEntry struct{ sequence, mailbox, size int64 }

// expireLog forgets recent submit ids.
func (s *Store) expireLog(before time.Time) expiryStep {
	return func(context.Context) (gone int, more bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var old []submissionKey
		rows := 0
		err = s.transaction(func() error {
			return s.writer.expireLog.int(1, before.Unix()).int(2, expireRows).each(func(row *sqlite3.Stmt) bool {
				rows++
				unpacked(row.ColumnRawBlob(0), func(key submissionKey) { old = append(old, key) })
				return true
			})
		})
		if err != nil {
			return 0, false, err
		}
		for _, key := range old {
			delete(s.recent, key)
		}
		return len(old), rows == expireRows, nil
	}
}

// expireRuns deletes the runs of submit ids that have none to keep, and the filters
// that are of no others.
func (s *Store) expireRuns(before time.Time) expiryStep {
	const pages = expireBytes / (pageKeys * len(submissionKey{}))
	return func(context.Context) (gone int, more bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		pagesGone, runsGone := 0, make(map[int64]bool)
		err = s.transaction(func() error {
			err := s.writer.expirePages.int(1, before.Unix()).int(2, int64(pages)).each(func(row *sqlite3.Stmt) bool {
				pagesGone++
				gone += len(row.ColumnRawBlob(0)) / len(submissionKey{})
				return true
			})
			if err != nil {
				return err
			}
			err = s.writer.expireRuns.int(1, before.Unix()).each(func(row *sqlite3.Stmt) bool {
				runsGone[row.ColumnInt64(0)] = true
				return true
			})
			if err != nil || len(runsGone) == 0 {
				return err
			}
			return s.writer.expireLayers.exec()
		})
		if err != nil {
			return 0, false, err
		}
		s.filter.expire(runsGone)
		return gone, pagesGone == pages, nil
	}
}

// expireWith runs a statement that deletes what is due at a time, up to a number of
// rows.
func (s *Store) expireWith(statement *statement, at time.Time) expiryStep {
	return func(context.Context) (gone int, more bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		err = s.transaction(func() error { return statement.int(1, at.Unix()).int(2, expireRows).exec() })
		gone = int(s.writer.conn.Changes())
		return gone, gone == expireRows, err
	}
}

// expireGroups forgets groups that nobody uses. Their last delivery lists stay as long as
// an entry names them.
func (s *Store) expireGroups(before time.Time) expiryStep {
	const atOnce = expireBytes / (1000 * len(identity.DeviceID{})) // large ones
	return func(context.Context) (gone int, more bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		err = s.transaction(func() error {
			var lists []int64
			err := s.writer.expireGroups.int(1, before.Unix()).int(2, int64(atOnce)).each(func(row *sqlite3.Stmt) bool {
				lists = append(lists, row.ColumnInt64(0))
				return true
			})
			if err != nil {
				return err
			}
			for _, list := range lists {
				if err := s.writer.endList.int(1, s.next).int(2, list).exec(); err != nil {
					return err
				}
			}
			gone = len(lists)
			return nil
		})
		if err != nil {
			return 0, false, err
		}
		if gone > 0 {
			s.groups.clear()
		}
		return gone, gone == atOnce, nil
	}
}

// forgetLists deletes the delivery lists of past epochs that no entry names any
// more.
func (s *Store) forgetLists(context.Context) (gone int, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 0, false, s.transaction(s.writer.deleteOldLists.exec)
}
