package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
)

// Submit ids are random, so that each would dirty another page of a sorted
// table. Recent ones are therefore appended to a table without order and kept in
// a map; when there are many of them they move to the sorted table, see merger.

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
	if _, ok := s.merger.ids[key]; ok {
		return true, nil
	}
	if s.filtered && !s.filter.mayHave(key) {
		return false, nil
	}
	found := false
	err := s.writer.submitted.int(1, key.sender).blob(2, key.id[:]).each(func(*sqlite3.Stmt) bool {
		found = true
		return false
	})
	return found, err
}

func (w *batchWrite) remember(key submissionKey) error {
	w.recent[key] = w.batch.At.Unix()
	w.filter.add(key, w.batch.At)
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
		at := row.ColumnInt64(2)
		s.recent[key] = at
		s.filter.add(key, time.Unix(at, 0))
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the recent submit ids: %w", err)
	}
	sorted, err := queryInt(s.writer.conn, `SELECT EXISTS (SELECT 1 FROM submission)`)
	if err != nil {
		return fmt.Errorf("reading the sorted submit ids: %w", err)
	}
	s.filtered = sorted == 0
	return nil
}

// filterPage is how many submit ids go into the filter at once, so that submits
// wait only a moment.
const filterPage = 1 << 12

// A filterLoader reads the sorted table into the filter after a start, which
// takes a while where it is large. Until it is through, the table is searched.
type filterLoader struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (s *Store) startFilter() {
	ctx, cancel := context.WithCancel(context.Background())
	s.filterLoader = filterLoader{cancel, make(chan struct{})}
	if s.filtered {
		close(s.filterLoader.done)
		return
	}
	go func() {
		defer close(s.filterLoader.done)
		s.loadFilter(ctx)
	}()
}

func (l filterLoader) stop() {
	l.cancel()
	<-l.done
}

// loadFilter leaves the filter unused after an error: it only makes things fast.
func (s *Store) loadFilter(ctx context.Context) {
	var last submissionKey
	for n := filterPage; n == filterPage && ctx.Err() == nil; {
		keys := make([]submissionKey, 0, filterPage)
		times := make([]time.Time, 0, filterPage)
		err := s.readers.use(ctx, func(r *reader) error {
			return r.submissions.int(1, last.sender).blob(2, last.id[:]).int(3, filterPage).each(func(row *sqlite3.Stmt) bool {
				last.sender = row.ColumnInt64(0)
				copy(last.id[:], row.ColumnRawBlob(1))
				keys, times = append(keys, last), append(times, time.Unix(row.ColumnInt64(2), 0))
				return true
			})
		})
		if err != nil {
			return
		}
		n = len(keys)
		s.mu.Lock()
		for i, key := range keys {
			s.filter.add(key, times[i])
		}
		s.filtered = n < filterPage
		s.mu.Unlock()
	}
}
