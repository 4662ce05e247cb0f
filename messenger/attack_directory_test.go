package messenger

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/mls"
)

// An impostor is an account that somebody made up under the name of another.
type impostor struct {
	certificate identity.Certificate
	device      identity.DevicePrivateKey
}

func newImpostor(name identity.Username) impostor {
	device := identity.GenerateDeviceKey()
	return impostor{
		certificate: identity.IssueCertificate(identity.GenerateAccountKey(), name, device.Public(), identity.NewDeviceID(), time.Now()),
		device:      device,
	}
}

func (i impostor) record(t *testing.T, like identity.DeviceRecord) []byte {
	t.Helper()
	record, err := identity.SignDeviceRecord(i.device, i.certificate, like.FileRecipient)
	if err != nil {
		t.Fatal(err)
	}
	return record.Marshal()
}

func (i impostor) keyPackage(t *testing.T) *api.ClaimedKeyPackage {
	t.Helper()
	signer := mls.Identity{Credential: mls.BasicCredential(i.certificate.Marshal()), Signer: ed25519.NewKeyFromSeed(i.device.Seed())}
	k, err := anyone(t, time.Now).NewKeyPackage(mls.DefaultCipherSuite, signer, mls.KeyPackageOptions{Leaf: leafOptions()})
	if err != nil {
		t.Fatal(err)
	}
	return &api.ClaimedKeyPackage{Device: i.certificate.DeviceID[:], KeyPackage: k.KeyPackage.Message()}
}

// anyone returns an MLS client that believes every credential.
func anyone(t *testing.T, clock func() time.Time) *mls.Client {
	t.Helper()
	client, err := mls.NewClient(believer{}, mls.Config{Time: clock, MaxLifetime: -1})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

type believer struct{}

func (believer) ValidateCredential(mls.CredentialCheck) error { return nil }
func (believer) ValidateSuccessor(mls.CredentialCheck) error  { return nil }

// recordOf returns the directory's record of a device.
func recordOf(t *testing.T, asker, of *person) identity.DeviceRecord {
	t.Helper()
	_, records, err := asker.LookupContact(testContext(t), of.name())
	if err != nil || len(records) != 1 {
		t.Fatalf("looking up %s: %d records, %v", of.name(), len(records), err)
	}
	return records[0]
}

func TestAttackA2SwappedKey(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "before"), Delivered)
	enemy.Victim("bob", newImpostor("bob").record(t, recordOf(t, alice, bob)))
	enemy.Switch(malice.SwapKey, true)
	alice.offline()
	queued, err := alice.Send(testContext(t), in, "for Bob's eyes only")
	if err != nil {
		t.Fatal(err)
	}
	alice.online()
	changed := wantError[*KeyChangedError](t, alice.Wait(testContext(t), queued, Accepted))
	happened(t, enemy, malice.SwapKey)
	if changed.Pinned == changed.Offered || changed.Verified {
		t.Errorf("got %+v", changed)
	}
	if !alice.hasRow(in, "[key-changed]") || alice.contact(bob).NewKey == nil {
		t.Errorf("the change is not shown: %q", alice.rows(in))
	}
	_, err = alice.Send(testContext(t), in, "more")
	wantError[*KeyChangedError](t, err)

	// What was queued is not sealed for the new key by itself, though it is accepted.
	if err := alice.AcceptKey(testContext(t), "bob", changed.Offered); err != nil {
		t.Fatal(err)
	}
	wantError[*FailedError](t, alice.Wait(testContext(t), queued, Accepted))
	wantRows(t, bob, in, "before")
}

