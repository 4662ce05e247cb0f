package relay

import (
	"sync"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// nonces remembers the requests of the last while, so that none is made twice.
// It holds them in two generations: each lasts for the time in which a request
// can be replayed, so that the older can be dropped whole.
type nonces struct {
	lifetime       time.Duration
	max, perDevice int

	mu        sync.Mutex
	since     time.Time
	now, past generation
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
		now: newGeneration(), past: newGeneration(),
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
	n.now.seen[key] = struct{}{}
	n.now.count[r.Device]++
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

func (g generation) has(key nonceKey) bool {
	_, ok := g.seen[key]
	return ok
}
