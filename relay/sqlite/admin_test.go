package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// populated makes a store in which alice sent bob two envelopes, and one to both.
func populated(t *testing.T, dir string) relay.Store {
	t.Helper()
	s, closeStore := open(t, dir)
	t.Cleanup(closeStore)
	alice, bob := register(t, s, "alice"), register(t, s, "bob")
	batch := relay.Batch{MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(5000, 0)}
	for i, to := range [][]identity.DeviceID{{bob}, {bob}, {alice, bob}} {
		batch.Submissions = append(batch.Submissions, &relay.Submission{
			Sender: alice, ID: [16]byte{byte(i)}, Recipients: to, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("12345"),
		})
	}
	if err := s.Write(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	return s
}

func openAdmin(t *testing.T, dir string) *sqlite.Admin {
	t.Helper()
	a, err := sqlite.OpenAdmin(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestAdminOpenStore(t *testing.T) {
	dir := t.TempDir()
	populated(t, dir)
	a := openAdmin(t, dir)
	stats, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.DatabaseBytes == 0 || stats.LogBytes == 0 || stats.FreeBytes == 0 || stats.Schema == 0 {
		t.Errorf("sizes and schema are not all set: %+v", stats)
	}
	stats.DatabaseBytes, stats.LogBytes, stats.FreeBytes, stats.Schema = 0, 0, 0, 0
	if want := (sqlite.Stats{Accounts: 2, Devices: 2, Envelopes: 4, EnvelopeBytes: 20, Oldest: time.Unix(5000, 0)}); stats != want {
		t.Errorf("got %+v, want %+v", stats, want)
	}
	var accounts []sqlite.Account
	if err := a.Accounts(func(account sqlite.Account) error { accounts = append(accounts, account); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(accounts) != 2 || accounts[0].Username != "alice" || accounts[0].Waiting != 1 ||
		accounts[1].Username != "bob" || accounts[1].Waiting != 3 || accounts[1].WaitingBytes != 15 || accounts[1].Devices != 1 {
		t.Errorf("got %+v", accounts)
	}
	if problems, err := a.Check(); err != nil || len(problems) > 0 {
		t.Errorf("a sound store has %q, %v", problems, err)
	}
}

func TestAdminErrors(t *testing.T) {
	if _, err := sqlite.OpenAdmin(t.Context(), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, sqlite.FileName), nil)
	if _, err := sqlite.OpenAdmin(t.Context(), dir); !errors.Is(err, sqlite.ErrCorrupt) {
		t.Errorf("an empty file: %v", err)
	}
	write(t, filepath.Join(dir, sqlite.FileName), []byte(strings.Repeat("no database", 1000)))
	if _, err := sqlite.OpenAdmin(t.Context(), dir); !errors.Is(err, sqlite.ErrCorrupt) {
		t.Errorf("another file: %v", err)
	}
}

// damage changes a store behind its back.
func damage(t *testing.T, dir, statements string) {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.Join(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Exec(`PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;`+statements), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// aRun is a run of two submit ids.
const aRun = `INSERT INTO submission_run VALUES (1, 5000, zeroblob(8));
	INSERT INTO submission_page (run, first, keys) VALUES (1, CAST('first id of 24 bytes ...' AS BLOB), CAST('first id of 24 bytes ...' || 'second id of 24 bytes ..' AS BLOB));`

func TestCheckFindsDamage(t *testing.T) {
	for name, test := range map[string]struct{ statements, want string }{
		"an orphaned payload": {`INSERT INTO payload VALUES (77, x'00')`, "1 payloads that no envelope needs"},
		"a lost payload":      {`DELETE FROM payload`, "a row of entry points to no payload"},
		"a lost device":       {`DELETE FROM device WHERE mailbox = 2`, "a row of entry points to no device"},
		"a wrong size":        {`UPDATE entry SET size = 6 WHERE sequence = (SELECT min(sequence) FROM entry)`, "1 envelopes whose size"},
		"an account alone":    {`INSERT INTO account VALUES (9, 'eve', x'00', 0)`, "1 accounts without a device"},
		"a reused number":     {`UPDATE sequence_reserved SET upto = 0`, "4 envelopes with a number"},
		"a lost list":         {`UPDATE entry SET list = 7`, "4 envelopes without the delivery list"},
		"a lost group list":   {`INSERT INTO mls_group VALUES (1, x'01', 1, 7, x'', 0)`, "1 groups without a delivery list"},
		"cut submit ids":      {`UPDATE submission_log SET keys = substr(keys, 1, 23)`, "pages of submit ids that are cut"},
		"a cut page":          {aRun + `UPDATE submission_page SET keys = substr(keys, 1, 30)`, "1 pages of submit ids that are cut"},
		"a wrong first id":    {aRun + `UPDATE submission_page SET first = zeroblob(24)`, "1 pages of submit ids that are cut"},
		"a lost page":         {aRun + `DELETE FROM submission_page`, "1 runs of submit ids without pages"},
		"a cut filter":        {aRun + `UPDATE submission_run SET filter = x'00'`, "1 filters of submit ids that are cut"},
		"a lost filter":       {`INSERT INTO submission_layer VALUES (1, 2, x'')`, "1 filters of submit ids that are cut"},
		"a broken constraint": {`UPDATE entry SET body = NULL, shared = NULL`, "CHECK constraint failed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			populated(t, dir)
			damage(t, dir, test.statements)
			problems, err := openAdmin(t, dir).Check()
			if err != nil || !strings.Contains(strings.Join(problems, "\n"), test.want) {
				t.Errorf("got %q and %v, want %q", problems, err, test.want)
			}
			to := filepath.Join(t.TempDir(), "copy")
			if err := sqlite.Copy(t.Context(), dir, to); !errors.Is(err, sqlite.ErrCorrupt) {
				t.Errorf("the copy of a damaged store: %v", err)
			}
			if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is left of the copy: %v", err)
			}
		})
	}
}

// A filter that is cut would let a repeat pass for new.
func TestOpenRefusesCutFilters(t *testing.T) {
	for _, statements := range []string{
		aRun + `UPDATE submission_run SET filter = x'0000'`,
		`INSERT INTO submission_layer VALUES (1, 2, x'')`,
	} {
		dir := t.TempDir()
		_, closeStore := open(t, dir)
		closeStore()
		damage(t, dir, statements)
		if _, err := sqlite.Open(dir); !errors.Is(err, sqlite.ErrCorrupt) {
			t.Errorf("%s: %v", statements, err)
		}
	}
}

func TestCheckCertificate(t *testing.T) {
	dir := t.TempDir()
	populated(t, dir)
	path := filepath.Join(dir, relay.CertificateFile)
	if _, err := relay.LoadOrCreateCertificate(dir); err != nil {
		t.Fatal(err)
	}
	a := openAdmin(t, dir)
	wantProblem := func(want string) {
		t.Helper()
		if problems, err := a.Check(); err != nil || len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("got %q, %v, want %q", problems, err, want)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantProblem("others can read the private key")
	if err := errors.Join(os.WriteFile(path, []byte("no certificate"), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	wantProblem("no certificate with its private key")
	if err := sqlite.Copy(t.Context(), dir, filepath.Join(t.TempDir(), "copy")); err == nil {
		t.Error("a backup without a usable certificate was made")
	}
}

func TestCopy(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	populated(t, from)
	if _, err := relay.LoadOrCreateCertificate(from); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	wantPrivate(t, to, sqlite.FileName, relay.CertificateFile, "lock")
	if stats, err := openAdmin(t, to).Stats(); err != nil || stats.Envelopes != 4 {
		t.Errorf("the copy has %d envelopes, %v", stats.Envelopes, err)
	}
	if problems, err := openAdmin(t, to).Check(); err != nil || len(problems) > 0 {
		t.Errorf("the copy has %q, %v", problems, err)
	}
	for _, occupied := range []string{from, to} {
		if err := sqlite.Copy(t.Context(), from, occupied); !errors.Is(err, sqlite.ErrNotEmpty) {
			t.Errorf("copying over a store: %v", err)
		}
	}
	_, closeStore := open(t, to) // nothing of the copy keeps a server off
	closeStore()
}

// wantPrivate checks that a directory holds just some files, for the owner alone.
func wantPrivate(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(names) {
		t.Fatalf("%d files instead of %q, %v", len(entries), names, err)
	}
	for _, name := range append(names, ".") {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestCopyKeepsOffServers(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	populated(t, from)
	lock := filepath.Join(to, "lock")
	_, closeStore := open(t, to)
	defer closeStore()
	for _, file := range []string{sqlite.FileName, sqlite.FileName + "-wal", sqlite.FileName + "-shm"} {
		if err := os.Remove(filepath.Join(to, file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sqlite.Copy(t.Context(), from, to); !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("copying into the directory of a running server: %v", err)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Errorf("the server's lock: %v", err)
	}
}

func TestCopyInterrupted(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	populated(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sqlite.Copy(ctx, from, to); err == nil {
		t.Error("an interrupted copy succeeded")
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left of it: %v", err)
	}
}

// TestExpireDuringBackup reads for a long time, as a backup does: neither expiry nor
// the end of the server waits for it, and nobody who submits does.
func TestExpireDuringBackup(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	register(t, s, "alice")
	reading, done := make(chan struct{}), make(chan error)
	end := make(chan struct{})
	a := openAdmin(t, dir)
	go func() {
		done <- a.Accounts(func(sqlite.Account) error {
			close(reading)
			<-end
			return nil
		})
	}()
	<-reading
	register(t, s, "bob") // what the reader does not see, so that the log cannot be emptied
	began := time.Now()
	if _, err := s.Expire(t.Context(), relay.Due{}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("expiry and the end of the server took %v", waited)
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s, err = sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Records(t.Context(), "bob"); err != nil {
		t.Errorf("what was in the log: %v", err)
	}
}