func TestAttackA2VerifiedContactIsHeldUnderEveryPolicy(t *testing.T) {
	for _, policy := range []TrustPolicy{TrustStrict, TrustTOFU, TrustAcceptNew} {
		t.Run(policy.String(), func(t *testing.T) {
			relay, enemy := newEnemy(t)
			alice, bob := relay.person("alice", func(p *NewProfile) { p.Trust = policy }), relay.person("bob")
			if err := alice.Verify(testContext(t), "bob", bob.Self().AccountKey); err != nil {
				t.Fatal(err)
			}
			alice.online()
			in := alice.direct(bob)
			enemy.Victim("bob", newImpostor("bob").record(t, recordOf(t, alice, bob)))
			enemy.Switch(malice.SwapKey, true)
			alice.offline()
			id := alice.say(in, "secret")
			alice.online()
			changed := wantError[*KeyChangedError](t, alice.Wait(testContext(t), id, Accepted))
			happened(t, enemy, malice.SwapKey)
			if !changed.Verified {
				t.Error("it is not said that the key was verified")
			}
		})
	}
}

// A device that the account key did not certify gets nothing, wherever the relay
// shows it.
func TestAttackA3GhostDevice(t *testing.T) {
	relay, enemy := newEnemy(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	ghost := newImpostor("bob")
	enemy.Victim("bob", ghost.record(t, recordOf(t, bob, alice)))
	enemy.Switch(malice.GhostDevice, true)
	if _, err := alice.Direct(testContext(t), "bob"); !errors.Is(err, ErrBadDirectory) {
		t.Errorf("got %v, want %v", err, ErrBadDirectory)
	}
	happened(t, enemy, malice.GhostDevice)
	if all, err := alice.Contacts(testContext(t)); err != nil || len(all) > 0 {
		t.Errorf("pinned %v, %v", all, err)
	}
}

func TestAttackA3GhostKeyPackage(t *testing.T) {
	for _, attack := range []malice.Attack{malice.GhostKeyPackage, malice.SwapKeyPackage} {
		t.Run(string(attack), func(t *testing.T) {
			relay, enemy := newEnemy(t)
			people := relay.online("alice", "bob")
			alice, bob := people[0], people[1]
			enemy.Victim("bob")
			enemy.KeyPackages(newImpostor("bob").keyPackage(t))
			enemy.Switch(attack, true)
			id := alice.send(bob, "for Bob's eyes only")
			wantError[*KeyChangedError](t, alice.Wait(testContext(t), id, Accepted))
			happened(t, enemy, attack)
			if !alice.hasRow(alice.DirectID("bob"), "[key-changed]") {
				t.Errorf("alice sees %q", alice.rows(alice.DirectID("bob")))
			}
			if sent := enemy.Delivered(bob.device(), api.Kind_KIND_APPLICATION); len(sent) > 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestAttackA15RecordOfAnotherAccount(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, _ := pair(relay)
	mallory := relay.online("mallory")[0]
	genuine := recordOf(t, alice, mallory)
	enemy.Victim("carol", genuine.Marshal())
	enemy.Switch(malice.WrongAccount, true)
	relay.person("carol")
	if _, err := alice.Direct(testContext(t), "carol"); !errors.Is(err, ErrBadDirectory) {
		t.Errorf("got %v, want %v", err, ErrBadDirectory)
	}
	happened(t, enemy, malice.WrongAccount)
	if all, err := alice.Contacts(testContext(t)); err != nil || slices.ContainsFunc(all, func(k Contact) bool { return k.Username == "carol" }) {
		t.Errorf("carol was pinned: %v, %v", all, err)
	}
	_ = bob
}

// What was verified is a key, not a name: nothing is shown as verified any more once
// another key is pinned.
func TestAttackA16VerifiedIsTheKey(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	if err := alice.Verify(testContext(t), "bob", bob.Self().AccountKey); err != nil {
		t.Fatal(err)
	}
	forged := newImpostor("bob")
	enemy.Victim("bob", forged.record(t, recordOf(t, alice, bob)))
	enemy.Switch(malice.SwapKey, true)
	alice.reconnect()
	if err := alice.AcceptKey(testContext(t), "bob", forged.certificate.AccountKey); err != nil {
		t.Fatal(err)
	}
	happened(t, enemy, malice.SwapKey)
	if alice.contact(bob).Verified {
		t.Error("a key that nobody compared is shown as verified")
	}
	all, err := alice.Members(testContext(t), in)
	if err != nil || slices.ContainsFunc(all, func(m Member) bool { return m.Verified }) {
		t.Errorf("got %+v, %v", all, err)
	}
}

// publish puts key packages of a device's own into its stock, instead of the good
// ones.
func publish(t *testing.T, p *person, last bool, packages ...[]byte) {
	t.Helper()
	request := &api.PublishKeyPackagesRequest{KeyPackages: packages, ReplaceStock: true}
	if last {
		request.LastResort, request.KeyPackages = packages[0], nil
	}
	if _, err := callDirectory(testContext(t), p.Client, func(ctx context.Context, d api.DirectoryClient) (*api.PublishKeyPackagesResponse, error) {
		return d.PublishKeyPackages(ctx, request)
	}); err != nil {
		t.Fatal(err)
	}
}

// refusesKeys has alice write to somebody whose key packages are false, and wants
// nothing to go out.
func refusesKeys(t *testing.T, alice, to *person, enemy *malice.Relay) {
	t.Helper()
	id := alice.send(to, "a secret")
	failed := wantError[*FailedError](t, alice.Wait(testContext(t), id, Accepted))
	if !strings.Contains(failed.Reason, "do not hold together") {
		t.Errorf("alice reads %q", failed.Reason)
	}
	for _, kind := range []api.Kind{api.Kind_KIND_APPLICATION, api.Kind_KIND_WELCOME} {
		if len(enemy.Delivered(to.device(), kind)) > 0 {
			t.Errorf("%v was sent", kind)
		}
	}
}

// The stock of a device is empty, or the relay says so: the last resort serves, and
// the sender is told what that means.
func TestAttackB1DrainedKeyPackages(t *testing.T) {
	relay, enemy := newEnemy(t, func(r *realRelay) { r.limits.ClaimsOfOne = 1000 })
	alice, bob, mallory := relay.person("alice"), relay.person("bob"), relay.person("mallory")
	for last := false; !last; {
		response, err := callDirectory(testContext(t), mallory.Client, func(ctx context.Context, d api.DirectoryClient) (*api.ClaimKeyPackagesResponse, error) {
			return d.ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: "bob"})
		})
		if err != nil || len(response.GetKeyPackages()) != 1 {
			t.Fatalf("got %v, %v", response, err)
		}
		last = response.GetKeyPackages()[0].GetLastResort()
	}
	alice.online()
	id := alice.send(bob, "hello")
	alice.await(id, Accepted)
	in := alice.DirectID("bob")
	wantRows(t, alice, in, "hello", "[warning]")
	befriend(alice, bob)
	bob.online()
	alice.await(id, Delivered)
	wantRows(t, bob, in, "hello")
	// Bob's client filled the stock up again.
	carol := relay.online("carol")[0]
	befriend(bob, carol)
	carol.await(carol.send(bob, "hi"), Delivered)
	wantRows(t, carol, carol.DirectID("bob"), "hi")
	_ = enemy
}

// The relay's own limit keeps one account from emptying a stock.
func TestAttackB1ClaimsOfOneAreLimited(t *testing.T) {
	relay := newRealRelay(t)
	relay.person("bob")
	mallory := relay.person("mallory")
	claims := 0
	for ; claims < stockSize; claims++ {
		_, err := callDirectory(testContext(t), mallory.Client, func(ctx context.Context, d api.DirectoryClient) (*api.ClaimKeyPackagesResponse, error) {
			return d.ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: "bob"})
		})
		if errors.Is(err, errKeyPackageLimit) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if claims >= stockSize/2 {
		t.Errorf("mallory took %d key packages", claims)
	}
}

func TestAttackB2ExpiredKeyPackage(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	old, err := anyone(t, func() time.Time { return time.Now().Add(-100 * 24 * time.Hour) }).
		NewKeyPackage(mls.DefaultCipherSuite, bob.self.identity(), mls.KeyPackageOptions{Leaf: leafOptions(), Lifetime: keyPackageLife})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bob, false, old.KeyPackage.Message())
	alice.online()
	refusesKeys(t, alice, bob, enemy)
}

// A key package is used up by the first Welcome that was made with it.
func TestAttackB2UsedKeyPackageIsDeleted(t *testing.T) {
	relay, enemy := newEnemy(t)
	people := relay.online("alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	befriend(alice, bob)
	befriend(carol, bob)
	enemy.Victim("bob")
	enemy.Switch(malice.HandOutTwice, true)
	alice.await(alice.send(bob, "first"), Delivered)
	late := carol.send(bob, "second")
	carol.await(late, Accepted)
	happened(t, enemy, malice.HandOutTwice)
	bob.awaitAside(1, errNoWelcome)
	if got := bob.texts(bob.DirectID("carol")); len(got) > 0 {
		t.Errorf("bob reads %q", got)
	}
	// Carol never sees the mark, and reads what Bob writes.
	if m, err := carol.Message(testContext(t), late); err != nil || m.State != Accepted {
		t.Errorf("carol sees %v, %v", m.State, err)
	}
	enemy.Switch(malice.HandOutTwice, false)
	bob.send(carol, "hello")
	carol.awaitTexts(carol.DirectID("bob"), "second", "hello")
}

// What a contact can do is inside of what it signs: a package for a weaker suite is
// refused, whoever made it.
func TestAttackB3Downgrade(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	weak, err := anyone(t, time.Now).NewKeyPackage(0x0001, bob.self.identity(), mls.KeyPackageOptions{Leaf: leafOptions()})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bob, false, weak.KeyPackage.Message())
	alice.online()
	refusesKeys(t, alice, bob, enemy)
}

func TestAttackB4BrokenSignature(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	enemy.Victim("bob")
	enemy.Switch(malice.BreakKeyPackage, true)
	alice.online()
	refusesKeys(t, alice, bob, enemy)
	happened(t, enemy, malice.BreakKeyPackage)
}

// A key package that is signed by another key than its certificate names.
func TestAttackB4SignatureOfAnotherKey(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	other := mls.Identity{Credential: bob.self.identity().Credential, Signer: ed25519.NewKeyFromSeed(randomBytes(32))}
	k, err := anyone(t, time.Now).NewKeyPackage(mls.DefaultCipherSuite, other, mls.KeyPackageOptions{Leaf: leafOptions()})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bob, false, k.KeyPackage.Message())
	alice.online()
	refusesKeys(t, alice, bob, enemy)
}

