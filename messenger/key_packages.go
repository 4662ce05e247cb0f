package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sealpost/api"
	"sealpost/mls"
)

const (
	// stockSize is how many one-time key packages the relay is to have of us, and
	// lowStock when it gets new ones.
	stockSize = 100
	lowStock  = 50

	// keyPackageLife is how long others may use one; we keep its private part a
	// little longer, for invitations that travel.
	keyPackageLife  = 60 * 24 * time.Hour
	keyPackageGrace = 35 * 24 * time.Hour
	// lastResortLife is when the last resort, which is used more than once, is
	// replaced.
	lastResortLife = 30 * 24 * time.Hour
)

// stockKeyPackages publishes new key packages where the relay has few left. fresh
// says that those published before are not to be relied on.
func (c *Client) stockKeyPackages(ctx context.Context, stock uint32, fresh bool) error {
	var lastResort bool
	if err := c.store.reader.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM key_packages WHERE last_resort AND published AND expires_at > ?)",
		c.clock().Add(keyPackageGrace+keyPackageLife-lastResortLife).UnixMilli()).Scan(&lastResort); err != nil {
		return c.storeFailure(ctx, err)
	}
	lastResort = lastResort && !fresh
	if int(stock) >= c.tuning.lowStock && lastResort {
		return nil
	}
	if fresh {
		stock = 0 // their private parts may be gone: the relay drops them
	}
	n := max(0, c.tuning.stockSize-int(stock))
	waiting, err := c.unpublished(ctx, n)
	if err != nil {
		return err
	}
	request := &api.PublishKeyPackagesRequest{ReplaceStock: fresh, KeyPackages: waiting}
	err = c.commit(ctx, func(u *unit) error {
		if _, err := u.ExecContext(u, "DELETE FROM key_packages WHERE expires_at <= ?", u.now.UnixMilli()); err != nil {
			return fmt.Errorf("deleting old key packages: %w", err)
		}
		for len(request.KeyPackages) < n {
			k, err := c.newKeyPackage(u, false)
			if err != nil {
				return err
			}
			request.KeyPackages = append(request.KeyPackages, k)
		}
		if !lastResort {
			var err error
			request.LastResort, err = c.newKeyPackage(u, true)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Their private parts are on disk before anybody can use them.
	_, err = callDirectory(ctx, c, func(ctx context.Context, d api.DirectoryClient) (*api.PublishKeyPackagesResponse, error) {
		return d.PublishKeyPackages(ctx, request)
	})
	if errors.Is(err, errKeyPackageLimit) {
		return nil // the relay has enough
	}
	if err != nil {
		return err
	}
	return c.commit(ctx, func(u *unit) error {
		_, err := u.ExecContext(u, "UPDATE key_packages SET published = 1 WHERE NOT published")
		return err
	})
}

// unpublished returns some of what was made, and perhaps did not come to the relay.
func (c *Client) unpublished(ctx context.Context, most int) ([][]byte, error) {
	var all [][]byte
	err := c.read(ctx, "SELECT private FROM key_packages WHERE NOT published AND NOT last_resort LIMIT ?", []any{most}, func(scan func(...any) error) error {
		var encoded []byte
		if err := scan(&encoded); err != nil {
			return err
		}
		private, err := mls.ParsePrivateKeyPackage(encoded)
		if err != nil {
			return fmt.Errorf("reading a key package: %w", err)
		}
		all = append(all, private.KeyPackage.Message())
		return nil
	})
	return all, err
}

func (c *Client) newKeyPackage(u *unit, lastResort bool) ([]byte, error) {
	private, err := c.groups.client.NewKeyPackage(c.tuning.suite, c.self.identity(), mls.KeyPackageOptions{
		Leaf: leafOptions(), Lifetime: keyPackageLife, LastResort: lastResort,
	})
	if err != nil {
		return nil, fmt.Errorf("making a key package: %w", err)
	}
	ref, err := private.KeyPackage.Ref()
	if err != nil {
		return nil, fmt.Errorf("naming a key package: %w", err)
	}
	if _, err := u.ExecContext(u, "INSERT INTO key_packages (ref, private, last_resort, expires_at) VALUES (?, ?, ?, ?)",
		ref, private.Marshal(), lastResort, u.now.Add(keyPackageLife+keyPackageGrace).UnixMilli()); err != nil {
		return nil, fmt.Errorf("storing a key package: %w", err)
	}
	return private.KeyPackage.Message(), nil
}

// maxNewMembers bounds the look for our key package in a Welcome.
const maxNewMembers = 2000

// keyPackagesFor returns those of ours that a Welcome is for: one, or none.
func (s *session) keyPackagesFor(ctx context.Context, welcome []byte) ([]*mls.PrivateKeyPackage, error) {
	m, err := mls.ParseMessage(welcome)
	if err != nil || m.Welcome == nil {
		return nil, errNotMessage
	}
	refs := m.Welcome.NewMembers()
	if len(refs) > maxNewMembers {
		return nil, errWelcome
	}
	for _, ref := range refs {
		var encoded []byte
		err := s.store.reader.QueryRowContext(ctx, "SELECT private FROM key_packages WHERE ref = ?", ref).Scan(&encoded)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, s.storeFailure(ctx, err)
		}
		private, err := mls.ParsePrivateKeyPackage(encoded)
		if err != nil {
			return nil, s.storeFailure(ctx, fmt.Errorf("reading a key package: %w", err))
		}
		return []*mls.PrivateKeyPackage{private}, nil
	}
	return nil, nil
}

// useKeyPackage deletes a one-time key package once its Welcome is in the store.
func useKeyPackage(u *unit, used *mls.PrivateKeyPackage) error {
	ref, err := used.KeyPackage.Ref()
	if err != nil {
		return fmt.Errorf("naming a key package: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM key_packages WHERE ref = ? AND NOT last_resort", ref); err != nil {
		return fmt.Errorf("deleting a key package: %w", err)
	}
	return nil
}
