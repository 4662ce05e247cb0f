package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"

	"sealpost/api"
)

// A FindingState says what came out of a check.
type FindingState int

// The states of a finding.
const (
	// Sound: nothing is wrong.
	Sound FindingState = iota + 1
	// Repaired: something was wrong, and is not any more.
	Repaired
	// Attention: it works, or will by itself; a person should know.
	Attention
	// Broken: it does not work until a person does what the text says.
	Broken
)

// String returns the name in lower case.
func (s FindingState) String() string {
	switch s {
	case Sound:
		return "sound"
	case Repaired:
		return "repaired"
	case Attention:
		return "attention"
	case Broken:
		return "broken"
	}
	return fmt.Sprintf("FindingState(%d)", int(s))
}

// A Finding is what one check of [Diagnose] came to.
type Finding struct {
	// Check is "files", "protection", "lock", "database", "search", "keys", "server",
	// "key packages", "outbox", "contacts" or "conversations".
	Check string
	State FindingState
	Text  string // one line: what is so and, if it is not right, what to do
}

// Diagnose examines a profile, on disk and at its server, and repairs what it can
// without a decision: who may read the files, the index for searching, a missing
// registration and the stock of key packages. It stops where nothing further can be
// looked at. It reads the whole database: a gigabyte takes some seconds.
func Diagnose(ctx context.Context, options Options) []Finding {
	d := &doctor{dir: options.Dir}
	d.examine(ctx, options)
	return d.findings
}

type doctor struct {
	dir      string
	findings []Finding
}

func (d *doctor) note(check string, state FindingState, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, State: state, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) examine(ctx context.Context, options Options) {
	if !Exists(d.dir) {
		d.note("files", Broken, "there is no profile in %s: sealpost client makes one", d.dir)
		return
	}
	d.files()
	p, err := readProtection(d.dir)
	if errors.Is(err, ErrNewerProfile) {
		d.note("protection", Broken, "%v: install it again", err)
		return
	}
	if err != nil {
		d.note("protection", Broken, "%v: restore %s from a backup", err, protectionFileName)
		return
	}
	lock := d.lock()
	if lock == nil {
		return
	}
	defer lock.Close() //nolint:errcheck // it ends with the process at the latest
	key := d.protection(options.Unlock, p)
	if key == nil || !d.database(ctx, key) {
		return
	}
	c, err := openLocked(ctx, options, p)
	if err != nil {
		d.note("database", Broken, "the profile does not open: %v", err)
		return
	}
	c.lock = lock
	d.keys(c)
	d.server(ctx, c)
	d.outbox(ctx, c)
	d.contacts(ctx, c)
	d.conversations(ctx, c)
	if err := c.Close(); err != nil {
		d.note("database", Attention, "the profile does not close: %v", err)
	}
}

// files takes the profile's files away from everybody else.
func (d *doctor) files() {
	if runtime.GOOS == "windows" {
		return // access is by the user's folder
	}
	open := 0
	for _, name := range []string{
		".", protectionFileName, databaseFileName, databaseFileName + "-wal", databaseFileName + "-shm", keyFileName, lockFileName, pidFileName,
	} {
		path := filepath.Join(d.dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(path, info.Mode().Perm()&0o700)
			open++
		}
		if err != nil {
			d.note("files", Broken, "others may read %s, and that cannot be changed: %v", path, err)
			return
		}
	}
	if open > 0 {
		d.note("files", Repaired, "files of the profile in %s that others could read: %d; now only you can", d.dir, open)
		return
	}
	d.note("files", Sound, "only you can read the files of the profile in %s", d.dir)
}

func (d *doctor) lock() *flock.Flock {
	lock, err := lockProfile(d.dir)
	var used *ProfileInUseError
	switch {
	case errors.As(err, &used):
		d.note("lock", Broken, "%v: end it and look again", used)
	case err != nil:
		d.note("lock", Broken, "%v: see whether the disk is full or read-only", err)
	}
	return lock
}

