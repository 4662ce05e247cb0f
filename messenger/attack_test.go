package messenger

import (
	"bytes"
	"testing"

	"sealpost/identity"
)

// pair is Alice, connected, and Bob as somebody who can seal what he likes, known
// to Alice and listed.
func pair(t *testing.T) (*fakeRelay, *person, *person) {
	t.Helper()
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.online()
	return relay, alice, bob
}

// wrote seals a text as this person's device, with any counter.
func (p *person) wrote(to *person, counter uint64, text string) []byte {
	p.t.Helper()
	c := testContent(text)
	c.counter = counter
	payload, err := p.seals().Seal(to.record(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	return payload
}

func TestAttackF5PoisonStopsNothing(t *testing.T) {
	relay, alice, bob := pair(t)
	good := bob.wrote(alice, 1, "good")
	poison := [][]byte{nil, {1}, bytes.Repeat([]byte("plain text "), 300), good[:len(good)-1], bob.wrote(bob, 1, "not for alice")}
	spoilt := bytes.Clone(good)
	spoilt[200] ^= 1
	relay.inject(alice.Self().DeviceID, append(append(poison, spoilt), good, bob.wrote(alice, 2, "still here"))...)
	relay.awaitEmpty(t, alice.Self().DeviceID)
	wantRows(t, alice, bob, "good", "still here")
	aside := alice.quarantine()
	if len(aside) != len(poison)+1 {
		t.Errorf("%d put aside", len(aside))
	}
	for _, q := range aside {
		if q.Reason == "" || q.Held || q.From != "" {
			t.Errorf("got %+v", q)
		}
	}
	relay.inject(alice.Self().DeviceID, poison...) // the same again is said once
	relay.awaitEmpty(t, alice.Self().DeviceID)
	if again := alice.quarantine(); len(again) != len(aside) {
		t.Errorf("%d put aside after a repeat", len(again))
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	alice := newPerson(t, newFakeRelay(t), "alice", TrustTOFU)
	err := alice.commit(testContext(t), func(u *unit) error {
		for i := range maxQuarantined + 10 {
			if err := putAside(u, quarantined{payload: []byte{byte(i), byte(i >> 8)}, reason: errSize}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(alice.quarantine()); n != maxQuarantined {
		t.Errorf("%d put aside", n)
	}
}

func TestAttackB9ReplayAfterRestart(t *testing.T) {
	relay, alice, bob := pair(t)
	payload := bob.wrote(alice, 1, "once")
	relay.inject(alice.Self().DeviceID, payload)
	relay.awaitEmpty(t, alice.Self().DeviceID)
	alice.restart()
	alice.online()
	relay.inject(alice.Self().DeviceID, payload, bob.wrote(alice, 2, "next"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	wantRows(t, alice, bob, "once", "next")
}

func TestAttackB10Reflection(t *testing.T) {
	relay, alice, bob := pair(t)
	alice.await(alice.send(bob, "mine"), Accepted)
	relay.inject(alice.Self().DeviceID, relay.taken(bob.Self().DeviceID)[0], alice.wrote(alice, 1, "mine"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	wantRows(t, alice, bob, "mine")
	aside := alice.quarantine()
	if len(aside) != 2 || aside[0].Reason != string(errUnsealed) || aside[1].Reason != string(errOwn) {
		t.Errorf("put aside: %+v", aside)
	}
}

func TestAttackB11GapsAreShownAndFilled(t *testing.T) {
	relay, alice, bob := pair(t)
	texts := [][]byte{nil}
	for i, text := range []string{"one", "two", "three", "four", "five"} {
		texts = append(texts, bob.wrote(alice, uint64(i+1), text))
	}
	for _, step := range []struct {
		payload []byte
		want    []string
	}{
		{texts[1], []string{"one"}},
		{texts[5], []string{"one", "[gap 3]", "five"}},
		{texts[3], []string{"one", "[gap 1]", "three", "[gap 1]", "five"}},
		{texts[3], []string{"one", "[gap 1]", "three", "[gap 1]", "five"}},
		{texts[4], []string{"one", "[gap 1]", "three", "four", "five"}},
		{texts[2], []string{"one", "two", "three", "four", "five"}},
	} {
		relay.inject(alice.Self().DeviceID, step.payload)
		relay.awaitEmpty(t, alice.Self().DeviceID)
		wantRows(t, alice, bob, step.want...)
	}
	relay.inject(alice.Self().DeviceID, bob.wrote(alice, 3, "another third"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	wantRows(t, alice, bob, "one", "two", "three", "four", "five")
	if aside := alice.quarantine(); len(aside) != 1 || aside[0].Reason != string(errCounter) || aside[0].From != "bob" {
		t.Errorf("put aside: %+v", aside)
	}
}

func TestFirstMessagesMissing(t *testing.T) {
	relay, alice, bob := pair(t)
	relay.inject(alice.Self().DeviceID, bob.wrote(alice, 3, "third"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	wantRows(t, alice, bob, "[gap 2]", "third")
}

func TestAttackB13CounterJumpCostsNothing(t *testing.T) {
	relay, alice, bob := pair(t)
	relay.inject(alice.Self().DeviceID, bob.wrote(alice, maxCounter, "far away"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	all, err := alice.Messages(testContext(t), "bob", 0)
	if err != nil || len(all) != 2 || all[0].Kind != KindGap || all[0].Missing != maxCounter-1 {
		t.Errorf("got %+v, %v", all, err)
	}
	var gaps int
	if err := alice.store.reader.QueryRow("SELECT count(*) FROM gaps").Scan(&gaps); err != nil || gaps != 1 {
		t.Errorf("%d gaps, %v", gaps, err)
	}
}

// A receipt counts for messages to who sends it, and for no other.
func TestReceiptForAnotherConversation(t *testing.T) {
	relay, alice, bob := pair(t)
	carol := newPerson(t, relay, "carol", TrustTOFU)
	id := alice.send(carol, "for carol")
	alice.await(id, Accepted)
	receipt := content{kind: contentReceipt, id: newMessageID(), time: testTime, body: id[:]}
	payload, err := bob.seals().Seal(alice.record(), receipt)
	if err != nil {
		t.Fatal(err)
	}
	relay.inject(alice.Self().DeviceID, payload)
	relay.awaitEmpty(t, alice.Self().DeviceID)
	if all, err := alice.Messages(testContext(t), "carol", 0); err != nil || all[0].State != Accepted {
		t.Errorf("got %+v, %v", all, err)
	}
	carol.online()
	alice.await(id, Delivered)
	if n := len(relay.taken(bob.Self().DeviceID)); n != 0 {
		t.Errorf("%d answers to a receipt", n)
	}
}

// A stranger who is in nobody's directory gets no receipt, and no row.
func TestUnregisteredSender(t *testing.T) {
	relay, alice, _ := pair(t)
	stranger := newParty(t, "stranger")
	relay.inject(alice.Self().DeviceID, stranger.writes(t, alice, 1, "hi"))
	relay.awaitEmpty(t, alice.Self().DeviceID)
	if aside := alice.quarantine(); len(aside) != 1 || aside[0].From != "stranger" || aside[0].Reason != string(errClaim) {
		t.Errorf("put aside: %+v", aside)
	}
	if contacts, err := alice.Contacts(testContext(t)); err != nil || len(contacts) != 0 {
		t.Errorf("contacts: %v, %v", contacts, err)
	}
}

// F4: text is data, whatever stands in it.
func TestAttackF4TextIsData(t *testing.T) {
	_, alice, bob := pair(t)
	bob.online()
	text := `'); DROP TABLE messages; -- ?1 :x "` + "\x00\x1b]52;c;\u202e"
	alice.await(alice.send(bob, text), Delivered)
	wantRows(t, bob, alice, text)
	if _, err := alice.Messages(testContext(t), identity.Username("' OR 1=1 --"), 0); err != nil {
		t.Error(err)
	}
}
