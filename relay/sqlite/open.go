package sqlite

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/ncruces/go-sqlite3"
)

// Errors of Open, for a person to read.
var (
	// ErrInUse: another process has the data directory open.
	ErrInUse = errors.New("the data directory is in use by another server")
	// ErrCorrupt: the file is no database, or a damaged one.
	ErrCorrupt = errors.New("the database is damaged or no database")
)

// FileName is the database in the data directory; SQLite keeps two more files
// of this name with -wal and -shm after it.
const FileName = "relay.db"

const lockName = "lock"

// Open opens the store in a directory and makes both where they are not there.
// The error wraps ErrInUse, ErrOwner, ErrCorrupt, ErrNewerSchema or one of package fs.
func Open(dir string) (*Store, error) { return openOn(dir, "") }

// openOn is Open on a file system that is registered with SQLite; the empty name
// is the operating system's.
func openOn(dir, vfs string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err == nil { // else what follows says more
		if err := checkOwner(info); err != nil {
			return nil, err
		}
	}
	lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if !locked {
		return nil, ErrInUse
	}
	s, err := open(dir, vfs)
	if err != nil {
		return nil, errors.Join(explain(err), lock.Close())
	}
	s.lock = lock
	go s.checkpointer.run()
	return s, nil
}

func open(dir, vfs string) (*Store, error) {
	path, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	s := newStore(dsn(path, vfs))
	s.path = path
	s.freeBytes = func() (int64, error) { return freeBytes(dir) }
	if err := s.openConnections(); err != nil {
		return nil, errors.Join(err, s.closeConnections())
	}
	return s, nil
}

// makePrivate makes the files of the database, if need be, so that nobody else
// may read who writes to whom: left to SQLite, that depends on the umask. The log
// takes its mode after the database, see dsn.
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

func (s *Store) openConnections() (err error) {
	if s.writer.conn, err = sqlite3.Open(s.dsn); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if err := migrate(s.writer.conn); err != nil {
		return err
	}
	if err := s.writer.prepare(); err != nil {
		return err
	}
	if err := s.loadState(); err != nil {
		return err
	}
	if s.checkpointer.conn, err = sqlite3.Open(s.dsn); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if err := s.checkpointer.conn.BusyTimeout(0); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	s.writer.conn.WALHook(s.checkpointer.wrote)
	return nil
}

// dsn names the database and what every connection must have set.
// A write-ahead log in mode NORMAL would lose the last commits in a power cut,
// hence FULL. The log is copied back by the checkpointer, not by whoever commits,
// and cut to 64 MiB after a burst. References are not enforced, which would cost
// a search and some twenty steps for each envelope: the store looks up every
// mailbox itself, and Admin.Check verifies them.
func dsn(path, vfs string) string {
	query := url.Values{"modeof": {path}, "vfs": {vfs}, "_pragma": {
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"secure_delete(ON)",
		"wal_autocheckpoint(0)",
		"journal_size_limit(67108864)",
		"cache_size(-65536)",
		"temp_store(MEMORY)",
	}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// explain adds to an error of SQLite what it means for a person.
func explain(err error) error {
	if errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.CORRUPT) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
