package sqlite

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"sealpost/relay"
)

// maxProblems bounds what a check lists of one kind.
const maxProblems = 20

// Check reads the whole data directory and returns what is wrong with it, a line
// each, or nothing. The error says that it could not be read.
func (a *Admin) Check() ([]string, error) {
	problems, err := a.checkDatabase()
	if err != nil {
		return nil, err
	}
	if err := checkCertificate(a.dir); err != nil {
		problems = append(problems, fmt.Sprintf("%s: %v", relay.CertificateFile, err))
	}
	return problems, nil
}

func (a *Admin) checkDatabase() ([]string, error) {
	var problems []string
	found := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	err := a.each(fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxProblems), func(row *sqlite3.Stmt) error {
		if text := row.ColumnText(0); text != "ok" {
			found("%s: %s", FileName, text)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking the database: %w", err)
	}
	if len(problems) > 0 {
		return problems, nil // what follows reads it by what its indexes say
	}
	references := 0
	err = a.each(`PRAGMA foreign_key_check`, func(row *sqlite3.Stmt) error {
		if references++; references <= maxProblems {
			found("%s: a row of %s points to no %s", FileName, row.ColumnText(0), row.ColumnText(2))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking references: %w", err)
	}
	for _, rule := range rules {
		if a.version < rule.since {
			continue
		}
		err := a.each(rule.query, func(row *sqlite3.Stmt) error {
			if n := row.ColumnInt64(0); n > 0 {
				found("%s: %d %s", FileName, n, rule.broken)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("checking the contents: %w", err)
		}
	}
	return problems, nil
}

// rules are what no constraint of the schema says, since a version of it. Each
// query counts what breaks one.
var rules = []struct {
	since         int
	query, broken string
}{
	{1, `SELECT count(*) FROM payload WHERE NOT EXISTS (SELECT 1 FROM entry WHERE shared = payload.id)`,
		"payloads that no envelope needs"},
	{1, `SELECT count(*) FROM entry LEFT JOIN payload ON payload.id = entry.shared
		WHERE size <> length(coalesce(entry.body, payload.body))`,
		"envelopes whose size is not that of their payload"},
	{1, `SELECT count(*) FROM entry, sequence_reserved WHERE sequence > upto`,
		"envelopes with a number that was not set aside"},
	{1, `SELECT count(*) FROM account WHERE NOT EXISTS (SELECT 1 FROM device WHERE account = account.id)`,
		"accounts without a device"},
	{2, `SELECT count(*) FROM entry WHERE list IS NOT NULL AND NOT EXISTS (SELECT 1 FROM delivery_list WHERE number = list)`,
		"envelopes without the delivery list that was used"},
	{2, `SELECT count(*) FROM mls_group WHERE NOT EXISTS (SELECT 1 FROM delivery_list WHERE number = list)`,
		"groups without a delivery list"},
	{5, `SELECT (SELECT count(*) FROM submission_log WHERE length(keys) = 0 OR length(keys) % 24)
			+ (SELECT count(*) FROM submission_page WHERE length(keys) = 0 OR length(keys) % 24 OR first <> substr(keys, 1, 24))`,
		"pages of submit ids that are cut"},
	{5, `SELECT count(*) FROM submission_run WHERE NOT EXISTS (SELECT 1 FROM submission_page WHERE run = submission_run.number)`,
		"runs of submit ids without pages"},
	{5, `SELECT count(*) FROM (SELECT filter FROM submission_run UNION ALL SELECT filter FROM submission_layer)
		WHERE length(filter) = 0 OR length(filter) % 8`,
		"filters of submit ids that are cut"},
}

// checkCertificate accepts a directory without a certificate: the first start
// makes it, or it is kept elsewhere.
func checkCertificate(dir string) error {
	path := filepath.Join(dir, relay.CertificateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others can read the private key (mode %#o): chmod 600", mode)
	}
	if _, err := tls.LoadX509KeyPair(path, path); err != nil {
		return relay.ErrCertificate
	}
	return nil
}
