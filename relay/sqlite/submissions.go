package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
)

// Submit ids are random, so that each would dirty a page of its own in a sorted
// table. A batch therefore appends its ids to a log, in one row, and they are kept
// in a map; when that has many, all of them become a run: sorted, in pages that are
// written once and deleted once. A filter tells which runs may have an id.

// A submissionKey is a sender's mailbox and the id it chose.
type submissionKey [8 + api.SubmitIDSize]byte

func newSubmissionKey(sender int64, id [api.SubmitIDSize]byte) (key submissionKey) {
	binary.BigEndian.PutUint64(key[:], uint64(sender))
	copy(key[8:], id[:])
	return key
}

func (k *submissionKey) sender() int64 { return int64(k.word(0)) }

func (k *submissionKey) word(i int) uint64 { return binary.BigEndian.Uint64(k[8*i:]) }

// compareKeys compares keys as bytes.Compare does, in half the time.
func compareKeys(a, b submissionKey) int {
	for i := range len(a) / 8 {
		if c := cmp.Compare(a.word(i), b.word(i)); c != 0 {
			return c
		}
	}
	return 0
}

// packed returns keys one after the other, as they stand in the database.
func packed(keys []submissionKey) []byte {
	all := make([]byte, 0, len(keys)*len(submissionKey{}))
	for i := range keys {
		all = append(all, keys[i][:]...)
	}
	return all
}

// unpacked calls yield for each of packed keys.
func unpacked(all []byte, yield func(submissionKey)) {
	for len(all) >= len(submissionKey{}) {
		yield(submissionKey(all))
		all = all[len(submissionKey{}):]
	}
}

const (
	// packAt is how many recent submit ids become a run: the more, the fewer runs
	// there are to search, and the longer takes the batch that does it.
	packAt = 1 << 15
	// pageKeys is how many fit into a page of the database.
	pageKeys = 160
)

// seen tells whether a submission was accepted before.
func (s *Store) seen(key submissionKey) (bool, error) {
	if _, ok := s.recent[key]; ok {
		return true, nil
	}
	for run := range s.filter.mayHave(key) {
		if found, err := s.inRun(run, key); err != nil || found {
			return found, err
		}
	}
	return false, nil
}

func (s *Store) inRun(run int64, key submissionKey) (found bool, err error) {
	const size = len(submissionKey{})
	err = s.writer.submissionPage.int(1, run).blob(2, key[:]).each(func(row *sqlite3.Stmt) bool {
		keys := row.ColumnRawBlob(0)
		_, found = sort.Find(len(keys)/size, func(i int) int { return bytes.Compare(key[:], keys[i*size:(i+1)*size]) })
		return false
	})
	return found, err
}

func (w *batchWrite) remember(key submissionKey) {
	w.recent[key] = struct{}{}
	w.added = append(w.added, key)
}

// keepSubmissions makes the database remember what the batch added.
func (w *batchWrite) keepSubmissions() error {
	last := make(map[int64][]byte) // of each sender
	for i := range w.added {
		last[w.added[i].sender()] = w.added[i][8:]
	}
	for sender, id := range last {
		if err := w.writer.setLastSubmit.int(1, sender).blob(2, id).exec(); err != nil {
			return fmt.Errorf("noting the last submit: %w", err)
		}
	}
	if len(w.recent) >= w.packAt && !w.full {
		return w.pack()
	}
	if len(w.added) == 0 {
		return nil
	}
	if err := w.writer.logSubmissions.int(1, w.batch.At.Unix()).blob(2, packed(w.added)).exec(); err != nil {
		return fmt.Errorf("logging submit ids: %w", err)
	}
	return nil
}

// A submissionRun has ids that were accepted one after the other, in the order of
// their bytes.
type submissionRun struct {
	number int64
	keys   []submissionKey
	filter *bloom.BloomFilter
}

func (r *submissionRun) makeFilter() {
	r.filter = newRunFilter(len(r.keys))
	for i := range r.keys {
		r.filter.Add(r.keys[i].hashedForRun())
	}
}

// pack makes a run of all recent ids, which counts once the batch is committed.
func (w *batchWrite) pack() error {
	run := submissionRun{number: w.nextRun, keys: slices.AppendSeq(make([]submissionKey, 0, len(w.recent)), maps.Keys(w.recent))}
	slices.SortFunc(run.keys, compareKeys)
	run.makeFilter()
	if err := w.saveLayers(); err != nil {
		return fmt.Errorf("saving the filters of submit ids: %w", err)
	}
	if err := writeRun(&w.writer.addRun, &w.writer.addPage, run, w.batch.At.Unix()); err != nil {
		return err
	}
	if err := w.writer.clearLog.exec(); err != nil {
		return fmt.Errorf("emptying the log of submit ids: %w", err)
	}
	w.run = run
	return nil
}

