package relay_test

import (
	"strconv"
	"testing"

	"sealpost/relay"
)

// TestDrainedComesOnceAfterWhatWaited: over several pages of the mailbox, and
// not again when more comes.
func TestDrainedComesOnceAfterWhatWaited(t *testing.T) {
	const waiting = 600
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.LineBytes = 10_000 })
	alice, bob := r.registered("alice"), r.registered("bob")
	a := alice.connect()
	for i := range waiting {
		a.accepted(submit(strconv.Itoa(i), bob))
	}
	b := bob.connect()
	b.hello()
	for i := range waiting {
		frame, err := b.DeliveryStream.Recv()
		if err != nil || string(frame.GetEnvelope().GetPayload()) != strconv.Itoa(i) {
			t.Fatalf("frame %d is %.100v, %v", i, frame, err)
		}
	}
	if frame, err := b.DeliveryStream.Recv(); err != nil || frame.GetDrained() == nil {
		t.Fatalf("after what waited came %v, %v", frame, err)
	}
	a.accepted(submit("more", bob))
	if frame, err := b.DeliveryStream.Recv(); err != nil || string(frame.GetEnvelope().GetPayload()) != "more" {
		t.Fatalf("then came %v, %v", frame, err)
	}
	empty := r.registered("carol").connect()
	empty.hello()
	if frame, err := empty.DeliveryStream.Recv(); err != nil || frame.GetDrained() == nil {
		t.Fatalf("from an empty mailbox came %v, %v", frame, err)
	}
}
