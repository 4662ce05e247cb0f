package sqlite

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A statement is a prepared statement that remembers the first error of its
// bindings until it runs.
type statement struct {
	stmt *sqlite3.Stmt
	err  error
}

// prepare prepares each query on a connection, which owns the result.
func prepare(c *sqlite3.Conn, queries map[*statement]string) error {
	for s, query := range queries {
		stmt, _, err := c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", query, err)
		}
		s.stmt = stmt
	}
	return nil
}

func (s *statement) note(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *statement) int(param int, value int64) *statement {
	s.note(s.stmt.BindInt64(param, value))
	return s
}

func (s *statement) null(param int) *statement {
	s.note(s.stmt.BindNull(param))
	return s
}

func (s *statement) text(param int, value string) *statement {
	s.note(s.stmt.BindText(param, value))
	return s
}

// blob binds bytes; nil binds the empty blob, not NULL.
func (s *statement) blob(param int, value []byte) *statement {
	if value == nil {
		value = []byte{}
	}
	s.note(s.stmt.BindBlob(param, value))
	return s
}

// exec runs a statement that returns no rows.
func (s *statement) exec() error {
	defer s.reset()
	if s.err != nil {
		return s.err
	}
	return s.stmt.Exec()
}

// each calls row for each row until it returns false.
func (s *statement) each(row func(*sqlite3.Stmt) bool) error {
	defer s.reset()
	if s.err != nil {
		return s.err
	}
	for s.stmt.Step() {
		if !row(s.stmt) {
			return nil
		}
	}
	return s.stmt.Err()
}

// reset lets go of locks and of bound payloads.
func (s *statement) reset() {
	s.err = nil
	s.note(s.stmt.Reset())
	s.note(s.stmt.ClearBindings())
	s.err = nil // Reset repeats the error of the run
}
