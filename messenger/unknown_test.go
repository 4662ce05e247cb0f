package messenger

import (
	"slices"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// TestRestoredBackupLearnsOfLaterConversations: a backup from before somebody wrote, or
// made a group, is brought into both by what comes in.
func TestRestoredBackupLearnsOfLaterConversations(t *testing.T) {
	relay := newRealRelay(t)
	people := friends(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	bob.stop()
	backup := copyProfile(t, bob.options.Dir)
	bob.restart()
	bob.online()
	v, err := alice.CreateGroup(testContext(t), "later", []identity.Username{"bob", "carol"})
	if err != nil {
		t.Fatal(err)
	}
	direct := alice.DirectID("bob")
	alice.await(alice.say(v.ID, "one"), Delivered)
	alice.await(alice.send(bob, "direct one"), Delivered)
	bob.stop()

	bob.options.Dir = backup
	bob.restart()
	bob.online()
	// Carol is no administrator, and helps all the same.
	alice.offline()
	carol.await(carol.say(v.ID, "two"), Accepted)
	bob.until("he knows that there is a group", func() bool { return bob.counts("unknown_groups") == 1 })
	bob.forward(2 * patience)
	// Who helps does not vouch for the group: it may be anybody's.
	bob.until("he is asked", func() bool {
		v, err := bob.Conversation(testContext(t), v.ID)
		return err == nil && v.Name == "later" && v.State == Request
	})
	if err := bob.Accept(testContext(t), v.ID); err != nil {
		t.Fatal(err)
	}
	carol.await(carol.say(v.ID, "three"), Delivered)
	alice.online()
	alice.await(alice.send(bob, "direct two"), Accepted)
	bob.until("he knows that there is another", func() bool { return bob.counts("unknown_groups") == 1 })
	bob.forward(4 * patience)
	bob.until("he is in it", hasWarning(bob, direct, "may be missing"))
	alice.await(alice.send(bob, "direct three"), Delivered)
	bob.awaitTexts(v.ID, "three")
	bob.awaitTexts(direct, "direct three")
	if n := bob.counts("unknown_groups"); n != 0 {
		t.Errorf("%d groups are unknown still", n)
	}
}

// TestNobodyIsAskedAboutRefusedGroups: who did not take an invitation does not ask for
// another when its group goes on.
func TestNobodyIsAskedAboutRefusedGroups(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob", "mallory")
	alice, bob, mallory := people[0], people[1], people[2]
	befriend(alice, bob)
	befriend(alice, mallory)
	if _, err := bob.Direct(testContext(t), "mallory"); err != nil {
		t.Fatal(err)
	}
	if err := bob.Block(testContext(t), "mallory"); err != nil {
		t.Fatal(err)
	}
	v, err := mallory.CreateGroup(testContext(t), "a trap", []identity.Username{"alice", "bob"})
	if err != nil {
		t.Fatal(err)
	}
	mallory.await(mallory.say(v.ID, "one"), Accepted)
	alice.awaitTexts(v.ID, "one")
	bob.until("he refused it", func() bool { return bob.counts("unknown_groups WHERE unwanted") == 1 })
	bob.forward(2 * patience)
	mallory.await(mallory.say(v.ID, "two"), Accepted)
	alice.awaitTexts(v.ID, "one", "two")
	bob.await(bob.send(alice, "a word meanwhile"), Delivered)
	if n := bob.counts("unknown_groups WHERE asked > 0"); n != 0 {
		t.Errorf("bob asked to be taken in")
	}
	if n := bob.counts("conversations WHERE kind = 2"); n != 0 {
		t.Errorf("bob is in %d groups", n)
	}
}

// TestUnknownGroupsAreForgotten: where the relay does not count us among a group's
// members, nothing is kept of it.
func TestUnknownGroupsAreForgotten(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	bob.offline()
	if err := bob.commit(testContext(t), func(u *unit) error {
		for range maxUnknown + 1 {
			if err := noteUnknown(u, randomBytes(groupIDSize)); err != nil {
				return err
			}
		}
		return noteUnknown(u, []byte("too short"))
	}); err != nil {
		t.Fatal(err)
	}
	if n := bob.counts("unknown_groups"); n != maxUnknown {
		t.Errorf("%d unknown groups are kept, want %d", n, maxUnknown)
	}
	if _, err := bob.store.writer.Exec("UPDATE profile SET restored_at = ?", time.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.store.writer.Exec("DELETE FROM unknown_groups WHERE group_id NOT IN (SELECT group_id FROM unknown_groups LIMIT ?)", maxAsking); err != nil {
		t.Fatal(err)
	}
	bob.forward(2 * patience)
	bob.until("they are forgotten", func() bool { return bob.counts("unknown_groups") == 0 })
	alice.await(alice.send(bob, "hello"), Delivered)
}

// TestLeftWhileLost: who leaves while he waits for help is not brought back by it.
func TestLeftWhileLost(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	for _, p := range people {
		p.offline()
	}
	if err := bob.commit(testContext(t), func(u *unit) error {
		v := must(bob.findConversation(u, u, in))
		g := must(currentGroup(u, u, v.id))
		return (&session{Client: bob.Client}).lose(u, g)
	}); err != nil {
		t.Fatal(err)
	}
	bob.online()
	bob.until("he asked", func() bool { return bob.counts("outbox") == 0 })
	if err := bob.Leave(testContext(t), in); err != nil {
		t.Fatal(err)
	}
	alice.online()
	carol.online()
	bob.until("he is helped", func() bool { return bob.counts("groups WHERE state = 3") == 0 })
	if got := bob.conversation(in).State; got != Closed {
		t.Errorf("bob left, and is in a conversation that is %v: %q", got, bob.rows(in))
	}
}

// TestFriendsAreAskedOnce: the relay takes no list with a device twice, though the leaf of
// a contact may bear the device id of another.
func TestFriendsAreAskedOnce(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob", "mallory")
	alice, bob, mallory := people[0], people[1], people[2]
	_ = in
	bob.await(bob.send(mallory, "hello"), Delivered)
	bob.offline()
	id, key, account := alice.Self().DeviceID, mallory.self.record.Certificate.DeviceKey, mallory.self.accountKey()
	if err := bob.commit(testContext(t), func(u *unit) error { // as keepMembers does after such a Welcome
		v := must(bob.findConversation(u, u, bob.DirectID("mallory")))
		g := must(currentGroup(u, u, v.id))
		return addMembers(u, g.id, []memberDevice{{deviceID: id, deviceKey: key, leaf: 7, username: "mallory", accountKey: account}})
	}); err != nil {
		t.Fatal(err)
	}
	friends, err := (&session{Client: bob.Client}).friends(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(friends, compareIDs)
	if n := len(friends); len(slices.Compact(friends)) != n {
		t.Errorf("a device is asked twice: the relay calls that malformed")
	}
}

// TestLateAnswerForgetsNothing: an answer to a request that comes after the Welcome does
// not delete what waits for the group.
func TestLateAnswerForgetsNothing(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob")
	bob := people[1]
	bob.offline()
	v := must(bob.findConversation(t.Context(), bob.store.reader, in))
	g := must(currentGroup(t.Context(), bob.store.reader, v.id))
	s := &session{Client: bob.Client, asking: map[string][]byte{"id": g.groupID}}
	if err := bob.commit(testContext(t), func(u *unit) error {
		return s.stray(u, incoming{group: g.groupID, payload: []byte("early"), kind: api.Kind_KIND_APPLICATION}, g.epoch+1)
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.asked(testContext(t), []byte("id"), api.Reason_REASON_NOT_A_MEMBER); err != nil {
		t.Fatal(err)
	}
	if bob.counts("strays") != 1 {
		t.Errorf("an early message of a group that bob is in was deleted")
	}
}

// counts says how many rows a table has.
func (p *person) counts(table string) (n int) {
	p.t.Helper()
	if err := p.store.reader.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}