func (d *doctor) protection(unlock Unlocker, p protection) []byte {
	if p.Kind != unlock.Kind() {
		d.note("protection", Broken, "%v: %s", ErrWrongUnlocker, p.Kind)
		return nil
	}
	key, err := unlock.unprotect(d.dir, p)
	if err != nil {
		d.note("protection", Broken, "%v: without its key nothing can be read", err)
		return nil
	}
	stray, err := removeStrayKeys(d.dir, p)
	switch {
	case err != nil:
		d.note("protection", Broken, "%v: remove it", err)
	case stray:
		d.note("protection", Repaired, "a copy of the key lay in the profile's folder; it is removed")
	case p.Kind == ProtectionKeyFile:
		d.note("protection", Attention, "the key lies in a file: who copies the directory can read the messages; a passphrase is safer")
	default:
		d.note("protection", Sound, "the key is protected by the %s", p.Kind)
	}
	return key
}

// database reads all of it, and says whether it can be opened.
func (d *doctor) database(ctx context.Context, key []byte) bool {
	path := filepath.Join(d.dir, databaseFileName)
	if isLost(path) {
		d.note("database", Broken, "%s is lost: restore it from a backup", path)
		return false
	}
	var (
		version int
		search  Finding
	)
	err := withDatabase(path, key, func(db *sql.DB) error {
		if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return describeDamage(err)
		}
		if version == len(migrations) {
			search = searchFinding(checkSearch(ctx, db))
		}
		return nil
	})
	if err == nil && version > len(migrations) {
		d.note("database", Broken, "%v: install it again", ErrNewerProfile)
		return false
	}
	if err == nil { // over another connection, see checkAll
		err = withDatabase(path, key, func(db *sql.DB) error { return checkAll(ctx, db) })
	}
	if err != nil {
		d.note("database", Broken, "%v: restore %s from a backup", err, path)
		return false
	}
	if version < len(migrations) {
		d.note("database", Repaired, "the database is of an older version, and is brought up to date")
		return true
	}
	d.note("database", Sound, "the database is whole")
	d.findings = append(d.findings, search)
	return true
}

func withDatabase(path string, key []byte, do func(*sql.DB) error) error {
	db, err := openPool(path, key, 1, "PRAGMA query_only = OFF")
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

func searchFinding(rebuilt bool, err error) Finding {
	f := Finding{Check: "search", State: Sound, Text: "the index for searching fits the messages"}
	switch {
	case err != nil:
		f.State, f.Text = Broken, fmt.Sprintf("the index for searching is damaged, and cannot be made anew: %v", err)
	case rebuilt:
		f.State, f.Text = Repaired, "the index for searching did not fit the messages; it is made anew"
	}
	return f
}

// keys compares the keys of the device with what certifies them.
func (d *doctor) keys(c *Client) {
	certificate := c.self.record.Certificate
	if certificate.DeviceKey != c.self.deviceKey.Public() {
		d.note("keys", Broken, "the key of this device is not the one that its certificate names: restore the profile from a backup")
		return
	}
	d.note("keys", Sound, "%s, device %s", certificate.Username, certificate.DeviceID)
}

// helloTimeout is how long the server may take to greet.
const helloTimeout = 20 * time.Second

// server looks at what the relay knows of this device.
func (d *doctor) server(ctx context.Context, c *Client) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := c.hello(ctx)
	if errors.Is(err, errUnknownDevice) || (err == nil && !c.self.registered) {
		if err = c.register(ctx); err == nil {
			d.note("server", Repaired, "the server did not know this device; it is registered again")
			hello, err = c.hello(ctx)
		}
	}
	var changed *ServerChangedError
	switch {
	case errors.As(err, &changed):
		d.note("server", Broken, "%v: ask who runs it whether that is so", changed)
	case errors.Is(err, ErrClockSkew):
		d.note("server", Broken, "%v: set the clock of this computer", err)
	case isUnavailable(err), errors.Is(err, context.DeadlineExceeded):
		d.note("server", Attention, "%v: messages wait until it can", err)
	case err != nil:
		d.note("server", Broken, "the server does not take this device: %v", err)
	default:
		d.note("server", Sound, "%s answers, has the pinned key, and its clock agrees", c.self.server)
		d.keyPackages(ctx, c, hello)
	}
}

