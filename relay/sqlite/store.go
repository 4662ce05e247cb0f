package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/ncruces/go-sqlite3"

	"sealpost/identity"
)

// A Store is a relay.Store in one SQLite database. Its methods may be called
// from several goroutines.
type Store struct {
	path string // of the database
	dsn  string
	lock *flock.Flock

	readers      readerPool
	checkpointer checkpointer
	metrics      metrics

	devices deviceCache

	freeBytes func() (int64, error) // on the disk
	given     atomic.Int64          // the highest sequence number that is on disk

	// mu is held while writer is used; it guards the fields below.
	mu     sync.Mutex
	writer writer
	// next is the sequence number of the next entry, reserved the last one that
	// the database has set aside. A start goes on after the reserved ones, so
	// that no number is used twice though the entry that had it is deleted; and
	// not below the time, so that neither is one that was used after the backup
	// that the database comes from.
	next, reserved int64
	nextPayload    int64
	usage          usages
	groups         groupCache

	recent  map[submissionKey]struct{} // the submit ids that are in no run
	packAt  int                        // the constant
	filter  submissionFilter           // of the runs
	nextRun int64
}

// secondBits is how far the time in seconds is shifted for the least sequence
// number of a start: no server uses a million numbers a second all its life.
const secondBits = 20

func newStore(dsn string) *Store {
	s := &Store{dsn: dsn, metrics: newMetrics(), recent: make(map[submissionKey]struct{}), packAt: packAt}
	s.readers.init(dsn)
	s.devices.places = make(map[identity.DeviceID]place)
	s.usage.clear()
	s.groups.clear()
	s.checkpointer.init(&s.mu, &s.metrics)
	return s
}

// Close writes the log back into the database, if nobody else reads it, and
// releases the directory. No other method may be running or called again.
func (s *Store) Close() error {
	s.checkpointer.stop()
	_, _, err := s.checkpointer.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	if errors.Is(err, sqlite3.BUSY) {
		err = nil // a backup: the log stays, with all that is in it
	}
	if err != nil {
		err = fmt.Errorf("writing the log back: %w", err)
	}
	return errors.Join(err, s.closeConnections(), s.lock.Close())
}

func (s *Store) closeConnections() error {
	err := s.readers.close()
	for _, c := range []*sqlite3.Conn{s.checkpointer.conn, s.writer.conn} {
		if c != nil {
			err = errors.Join(err, closeConn(c))
		}
	}
	return err
}

// closeConn closes a connection with its statements.
func closeConn(c *sqlite3.Conn) error {
	for _, stmt := range slices.Collect(c.Stmts()) {
		if err := stmt.Close(); err != nil {
			return fmt.Errorf("closing a statement: %w", err)
		}
	}
	return c.Close()
}

// loadState reads what the store keeps in memory.
func (s *Store) loadState() (err error) {
	if s.reserved, err = queryInt(s.writer.conn, `SELECT upto FROM sequence_reserved`); err != nil {
		return fmt.Errorf("reading the reserved sequence numbers: %w", err)
	}
	s.next = max(s.reserved+1, time.Now().Unix()<<secondBits)
	s.given.Store(s.next - 1)
	if s.nextPayload, err = queryInt(s.writer.conn, `SELECT coalesce(max(id), 0) + 1 FROM payload`); err != nil {
		return fmt.Errorf("reading the last payload: %w", err)
	}
	return s.loadSubmissions()
}

// A place is where a device stands in the database.
type place struct{ mailbox, account int64 }

// deviceCache knows the places of devices that were asked for. Devices do not
// change and are not deleted.
type deviceCache struct {
	mu     sync.RWMutex
	places map[identity.DeviceID]place
}

// maxCachedDevices bounds the cache to some 70 MB.
const maxCachedDevices = 1 << 20

func (c *deviceCache) get(id identity.DeviceID) (place, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, ok := c.places[id]
	return p, ok
}

func (c *deviceCache) put(id identity.DeviceID, p place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.places) >= maxCachedDevices {
		clear(c.places)
	}
	c.places[id] = p
}
