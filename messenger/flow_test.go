package messenger

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sealpost/identity"
)

// A relay may have more to hand out than the line holds, while it takes no more
// submits until its answers are read: a client that sends without reading would
// wait for the relay, and the relay for the client.
func TestFullLineInBothDirectionsGoesOn(t *testing.T) {
	relay := newFakeRelay(t)
	alice := newPerson(t, relay, "alice", TrustTOFU)
	var sent []MessageID
	for i := range 8 {
		friend := newPerson(t, relay, identity.Username(fmt.Sprint("friend", i)), TrustTOFU)
		sent = append(sent, alice.send(friend, strings.Repeat("x", MaxTextLen)))
	}
	const junk = 4 << 20 // eight of them are more than any window of gRPC
	for i := range 8 {
		relay.inject(alice.Self().DeviceID, bytes.Repeat([]byte{byte(i)}, junk))
	}
	alice.online()
	for _, id := range sent {
		alice.await(id, Accepted)
	}
	relay.awaitEmpty(t, alice.Self().DeviceID)
}
