package sqlite

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
	"sealpost/relay"
)

// PublishKeyPackages implements relay.KeyPackageStore. Of a key package that was
// claimed its digest stays until it would have expired, so that a repeat of the
// publication does not bring it back.
func (s *Store) PublishKeyPackages(ctx context.Context, p relay.Publication) (stock int, err error) {
	if err := s.haveSpace(); err != nil {
		return 0, err
	}
	mailbox, err := s.mailbox(ctx, p.Device)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.transaction(func() error {
		stock, err = s.publish(mailbox, p)
		if err == nil && stock > p.MaxStock {
			err = relay.ErrTooManyKeyPackages
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("publishing key packages: %w", err)
	}
	return stock, nil
}

func (s *Store) publish(mailbox int64, p relay.Publication) (stock int, err error) {
	digests := make(map[[sha256.Size]byte]bool, len(p.KeyPackages))
	for _, b := range p.KeyPackages {
		digests[sha256.Sum256(b)] = true
	}
	if p.ReplaceStock {
		if err := s.withdraw(mailbox, digests); err != nil {
			return 0, err
		}
	}
	for _, b := range p.KeyPackages {
		digest := sha256.Sum256(b)
		if err := s.writer.addKeyPackage.int(1, mailbox).blob(2, digest[:]).int(3, p.Expires.Unix()).blob(4, b).exec(); err != nil {
			return 0, err
		}
	}
	if len(p.LastResort) > 0 {
		if err := s.writer.setLastResort.int(1, mailbox).int(2, p.Expires.Unix()).blob(3, p.LastResort).exec(); err != nil {
			return 0, err
		}
	}
	err = s.writer.countKeyPackages.int(1, mailbox).int(2, p.At.Unix()).each(func(row *sqlite3.Stmt) bool {
		stock = row.ColumnInt(0)
		return false
	})
	return stock, err
}

// withdraw empties a stock of all key packages but those with the digests to keep.
func (s *Store) withdraw(mailbox int64, keep map[[sha256.Size]byte]bool) error {
	var gone []int64
	err := s.writer.stock.int(1, mailbox).each(func(row *sqlite3.Stmt) bool {
		if !keep[[sha256.Size]byte(row.ColumnRawBlob(1))] {
			gone = append(gone, row.ColumnInt64(0))
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, number := range gone {
		if err := s.writer.takeKeyPackage.int(1, number).exec(); err != nil {
			return err
		}
	}
	return nil
}

// ClaimKeyPackages implements relay.KeyPackageStore.
func (s *Store) ClaimKeyPackages(_ context.Context, username identity.Username, at time.Time) (claimed []relay.KeyPackage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.transaction(func() error {
		claimed, err = s.claim(username, at)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claiming key packages: %w", err)
	}
	return claimed, nil
}

func (s *Store) claim(username identity.Username, at time.Time) ([]relay.KeyPackage, error) {
	devices := make(map[int64]identity.DeviceID)
	var mailboxes []int64
	err := s.writer.devicesOf.text(1, string(username)).each(func(row *sqlite3.Stmt) bool {
		mailbox := row.ColumnInt64(0)
		mailboxes = append(mailboxes, mailbox)
		devices[mailbox] = identity.DeviceID(row.ColumnRawBlob(1))
		return true
	})
	if err != nil {
		return nil, err
	}
	if len(mailboxes) == 0 {
		return nil, relay.ErrUnknownAccount
	}
	var claimed []relay.KeyPackage
	for _, mailbox := range mailboxes {
		c := relay.KeyPackage{Device: devices[mailbox]}
		if err := s.claimOf(mailbox, at, &c); err != nil {
			return nil, err
		}
		if c.KeyPackage != nil {
			claimed = append(claimed, c)
		}
	}
	return claimed, nil
}

// claimOf takes a key package of one device, and leaves c as it is if there is
// none.
func (s *Store) claimOf(mailbox int64, at time.Time, c *relay.KeyPackage) error {
	var number int64
	err := s.writer.oldestKeyPackage.int(1, mailbox).int(2, at.Unix()).each(func(row *sqlite3.Stmt) bool {
		number, c.KeyPackage = row.ColumnInt64(0), row.ColumnBlob(1, nil)
		return false
	})
	if err != nil {
		return err
	}
	if c.KeyPackage != nil {
		return s.writer.takeKeyPackage.int(1, number).exec()
	}
	return s.writer.lastResort.int(1, mailbox).int(2, at.Unix()).each(func(row *sqlite3.Stmt) bool {
		c.KeyPackage, c.LastResort = row.ColumnBlob(0, nil), true
		return false
	})
}
