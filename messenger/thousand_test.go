package messenger

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sealpost/identity"
	"sealpost/mls"
)

// TestGroupOfAThousandDevices makes the largest group that a relay takes, of 1,000
// devices of as many accounts. Three of them are online: they talk, one is removed and
// added again, and one comes back from a damaged state.
func TestGroupOfAThousandDevices(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("a step of its own runs it: it takes ten times longer with the race detector")
	}
	const size = 1000
	memory := quickDir(t)
	relay := newRealRelay(t)
	relay.stop()
	relay.dir = filepath.Join(memory, "relay")
	relay.limits.DeviceCalls = 4 * size // they are all looked up, and then invited, in one go
	relay.limits.AddressRegistrations, relay.limits.AddressConnects = 2*size, 4*size
	relay.start()

	cheap := defaultTuning
	cheap.suite, cheap.stockSize, cheap.lowStock = mls.MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, 4, 2
	create := func(name identity.Username) *person {
		dir := filepath.Join(memory, string(name))
		p := &person{t: t, options: Options{Dir: dir, Unlock: KeyFile(), Logger: testLogger(t, name), tuning: &cheap}}
		client, err := Create(testContext(t), p.options, NewProfile{Username: name, Server: relay.address, Fingerprint: relay.id})
		if err != nil {
			t.Fatal(err)
		}
		p.attach(client)
		return p
	}
	var users []identity.Username
	for i := range size - 3 {
		name := identity.Username(fmt.Sprintf("member%03d", i))
		p := create(name)
		p.stop()
		if err := os.RemoveAll(p.options.Dir); err != nil {
			t.Fatal(err)
		}
		users = append(users, name)
	}
	alice, bob, zoe := create("alice"), create("bob"), create("zoe")
	for _, p := range []*person{alice, bob, zoe} {
		defer p.stop()
		p.online()
	}
	befriend(alice, bob)
	befriend(alice, zoe)
	v, err := alice.CreateGroup(testContext(t), "everybody", append(users, "bob", "zoe"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, bob, zoe} {
		p.until("all are there", func() bool {
			members, err := p.Members(testContext(t), v.ID)
			return err == nil && len(members) == size
		})
	}
	alice.say(v.ID, "one")
	zoe.awaitTexts(v.ID, "one")
	bob.say(v.ID, "two")
	zoe.awaitTexts(v.ID, "one", "two")

	if err := alice.RemoveMembers(testContext(t), v.ID, []identity.Username{"bob"}); err != nil {
		t.Fatal(err)
	}
	bob.until("he is out", func() bool { return bob.conversation(v.ID).State == Closed })
	alice.say(v.ID, "three")
	zoe.awaitTexts(v.ID, "one", "two", "three")
	if err := alice.AddMembers(testContext(t), v.ID, []identity.Username{"bob"}); err != nil {
		t.Fatal(err)
	}
	bob.until("he is back", func() bool { return bob.conversation(v.ID).State == Active })
	bob.say(v.ID, "four")
	zoe.awaitTexts(v.ID, "one", "two", "three", "four")

	zoe.stop()
	zoe.restart()
	if _, err := zoe.store.writer.Exec("UPDATE records SET value = x''"); err != nil {
		t.Fatal(err)
	}
	zoe.online()
	zoe.say(v.ID, "five")
	for _, p := range []*person{alice, bob} {
		p.until("zoe is heard again", func() bool { texts := p.texts(v.ID); return len(texts) > 0 && texts[len(texts)-1] == "five" })
	}
}
