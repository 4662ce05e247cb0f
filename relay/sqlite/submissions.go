package sqlite

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
)

// Submit ids are random, so that each would dirty another page of a sorted
// table. Recent ones are therefore appended to a table without order and kept in
// a map; when there are mergeRecentAt of them they move to the sorted table in
// its order, many to a page.
const mergeRecentAt = 1 << 14

// A submissionKey is a sender's mailbox and the id it chose.
type submissionKey struct {
	sender int64
	id     [api.SubmitIDSize]byte
}

// seen tells whether a submission was accepted before.
func (s *Store) seen(key submissionKey) (bool, error) {
	if _, ok := s.recent[key]; ok {
		return true, nil
	}
	found := false
	err := s.writer.submitted.int(1, key.sender).blob(2, key.id[:]).each(func(*sqlite3.Stmt) bool {
		found = true
		return false
	})
	return found, err
}

func (w *batchWrite) remember(key submissionKey) error {
	w.recent[key] = struct{}{}
	w.added = append(w.added, key)
	return w.writer.addRecent.int(1, key.sender).blob(2, key.id[:]).int(3, w.batch.At.Unix()).exec()
}

// lastSubmits returns the id that each sender of the batch got accepted last.
func (w *batchWrite) lastSubmits() map[int64][api.SubmitIDSize]byte {
	last := make(map[int64][api.SubmitIDSize]byte)
	for _, key := range w.added {
		last[key.sender] = key.id
	}
	return last
}

func (s *Store) loadRecent() error {
	err := s.writer.recent.each(func(row *sqlite3.Stmt) bool {
		key := submissionKey{sender: row.ColumnInt64(0)}
		copy(key.id[:], row.ColumnRawBlob(1))
		s.recent[key] = struct{}{}
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the recent submit ids: %w", err)
	}
	return nil
}

// mergeRecent moves the recent ids to the sorted table when they are many.
func (s *Store) mergeRecent() error {
	if len(s.recent) < mergeRecentAt {
		return nil
	}
	err := s.transaction(func() error {
		if err := s.writer.merge.exec(); err != nil {
			return err
		}
		return s.writer.clearRecent.exec()
	})
	if err != nil {
		return fmt.Errorf("sorting submit ids: %w", err)
	}
	clear(s.recent)
	return nil
}
