package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// maxKeyPackage is the size of the largest key package, in bytes. One of the
// hybrid suite has about 4,000.
const maxKeyPackage = 16 << 10

// A KeyPackageStore keeps what devices need to be added to groups while they are
// away.
type KeyPackageStore interface {
	// PublishKeyPackages adds to the stock of a device and returns how many are in
	// it. A key package that the device published before, and that was perhaps
	// claimed meanwhile, changes nothing. The error is ErrTooManyKeyPackages, and
	// nothing changed, or ErrUnknownDevice.
	PublishKeyPackages(ctx context.Context, publication Publication) (stock int, err error)
	// ClaimKeyPackages takes the oldest key package of each device of an account
	// out of its stock, or its last resort where the stock is empty. The devices
	// stand by time of registration; those that have neither are left out. When it
	// returns, nobody gets the same again. The error may be ErrUnknownAccount.
	ClaimKeyPackages(ctx context.Context, username identity.Username, at time.Time) ([]KeyPackage, error)
}

// A Publication is what a device adds to its key packages.
type Publication struct {
	Device       identity.DeviceID
	KeyPackages  [][]byte
	LastResort   []byte // takes the place of the one before; nil to keep that
	ReplaceStock bool   // empties the stock first
	At           time.Time
	Expires      time.Time // when these are not handed out any more
	MaxStock     int       // how many may be in stock
}

// A KeyPackage is one that was claimed.
type KeyPackage struct {
	Device     identity.DeviceID
	KeyPackage []byte
	LastResort bool
}

// PublishKeyPackages implements api.DirectoryServer.
func (d directory) PublishKeyPackages(ctx context.Context, request *api.PublishKeyPackagesRequest) (*api.PublishKeyPackagesResponse, error) {
	if len(request.GetKeyPackages()) > d.limits.KeyPackages {
		return nil, ErrTooManyKeyPackages
	}
	for _, b := range request.GetKeyPackages() {
		if len(b) == 0 {
			return nil, fmt.Errorf("%w: an empty key package", errMalformed)
		}
		if len(b) > maxKeyPackage {
			return nil, errTooLarge
		}
	}
	if len(request.GetLastResort()) > maxKeyPackage {
		return nil, errTooLarge
	}
	now := d.clock()
	stock, err := d.store.PublishKeyPackages(ctx, Publication{
		Device:       callingDevice(ctx),
		KeyPackages:  request.GetKeyPackages(),
		LastResort:   request.GetLastResort(),
		ReplaceStock: request.GetReplaceStock(),
		At:           now,
		Expires:      now.Add(d.limits.KeyPackageLifetime),
		MaxStock:     d.limits.KeyPackages,
	})
	if err != nil {
		return nil, err
	}
	return &api.PublishKeyPackagesResponse{Stock: uint32(stock)}, nil
}

// ClaimKeyPackages implements api.DirectoryServer. A name that nobody has counts
// like any other, so that names cannot be tried out faster than claimed.
func (d directory) ClaimKeyPackages(ctx context.Context, request *api.ClaimKeyPackagesRequest) (*api.ClaimKeyPackagesResponse, error) {
	username, err := identity.ParseUsername(request.GetUsername())
	if err != nil || string(username) != request.GetUsername() {
		return nil, errMalformed
	}
	now := d.clock()
	claimer, err := d.store.Status(ctx, callingDevice(ctx), now)
	if err != nil {
		return nil, err
	}
	if err := d.claims.use(now, claimer.Username, username); err != nil {
		return nil, err
	}
	claimed, err := d.store.ClaimKeyPackages(ctx, username, now)
	if err != nil {
		return nil, err
	}
	response := &api.ClaimKeyPackagesResponse{}
	for _, c := range claimed {
		if c.LastResort {
			d.metrics.lastResorts.Inc()
		} else {
			d.metrics.keyPackages.Inc()
		}
		response.KeyPackages = append(response.KeyPackages, &api.ClaimedKeyPackage{
			Device: c.Device[:], KeyPackage: c.KeyPackage, LastResort: c.LastResort,
		})
	}
	return response, nil
}

// claimWindow is how long a claim counts, at most.
const claimWindow = time.Hour

// claims counts what each account claims in a window of time. It holds at most
// one entry for each claim that passed.
type claims struct {
	max, maxOfOne int

	mu        sync.Mutex
	since     time.Time
	byClaimer map[identity.Username]int
	byPair    map[claimPair]int
}

type claimPair struct{ claimer, claimed identity.Username }

func newClaims(limits Limits) *claims {
	return &claims{
		max: limits.Claims, maxOfOne: limits.ClaimsOfOne,
		byClaimer: make(map[identity.Username]int), byPair: make(map[claimPair]int),
	}
}

// use counts a claim, or refuses it until the window ends.
func (c *claims) use(at time.Time, claimer, claimed identity.Username) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := at.Sub(c.since); age >= claimWindow || age < 0 {
		c.since = at
		clear(c.byClaimer)
		clear(c.byPair)
	}
	pair := claimPair{claimer, claimed}
	if c.byClaimer[claimer] >= c.max || c.byPair[pair] >= c.maxOfOne {
		return laterError{errTooManyClaims, c.since.Add(claimWindow).Sub(at)}
	}
	c.byClaimer[claimer]++
	c.byPair[pair]++
	return nil
}