func (d *doctor) keyPackages(ctx context.Context, c *Client, hello *api.Hello) {
	var cursor uint64
	if err := c.store.reader.QueryRowContext(ctx, "SELECT cursor FROM profile").Scan(&cursor); err != nil {
		d.note("key packages", Broken, "%v", describeDamage(err))
		return
	}
	if hello.GetAcked() > cursor {
		d.note("key packages", Attention, "this profile is an older copy of itself: it joins every conversation anew when it connects")
		return
	}
	if err := c.stockKeyPackages(ctx, hello.GetKeyPackages(), false); err != nil {
		d.note("key packages", Attention, "the server has %d key packages of this device, and takes no more: %v", hello.GetKeyPackages(), err)
		return
	}
	if int(hello.GetKeyPackages()) < c.tuning.lowStock {
		d.note("key packages", Repaired, "the server had %d key packages of this device left; it has %d now", hello.GetKeyPackages(), c.tuning.stockSize)
		return
	}
	d.note("key packages", Sound, "the server has %d key packages of this device", hello.GetKeyPackages())
}

// hello opens a line and reads what the relay greets with. It takes nothing in.
func (c *Client) hello(ctx context.Context) (*api.Hello, error) {
	conn, err := c.line.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := api.Connect(ctx, conn)
	if err != nil {
		return nil, c.line.explain(err)
	}
	frame, err := stream.Recv()
	if err != nil {
		return nil, c.line.explain(err)
	}
	if frame.GetHello() == nil {
		return nil, fmt.Errorf("%w: it does not greet", ErrServerUnavailable)
	}
	return frame.GetHello(), nil
}

// stuckAfter is how long a message may wait before that is worth a line.
const stuckAfter = time.Hour

func (d *doctor) outbox(ctx context.Context, c *Client) {
	var (
		waiting, failing int
		oldest           sql.NullInt64
		reason           sql.NullString
	)
	err := c.store.reader.QueryRowContext(ctx, `
		SELECT count(*), count(*) FILTER (WHERE o.tries > 0), min(o.sent_at), max(m.reason)
		FROM outbox o LEFT JOIN messages m ON m.id = o.message`).Scan(&waiting, &failing, &oldest, &reason)
	if err != nil {
		d.note("outbox", Broken, "%v", describeDamage(err))
		return
	}
	since := fromMilli(oldest.Int64)
	switch {
	case waiting == 0:
		d.note("outbox", Sound, "nothing waits to be sent")
	case failing > 0 || c.clock().Sub(since) > stuckAfter:
		why := reason.String
		if why == "" {
			why = "it goes out when the server can be reached"
		}
		d.note("outbox", Attention, "waiting to be sent: %d, the oldest since %s: %s", waiting, since.Format("2006-01-02 15:04 MST"), why)
	default:
		d.note("outbox", Sound, "waiting to be sent: %d", waiting)
	}
}

func (d *doctor) contacts(ctx context.Context, c *Client) {
	all, err := c.Contacts(ctx)
	if err != nil {
		d.note("contacts", Broken, "%v", err)
		return
	}
	changed := 0
	for _, k := range all {
		if k.NewKey != nil {
			d.note("contacts", Attention, "the key of %s changed: nothing goes to %s until you decide about it", k.Username, k.Username)
			changed++
		}
	}
	if changed == 0 {
		d.note("contacts", Sound, "%d in all, none with a changed key", len(all))
	}
}

func (d *doctor) conversations(ctx context.Context, c *Client) {
	all, err := c.Conversations(ctx)
	if err != nil {
		d.note("conversations", Broken, "%v", err)
		return
	}
	healing := 0
	for _, v := range all {
		if v.Healing {
			healing++
		}
	}
	if healing > 0 {
		d.note("conversations", Attention, "%d of %d cannot be followed just now; this device has asked to be taken in again", healing, len(all))
		return
	}
	d.note("conversations", Sound, "%d in all, and all can be followed", len(all))
}
