package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
	"sealpost/relay"
)

// AddNonces implements relay.NonceStore.
func (s *Store) AddNonces(_ context.Context, nonces []relay.Nonce) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.transaction(func() error {
		for _, n := range nonces {
			if err := s.writer.addNonce.int(1, n.At.Unix()).blob(2, n.Device[:]).blob(3, n.Nonce[:]).exec(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting which requests were made: %w", err)
	}
	return nil
}

// Nonces implements relay.NonceStore.
func (s *Store) Nonces(ctx context.Context, since time.Time) (nonces []relay.Nonce, err error) {
	err = s.readers.use(ctx, func(r *reader) error {
		return r.nonces.int(1, since.Unix()).each(func(row *sqlite3.Stmt) bool {
			nonces = append(nonces, relay.Nonce{
				Device: identity.DeviceID(row.ColumnRawBlob(0)),
				Nonce:  [identity.NonceSize]byte(row.ColumnRawBlob(1)),
				At:     time.Unix(row.ColumnInt64(2), 0),
			})
			return true
		})
	})
	return nonces, err
}
