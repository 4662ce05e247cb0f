package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"sealpost/api"
	"sealpost/identity"
)

// Create makes the keys of a new account and device, writes them to disk, and
// registers them. If the server refuses or was never reached, nothing is left
// behind, and the error is [ErrNameTaken], [ErrInviteRequired], [ErrInviteInvalid],
// [*ServerChangedError], [*CertificateError], [ErrServerUnavailable] or [ErrProfileExists]. Where it
// is uncertain whether the server took the registration, the profile stays, the
// error is [ErrServerUnavailable] all the same, and [Open] and Run complete it.
func Create(ctx context.Context, options Options, profile NewProfile) (*Client, error) {
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the profile's directory: %w", err)
	}
	lock, err := lockProfile(options.Dir)
	if err != nil {
		return nil, err
	}
	c, err := createLocked(ctx, options, profile)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c.lock = lock
	return c, nil
}

func createLocked(ctx context.Context, options Options, profile NewProfile) (*Client, error) {
	if Exists(options.Dir) {
		return nil, ErrProfileExists
	}
	// What is here is left of a creation that a crash cut short: nobody has its key.
	if err := removeLeftovers(options.Dir); err != nil {
		return nil, fmt.Errorf("clearing the profile's directory: %w", err)
	}
	creating := filepath.Join(options.Dir, creatingFileName)
	if err := writeFile(creating, nil); err != nil {
		return nil, fmt.Errorf("beginning a profile: %w", err)
	}
	p, c, err := writeProfile(ctx, options, profile)
	if err == nil {
		var certain bool
		if certain, err = c.registerFirst(ctx); err == nil {
			_ = os.Remove(creating) // else Open does it
			return c, nil
		}
		err = errors.Join(err, c.line.close(), c.store.close())
		if !certain {
			return nil, errors.Join(err, os.Remove(creating))
		}
	}
	options.Unlock.forget(options.Dir, p)
	return nil, errors.Join(err, removeProfile(options.Dir))
}

// writeProfile makes the keys and the files of a profile, its protection last.
func writeProfile(ctx context.Context, options Options, profile NewProfile) (protection, *Client, error) {
	now := time.Now
	if options.Clock != nil {
		now = options.Clock
	}
	s, accountKey, err := newSelf(profile, now())
	if err != nil {
		return protection{}, nil, err
	}
	key := randomBytes(databaseKeySize)
	store, err := openStore(ctx, filepath.Join(options.Dir, databaseFileName), key)
	if err != nil {
		return protection{}, nil, err
	}
	if err := store.write(ctx, func(tx *sql.Tx) error { return insertSelf(ctx, tx, s, accountKey) }); err != nil {
		return protection{}, nil, errors.Join(err, store.close())
	}
	c, err := newClient(ctx, options, store)
	if err != nil {
		return protection{}, nil, errors.Join(err, store.close())
	}
	p, err := protectProfile(options, key)
	if err != nil {
		return p, nil, errors.Join(err, c.line.close(), store.close())
	}
	return p, c, nil
}

func protectProfile(options Options, key []byte) (protection, error) {
	p, err := options.Unlock.protect(options.Dir, key)
	if err != nil {
		return p, err
	}
	p.Version, p.Kind = protectionVersion, options.Unlock.Kind()
	return p, writeProtection(options.Dir, p)
}

// registerFirst registers a profile that was just made. On an error, certain
// says that the server does not have it.
func (c *Client) registerFirst(ctx context.Context) (certain bool, err error) {
	if _, err := c.line.connect(ctx); err != nil {
		return true, err
	}
	err = c.register(ctx)
	return errors.Is(err, ErrNameTaken) || errors.Is(err, ErrInviteRequired) || errors.Is(err, ErrInviteInvalid) || errors.Is(err, ErrRefused) ||
		errors.Is(err, ErrClockSkew), err
}

