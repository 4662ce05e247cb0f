package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/peer"

	"sealpost/identity"
)

// maxRateKeys bounds how many devices, accounts or addresses have a rate of their
// own at a time. Those beyond share one.
const maxRateKeys = 1 << 16

// rates hold each of many clients to one rate.
type rates[K comparable] struct {
	err   error
	every time.Duration // one more each
	burst int

	mu     sync.Mutex
	of     map[K]*rate.Limiter
	shared *rate.Limiter
}

// newRates allows n in a window of time, all at once or one by one. Over that
// comes err.
func newRates[K comparable](err error, n int, window time.Duration) *rates[K] {
	r := &rates[K]{err: err, every: window / time.Duration(n), burst: n, of: make(map[K]*rate.Limiter)}
	r.shared = r.newLimiter()
	return r
}

func (r *rates[K]) newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(r.every), r.burst) }

// limiter returns that of a client, who may keep it while it is in use.
func (r *rates[K]) limiter(at time.Time, key K) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.of[key]; ok {
		return l
	}
	if len(r.of) >= maxRateKeys && !r.forget(at) {
		return r.shared
	}
	l := r.newLimiter()
	r.of[key] = l
	return l
}

// forget drops those who have not asked for so long that a new limiter allows
// them the same, and tells whether there is room now.
func (r *rates[K]) forget(at time.Time) bool {
	for key, l := range r.of {
		if l.TokensAt(at) >= float64(r.burst) {
			delete(r.of, key)
		}
	}
	return len(r.of) < maxRateKeys
}

// take counts one more of a client, or returns the error with the time after
// which there is room.
func (r *rates[K]) take(at time.Time, key K) error {
	return r.takeFrom(r.limiter(at, key), at, 1)
}

// takeFrom takes n at once, or as many as ever fit.
func (r *rates[K]) takeFrom(l *rate.Limiter, at time.Time, n int) error {
	reservation := l.ReserveN(at, min(n, l.Burst()))
	if delay := reservation.DelayFrom(at); delay > 0 {
		reservation.CancelAt(at)
		return laterError{r.err, delay}
	}
	return nil
}

// clientRates are the rates that clients are held to.
type clientRates struct {
	calls         *rates[identity.DeviceID]
	lookups       *rates[identity.DeviceID]
	submits       *rates[identity.DeviceID]
	bytes         *rates[identity.DeviceID] // in units of byteUnit
	accounts      *rates[identity.Username] // submits
	commits       *rates[identity.Username]
	registrations *rates[netip.Prefix]
}

// byteUnit is what bytes are counted in, so that a rate of them has a step that
// time can measure.
const byteUnit = 1 << 10

func newClientRates(l Limits) clientRates {
	return clientRates{
		calls:         newRates[identity.DeviceID](errCallRate, l.DeviceCalls, time.Minute),
		lookups:       newRates[identity.DeviceID](errLookupRate, l.DeviceLookups, time.Hour),
		submits:       newRates[identity.DeviceID](errSubmitRate, l.DeviceSubmits, time.Minute),
		bytes:         newRates[identity.DeviceID](errByteRate, max(l.DeviceBytes/byteUnit, 1), time.Minute),
		accounts:      newRates[identity.Username](errAccountRate, l.AccountSubmits, time.Minute),
		commits:       newRates[identity.Username](errCommitRate, l.AccountCommits, time.Hour),
		registrations: newRates[netip.Prefix](errRegistrationRate, l.AddressRegistrations, time.Hour),
	}
}

// A submitRate is what one line may submit.
type submitRate struct {
	clientRates
	device, size, account *rate.Limiter
}

func (r clientRates) submitRate(at time.Time, device identity.DeviceID, account identity.Username) submitRate {
	return submitRate{r, r.submits.limiter(at, device), r.bytes.limiter(at, device), r.accounts.limiter(at, account)}
}

// take counts a submit of a size in bytes. A refused one may count in part.
func (r submitRate) take(at time.Time, size int) error {
	if err := r.submits.takeFrom(r.device, at, 1); err != nil {
		return err
	}
	if err := r.bytes.takeFrom(r.size, at, (size+byteUnit-1)/byteUnit); err != nil {
		return err
	}
	return r.accounts.takeFrom(r.account, at, 1)
}

// addressOf returns the address of a peer by which its rate is kept: one of IPv4,
// or the network of IPv6 that one customer has.
func addressOf(address net.Addr) netip.Prefix {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{} // of a test
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // the zone is cut; bits are in range
	return prefix
}

func peerAddress(ctx context.Context) netip.Prefix {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Prefix{}
	}
	return addressOf(p.Addr)
}
