package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"sealpost/relay/sqlite"
)

// What a person is told of a data directory names it, and what to do next.
func TestExplainData(t *testing.T) {
	at := func(name string, err error) error { return &fs.PathError{Op: "stat", Path: "/srv/" + name, Err: err} }
	for _, test := range []struct {
		err        error
		code, hint string
	}{
		{at(sqlite.FileName, syscall.ENOENT), "NO_DATA", "a backup of one"},
		{at(sqlite.FileName, syscall.ENOTDIR), "NO_DATA", "a backup of one"},
		{at(sqlite.FileName, syscall.EACCES), "DATA_NOT_ALLOWED", "sudo -u"},
		{at("lock", syscall.EROFS), "DATA_NOT_WRITABLE", "can be written to"},
		{at("lock", syscall.ENOSPC), "DISK_FULL", "make room"},
		{sqlite3.FULL, "DISK_FULL", "make room"},
		{sqlite3.IOERR_WRITE, "DATA_IO", "is the disk full"},
		{sqlite3.CANTOPEN, "DATA_IO", "is the disk full"},
		{sqlite.ErrInUse, "DATA_IN_USE", "stop the other server"},
	} {
		told := explain(explainData("/srv", fmt.Errorf("opening /srv: %w", test.err)))
		if told.code != test.code || !strings.Contains(told.hint, test.hint) || !strings.Contains(told.Error(), "/srv") {
			t.Errorf("%v: %s %q, hint %q", test.err, told.code, told, told.hint)
		}
	}
}

// The superuser does not begin to write among the files of a server's own user.
func TestServerRefusesOthersData(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only the superuser can give a file away")
	}
	dir := t.TempDir()
	_, stop := startServer(t, "--data", dir, "--listen", "127.0.0.1:0")
	stop()
	if err := os.Chown(filepath.Join(dir, sqlite.FileName), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	env := &environment{ctx: t.Context(), stdin: os.Stdin, stdout: &stderr, stderr: &stderr}
	status := run(env, []string{"server", "--data", dir, "--listen", "127.0.0.1:0"})
	if status != exitFailure || !strings.Contains(stderr.String(), "belongs to another user (65534)\nsealpost: hint: run it as the user of the server") {
		t.Fatalf("status %d and %q", status, &stderr)
	}
}
