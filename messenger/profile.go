package messenger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/adrg/xdg"
	"github.com/gofrs/flock"
)

// The files of a profile. The protection is the last to be written and the first to be
// removed. While a profile is made, and while one that the server refused is removed,
// there is a file that says so: a database without its protection is worthless then,
// and at any other time somebody's messages that only lack a file.
const (
	protectionFileName = "protection.json"
	databaseFileName   = "profile.db"
	creatingFileName   = "creating"
	lockFileName       = "lock"
	pidFileName        = "pid"
)

var profileNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// ProfileDir returns the directory of the profile of this name under the XDG
// data directory. It does not make it. The error is [ErrProfileName].
func ProfileDir(name string) (string, error) {
	if !profileNamePattern.MatchString(name) {
		return "", ErrProfileName
	}
	return filepath.Join(xdg.DataHome, "sealpost", "profiles", name), nil
}

// Exists tells whether there is a profile in dir, be it one that lost a file.
func Exists(dir string) bool {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	return there(protectionFileName) || there(databaseFileName) && !there(creatingFileName)
}

// Profiles returns the names of the profiles that there are, sorted, and none where
// they cannot be listed.
func Profiles() []string {
	dir := filepath.Join(xdg.DataHome, "sealpost", "profiles")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); profileNamePattern.MatchString(name) && Exists(filepath.Join(dir, name)) {
			names = append(names, name)
		}
	}
	return names
}

// Protection tells how an existing profile is protected. The error is
// [ErrNoProfile], [ErrNewerProfile] or [ErrDamaged].
func Protection(dir string) (ProtectionKind, error) {
	p, err := readProtection(dir)
	return p.Kind, err
}

func readProtection(dir string) (protection, error) {
	text, err := os.ReadFile(filepath.Join(dir, protectionFileName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && Exists(dir):
		return protection{}, fmt.Errorf("%s is lost: %w", protectionFileName, ErrDamaged)
	case errors.Is(err, fs.ErrNotExist):
		return protection{}, ErrNoProfile
	case err != nil:
		return protection{}, fmt.Errorf("reading how the profile is protected: %w", err)
	}
	var p protection
	if err := json.Unmarshal(text, &p); err != nil {
		return protection{}, fmt.Errorf("reading how the profile is protected: %w", ErrDamaged)
	}
	switch {
	case p.Version > protectionVersion:
		return protection{}, ErrNewerProfile
	case p.Version != protectionVersion,
		p.Kind != ProtectionPassphrase && p.Kind != ProtectionKeyring && p.Kind != ProtectionKeyFile:
		return protection{}, fmt.Errorf("reading how the profile is protected: %w", ErrDamaged)
	}
	return p, nil
}

func writeProtection(dir string, p protection) error {
	text, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return fmt.Errorf("describing how the profile is protected: %w", err)
	}
	return writeFile(filepath.Join(dir, protectionFileName), append(text, '\n'))
}

// removeLeftovers removes every file of a profile but the lock, which is held. What
// tells that they may go goes last.
func removeLeftovers(dir string) error {
	_, err := removeTemporary(dir)
	errs := []error{err}
	for _, name := range []string{
		protectionFileName, databaseFileName, databaseFileName + "-wal", databaseFileName + "-shm",
		databaseFileName + "-journal", keyFileName, creatingFileName,
	} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeProfile removes a profile, and the directory if nothing else is in it.
func removeProfile(dir string) error {
	err := removeLeftovers(dir)
	for _, name := range []string{pidFileName, lockFileName, ""} {
		_ = os.Remove(filepath.Join(dir, name)) // what cannot go stays, and means nothing
	}
	return err
}

// lockProfile makes this process the only one that has the profile in dir open.
// The error is a [*ProfileInUseError].
func lockProfile(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, lockFileName), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the profile: %w", err)
	}
	// Beside the lock, not in it: some systems let nobody read a locked file.
	pidFile := filepath.Join(dir, pidFileName)
	if !held {
		return nil, &ProfileInUseError{PID: readPID(pidFile)}
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("locking the profile: %w", err), lock.Close())
	}
	return lock, nil
}

func readPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// temporaryPrefix begins the names of files that are being written.
const temporaryPrefix = ".new-"

// removeTemporary removes what a crash left of files that were being written: one may
// hold the key.
func removeTemporary(dir string) (removed bool, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
			removed = true
		}
	}
	return removed, err
}

// writeFile writes a file of mode 0600 so that after a crash there is all of it
// or none.
func writeFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporaryPrefix+"*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Where directories cannot be synced, there is nothing to be done about it.
	_ = d.Sync()
	return d.Close()
}
