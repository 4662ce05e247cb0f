package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// vitalTables are small, and without them a profile is of no use.
var vitalTables = []string{"profile", "contacts", "conversations", "groups", "outbox"}

// isDamage tells what SQLite says of a file that is not what it wrote.
func isDamage(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB)
}

// checkVital looks at the tables that a profile cannot do without. It takes the same
// time however many messages there are. What else is damaged is found when it is read.
func checkVital(ctx context.Context, db *sql.DB) error {
	for _, table := range vitalTables {
		if err := quickCheck(ctx, db, "("+table+")"); err != nil {
			return err
		}
	}
	return nil
}

// checkAll looks at every page of the database. db must not have been searched: SQLite
// calls an index for searching damaged that its own connection has open.
func checkAll(ctx context.Context, db *sql.DB) error {
	if err := quickCheck(ctx, db, ""); err != nil {
		return err
	}
	var table string
	err := db.QueryRowContext(ctx, "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1").Scan(&table)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%w: a row of %s refers to nothing", ErrDamaged, table)
	}
	return describeDamage(err)
}

func quickCheck(ctx context.Context, db *sql.DB, table string) error {
	rows, err := db.QueryContext(ctx, "PRAGMA quick_check"+table)
	if err != nil {
		return describeDamage(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return describeDamage(err)
		}
		if line != "ok" {
			return fmt.Errorf("%w: %s", ErrDamaged, firstFault(line))
		}
	}
	return describeDamage(rows.Err())
}

// firstFault returns the first line of what SQLite found, without the heading above it.
func firstFault(found string) string {
	for line := range strings.Lines(found) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "***") {
			return line
		}
	}
	return strings.TrimSpace(found)
}

// describeDamage makes ErrDamaged of what SQLite says of a damaged file.
func describeDamage(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged):
		return err
	case isDamage(err):
		return fmt.Errorf("%w: the database cannot be read", ErrDamaged)
	}
	return fmt.Errorf("checking the database: %w", err)
}

// checkSearch compares the index for searching with the messages, and makes it anew
// where they differ.
func checkSearch(ctx context.Context, db *sql.DB) (rebuilt bool, err error) {
	_, err = db.ExecContext(ctx, "INSERT INTO messages_text (messages_text, rank) VALUES ('integrity-check', 1)")
	if err == nil {
		return false, nil
	}
	if !isDamage(err) {
		return false, describeDamage(err)
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO messages_text (messages_text) VALUES ('rebuild')"); err != nil {
		return false, describeDamage(err)
	}
	return true, nil
}
