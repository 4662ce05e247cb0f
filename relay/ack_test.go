package relay_test

import (
	"testing"

	"sealpost/relay"
)

// TestAckOfWhatWasNeverGiven: a device that acknowledges more than there is loses
// nothing that comes later, neither on the same line, nor on one that begins before
// the acknowledgement is written, nor after a restart.
func TestAckOfWhatWasNeverGiven(t *testing.T) {
	dir := t.TempDir()
	r := startRelay(t, dir, nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	a.accepted(submit("one", bob))
	last := b.envelope("one")
	b.ack(relay.MaxSequence)
	b.settled()
	a.accepted(submit("two", bob)) // most likely before it is written
	b = bob.connect()
	if hello := b.hello(); hello.GetAcked() != last {
		t.Fatalf("%d is acknowledged, %d was given", hello.GetAcked(), last)
	}
	b.envelope("two")
	r.stop()

	r = startRelay(t, dir, nil)
	alice.dial(r)
	bob.dial(r)
	alice.connect().accepted(submit("three", bob))
	b = bob.connect()
	b.envelope("two")
	b.envelope("three")
}
