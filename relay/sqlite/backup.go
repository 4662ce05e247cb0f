package sqlite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"sealpost/relay"
)

// ErrNotEmpty reports a place for a new data directory where something is already.
var ErrNotEmpty = errors.New("the directory is not empty")

// An UnsoundError says that a store was not copied because it is damaged.
type UnsoundError struct {
	Problems []string // as of Check
}

func (e *UnsoundError) Error() string {
	return fmt.Sprintf("%v: %s", ErrCorrupt, strings.Join(e.Problems, "; "))
}

// Is makes an UnsoundError one with ErrCorrupt.
func (e *UnsoundError) Is(target error) bool { return target == ErrCorrupt }

// Copy makes a data directory out of another: the store as it is at one moment,
// and the server's certificate with its private key, where it is kept there. A
// server may go on writing to from meanwhile; its log grows by what it writes.
// The directory to must be empty or not exist. The store is checked first, and
// its copy appears last, whole and on disk; after an error nothing is left.
//
// The error wraps ErrNotEmpty, ErrInUse, ErrNewerSchema, ErrCorrupt (an
// UnsoundError where it is damaged) or one of package fs.
func Copy(ctx context.Context, from, to string) (err error) {
	source, err := OpenAdmin(ctx, from)
	if err != nil {
		return fmt.Errorf("opening %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := newTarget(to)
	if err != nil {
		return fmt.Errorf("making %s: %w", to, err)
	}
	err = source.copyTo(target)
	if err != nil {
		return errors.Join(err, target.remove())
	}
	return target.lock.Close()
}

func (a *Admin) copyTo(t *target) error {
	problems, err := a.checkDatabase()
	if err == nil && len(problems) > 0 {
		err = &UnsoundError{problems}
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", a.dir, err)
	}
	if err := a.copyCertificate(t); err != nil {
		return fmt.Errorf("copying the certificate: %w", err)
	}
	if err := t.create(FileName, a.copyDatabase); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	return nil
}

func (a *Admin) copyCertificate(t *target) error {
	certificate, err := os.ReadFile(filepath.Join(a.dir, relay.CertificateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certificate, certificate); err != nil {
		return err
	}
	return t.create(relay.CertificateFile, func(f *os.File) error {
		_, err := f.Write(certificate)
		return err
	})
}

// fullBelow is what a disk that a copy failed on has left, in bytes, if it is full.
const fullBelow = 1 << 20

// copyDatabase writes the database as it is now into an empty file. It reads in
// one transaction: the other way that SQLite has begins anew whenever somebody
// writes, and would never end on a busy server.
func (a *Admin) copyDatabase(f *os.File) error {
	stmt, _, err := a.conn.Prepare(`VACUUM INTO ?`)
	if err != nil {
		return err
	}
	err = errors.Join(stmt.BindText(1, f.Name()), stmt.Exec(), stmt.Close())
	if err == nil {
		return nil
	}
	// SQLite calls a full disk an I/O error here.
	if free, statErr := freeBytes(filepath.Dir(f.Name())); statErr == nil && free < fullBelow {
		err = fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}

// A target is a data directory to be.
type target struct {
	dir  string
	lock *flock.Flock // keeps servers off
	made []string     // to be removed after an error, the last first
}

func newTarget(dir string) (*target, error) {
	t := &target{dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		t.made = append(t.made, dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Name() != lockName {
			return nil, fmt.Errorf("%w: %s is there", ErrNotEmpty, entry.Name())
		}
	}
	path := filepath.Join(dir, lockName)
	t.lock = flock.New(path, flock.SetPermissions(0o600))
	locked, err := t.lock.TryLock()
	if err == nil && !locked {
		err = ErrInUse
	}
	t.made = append(t.made, path)
	return t, err
}

// create makes a file that is there whole and on disk, or not at all.
func (t *target) create(name string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(t.dir, name+".*.new") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	path := filepath.Join(t.dir, name)
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	t.made = append(t.made, path)
	return errors.Join(syncDir(t.dir), syncDir(filepath.Dir(t.dir))) // its own entry may be new as well
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (t *target) remove() error {
	err := t.lock.Close()
	for len(t.made) > 0 {
		last := len(t.made) - 1
		err = errors.Join(err, os.Remove(t.made[last]))
		t.made = t.made[:last]
	}
	return err
}
