package messenger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ChangeProtection has the profile in options.Dir, which options.Unlock opens, opened by
// another passphrase, the keyring or a key file from now on. After a crash one of the
// two opens it.
//
// The database key stays the same: who has a copy of the old protection file and its
// passphrase, or of the key file, opens copies of the database for ever.
//
// Its errors are those of [Open], and [ErrKeyring].
func ChangeProtection(ctx context.Context, options Options, to Unlocker) error {
	before, err := readProtection(options.Dir)
	if err != nil {
		return err
	}
	if before.Kind != options.Unlock.Kind() {
		return fmt.Errorf("%w: %s", ErrWrongUnlocker, before.Kind)
	}
	lock, err := lockProfile(options.Dir)
	if err != nil {
		return err
	}
	return errors.Join(changeLocked(ctx, options, before, to), lock.Close())
}

func changeLocked(ctx context.Context, options Options, before protection, to Unlocker) error {
	key, err := options.Unlock.unprotect(options.Dir, before)
	if err != nil {
		return err
	}
	// A key that opens nothing must not take the place of one that does.
	store, err := openExisting(ctx, options.Dir, key)
	if err != nil {
		return err
	}
	if err := store.close(); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	if before.Kind == ProtectionKeyFile && to.Kind() == ProtectionKeyFile {
		return nil // the file would hold the same
	}
	after, err := to.protect(options.Dir, key)
	if err != nil {
		return err
	}
	after.Version, after.Kind = protectionVersion, to.Kind()
	if err := writeProtection(options.Dir, after); err != nil {
		to.forget(options.Dir, after)
		return fmt.Errorf("writing how the profile is protected: %w", err)
	}
	options.Unlock.forget(options.Dir, before)
	return nil
}

// removeStrayKeys removes what a change of the protection, cut short by a crash, left: a
// key file beside a profile that is not protected by it, or one that was being written.
func removeStrayKeys(dir string, p protection) (removed bool, err error) {
	removed, err = removeTemporary(dir)
	if p.Kind != ProtectionKeyFile {
		switch gone := os.Remove(filepath.Join(dir, keyFileName)); {
		case gone == nil:
			removed = true
		case !errors.Is(gone, fs.ErrNotExist):
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return removed, fmt.Errorf("removing a key file that is not used: %w", err)
	}
	return removed, nil
}
