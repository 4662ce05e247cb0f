package messenger

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"sealpost/identity"
)

// swap puts another account under a name, as a server that lies does, or a
// person who set up anew.
func (r *fakeRelay) swap(t testing.TB, name identity.Username) party {
	t.Helper()
	p := newParty(t, name)
	r.set(func() {
		delete(r.accounts, name)
		r.add(p.record)
	})
	return p
}

// writes seals a text as this party.
func (p party) writes(t testing.TB, to *person, counter uint64, text string) []byte {
	t.Helper()
	c := testContent(text)
	c.counter = counter
	payload, err := p.Seal(to.record(), c)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestSafetyNumberIsTheSameOnBothSides(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	ours, err := alice.SafetyNumber(testContext(t), "bob")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := bob.SafetyNumber(testContext(t), "alice")
	if err != nil || ours != theirs || ours != alice.SafetyNumberOf(bob.Self().AccountKey) {
		t.Errorf("%q and %q, %v", ours, theirs, err)
	}
	if contacts, err := alice.Contacts(testContext(t)); err != nil || len(contacts) != 0 {
		t.Errorf("asking for the number pinned %v, %v", contacts, err)
	}
}

func TestStrictNeedsVerification(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustStrict), newPerson(t, relay, "bob", TrustTOFU)
	bob.online()
	alice.online()
	if _, err := alice.Send(testContext(t), "bob", "hi"); wantError[*UntrustedError](t, err).Offered != bob.Self().AccountKey {
		t.Errorf("got %v", err)
	}
	bob.send(alice, "who are you?")
	if q := awaitEvent[EnvelopeQuarantined](alice).Quarantined; !q.Held || q.From != "bob" {
		t.Errorf("got %+v", q)
	}
	offered, err := alice.Identify(testContext(t), "bob")
	if err != nil || !offered.Pinned.IsZero() || offered.AccountKey != bob.Self().AccountKey {
		t.Errorf("identified %+v, %v", offered, err)
	}
	if err := alice.Verify(testContext(t), "bob", alice.Self().AccountKey); !errors.Is(err, ErrKeyMismatch) {
		t.Errorf("verifying a wrong key: %v", err)
	}
	if err := alice.Verify(testContext(t), "bob", offered.AccountKey); err != nil {
		t.Fatal(err)
	}
	if k := alice.contact(bob); !k.Verified {
		t.Errorf("got %+v", k)
	}
	wantRows(t, alice, bob, "who are you?")
	if q := alice.quarantine(); len(q) != 0 {
		t.Errorf("still put aside: %v", q)
	}
	alice.await(alice.send(bob, "alice"), Delivered)
}

// A2: the server swaps the key of somebody who is known.
func TestAttackA2SwappedKeyStopsSending(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.online()
	alice.await(alice.send(bob, "before"), Accepted)
	alice.offline()
	relay.stop()
	queued := alice.send(bob, "in the queue")
	mallory := relay.swap(t, "bob")
	relay.start(t)
	alice.online()
	changed := wantError[*KeyChangedError](t, alice.Wait(testContext(t), queued, Accepted))
	if changed.Pinned != bob.Self().AccountKey || changed.Offered != mallory.certificate.AccountKey {
		t.Errorf("got %+v", changed)
	}
	_, err := alice.Send(testContext(t), "bob", "after")
	wantError[*KeyChangedError](t, err)
	_, _, err = alice.LookupContact(testContext(t), "bob")
	wantError[*KeyChangedError](t, err)
	alice.stop()
	alice.restart() // what was seen is not forgotten
	alice.online()
	_, err = alice.Send(testContext(t), "bob", "after")
	wantError[*KeyChangedError](t, err)
	wantRows(t, alice, bob, "before", "in the queue", "[key-changed]")
	if key := alice.contact(bob).NewKey; key == nil || *key != mallory.certificate.AccountKey {
		t.Errorf("the new key is %v", key)
	}

	if err := alice.AcceptKey(testContext(t), "bob", mallory.certificate.AccountKey); err != nil {
		t.Fatal(err)
	}
	wantError[*FailedError](t, alice.Wait(testContext(t), queued, Accepted))
	alice.await(alice.send(bob, "on purpose"), Accepted)
	got := relay.taken(mallory.certificate.DeviceID)
	if len(got) != 1 {
		t.Fatalf("%d payloads for the new key", len(got))
	}
	if o, err := mallory.Open(got[0]); err != nil || string(o.body) != "on purpose" {
		t.Errorf("the new key opens %q, %v", o.body, err)
	}
}

func TestAttackA2StayingWithTheOldKey(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.send(bob, "before")
	honest := relay.accounts["bob"]
	relay.swap(t, "bob")
	if _, err := alice.Identify(testContext(t), "bob"); err != nil {
		t.Fatal(err)
	}
	_, _, err := alice.LookupContact(testContext(t), "bob")
	wantError[*KeyChangedError](t, err)
	relay.set(func() { relay.accounts["bob"] = honest })
	_, err = alice.Send(testContext(t), "bob", "not without a decision")
	wantError[*KeyChangedError](t, err)
	if err := alice.AcceptKey(testContext(t), "bob", bob.Self().AccountKey); err != nil {
		t.Fatal(err)
	}
	alice.online()
	bob.online()
	alice.await(alice.send(bob, "after"), Delivered)
	wantRows(t, bob, alice, "before", "after")
}

