package sqlite

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// ErrNewerSchema reports a database that a newer version of the program wrote.
var ErrNewerSchema = errors.New("the database was written by a newer version of sealpost")

// migrations lead from each schema version (PRAGMA user_version) to the next.
// What was released is never edited, only followed.
//
// Mailboxes share one append-only table whose rowid is the sequence number:
// inserting at the end of a rowid table costs a fifth of inserting into a table
// clustered by mailbox. An envelope for one device stands in its entry; one for
// several stands once in payload. Submit ids (a mailbox and the id, 24 bytes) stand
// in submission_log, those of a batch in a row, until many become a run at once:
// sorted, in pages (see submissions.go).
//
// A group notes on which day somebody wrote last, in seconds: not oftener, since each
// message would write it otherwise. An entry of a group names the delivery list that
// was used, which stands once for each epoch, and after its end stays as long as an
// entry is older than that. What was claimed of key_package has no body any more.
var migrations = []migration{{sql: `
CREATE TABLE account (
	id         INTEGER PRIMARY KEY,
	username   TEXT NOT NULL UNIQUE,
	key        BLOB NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE device (
	mailbox       INTEGER PRIMARY KEY,
	account       INTEGER NOT NULL REFERENCES account(id),
	id            BLOB NOT NULL UNIQUE,
	key           BLOB NOT NULL,
	record        BLOB NOT NULL,
	registered_at INTEGER NOT NULL
) STRICT;
CREATE INDEX device_account ON device(account);
CREATE TABLE payload (
	id   INTEGER PRIMARY KEY,
	body BLOB NOT NULL
) STRICT;
CREATE TABLE entry (
	sequence    INTEGER PRIMARY KEY,
	mailbox     INTEGER NOT NULL REFERENCES device(mailbox),
	accepted_at INTEGER NOT NULL,
	kind        INTEGER NOT NULL,
	size        INTEGER NOT NULL,
	shared      INTEGER REFERENCES payload(id),
	body        BLOB,
	CHECK ((shared IS NULL) <> (body IS NULL))
) STRICT;
CREATE INDEX entry_mailbox ON entry(mailbox);
CREATE INDEX entry_shared ON entry(shared) WHERE shared IS NOT NULL;
CREATE TABLE submission_recent (
	number      INTEGER PRIMARY KEY,
	mailbox     INTEGER NOT NULL,
	id          BLOB NOT NULL,
	accepted_at INTEGER NOT NULL
) STRICT;
CREATE TABLE submission (
	mailbox     INTEGER NOT NULL,
	id          BLOB NOT NULL,
	accepted_at INTEGER NOT NULL,
	PRIMARY KEY (mailbox, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE sequence_reserved (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	upto INTEGER NOT NULL
) STRICT;
INSERT INTO sequence_reserved VALUES (1, 0);
`}, {sql: `
CREATE TABLE mls_group (
	number  INTEGER PRIMARY KEY,
	id      BLOB NOT NULL UNIQUE,
	epoch   INTEGER NOT NULL,
	list    INTEGER NOT NULL,
	members BLOB NOT NULL
) STRICT;
CREATE TABLE delivery_list (
	number   INTEGER PRIMARY KEY,
	group_id BLOB NOT NULL,
	hash     BLOB NOT NULL,
	ended    INTEGER
) STRICT;
CREATE INDEX delivery_list_ended ON delivery_list(ended) WHERE ended IS NOT NULL;
ALTER TABLE entry ADD COLUMN list INTEGER;
CREATE TABLE device_state (
	mailbox     INTEGER PRIMARY KEY REFERENCES device(mailbox),
	acked       INTEGER NOT NULL DEFAULT 0,
	last_submit BLOB
) STRICT;
CREATE TABLE key_package (
	number     INTEGER PRIMARY KEY,
	mailbox    INTEGER NOT NULL REFERENCES device(mailbox),
	digest     BLOB NOT NULL,
	expires_at INTEGER NOT NULL,
	body       BLOB
) STRICT;
CREATE UNIQUE INDEX key_package_digest ON key_package(mailbox, digest);
CREATE INDEX key_package_stock ON key_package(mailbox, number, expires_at) WHERE body IS NOT NULL;
CREATE INDEX key_package_expiry ON key_package(expires_at);
CREATE TABLE last_resort (
	mailbox    INTEGER PRIMARY KEY REFERENCES device(mailbox),
	expires_at INTEGER NOT NULL,
	body       BLOB NOT NULL
) STRICT;
`}, {sql: `
CREATE TABLE invite (
	id         TEXT PRIMARY KEY,
	hash       BLOB NOT NULL,
	uses       INTEGER NOT NULL,
	uses_left  INTEGER NOT NULL,
	note       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER
) STRICT;
`}, {sql: `
CREATE TABLE nonce (
	at     INTEGER NOT NULL,
	device BLOB NOT NULL,
	nonce  BLOB NOT NULL,
	PRIMARY KEY (at, device, nonce)
) STRICT, WITHOUT ROWID;
`}, {sql: `
CREATE TABLE submission_log (
	number      INTEGER PRIMARY KEY,
	accepted_at INTEGER NOT NULL,
	keys        BLOB NOT NULL
) STRICT;
CREATE TABLE submission_run (
	number INTEGER PRIMARY KEY,
	newest INTEGER NOT NULL,
	filter BLOB NOT NULL
) STRICT;
CREATE TABLE submission_page (
	number INTEGER PRIMARY KEY,
	run    INTEGER NOT NULL REFERENCES submission_run(number),
	first  BLOB NOT NULL,
	keys   BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX submission_page_first ON submission_page(run, first);
CREATE TABLE submission_layer (
	first_run INTEGER PRIMARY KEY,
	last_run  INTEGER NOT NULL,
	filter    BLOB NOT NULL
) STRICT;
`, then: packSubmissions}, {sql: `
ALTER TABLE mls_group ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
UPDATE mls_group SET used_at = unixepoch();
CREATE INDEX mls_group_used ON mls_group(used_at);
`}}

// A migration leads from one schema version to the next, in one transaction.
type migration struct {
	sql  string
	then func(*sqlite3.Conn) error // after it; may be nil
}

func migrate(c *sqlite3.Conn) error {
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	for ; version < len(migrations); version++ {
		if err := migrateOnce(c, version); err != nil {
			return fmt.Errorf("migrating from schema %d: %w", version, err)
		}
	}
	return nil
}

// schemaVersion returns the version of a database, or ErrNewerSchema.
func schemaVersion(c *sqlite3.Conn) (int, error) {
	version, err := queryInt(c, `PRAGMA user_version`)
	if err == nil && version > int64(len(migrations)) {
		err = fmt.Errorf("%w (schema %d, this one knows %d)", ErrNewerSchema, version, len(migrations))
	}
	return int(version), err
}

func migrateOnce(c *sqlite3.Conn, version int) (err error) {
	tx, err := c.BeginImmediate()
	if err != nil {
		return err
	}
	defer tx.End(&err)
	m := migrations[version]
	if err := c.Exec(m.sql); err != nil {
		return err
	}
	if m.then != nil {
		if err := m.then(c); err != nil {
			return err
		}
	}
	return c.Exec(fmt.Sprintf(`PRAGMA user_version = %d`, version+1))
}

func queryInt(c *sqlite3.Conn, query string) (int64, error) {
	stmt, _, err := c.Prepare(query)
	if err != nil {
		return 0, err
	}
	stmt.Step()
	value, err := stmt.ColumnInt64(0), stmt.Err()
	return value, errors.Join(err, stmt.Close())
}
