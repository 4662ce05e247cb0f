package relay_test

import (
	"testing"

	"sealpost/api"
)

func TestSubmitReachesConnectedAndAbsentDevices(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob, carol := r.registered("alice"), r.registered("bob"), r.registered("carol")
	a, b := alice.connect(), bob.connect()
	a.accepted(submit("one", bob, carol))
	a.accepted(submit("two", bob))
	b.envelope("one")
	b.envelope("two")
	carol.connect().envelope("one")
}

func TestAckedEnvelopesAreGone(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	for _, text := range []string{"one", "two", "three"} {
		a.accepted(submit(text, bob))
	}
	b.envelope("one")
	second := b.envelope("two")
	b.ack(second)
	b.settledAfterDelivery("three")
	b = bob.connect()
	if third := b.envelope("three"); third <= second {
		t.Fatalf("sequence %d after %d", third, second)
	}
}

// settledAfterDelivery is settled for a line that gets an envelope first.
func (l *line) settledAfterDelivery(payload string) {
	l.t.Helper()
	l.envelope(payload)
	l.rejected(&api.Submit{Id: make([]byte, api.SubmitIDSize), Kind: 1, Payload: []byte{1}}, api.Reason_REASON_MALFORMED)
}
