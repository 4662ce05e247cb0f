package messenger

import (
	"testing"

	"sealpost/identity"
)

// TestRestoredBackupLearnsOfLaterConversations: a backup from before somebody wrote, or
// made a group, is brought into both by what comes in.
func TestRestoredBackupLearnsOfLaterConversations(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	befriend(alice, bob)
	befriend(alice, carol)
	befriend(bob, carol)
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
	bob.until("he is in it", func() bool {
		v, err := bob.Conversation(testContext(t), v.ID)
		return err == nil && v.Name == "later"
	})
	bob.until("he is told what he may have missed", hasWarning(bob, v.ID, "may be missing"))
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
	if _, err := bob.store.writer.Exec("DELETE FROM unknown_groups WHERE group_id NOT IN (SELECT group_id FROM unknown_groups LIMIT ?)", maxAsking); err != nil {
		t.Fatal(err)
	}
	bob.forward(2 * patience)
	bob.until("they are forgotten", func() bool { return bob.counts("unknown_groups") == 0 })
	alice.await(alice.send(bob, "hello"), Delivered)
}

// counts says how many rows a table has.
func (p *person) counts(table string) (n int) {
	p.t.Helper()
	if err := p.store.reader.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}
