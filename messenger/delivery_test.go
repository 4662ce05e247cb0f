package messenger

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOfflineDeliveryInOrder(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.online()
	var want []string
	var last MessageID
	for i := range 25 {
		text := fmt.Sprintf("message %d", i)
		want = append(want, text)
		last = alice.send(bob, text)
	}
	alice.await(last, Accepted)
	bob.online()
	alice.await(last, Delivered)
	if diff := cmp.Diff(want, bob.rows(alice)); diff != "" {
		t.Error(diff)
	}
	reply := bob.send(alice, "all of them")
	bob.await(reply, Delivered)
	if diff := cmp.Diff(append(want, "all of them"), alice.rows(bob)); diff != "" {
		t.Error(diff)
	}
	relay.awaitEmpty(t, alice.Self().DeviceID)
	relay.awaitEmpty(t, bob.Self().DeviceID)
}
