package sqlite_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"sealpost/relay/sqlite"
)

// Who writes to whom is nobody's business, also in a directory that was there
// before and that everybody may enter.
func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such mode there")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, closeStore := open(t, dir)
	defer closeStore()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(filepath.Join(dir, sqlite.FileName+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %o", info.Name(), mode)
		}
	}
}
