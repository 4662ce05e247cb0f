package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/adrg/xdg"
	"github.com/ncruces/go-sqlite3"

	"sealpost/relay/sqlite"
)

// dataFlag names the data directory of a server.
type dataFlag struct {
	Data string `type:"path" env:"SEALPOST_DATA" placeholder:"DIR" help:"Directory of the server's data (default: sealpost/server in the XDG data directory)."`
}

func (f dataFlag) dir() string {
	if f.Data != "" {
		return f.Data
	}
	return filepath.Join(xdg.DataHome, "sealpost", "server")
}

// argument is how the flag was given, to be repeated in a command for a person.
func (f dataFlag) argument() string {
	if f.Data == "" {
		return ""
	}
	return " --data " + f.Data
}

// withStore calls use with the open data directory.
func (f dataFlag) withStore(env *environment, use func(*sqlite.Admin) error) error {
	admin, err := sqlite.OpenAdmin(env.ctx, f.dir())
	if err != nil {
		return explainData(f.dir(), fmt.Errorf("opening %s: %w", f.dir(), err))
	}
	err = errors.Join(use(admin), admin.Close())
	if env.ctx.Err() != nil {
		return env.ctx.Err()
	}
	if err != nil {
		return explainData(f.dir(), fmt.Errorf("%s: %w", f.dir(), err))
	}
	return nil
}

// isFresh tells whether there is no store yet.
func (f dataFlag) isFresh() bool {
	info, err := os.Stat(filepath.Join(f.dir(), sqlite.FileName))
	return errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0)
}

// explainData says what to do about an error of a data directory.
func explainData(dir string, err error) error {
	explained := &userError{status: exitFailure, err: err}
	missing, ok := errors.AsType[*fs.PathError](err)
	if ok = ok && filepath.Base(missing.Path) == sqlite.FileName; ok && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		explained.err = fmt.Errorf("there is no data of a server in %s", filepath.Dir(missing.Path))
		explained.code, explained.hint = "NO_DATA", "name the directory where a server keeps its data (--data), or a backup of one"
		return explained
	}
	switch {
	case errors.Is(err, sqlite.ErrInUse):
		explained.code, explained.hint = "DATA_IN_USE", "stop the other server, or choose another directory with --data"
	case errors.Is(err, sqlite.ErrCorrupt):
		explained.code, explained.hint = "DATA_CORRUPT", "restore a backup with sealpost admin restore; the damaged file is left as it is"
		if unsound, ok := errors.AsType[*sqlite.UnsoundError](err); ok {
			explained.err = fmt.Errorf("%s: %w", dir, unsound)
		} else {
			explained.err = fmt.Errorf("opening %s: %w", dir, sqlite.ErrCorrupt)
		}
	case errors.Is(err, sqlite.ErrNewerSchema):
		explained.code, explained.hint = "DATA_NEWER", "install the newer version again"
	case errors.Is(err, sqlite.ErrOlderSchema):
		explained.code, explained.hint = "DATA_OLDER", "start sealpost server on it once: that brings it up to date; take a backup first"
	case errors.Is(err, sqlite.ErrOwner):
		explained.code, explained.hint = "DATA_OWNER", "run it as the user of the server, with sudo -u"
	case errors.Is(err, sqlite.ErrNotEmpty):
		explained.code, explained.hint = "DATA_NOT_EMPTY", "nothing was changed: name a directory that is empty or does not exist"
	case errors.Is(err, sqlite.ErrNoInvite):
		explained.err = sqlite.ErrNoInvite
		explained.code, explained.hint = "NO_INVITE", "sealpost admin invite list shows those that there are"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, sqlite3.FULL):
		explained.code, explained.hint = "DISK_FULL", "make room, or name a directory on another disk"
	case errors.Is(err, sqlite3.IOERR), errors.Is(err, sqlite3.CANTOPEN):
		// SQLite does not say which, not even of a full disk.
		explained.code, explained.hint = "DATA_IO", "is the disk full (df -h), or failing? the system's log tells"
	case errors.Is(err, fs.ErrPermission):
		explained.code, explained.hint = "DATA_NOT_ALLOWED", "run it as the user of the server, with sudo -u, or name another directory"
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		explained.code, explained.hint = "DATA_NOT_WRITABLE", "name a directory that can be written to"
	}
	return explained
}