// writeRun stores a run with a filter. At is a time, in seconds since 1970, after
// which none of its ids was accepted that is not in the log.
func writeRun(addRun, addPage *statement, run submissionRun, at int64) error {
	if err := addRun.int(1, run.number).int(2, at).blob(3, filterBytes(run.filter)).exec(); err != nil {
		return fmt.Errorf("adding a run of submit ids: %w", err)
	}
	for page := range slices.Chunk(run.keys, pageKeys) {
		if err := addPage.int(1, run.number).blob(2, page[0][:]).blob(3, packed(page)).exec(); err != nil {
			return fmt.Errorf("adding a page of submit ids: %w", err)
		}
	}
	return nil
}

const (
	// Where the clock went back, what waits in the log is newer than now.
	addRunQuery  = `INSERT INTO submission_run (number, newest, filter) VALUES (?, max(?, (SELECT coalesce(max(accepted_at), 0) FROM submission_log)), ?)`
	addPageQuery = `INSERT INTO submission_page (run, first, keys) VALUES (?, ?, ?)`
)

// packSubmissions makes runs of the submit ids of schema 4, which stand sorted in one
// table, but for the recent ones.
func packSubmissions(c *sqlite3.Conn) (err error) {
	var sorted, addRun, addPage statement
	err = prepare(c, map[*statement]string{
		&sorted:  `SELECT mailbox, id, accepted_at FROM submission ORDER BY mailbox, id`,
		&addRun:  addRunQuery,
		&addPage: addPageQuery,
	})
	defer func() {
		err = errors.Join(err, sorted.stmt.Close(), addRun.stmt.Close(), addPage.stmt.Close())
	}()
	if err != nil {
		return err
	}
	run, newest := submissionRun{number: 1}, int64(0)
	end := func() error {
		if len(run.keys) == 0 {
			return nil
		}
		run.makeFilter()
		err := writeRun(&addRun, &addPage, run, newest)
		run, newest = submissionRun{number: run.number + 1, keys: run.keys[:0]}, 0
		return err
	}
	var failed error
	err = sorted.each(func(row *sqlite3.Stmt) bool {
		var id [api.SubmitIDSize]byte
		copy(id[:], row.ColumnRawBlob(1))
		run.keys = append(run.keys, newSubmissionKey(row.ColumnInt64(0), id))
		newest = max(newest, row.ColumnInt64(2))
		if len(run.keys) == packAt {
			failed = end()
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	return c.Exec(`
		INSERT INTO submission_log (accepted_at, keys)
			SELECT accepted_at, CAST(unhex(printf('%016X', mailbox)) || id AS BLOB) FROM submission_recent;
		DROP TABLE submission;
		DROP TABLE submission_recent`)
}

// forgetRecent makes memory agree with a database that has them in a run.
func (s *Store) forgetRecent(run submissionRun) {
	s.filter.savedLayers()
	s.filter.add(run)
	s.nextRun = run.number + 1
	clear(s.recent)
}

// loadSubmissions reads what is known of submissions: the log, and the filters, of
// which the layer that was not saved is made again.
func (s *Store) loadSubmissions() error {
	err := s.writer.submissionLog.each(func(row *sqlite3.Stmt) bool {
		unpacked(row.ColumnRawBlob(0), func(key submissionKey) { s.recent[key] = struct{}{} })
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the log of submit ids: %w", err)
	}
	last, err := s.loadLayers()
	if err != nil {
		return fmt.Errorf("reading the filters of submit ids: %w", err)
	}
	var runs []submissionRun
	var damaged error
	err = s.writer.submissionRuns.each(func(row *sqlite3.Stmt) bool {
		run := submissionRun{number: row.ColumnInt64(0)}
		run.filter, damaged = filterFrom(row.ColumnRawBlob(1), runHashes)
		runs = append(runs, run)
		return damaged == nil
	})
	if err = errors.Join(err, damaged); err != nil {
		return fmt.Errorf("reading the runs of submit ids: %w", err)
	}
	for _, run := range runs {
		if !s.filter.addSaved(run) {
			if err := s.addUnsaved(run); err != nil {
				return fmt.Errorf("reading a run of submit ids: %w", err)
			}
		}
		last = max(last, run.number)
	}
	s.nextRun = last + 1
	return nil
}

// addUnsaved reads a run that is in no layer that was saved.
func (s *Store) addUnsaved(run submissionRun) error {
	err := s.writer.submissionPages.int(1, run.number).each(func(row *sqlite3.Stmt) bool {
		unpacked(row.ColumnRawBlob(0), func(key submissionKey) { run.keys = append(run.keys, key) })
		return true
	})
	if err == nil {
		s.filter.add(run)
	}
	return err
}
