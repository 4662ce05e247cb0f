package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// A reader is a connection that only reads.
type reader struct {
	conn *sqlite3.Conn

	device, records, entries, status, nonces statement
}

func openReader(dsn string) (*reader, error) {
	conn, err := sqlite3.Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	r := &reader{conn: conn}
	if err := r.prepare(); err != nil {
		return nil, errors.Join(err, closeConn(conn))
	}
	return r, nil
}

func (r *reader) prepare() error {
	if err := r.conn.Exec(`PRAGMA query_only=ON; PRAGMA cache_size=-4096`); err != nil {
		return fmt.Errorf("preparing a reader: %w", err)
	}
	return prepare(r.conn, map[*statement]string{
		&r.device: `SELECT mailbox, account, key FROM device WHERE id = ?`,
		&r.records: `SELECT device.record FROM device JOIN account ON account.id = device.account
			WHERE account.username = ? ORDER BY device.mailbox`,
		&r.entries: `SELECT entry.sequence, entry.kind, entry.size, coalesce(entry.body, payload.body), delivery_list.group_id, delivery_list.hash
			FROM entry LEFT JOIN payload ON payload.id = entry.shared LEFT JOIN delivery_list ON delivery_list.number = entry.list
			WHERE entry.mailbox = ? AND entry.sequence > ? ORDER BY entry.sequence LIMIT ?`,
		&r.nonces: `SELECT device, nonce, at FROM nonce WHERE at >= ?`,
		&r.status: `SELECT account.username, coalesce(device_state.acked, 0), device_state.last_submit,
				(SELECT count(*) FROM key_package WHERE mailbox = device.mailbox AND body IS NOT NULL AND expires_at > ?2)
			FROM device JOIN account ON account.id = device.account LEFT JOIN device_state ON device_state.mailbox = device.mailbox
			WHERE device.id = ?1`,
	})
}

// A readerPool hands out readers, at most two for each processor, opened when
// they are needed.
type readerPool struct {
	dsn   string
	slots chan struct{}

	mu   sync.Mutex
	idle []*reader
}

func (p *readerPool) init(dsn string) {
	p.dsn = dsn
	p.slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
}

// use calls f with a reader.
func (p *readerPool) use(ctx context.Context, f func(*reader) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	r, err := p.take()
	if err != nil {
		return err
	}
	defer p.put(r)
	return f(r)
}

func (p *readerPool) take() (*reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return r, nil
	}
	return openReader(p.dsn)
}

func (p *readerPool) put(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, r)
}

func (p *readerPool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, r := range p.idle {
		err = errors.Join(err, closeConn(r.conn))
	}
	p.idle = nil
	return err
}

// Device implements relay.Store.
func (s *Store) Device(ctx context.Context, id identity.DeviceID) (identity.DeviceKey, error) {
	_, key, err := s.device(ctx, id)
	return key, err
}

func (s *Store) device(ctx context.Context, id identity.DeviceID) (p place, key identity.DeviceKey, err error) {
	err = s.readers.use(ctx, func(r *reader) error {
		err := r.device.blob(1, id[:]).each(func(row *sqlite3.Stmt) bool {
			p = place{mailbox: row.ColumnInt64(0), account: row.ColumnInt64(1)}
			copy(key[:], row.ColumnRawBlob(2))
			return false
		})
		if err != nil {
			return fmt.Errorf("reading a device: %w", err)
		}
		if p.mailbox == 0 {
			return relay.ErrUnknownDevice
		}
		return nil
	})
	return p, key, err
}

// place returns where a device stands, or ErrUnknownDevice.
func (s *Store) place(ctx context.Context, id identity.DeviceID) (place, error) {
	if p, ok := s.devices.get(id); ok {
		return p, nil
	}
	p, _, err := s.device(ctx, id)
	if err == nil {
		s.devices.put(id, p)
	}
	return p, err
}

// mailbox returns the number of a device's mailbox, or ErrUnknownDevice.
func (s *Store) mailbox(ctx context.Context, id identity.DeviceID) (int64, error) {
	p, err := s.place(ctx, id)
	return p.mailbox, err
}

// Records implements relay.Store.
func (s *Store) Records(ctx context.Context, username identity.Username) ([][]byte, error) {
	var records [][]byte
	err := s.readers.use(ctx, func(r *reader) error {
		err := r.records.text(1, string(username)).each(func(row *sqlite3.Stmt) bool {
			records = append(records, row.ColumnBlob(0, nil))
			return true
		})
		if err != nil {
			return fmt.Errorf("reading an account: %w", err)
		}
		return nil
	})
	if err == nil && len(records) == 0 {
		err = relay.ErrUnknownAccount
	}
	return records, err
}

// Status implements relay.Store.
func (s *Store) Status(ctx context.Context, device identity.DeviceID, at time.Time) (relay.DeviceStatus, error) {
	var status relay.DeviceStatus
	err := s.readers.use(ctx, func(r *reader) error {
		return r.status.blob(1, device[:]).int(2, at.Unix()).each(func(row *sqlite3.Stmt) bool {
			status = relay.DeviceStatus{
				Username:    identity.Username(row.ColumnText(0)),
				Acked:       uint64(row.ColumnInt64(1)),
				Last:        uint64(s.given.Load()),
				LastSubmit:  row.ColumnBlob(2, nil),
				KeyPackages: row.ColumnInt(3),
			}
			return false
		})
	})
	switch {
	case err != nil:
		return status, fmt.Errorf("reading the status of a device: %w", err)
	case status.Username == "":
		return status, relay.ErrUnknownDevice
	}
	return status, nil
}

// Read implements relay.Store.
func (s *Store) Read(ctx context.Context, device identity.DeviceID, after uint64, page relay.Page) ([]relay.Envelope, bool, error) {
	if after > relay.MaxSequence {
		return nil, false, nil
	}
	mailbox, err := s.mailbox(ctx, device)
	if err != nil {
		return nil, false, err
	}
	var p pageReader
	err = s.readers.use(ctx, func(r *reader) error {
		p = pageReader{page: page}
		return r.entries.int(1, mailbox).int(2, int64(after)).int(3, int64(page.Rows)+1).each(p.add)
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading a mailbox: %w", err)
	}
	return p.envelopes, p.more, nil
}

// A pageReader collects envelopes until its page is full.
type pageReader struct {
	page      relay.Page
	envelopes []relay.Envelope
	bytes     int
	more      bool
}

func (p *pageReader) add(row *sqlite3.Stmt) bool {
	size := row.ColumnInt(2)
	if n := len(p.envelopes); n > 0 && (n == p.page.Rows || p.bytes+size > p.page.Bytes) {
		p.more = true
		return false
	}
	p.bytes += size
	p.envelopes = append(p.envelopes, relay.Envelope{
		Sequence: uint64(row.ColumnInt64(0)),
		Kind:     api.Kind(row.ColumnInt(1)),
		Payload:  row.ColumnBlob(3, nil),
		Group:    row.ColumnBlob(4, nil),
		ListHash: row.ColumnBlob(5, nil),
	})
	return true
}
