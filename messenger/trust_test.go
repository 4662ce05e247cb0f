package messenger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

func TestSafetyNumberIsTheSameOnBothSides(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
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
	relay := newRealRelay(t)
	alice, bob := relay.person("alice", newPolicy(TrustStrict)), relay.person("bob")
	bob.online()
	alice.online()
	if _, err := alice.Direct(testContext(t), "bob"); wantError[*UntrustedError](t, err).Offered != bob.Self().AccountKey {
		t.Errorf("got %v", err)
	}
	bob.send(alice, "who are you?")
	if q := awaitEvent[EnvelopeQuarantined](alice).Quarantined; q.From != "bob" || q.Reason != string(errUnverified) {
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
	in := alice.direct(bob)
	alice.awaitTexts(in, "who are you?")
	alice.until("nothing is put aside", func() bool { return len(alice.quarantine()) == 0 })
	alice.await(alice.send(bob, "alice"), Delivered)
}

// A2: the server swaps the key of somebody who is known.
func TestAttackA2SwappedKeyStopsSending(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	alice.online()
	alice.await(alice.send(bob, "before"), Accepted)
	alice.offline()
	queued := alice.say(in, "in the queue")
	mallory := relay.usurp("bob")
	offered := mallory.Self().AccountKey
	mallory.direct(alice) // she waits for it
	mallory.online()
	alice.online()
	changed := wantError[*KeyChangedError](t, alice.Wait(testContext(t), queued, Accepted))
	if changed.Pinned != bob.Self().AccountKey || changed.Offered != offered {
		t.Errorf("got %+v", changed)
	}
	_, err := alice.Send(testContext(t), in, "after")
	wantError[*KeyChangedError](t, err)
	_, _, err = alice.LookupContact(testContext(t), "bob")
	wantError[*KeyChangedError](t, err)
	alice.restart() // what was seen is not forgotten
	alice.online()
	_, err = alice.Send(testContext(t), in, "after")
	wantError[*KeyChangedError](t, err)
	_, err = alice.Direct(testContext(t), "bob")
	wantError[*KeyChangedError](t, err)
	wantRows(t, alice, in, "before", "in the queue", "[key-changed]")
	if key := alice.contact(mallory).NewKey; key == nil || *key != offered {
		t.Errorf("the new key is %v", key)
	}
	if m, err := alice.Message(testContext(t), queued); err != nil || m.State != Queued || m.Reason != reasonKeyChanged {
		t.Errorf("what waits is %+v, %v", m, err)
	}

	if err := alice.AcceptKey(testContext(t), "bob", offered); err != nil {
		t.Fatal(err)
	}
	if failed := wantError[*FailedError](t, alice.Wait(testContext(t), queued, Accepted)); failed.Reason != reasonOldKey {
		t.Errorf("got %+v", failed)
	}
	alice.await(alice.say(in, "on purpose"), Delivered)
	wantRows(t, mallory, in, "on purpose")
	wantRows(t, alice, in, "before", "in the queue", "[key-changed]", "[key-accepted]", "on purpose")
}

func TestAttackA2StayingWithTheOldKey(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	alice.send(bob, "before")
	relay.usurp("bob")
	if _, err := alice.Identify(testContext(t), "bob"); err != nil {
		t.Fatal(err)
	}
	_, _, err := alice.LookupContact(testContext(t), "bob")
	wantError[*KeyChangedError](t, err)
	relay.rename("bob", "mallory")
	relay.rename("bob.old", "bob")
	_, err = alice.Send(testContext(t), in, "not without a decision")
	wantError[*KeyChangedError](t, err)
	if err := alice.AcceptKey(testContext(t), "bob", bob.Self().AccountKey); err != nil {
		t.Fatal(err)
	}
	alice.online()
	bob.online()
	alice.await(alice.send(bob, "after"), Delivered)
	wantRows(t, bob, in, "before", "after")
}

func TestAcceptNewDoesNotPassAVerifiedContact(t *testing.T) {
	for name, verified := range map[string]bool{"pinned": false, "verified": true} {
		t.Run(name, func(t *testing.T) {
			relay := newRealRelay(t)
			alice, bob := relay.person("alice"), relay.person("bob")
			in := alice.direct(bob)
			alice.send(bob, "before")
			if verified {
				if err := alice.Verify(testContext(t), "bob", bob.Self().AccountKey); err != nil {
					t.Fatal(err)
				}
			}
			relay.usurp("bob")
			alice.forgetFresh() // as a new line does
			_, err := alice.Direct(testContext(t), "bob", WithTrust(TrustAcceptNew))
			if verified {
				if !wantError[*KeyChangedError](t, err).Verified {
					t.Errorf("got %v", err)
				}
				wantRows(t, alice, in, "before", "[key-changed]")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			alice.say(in, "after")
			wantRows(t, alice, in, "before", "[key-accepted]", "after")
		})
	}
}

func TestInvitationUnderAChangedKeyIsHeld(t *testing.T) {
	for _, policy := range []TrustPolicy{TrustTOFU, TrustStrict, TrustAcceptNew} {
		t.Run(policy.String(), func(t *testing.T) {
			relay := newRealRelay(t)
			alice, bob := relay.person("alice", newPolicy(policy)), relay.person("bob")
			if _, err := alice.Direct(testContext(t), "bob", WithTrust(TrustTOFU)); err != nil {
				t.Fatal(err)
			}
			bob.direct(alice)
			in := alice.DirectID("bob")
			alice.online()
			bob.online()
			bob.await(bob.say(in, "from bob"), Delivered)
			other := relay.usurp("bob")
			other.direct(alice)
			other.online()
			other.await(other.say(in, "from the new key"), Accepted)
			want := []string{"from bob", "[key-accepted]", "from the new key"}
			if k := awaitEvent[KeyChanged](alice).Contact; policy != TrustAcceptNew {
				if k.NewKey == nil || *k.NewKey != other.Self().AccountKey {
					t.Errorf("got %+v", k)
				}
				relay.awaitAcked(t, alice)
				want = []string{"from bob", "[key-changed]", "[key-accepted]", "from the new key"}
				wantRows(t, alice, in, want[:2]...)
				if err := alice.AcceptKey(testContext(t), "bob", other.Self().AccountKey); err != nil {
					t.Fatal(err)
				}
			}
			alice.until("it is taken", func() bool { return slices.Equal(alice.rows(in), want) })
			alice.await(alice.say(in, "to the new key"), Delivered)
		})
	}
}

// B17: Mallory, who is registered under a name of her own, writes in Bob's.
func TestAttackB17ClaimedNameIsNotShown(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			relay := newRealRelay(t)
			alice, mallory := relay.person("alice", newPolicy(TrustAcceptNew)), relay.person("bob")
			relay.rename("bob", "mallory") // her certificate says bob; the directory does not
			bob := relay.person("bob")
			in := alice.DirectID("bob")
			if known {
				alice.send(bob, "hi")
			}
			mallory.direct(alice)
			mallory.online()
			mallory.await(mallory.say(in, "it is me, bob"), Accepted)
			alice.online()
			relay.awaitDelivered(t, alice, api.Kind_KIND_APPLICATION)
			relay.awaitAcked(t, alice)
			if known {
				if key := alice.contact(bob); key.AccountKey != bob.Self().AccountKey || key.NewKey != nil {
					t.Errorf("a false claim made it %+v", key)
				}
				wantRows(t, alice, in, "hi")
				bob.online()
				alice.until("what she wrote goes out", func() bool {
					all, err := alice.Messages(testContext(t), in, 1)
					return err == nil && all[0].State >= Accepted
				})
				return
			}
			wantRows(t, alice, in)
			if contacts, err := alice.Contacts(testContext(t)); err != nil || len(contacts) != 0 {
				t.Errorf("a false claim pinned %+v, %v", contacts, err)
			}
			if aside := alice.quarantine(); len(aside) != 1 || aside[0].Reason != string(errClaim) {
				t.Errorf("put aside: %+v", aside)
			}
		})
	}
}

