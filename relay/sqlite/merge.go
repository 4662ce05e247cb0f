package sqlite

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ncruces/go-sqlite3"
)

const (
	// mergeRecentAt is how many recent submit ids begin to move to the sorted table:
	// the more there are, the more of them go to one page.
	mergeRecentAt = 1 << 16
	// mergeStep is how many move with a batch, besides twice as many as the batch
	// has, so that they move faster than new ones come.
	mergeStep = 256
)

// A merger moves submit ids that were recent to the sorted table, in its order,
// and then deletes them where they were: some with each batch, for all at once
// would hold up the writer for a quarter of a second. A process that ends in
// between leaves some in both tables, and they count as recent again.
type merger struct {
	ids         map[submissionKey]int64 // all of them; nil while there is nothing to move
	ready       chan []submissionKey    // gives them sorted; nil once it did
	sorted      []submissionKey         // those that are still to be inserted
	first, last int64                   // the numbers in submission_recent that are still to be deleted
}

// prepareMerging makes the recent ids those that move, when they are many.
func (s *Store) prepareMerging() error {
	if s.merger.ready != nil {
		select {
		case s.merger.sorted = <-s.merger.ready:
			s.merger.ready = nil
		default:
		}
	}
	if s.merger.ids != nil || len(s.recent) < s.mergeAt {
		return nil
	}
	m := merger{ids: s.recent, ready: make(chan []submissionKey, 1)}
	err := s.writer.recentNumbers.each(func(row *sqlite3.Stmt) bool {
		m.first, m.last = row.ColumnInt64(0), row.ColumnInt64(1)
		return false
	})
	if err != nil {
		return fmt.Errorf("reading the recent submit ids: %w", err)
	}
	s.merger, s.recent = m, make(map[submissionKey]int64)
	go func() { m.ready <- sortedKeys(m.ids) }() // which nobody changes any more
	return nil
}

func sortedKeys(ids map[submissionKey]int64) []submissionKey {
	sorted := slices.AppendSeq(make([]submissionKey, 0, len(ids)), maps.Keys(ids))
	slices.SortFunc(sorted, func(a, b submissionKey) int {
		return cmp.Or(cmp.Compare(a.sender, b.sender), bytes.Compare(a.id[:], b.id[:]))
	})
	return sorted
}

// merge moves some ids, and sets merged to what is left to do, which counts once
// the batch is committed.
func (w *batchWrite) merge() error {
	w.merged = w.merger
	m := &w.merged
	if m.ids == nil || m.ready != nil || w.full {
		return nil
	}
	n := mergeStep + 2*len(w.submissions)
	if len(m.sorted) == 0 {
		upto := min(m.first+int64(n)-1, m.last)
		m.first = upto + 1
		if m.first > m.last {
			w.merged = merger{}
		}
		return w.writer.deleteRecent.int(1, upto).exec()
	}
	n = min(n, len(m.sorted))
	for _, key := range m.sorted[:n] {
		if err := w.writer.addSorted.int(1, key.sender).blob(2, key.id[:]).int(3, m.ids[key]).exec(); err != nil {
			return err
		}
	}
	m.sorted = m.sorted[n:]
	return nil
}