// Keys that make a shared secret known to everybody: the classical half of the hybrid
// key is all zero, though everything is signed as it should be.
func TestAttackB5ZeroKey(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	identity := bob.self.identity()
	k, err := anyone(t, time.Now).NewKeyPackage(mls.DefaultCipherSuite, identity, mls.KeyPackageOptions{Leaf: leafOptions()})
	if err != nil {
		t.Fatal(err)
	}
	const classical = 32 // X25519 comes last
	good := k.KeyPackage.Message()
	at := bytes.Index(good, k.KeyPackage.InitKey)
	if at < 0 {
		t.Fatal("no init key in the key package")
	}
	clear(k.KeyPackage.InitKey[len(k.KeyPackage.InitKey)-classical:])
	k.KeyPackage.Signature = signKeyPackage(t, identity, k.KeyPackage)
	publish(t, bob, false, k.KeyPackage.Message())
	alice.online()
	refusesKeys(t, alice, bob, enemy)
}

// signKeyPackage makes the signature of RFC 9420, Section 10, over what stands before
// it, with the label of Section 5.1.2.
func signKeyPackage(t *testing.T, identity mls.Identity, k *mls.KeyPackage) []byte {
	t.Helper()
	whole := k.Marshal()
	const vector = 2 + ed25519.SignatureSize // its length takes two bytes
	label := "MLS 1.0 KeyPackageTBS"
	content := whole[:len(whole)-vector]
	signed := append([]byte{byte(len(label))}, label...)
	signed = append(signed, 0x40|byte(len(content)>>8), byte(len(content)))
	signed = append(signed, content...)
	signature, err := identity.Signer.Sign(nil, signed, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}