// register tells the server of this account and device, again if need be.
func (c *Client) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := c.line.connect(ctx)
	if err != nil {
		return err
	}
	request := &api.RegisterRequest{DeviceRecord: c.self.record.Marshal()}
	if c.self.invite != nil {
		request.Invite = c.self.invite[:]
	}
	if _, err := api.NewDirectoryClient(conn).Register(ctx, request); err != nil {
		return c.line.explain(err)
	}
	if err := c.commit(ctx, func(u *unit) error {
		_, err := u.ExecContext(u, "UPDATE profile SET registered = 1")
		return err
	}); err != nil {
		return err
	}
	c.self.registered = true
	// So that others can write to us before we are online for the first time. Run
	// does it again if it does not work now.
	if err := c.stockKeyPackages(ctx, 0, false); err != nil && !isUnavailable(err) {
		c.log.Warn("key packages were not published", "error", err)
	}
	return nil
}

// newSelf makes every key of a new account with its first device.
func newSelf(profile NewProfile, now time.Time) (self, identity.AccountPrivateKey, error) {
	accountKey, deviceKey := identity.GenerateAccountKey(), identity.GenerateDeviceKey()
	fileIdentity, err := age.GenerateHybridIdentity()
	if err != nil {
		return self{}, accountKey, fmt.Errorf("making the file identity: %w", err)
	}
	certificate := identity.IssueCertificate(accountKey, profile.Username, deviceKey.Public(), identity.NewDeviceID(), now)
	record, err := identity.SignDeviceRecord(deviceKey, certificate, fileIdentity.Recipient().String())
	if err != nil {
		return self{}, accountKey, fmt.Errorf("describing the new device: %w", err)
	}
	return self{
		server: profile.Server, fingerprint: profile.Fingerprint, trust: profile.Trust, invite: profile.Invite,
		deviceKey: deviceKey, fileIdentity: fileIdentity.String(), record: record,
	}, accountKey, nil
}

func insertSelf(ctx context.Context, tx *sql.Tx, s self, accountKey identity.AccountPrivateKey) error {
	var invite []byte
	if s.invite != nil {
		invite = s.invite[:]
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO profile (id, server, fingerprint, trust, invite, account_seed, device_seed, file_identity, device_record, registered)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		s.server, s.fingerprint[:], s.trust.String(), invite, accountKey.Seed(), s.deviceKey.Seed(), s.fileIdentity, s.record.Marshal())
	return err
}

// readSelf reads the owner's row. The error wraps [ErrDamaged] unless the
// database itself fails.
func readSelf(ctx context.Context, db *sql.DB) (self, error) {
	var (
		s                                        self
		trust                                    string
		fingerprint, invite, deviceSeed, encoded []byte
	)
	err := db.QueryRowContext(ctx, `
		SELECT server, fingerprint, trust, invite, device_seed, file_identity, device_record, registered FROM profile`).
		Scan(&s.server, &fingerprint, &trust, &invite, &deviceSeed, &s.fileIdentity, &encoded, &s.registered)
	if errors.Is(err, sql.ErrNoRows) {
		return self{}, fmt.Errorf("reading the profile: %w", ErrDamaged)
	}
	if err != nil {
		return self{}, fmt.Errorf("reading the profile: %w", err)
	}
	if len(fingerprint) != len(s.fingerprint) {
		return self{}, fmt.Errorf("reading the server's fingerprint: %w", ErrDamaged)
	}
	s.fingerprint = identity.ServerID(fingerprint)
	if s.trust, err = ParseTrustPolicy(trust); err != nil {
		return self{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if invite != nil {
		code, err := identity.InviteCodeFromBytes(invite)
		if err != nil {
			return self{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		s.invite = &code
	}
	if s.deviceKey, err = identity.DeviceKeyFromSeed(deviceSeed); err != nil {
		return self{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.record, err = identity.ParseDeviceRecord(encoded); err != nil {
		return self{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s, nil
}
