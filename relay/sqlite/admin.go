package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
)

// ErrOlderSchema reports a database that an older version of the program wrote
// and that no server has opened since.
var ErrOlderSchema = errors.New("the database was written by an older version of sealpost")

// ErrOwner reports that the superuser wants to read the store of another user,
// and might leave files beside it that the server then cannot open.
var ErrOwner = errors.New("the data belongs to another user")

// An Admin looks after the store in a directory for its operator, whether or not a
// server has it open; a server goes on writing meanwhile. It serves one goroutine.
type Admin struct {
	dir     string
	conn    *sqlite3.Conn
	version int // of the schema
}

// OpenAdmin opens the store in a directory until ctx ends, which also ends a
// running method. The error wraps ErrCorrupt, ErrNewerSchema, ErrOwner or one of
// package fs: fs.ErrNotExist where there is no store.
func OpenAdmin(ctx context.Context, dir string) (*Admin, error) {
	path, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := checkOwner(info); err != nil {
		return nil, err
	}
	conn, err := sqlite3.OpenFlags(adminDSN(path), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", explain(err))
	}
	conn.SetInterrupt(ctx)
	a := &Admin{dir: dir, conn: conn}
	if a.version, err = schemaVersion(conn); err == nil && a.version == 0 {
		err = ErrCorrupt // every store has a version
	}
	if err != nil {
		return nil, errors.Join(explain(err), closeConn(conn))
	}
	return a, nil
}

// checkOwner keeps the superuser from the store of another user, where it would leave
// files that the user's server cannot open.
func checkOwner(info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && stat.Uid != 0 {
		return fmt.Errorf("%w (%d)", ErrOwner, stat.Uid)
	}
	return nil
}

// adminDSN leaves alone what belongs to the server: the mode of the journal,
// and when the log is copied back.
func adminDSN(path string) string {
	query := url.Values{"modeof": {path}, "_pragma": {
		"busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(ON)", "wal_autocheckpoint(0)", "temp_store(MEMORY)",
	}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// Close lets go of it.
func (a *Admin) Close() error { return closeConn(a.conn) }

// current refuses a schema that the queries do not know.
func (a *Admin) current() error {
	if a.version < len(migrations) {
		return fmt.Errorf("%w (schema %d, this one writes %d)", ErrOlderSchema, a.version, len(migrations))
	}
	return nil
}

// Stats is what a store holds, in numbers.
type Stats struct {
	Accounts, Devices, Groups int64

	Envelopes     int64 // waiting in mailboxes
	EnvelopeBytes int64 // of payload, counted for each mailbox
	Oldest        time.Time
	Schema        int
	DatabaseBytes int64 // relay.db
	LogBytes      int64 // relay.db-wal
	FreeBytes     int64 // on the disk, for this user
}

// Stats counts. Oldest is when the oldest envelope was accepted, zero without one.
func (a *Admin) Stats() (Stats, error) {
	if err := a.current(); err != nil {
		return Stats{}, err
	}
	s := Stats{Schema: a.version}
	var oldest int64
	err := a.each(`SELECT (SELECT count(*) FROM account), (SELECT count(*) FROM device), (SELECT count(*) FROM mls_group),
			count(*), coalesce(sum(size), 0), coalesce(min(accepted_at), 0) FROM entry`,
		func(row *sqlite3.Stmt) error {
			s.Accounts, s.Devices, s.Groups = row.ColumnInt64(0), row.ColumnInt64(1), row.ColumnInt64(2)
			s.Envelopes, s.EnvelopeBytes, oldest = row.ColumnInt64(3), row.ColumnInt64(4), row.ColumnInt64(5)
			return nil
		})
	if err != nil {
		return Stats{}, fmt.Errorf("counting: %w", err)
	}
	if oldest > 0 {
		s.Oldest = time.Unix(oldest, 0)
	}
	path := filepath.Join(a.dir, FileName)
	s.DatabaseBytes, s.LogBytes = fileSize(path), fileSize(path+"-wal")
	if s.FreeBytes, err = freeBytes(a.dir); err != nil {
		return Stats{}, fmt.Errorf("asking for free disk space: %w", err)
	}
	return s, nil
}

// fileSize is 0 for a file that is not there, as the log of a stopped server.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// An Account is what a server knows of somebody.
type Account struct {
	Username     identity.Username
	Devices      int
	Registered   time.Time
	Waiting      int64 // envelopes not fetched
	WaitingBytes int64 // of payload
}

// Accounts calls yield for each account by name, until it returns an error.
func (a *Admin) Accounts(yield func(Account) error) error {
	if err := a.current(); err != nil {
		return err
	}
	err := a.each(`SELECT username, created_at, count(device.mailbox), coalesce(sum(waiting), 0), coalesce(sum(bytes), 0)
			FROM account LEFT JOIN device ON device.account = account.id LEFT JOIN
			(SELECT mailbox, count(*) AS waiting, sum(size) AS bytes FROM entry GROUP BY mailbox) AS box ON box.mailbox = device.mailbox
			GROUP BY account.id ORDER BY username`,
		func(row *sqlite3.Stmt) error {
			return yield(Account{
				Username: identity.Username(row.ColumnText(0)), Registered: time.Unix(row.ColumnInt64(1), 0),
				Devices: row.ColumnInt(2), Waiting: row.ColumnInt64(3), WaitingBytes: row.ColumnInt64(4),
			})
		})
	if err != nil {
		return fmt.Errorf("reading the accounts: %w", err)
	}
	return nil
}

// each runs a query and calls f for each row until it returns an error.
func (a *Admin) each(query string, f func(*sqlite3.Stmt) error) error {
	stmt, _, err := a.conn.Prepare(query)
	if err != nil {
		return explain(err)
	}
	var stopped error
	for stopped == nil && stmt.Step() {
		stopped = f(stmt)
	}
	return errors.Join(stopped, explain(stmt.Err()), stmt.Close())
}
