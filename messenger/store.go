package messenger

import (
	"context"
	"database/sql"
	_ "embed" // the schema
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

// migrations lead from one version of the schema to the next; the version, in
// user_version, is how many have run. One that was released never changes.
var migrations = []string{schemaV1}

//go:embed schema_v1.sql
var schemaV1 string

const readers = 4

// store is the encrypted database of a profile. One connection writes, several
// read beside it.
type store struct {
	writer *sql.DB
	reader *sql.DB
	fault  func() error // asked before and after each commit; nil but in tests
}

// openExisting opens the database of a profile. One that is lost is not made anew: an
// empty one in its place would hide that.
func openExisting(ctx context.Context, dir string, key []byte) (*store, error) {
	path := filepath.Join(dir, databaseFileName)
	if isLost(path) {
		return nil, fmt.Errorf("%w: %s is lost", ErrDamaged, databaseFileName)
	}
	return openStore(ctx, path, key)
}

func isLost(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0)
}

// openStore opens or makes the database and brings its schema up to date. The
// error wraps [ErrDamaged] or [ErrNewerProfile].
func openStore(ctx context.Context, path string, key []byte) (*store, error) {
	if len(key) != databaseKeySize {
		return nil, fmt.Errorf("a database key of %d bytes: %w", len(key), ErrDamaged)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	writer, err := openPool(path, key, 1, "PRAGMA query_only = OFF")
	if err != nil {
		return nil, err
	}
	err = migrate(ctx, writer)
	if err == nil {
		err = checkVital(ctx, writer)
	}
	if isDamage(err) {
		err = describeDamage(err)
	}
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader, err := openPool(path, key, readers, "PRAGMA query_only = ON")
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	return &store{writer: writer, reader: reader}, nil
}

// makePrivate makes the database and its index, if need be, so that nobody else
// may read them: left to SQLite, that depends on the umask. The journal takes its
// mode after the database, see openPool.
func makePrivate(path string) error {
	for _, name := range []string{path, path + "-shm"} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			err = errors.Join(f.Chmod(0o600), f.Close())
		}
		if err != nil {
			return fmt.Errorf("making the database private: %w", err)
		}
	}
	return nil
}

// openPool sets every pragma on every connection. They and the key do not stand
// in the data source name, which errors repeat.
func openPool(path string, key []byte, connections int, more string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the database: %w", err)
	}
	parameters := url.Values{"vfs": {vfsName}, "_txlock": {"immediate"}, "modeof": {path}}
	source := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: parameters.Encode()}
	pool, err := openCaching(source.String(), func(conn *sqlite3.Conn) error {
		for _, statement := range []string{
			"PRAGMA hexkey = '" + hex.EncodeToString(key) + "'", // first, or nothing can be read
			"PRAGMA busy_timeout = 10000",
			"PRAGMA journal_mode = WAL",
			"PRAGMA synchronous = FULL",
			"PRAGMA foreign_keys = ON",
			"PRAGMA secure_delete = ON",
			"PRAGMA temp_store = MEMORY",
			"PRAGMA trusted_schema = OFF",
			more,
		} {
			if err := conn.Exec(statement); err != nil {
				return describeSQLite(err)
			}
		}
		return fts5.Register(conn)
	})
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

// describeSQLite names what a wrong key and a damaged file look like, and drops
// the statement from errors, for one of them holds the key.
func describeSQLite(err error) error {
	if isDamage(err) {
		return ErrDamaged
	}
	var failure *sqlite3.Error
	if errors.As(err, &failure) {
		return failure.ExtendedCode()
	}
	return err
}

func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, before it the first error counts
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	switch {
	case version > len(migrations):
		return ErrNewerProfile
	case version == len(migrations):
		return nil
	}
	for _, migration := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, migration); err != nil {
			return fmt.Errorf("migrating the database: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// write runs do in one transaction, which is on disk when write returns nil.
func (s *store) write(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, before it the first error counts
	if err := do(tx); err != nil {
		return err
	}
	if err := s.mayFail(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return s.mayFail()
}

func (s *store) mayFail() error {
	if s.fault == nil {
		return nil
	}
	return s.fault()
}

// close closes the readers first, so that the writer leaves no journal behind.
func (s *store) close() error { return errors.Join(s.reader.Close(), s.writer.Close()) }
