package messenger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
)

// epochOf returns the epoch of the group that a conversation writes to.
func (p *person) epochOf(in ConversationID) uint64 {
	p.t.Helper()
	ctx := testContext(p.t)
	v, err := p.findConversation(ctx, p.store.reader, in)
	if err != nil {
		p.t.Fatal(err)
	}
	g, err := currentGroup(ctx, p.store.reader, v.id)
	if err != nil || g == nil {
		p.t.Fatalf("no group: %v", err)
	}
	return g.epoch
}

// Requests to be taken in again come beside the group, so they prove by themselves who
// asks: a stranger is not helped, and nobody speaks for a member.
func TestAttackB18RejoinOfOthers(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	mallory := relay.person("mallory")
	insider := recruit(mallory)
	before := alice.epochOf(in)
	v, err := alice.findConversation(t.Context(), alice.store.reader, in)
	if err != nil {
		t.Fatal(err)
	}
	g, err := currentGroup(t.Context(), alice.store.reader, v.id)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(as *self) {
		to := deviceIDs(joinIDs([]identity.DeviceID{alice.Self().DeviceID, bob.Self().DeviceID}))
		if reason := insider.submit(&api.Submit{Kind: api.Kind_KIND_REQUEST, Recipients: to, Payload: marshalAsk(as, g.groupID, g.epoch, mallory.clock())}); reason != api.Reason_REASON_UNSPECIFIED {
			t.Fatalf("the relay refuses: %v", reason)
		}
	}
	ask(&mallory.self) // as herself
	asCarol := mallory.self
	asCarol.record = carol.self.record
	ask(&asCarol) // with carol's certificate and her own key
	alice.awaitAside(1, errAsk)
	bob.awaitAside(1, errAsk)
	alice.say(in, "after all that")
	for _, p := range people {
		p.awaitTexts(in, "after all that")
		if got := p.epochOf(in); got != before {
			t.Errorf("%s is in epoch %d, was in %d", p.name(), got, before)
		}
	}
}

// The relay delivers a request to be taken in again once more, when it was answered
// long ago: nobody is thrown out and taken in for it.
func TestAttackB18OldRejoin(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol", "dave")
	alice, bob := people[0], people[1]
	enemy.Aim(bob.device())
	enemy.Switch(malice.Withhold, true)
	if err := alice.Rename(testContext(t), in, "without bob"); err != nil {
		t.Fatal(err)
	}
	alice.until("it is renamed", func() bool { return alice.conversation(in).Name == "without bob" })
	alice.say(in, "where is bob?")
	bob.until("he knows that others went on", func() bool {
		var behind bool
		err := bob.store.reader.QueryRow("SELECT EXISTS (SELECT 1 FROM groups WHERE awaited > epoch)").Scan(&behind)
		return err == nil && behind
	})
	bob.forward(2 * patience)
	bob.until("he is back", func() bool { v := bob.conversation(in); return v.Name == "without bob" && !v.Healing })
	happened(t, enemy, malice.Withhold)
	enemy.Switch(malice.Withhold, false)
	bob.say(in, "here")
	for _, p := range people {
		p.until("bob is there", func() bool { return slices.Contains(p.texts(in), "here") })
	}
	back := alice.epochOf(in)
	if back > 4 { // one for each of two changes that made the group, the new name, and the help
		t.Errorf("bob was taken in again more than once: epoch %d", back)
	}
	enemy.Switch(malice.ReplayRequests, true)
	for n := range 3 {
		for _, p := range people {
			p.say(in, fmt.Sprint("round ", n, " of ", p.name()))
		}
	}
	for _, p := range people {
		p.until("all rounds came", func() bool { return len(p.texts(in)) >= 13 })
	}
	happened(t, enemy, malice.ReplayRequests)
	if got := alice.epochOf(in); got != back {
		t.Errorf("alice is in epoch %d, was in %d", got, back)
	}
	if n := strings.Count(strings.Join(bob.rows(in), " "), "[warning]"); n != 1 {
		t.Errorf("bob is warned %d times: %q", n, bob.rows(in))
	}
}
