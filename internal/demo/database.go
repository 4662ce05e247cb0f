package demo

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver" // the driver "sqlite3", to look into the relay's file
)

// rowsShown bounds the rows of a table that are shown: two hundred key packages
// teach no more than three.
const rowsShown = 3

// readDatabase returns a fact for each row that a database file holds, whatever
// its tables are: the demo shows what is there, not what it expects. Of long tables
// it tells how many rows there are more.
func readDatabase(ctx context.Context, path string) ([]Fact, error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(path)+"?mode=ro")
	if err != nil {
		return nil, fmt.Errorf("opening the relay's database: %w", err)
	}
	defer db.Close()
	tables, err := tableNames(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("reading the relay's database: %w", err)
	}
	var facts []Fact
	for _, table := range tables {
		rows, err := readTable(ctx, db, table)
		if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", table, err)
		}
		facts = append(facts, rows...)
	}
	return facts, nil
}

func tableNames(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func readTable(ctx context.Context, db *sql.DB, table string) ([]Fact, error) {
	query := fmt.Sprintf(`SELECT * FROM "%s"`, strings.ReplaceAll(table, `"`, `""`)) //nolint:gosec // a table cannot be a parameter; its name is from this file, and quoted
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var facts []Fact
	more := 0
	for rows.Next() {
		if len(facts) == rowsShown {
			more++
			continue
		}
		values := make([]any, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		cells := make([]string, len(columns))
		for i, value := range values {
			cells[i] = columns[i] + "=" + cell(value)
		}
		facts = append(facts, Fact{Who: Relay, Name: table, Value: strings.Join(cells, " ")})
	}
	if more > 0 {
		facts = append(facts, Fact{Who: Relay, Name: table, Value: fmt.Sprintf("and %d rows more like these", more)})
	}
	return facts, rows.Err()
}

// cell shows a value of the database; of a long one, its size and beginning.
func cell(value any) string {
	const shown = 16
	b, ok := value.([]byte)
	switch {
	case value == nil:
		return "NULL"
	case !ok:
		return fmt.Sprint(value)
	case len(b) <= shown:
		return hex.EncodeToString(b)
	default:
		return fmt.Sprintf("%s… (%d bytes)", hex.EncodeToString(b[:shown]), len(b))
	}
}

// search counts the files below dir, their bytes, and those files that contain
// the text.
func search(dir, text string) (files int, size int64, hits []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(root.FS(), path)
		if err != nil {
			return err
		}
		files++
		size += int64(len(content))
		if bytes.Contains(content, []byte(text)) {
			hits = append(hits, path)
		}
		return nil
	})
	return files, size, hits, err
}
