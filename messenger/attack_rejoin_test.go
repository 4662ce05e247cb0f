package messenger

import (
	"context"
	"testing"

	"sealpost/api"
	"sealpost/identity"
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
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	insider := &insider{person: mallory}
	insider.connect(ctx)
	before := alice.epochOf(in)
	v, err := alice.findConversation(ctx, alice.store.reader, in)
	if err != nil {
		t.Fatal(err)
	}
	g, err := currentGroup(ctx, alice.store.reader, v.id)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(as *self) {
		to := deviceIDs(joinIDs([]identity.DeviceID{alice.Self().DeviceID, bob.Self().DeviceID}))
		if reason := insider.submit(&api.Submit{Kind: api.Kind_KIND_REQUEST, Recipients: to, Payload: marshalAsk(as, g, mallory.clock())}); reason != api.Reason_REASON_UNSPECIFIED {
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