func TestAcceptNewDoesNotPassAVerifiedContact(t *testing.T) {
	for name, verified := range map[string]bool{"pinned": false, "verified": true} {
		t.Run(name, func(t *testing.T) {
			relay := newFakeRelay(t)
			alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
			alice.send(bob, "before")
			if verified {
				if err := alice.Verify(testContext(t), "bob", bob.Self().AccountKey); err != nil {
					t.Fatal(err)
				}
			}
			relay.swap(t, "bob")
			alice.forgetFresh() // as a new line does
			_, err := alice.Send(testContext(t), "bob", "after", WithTrust(TrustAcceptNew))
			if verified {
				if !wantError[*KeyChangedError](t, err).Verified {
					t.Errorf("got %v", err)
				}
				wantRows(t, alice, bob, "before", "[key-changed]")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, alice, bob, "before", "[key-accepted]", "after")
		})
	}
}

func TestMessageUnderAChangedKeyIsHeld(t *testing.T) {
	for policy, want := range map[TrustPolicy][]string{
		TrustTOFU:      {"from bob", "[key-changed]"},
		TrustStrict:    {"from bob", "[key-changed]"},
		TrustAcceptNew: {"from bob", "[key-accepted]", "from the new key"},
	} {
		t.Run(policy.String(), func(t *testing.T) {
			relay := newFakeRelay(t)
			alice, bob := newPerson(t, relay, "alice", policy), newPerson(t, relay, "bob", TrustTOFU)
			if _, _, err := alice.LookupContact(testContext(t), "bob", WithTrust(TrustTOFU)); err != nil {
				t.Fatal(err)
			}
			alice.online()
			bob.online()
			bob.await(bob.send(alice, "from bob"), Delivered)
			other := relay.swap(t, "bob")
			relay.inject(alice.Self().DeviceID, other.writes(t, alice, 1, "from the new key"))
			relay.awaitEmpty(t, alice.Self().DeviceID)
			wantRows(t, alice, bob, want...)
			if policy == TrustAcceptNew {
				return
			}
			if q := alice.quarantine(); len(q) != 1 || !q[0].Held {
				t.Errorf("put aside: %+v", q)
			}
			awaitEvent[KeyChanged](alice)
			if err := alice.AcceptKey(testContext(t), "bob", other.certificate.AccountKey); err != nil {
				t.Fatal(err)
			}
			wantRows(t, alice, bob, "from bob", "[key-changed]", "[key-accepted]", "from the new key")
		})
	}
}

// B17: Mallory, who is registered under a name of her own, writes in Bob's.
func TestAttackB17ClaimedNameIsNotShown(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			relay := newFakeRelay(t)
			alice, bob := newPerson(t, relay, "alice", TrustAcceptNew), newPerson(t, relay, "bob", TrustTOFU)
			if known {
				alice.send(bob, "hi")
			}
			mallory := newParty(t, "bob") // her certificate says bob; the directory does not
			relay.inject(alice.Self().DeviceID, mallory.writes(t, alice, 1, "it is me, bob"))
			alice.online()
			if q := awaitEvent[EnvelopeQuarantined](alice).Quarantined; q.Held || q.Reason != string(errClaim) {
				t.Errorf("got %+v", q)
			}
			for _, row := range alice.rows(bob) {
				if row != "hi" {
					t.Errorf("shown: %q", row)
				}
			}
		})
	}
}

// A3 and A15: what the directory may not slip in.
func TestFalseListingIsRefused(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustAcceptNew), newPerson(t, relay, "bob", TrustTOFU)
	ghost, carol := newParty(t, "bob"), newParty(t, "carol")
	genuine := bob.record().Marshal()
	spoilt := append([]byte(nil), genuine...)
	spoilt[len(spoilt)-100] ^= 1
	badKey := bytes.Repeat([]byte{0xff}, identity.MessageKeySize) // every coefficient over the modulus
	weak, err := identity.SignDeviceRecord(ghost.deviceKey, ghost.certificate, badKey, "age1pq1test")
	if err != nil {
		t.Fatal(err)
	}
	mine := identity.IssueCertificate(ghost.account, "bob", ghost.deviceKey.Public(), alice.Self().DeviceID, testTime)
	borrowed, err := identity.SignDeviceRecord(ghost.deviceKey, mine, ghost.record.MessageKey, "age1pq1test")
	if err != nil {
		t.Fatal(err)
	}
	for name, records := range map[string][][]byte{
		"AttackA3 ghost device": {genuine, ghost.record.Marshal()},
		"another name":          {carol.record.Marshal()},
		"our own account":       {alice.record().Marshal()},
		"a device twice":        {genuine, genuine},
		"a changed record":      {spoilt},
		"no record":             {[]byte("bob")},
		"an unusable key":       {weak.Marshal()},
		"AttackA15 our own id":  {borrowed.Marshal()},
		"too many": func() (many [][]byte) {
			for range maxDevices + 1 {
				many = append(many, genuine)
			}
			return many
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			relay.set(func() {
				relay.listing = func(identity.Username, [][]byte) ([][]byte, error) { return records, nil }
			})
			if _, err := alice.Send(testContext(t), "bob", "hi"); !errors.Is(err, ErrBadDirectory) {
				t.Errorf("got %v", err)
			}
		})
	}
	relay.set(func() { relay.listing = nil })
	alice.send(bob, "hi")
}

func TestServerChanged(t *testing.T) {
	relay := newFakeRelay(t)
	alice := newPerson(t, relay, "alice", TrustTOFU)
	pinned := relay.id
	relay.stop()
	relay.renewCertificate(t)
	relay.start(t)
	changed := wantError[*ServerChangedError](t, alice.Run(context.Background()))
	if changed.Pinned != pinned || changed.Offered != relay.id {
		t.Errorf("got %+v", changed)
	}
	_, err := alice.Send(testContext(t), "bob", "hi")
	wantError[*ServerChangedError](t, err)
	if relay.lookups != 0 {
		t.Error("the other server was asked")
	}
}
