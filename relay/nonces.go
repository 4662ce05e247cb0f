package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// A NonceStore keeps what requests were made, so that a restart does not let them
// be made again.
type NonceStore interface {
	// AddNonces adds to what Nonces returns. When it returns nil they are on disk.
	AddNonces(ctx context.Context, nonces []Nonce) error
	// Nonces returns what was added with a time not before since.
	Nonces(ctx context.Context, since time.Time) ([]Nonce, error)
}

// A Nonce is of a request that was made.
type Nonce struct {
	Device identity.DeviceID
	Nonce  [identity.NonceSize]byte
	At     time.Time // of the relay's clock, in whole seconds
}

// nonces remembers the requests of the last while, so that none is made twice.
// It holds them in two generations: each lasts for the time in which a request
// can be replayed, so that the older can be dropped whole. They go to the store a
// moment later, many at a time: a call does not wait for the disk.
type nonces struct {
	lifetime       time.Duration
	max, perDevice int

	mu        sync.Mutex
	since     time.Time
	now, past generation
	unsaved   []Nonce
	wake      chan struct{} // something is unsaved
}

type generation struct {
	seen  map[nonceKey]struct{}
	count map[identity.DeviceID]int
}

type nonceKey struct {
	device identity.DeviceID
	nonce  [identity.NonceSize]byte
}

func newNonces(limits Limits) *nonces {
	return &nonces{
		lifetime: 2 * limits.ClockSkew, max: limits.Nonces, perDevice: limits.NoncesPerDevice,
		now: newGeneration(), past: newGeneration(), wake: make(chan struct{}, 1),
	}
}

// load remembers what requests were made before a restart.
func (n *nonces) load(ctx context.Context, store NonceStore, at time.Time) error {
	saved, err := store.Nonces(ctx, at.Add(-n.lifetime))
	if err != nil {
		return fmt.Errorf("reading which requests were made: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn(at)
	for _, nonce := range saved {
		n.now.add(nonceKey{nonce.Device, nonce.Nonce})
	}
	return nil
}

// save writes what is unsaved. What cannot be written is kept for the next time,
// as far as there is room.
func (n *nonces) save(ctx context.Context, store NonceStore) error {
	n.mu.Lock()
	unsaved := n.unsaved
	n.unsaved = nil
	n.mu.Unlock()
	if len(unsaved) == 0 {
		return nil
	}
	err := store.AddNonces(ctx, unsaved)
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.unsaved = append(unsaved, n.unsaved...)
		n.unsaved = n.unsaved[max(len(n.unsaved)-n.max, 0):]
	}
	return err
}

// saveForever saves at most once in an interval, and a last time at the end.
func (n *nonces) saveForever(ctx context.Context, store NonceStore, report func(error)) {
	for ctx.Err() == nil {
		select {
		case <-n.wake:
		case <-ctx.Done():
		}
		timer := time.NewTimer(ackInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if err := n.save(context.WithoutCancel(ctx), store); err != nil {
			report(err)
		}
	}
}

func newGeneration() generation {
	return generation{make(map[nonceKey]struct{}), make(map[identity.DeviceID]int)}
}

// reservedNonces is how many requests a registered device may always make: what
// the others do does not shut it out. Keys of a registration are not yet known,
// and anybody has any number of them.
const reservedNonces = 64

// use notes a request, or refuses it as replayed or as one too many. Only
// requests with a valid signature may come here: others must not take up room.
func (n *nonces) use(at time.Time, r identity.Request) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn(at)
	key := nonceKey{r.Device, r.Nonce}
	if n.now.has(key) || n.past.has(key) {
		return errReplayed
	}
	reserved := reservedNonces
	if r.Method == api.Directory_Register_FullMethodName {
		reserved = 0
	}
	full, count := len(n.now.seen)+len(n.past.seen) >= n.max, n.now.count[r.Device]+n.past.count[r.Device]
	if count >= n.perDevice || (full && count >= reserved) {
		return errTooManyRequests
	}
	n.now.add(key)
	n.unsaved = append(n.unsaved, Nonce{r.Device, r.Nonce, at})
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return nil
}

func (n *nonces) turn(at time.Time) {
	age := at.Sub(n.since)
	if age < n.lifetime {
		return
	}
	n.past = n.now
	if age >= 2*n.lifetime {
		n.past = newGeneration()
	}
	n.now = newGeneration()
	n.since = at
}

func (g generation) add(key nonceKey) {
	g.seen[key] = struct{}{}
	g.count[key.device]++
}

func (g generation) has(key nonceKey) bool {
	_, ok := g.seen[key]
	return ok
}
