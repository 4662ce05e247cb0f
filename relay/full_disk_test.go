package relay_test

import (
	"context"
	"sync/atomic"
	"testing"

	"sealpost/api"
	"sealpost/relay"
)

// A fullStore is full while it is told to be: in one of the two ways in which a
// store may say so.
type fullStore struct {
	relay.Store
	full, failing atomic.Bool
}

func (s *fullStore) Write(ctx context.Context, batch *relay.Batch) error {
	if s.failing.Load() {
		return relay.ErrFull
	}
	if !s.full.Load() {
		return s.Store.Write(ctx, batch)
	}
	for _, submission := range batch.Submissions {
		submission.Err = relay.ErrFull
	}
	acks := *batch
	acks.Submissions = nil
	return s.Store.Write(ctx, &acks)
}

// TestFullDiskIsSaid: a submit gets a reason that says it and a time to try again,
// nothing is delivered, what was there can be read, and when there is room the same
// submit passes.
func TestFullDiskIsSaid(t *testing.T) {
	full := new(fullStore)
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { full.Store, c.Store = c.Store, full })
	alice, bob := r.registered("alice"), r.registered("bob")
	a := alice.connect()
	a.accepted(submit("before", bob))
	refused := submit("refused", bob)
	for _, how := range []*atomic.Bool{&full.full, &full.failing} {
		how.Store(true)
		a.submit(refused)
		rejected := a.receive().GetRejected()
		if rejected.GetReason() != api.Reason_REASON_SERVER_FULL || rejected.GetRetryAfterMs() == 0 {
			t.Fatalf("got %v", rejected)
		}
		bob.connect().envelope("before")
		how.Store(false)
	}
	a.accepted(refused)
	b := bob.connect()
	b.envelope("before")
	b.envelope("refused")
}