// A3 and A15: what the directory may not slip in.
func TestFalseListingIsRefused(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice", newPolicy(TrustAcceptNew)), relay.person("bob")
	account, device := identity.GenerateAccountKey(), identity.GenerateDeviceKey()
	forge := func(name identity.Username, id identity.DeviceID) []byte {
		certificate := identity.IssueCertificate(account, name, device.Public(), id, time.Now())
		record, err := identity.SignDeviceRecord(device, certificate, "age1pq1test")
		if err != nil {
			t.Fatal(err)
		}
		return record.Marshal()
	}
	genuine := bob.self.record.Marshal()
	spoilt := bytes.Clone(genuine)
	spoilt[len(spoilt)-100] ^= 1
	for name, records := range map[string][][]byte{
		"AttackA3 ghost device": {genuine, forge("bob", identity.NewDeviceID())},
		"another name":          {forge("carol", identity.NewDeviceID())},
		"our own account":       {alice.self.record.Marshal()},
		"a device twice":        {genuine, genuine},
		"a changed record":      {spoilt},
		"no record":             {[]byte("bob")},
		"AttackA15 our own id":  {forge("bob", alice.Self().DeviceID)},
		"too many":              slices.Repeat([][]byte{genuine}, maxDevices+1),
	} {
		t.Run(name, func(t *testing.T) {
			relay.set(func() {
				relay.listing = func(identity.Username, [][]byte) [][]byte { return records }
			})
			if _, err := alice.Direct(testContext(t), "bob"); !errors.Is(err, ErrBadDirectory) {
				t.Errorf("got %v", err)
			}
		})
	}
	relay.set(func() { relay.listing = nil })
	alice.direct(bob)
}

func TestServerChanged(t *testing.T) {
	server := newRealRelay(t)
	alice, bob := server.person("alice"), server.person("bob")
	befriend(alice, bob)
	pinned := server.id
	server.stop()
	if err := os.Remove(filepath.Join(server.dir, relay.CertificateFile)); err != nil {
		t.Fatal(err)
	}
	server.start()
	calls := 0
	server.set(func() {
		server.listing = func(_ identity.Username, records [][]byte) [][]byte { calls++; return records }
	})
	changed := wantError[*ServerChangedError](t, alice.Run(context.Background()))
	if changed.Pinned != pinned || changed.Offered != server.id {
		t.Errorf("got %+v", changed)
	}
	_, err := alice.Direct(testContext(t), "carol")
	wantError[*ServerChangedError](t, err)
	if calls != 0 || len(server.submits) != 0 {
		t.Error("the other server was asked")
	}
}
