package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"sealpost/identity"
)

// A Client is an open profile.
type Client struct {
	self   self
	groups *groups
	clock  func() time.Time
	log    *slog.Logger
	store  *store
	lock   *flock.Flock
	line   *line
	events subscribers

	tuning tuning

	written  bell // rings after every write
	expiring bell // rings when a message began to count down

	wake chan struct{} // the outbox has something new

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	runs    sync.WaitGroup // of Run
	closed  sync.Once
	failure error // of Close

	mu      sync.Mutex // guards what follows, and beginning a Run against Close
	running bool
	fresh   map[identity.Username]bool // whose devices were asked for since the line came up
}

// self is the row that a profile keeps about its owner.
type self struct {
	server       string
	fingerprint  identity.ServerID
	trust        TrustPolicy
	invite       *identity.InviteCode // nil: none
	deviceKey    identity.DevicePrivateKey
	fileIdentity string
	record       identity.DeviceRecord
	registered   bool // written at creation and by Run only
}

func (s *self) username() identity.Username     { return s.record.Certificate.Username }
func (s *self) accountKey() identity.AccountKey { return s.record.Certificate.AccountKey }

// Open opens a profile. Its errors are [ErrNoProfile], [ErrWrongPassphrase],
// [ErrWrongUnlocker], [ErrKeyring], [ErrKeyFile], [*ProfileInUseError],
// [ErrDamaged] and [ErrNewerProfile]. It does not touch the network.
func Open(ctx context.Context, options Options) (*Client, error) {
	p, err := readProtection(options.Dir)
	if err != nil {
		return nil, err
	}
	if p.Kind != options.Unlock.Kind() {
		return nil, fmt.Errorf("%w: %s", ErrWrongUnlocker, p.Kind)
	}
	lock, err := lockProfile(options.Dir)
	if err != nil {
		return nil, err
	}
	c, err := openLocked(ctx, options, p)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c.lock = lock
	return c, nil
}

func openLocked(ctx context.Context, options Options, p protection) (*Client, error) {
	key, err := options.Unlock.unprotect(options.Dir, p)
	if err != nil {
		return nil, err
	}
	if _, err := removeStrayKeys(options.Dir, p); err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(options.Dir, creatingFileName)) // where a crash came just after the protection
	store, err := openExisting(ctx, options.Dir, key)
	if err != nil {
		return nil, err
	}
	c, err := newClient(ctx, options, store)
	if err == nil {
		_, err = c.expire(ctx) // before anybody can look
	}
	if err != nil {
		return nil, errors.Join(err, store.close())
	}
	return c, nil
}

func newClient(ctx context.Context, options Options, store *store) (*Client, error) {
	c := &Client{
		clock: options.Clock,
		log:   options.Logger,
		store: store,
		wake:  make(chan struct{}, 1),
		fresh: make(map[identity.Username]bool),

		tuning: defaultTuning,
	}
	if options.tuning != nil {
		c.tuning = *options.tuning
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.self, err = readSelf(ctx, store.reader); err != nil {
		return nil, err
	}
	certificate := c.self.record.Certificate
	if c.groups, err = newGroups(&c.self, c.clock, c.tuning.suite); err != nil {
		return nil, err
	}
	signer := requestSigner{server: c.self.fingerprint, device: certificate.DeviceID, key: c.self.deviceKey, clock: c.clock}
	c.line = newLine(c.self.server, c.self.fingerprint, signer, options.Dial)
	c.closing, c.close = context.WithCancel(context.Background())
	return c, nil
}

// Close ends Run and every subscription, and closes the store. Later calls of
// any method give [ErrClosed], but for Close, which gives what it gave before.
func (c *Client) Close() error {
	c.closed.Do(func() {
		c.mu.Lock() // no Run begins after this
		c.close()
		c.mu.Unlock()
		c.runs.Wait()
		c.events.close()
		c.failure = errors.Join(c.line.close(), c.store.close(), c.lock.Close())
	})
	return c.failure
}

// Self returns whose profile it is.
func (c *Client) Self() Account {
	certificate := c.self.record.Certificate
	return Account{
		Username:      certificate.Username,
		AccountKey:    certificate.AccountKey,
		DeviceID:      certificate.DeviceID,
		Server:        c.self.server,
		Fingerprint:   c.self.fingerprint,
		Trust:         c.self.trust,
		FileRecipient: c.self.record.FileRecipient,
	}
}

// Subscribe returns the events from now on. The channel is closed when ctx ends
// or the client is closed. Nobody waits for a slow subscriber: see [Lagged].
func (c *Client) Subscribe(ctx context.Context) <-chan Event { return c.events.add(ctx) }

// FileIdentity returns the age identity ("AGE-SECRET-KEY-PQ-1...") that opens
// files encrypted to this account. It is a secret.
func (c *Client) FileIdentity() string { return c.self.fileIdentity }

// FileSigner returns what signs files as this device.
func (c *Client) FileSigner() FileSigner {
	return FileSigner{certificate: c.self.record.Certificate, key: c.self.deviceKey}
}

// A FileSigner signs what belongs to an encrypted file, as one device.
type FileSigner struct {
	certificate identity.Certificate
	key         identity.DevicePrivateKey // redacts itself
}

// Certificate returns the certificate of the device, which goes with the file.
func (s FileSigner) Certificate() identity.Certificate { return s.certificate }

// Sign signs message in [identity.ContextFile] and no other.
func (s FileSigner) Sign(message []byte) []byte { return s.key.Sign(identity.ContextFile, message) }

// A unit is one transaction and what is to be told once it is on disk.
type unit struct {
	context.Context
	*sql.Tx
	now    time.Time
	events []Event
	wakes  bool // the outbox has something new
	// expires: a message began to count down to when it disappears.
	expires bool
}

func (u *unit) tell(e Event) { u.events = append(u.events, e) }

// A storeError is a failure of the local database, which no retry mends. It is
// ErrStore.
type storeError struct{ err error }

func (e *storeError) Error() string { return "using the local store: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// Is makes it ErrStore, and ErrDamaged where that is why.
func (e *storeError) Is(target error) bool {
	return target == ErrStore || (target == ErrDamaged && isDamage(e.err))
}

// commit runs do in one transaction. Only when that is on disk, the events go
// out. An error of do comes back as a storeError and nothing is written: what
// must be written and reported as well is for the caller to keep.
func (c *Client) commit(ctx context.Context, do func(*unit) error) error {
	if c.closing.Err() != nil {
		return ErrClosed
	}
	u := &unit{Context: ctx, now: c.clock()}
	err := c.store.write(ctx, func(tx *sql.Tx) error {
		u.Tx = tx
		return do(u)
	})
	if err != nil {
		return c.storeFailure(ctx, err)
	}
	if u.wakes {
		c.wakeOutbox()
	}
	if u.expires {
		c.expiring.ring()
	}
	c.events.publish(u.events...)
	c.written.ring()
	return nil
}

func (c *Client) storeFailure(ctx context.Context, err error) error {
	switch {
	case c.closing.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &storeError{err}
}

func (c *Client) wakeOutbox() {
	select {
	case c.wake <- struct{}{}:
	default: // awake already
	}
}

func (c *Client) isFresh(username identity.Username) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh[username]
}

func (c *Client) setFresh(username identity.Username) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh[username] = true
}

func (c *Client) forgetFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.fresh)
}
