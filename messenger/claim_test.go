package messenger

import "testing"

// Whoever claims a name must not make a contact of the person who has it.
func TestAttackB17FalseClaimMakesNoContact(t *testing.T) {
	relay := newFakeRelay(t)
	alice := newPerson(t, relay, "alice", TrustTOFU)
	newPerson(t, relay, "bob", TrustTOFU) // listed, and never wrote to Alice
	impostor := newParty(t, "bob")
	payload, err := impostor.Seal(alice.record(), testContent("I am Bob"))
	if err != nil {
		t.Fatal(err)
	}
	alice.online()
	relay.inject(alice.Self().DeviceID, payload)
	relay.awaitEmpty(t, alice.Self().DeviceID)
	contacts, err := alice.Contacts(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(contacts) != 0 {
		t.Errorf("a false claim pinned %+v", contacts)
	}
	aside := alice.quarantine()
	if len(aside) != 1 || aside[0].Reason != string(errClaim) || aside[0].Held {
		t.Errorf("put aside: %+v", aside)
	}
}
