package messenger

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"sealpost/api"
	"sealpost/content"
	"sealpost/identity"
	"sealpost/mls"
)

// An administrator who was removed makes a new MLS group for the conversation.
func TestAttackRemovedAdministratorBeginsAnew(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "mallory")
	alice, bob, mallory := people[0], people[1], people[2]
	if err := alice.SetAdmin(testContext(t), in, "mallory", true); err != nil {
		t.Fatal(err)
	}
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"mallory"}); err != nil {
		t.Fatal(err)
	}
	mallory.until("she is out", func() bool { return mallory.conversation(in).State == Closed })
	bob.until("she is out", func() bool { return bob.members(in) == "alice* bob" })
	i := recruit(mallory)
	d := &descriptor{Kind: Group, Conversation: in[:], Incarnation: uint32(time.Now().Unix()) + 60, Name: "circle", Admins: []string{"mallory"}}
	i.mls = must(mallory.groups.client.CreateGroup(mls.DefaultCipherSuite, mallory.self.identity(), mls.GroupOptions{
		GroupID: randomBytes(groupIDSize), Extensions: must(d.extensions()), Leaf: leafOptions(),
	}))
	i.begin(must(i.mls.Commit(mls.CommitOptions{OmitPath: true, Proposals: []mls.Proposal{&mls.Add{KeyPackage: i.keyPackageOf("bob")}}})), bob)
	bob.until("it came", func() bool { return strings.Contains(bob.members(in), "mallory") || len(bob.quarantine()) > 0 })
	if got := bob.members(in); got != "alice* bob" {
		t.Errorf("what bob writes goes to %s; he reads %q", got, bob.rows(in))
	}
}

// Somebody whom bob blocked puts him into a group with a common friend, and bob, who was
// restored, asks that one. He is in no group that he has not accepted.
func TestAttackBlockedPullsIn(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("alice", "bob", "mallory")
	alice, bob, mallory := people[0], people[1], people[2]
	befriend(alice, bob)
	befriend(alice, mallory)
	bob.direct(mallory)
	if err := bob.Block(testContext(t), "mallory"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.store.writer.Exec("UPDATE profile SET restored_at = ?", time.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	v, err := mallory.CreateGroup(testContext(t), "a trap", []identity.Username{"alice"})
	if err != nil {
		t.Fatal(err)
	}
	alice.await(alice.say(waitGroup(alice, v.ID), "hi"), Delivered)
	i := turn(mallory, v.ID)
	// A lawful commit that adds bob; he gets no Welcome.
	add := &mls.Add{KeyPackage: i.keyPackageOf("bob")}
	members := must(listMembers(context.Background(), i.store.reader, i.group.id))
	options := mls.CommitOptions{Proposals: []mls.Proposal{add}, OmitPath: true}
	roster, _, err := rosterAfter(members, options, nil)
	if err != nil {
		t.Fatal(err)
	}
	next := ascending(roster)
	hash := identity.DeliveryListHash(i.mls.ID(), i.mls.Epoch()+1, next)
	options.AuthenticatedData = hash[:]
	epoch := i.epoch()
	pending := must(i.mls.Commit(options))
	if reason := i.submit(&api.Submit{Kind: api.Kind_KIND_HANDSHAKE, Payload: pending.Commit, Group: epoch,
		Commit: &api.Commit{Members: deviceIDs(joinIDs(next))}}); reason != api.Reason_REASON_UNSPECIFIED {
		t.Fatal(reason)
	}
	if err := i.mls.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	i.whisper(i.frame(0, must(content.NewText("bait")), nil))
	bob.until("he knows of a group", func() bool { return bob.counts("unknown_groups") == 1 })
	bob.forward(2 * patience)
	bob.until("alice helps", func() bool { return bob.counts("unknown_groups") == 0 })
	if got := bob.conversation(v.ID).State; got != Request {
		t.Errorf("bob is in a conversation that is %v: %q", got, bob.rows(v.ID))
	}
}

func waitGroup(p *person, in ConversationID) ConversationID {
	p.until("the group is there", func() bool { _, err := p.Conversation(testContext(p.t), in); return err == nil })
	return in
}

// A stranger whose request waits asks to be taken in again: whoever answers is there.
func TestAttackStrangerAsksToRejoin(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("alice", "mallory")
	alice, mallory := people[0], people[1]
	v, err := mallory.CreateGroup(testContext(t), "a request", []identity.Username{"alice"})
	if err != nil {
		t.Fatal(err)
	}
	waitGroup(alice, v.ID)
	if got := alice.conversation(v.ID).State; got != Request {
		t.Fatalf("it is %v", got)
	}
	before := alice.epochOf(v.ID)
	i := turn(mallory, v.ID)
	id := alice.Self().DeviceID
	if reason := i.submit(&api.Submit{Kind: api.Kind_KIND_REQUEST, Recipients: [][]byte{id[:]},
		Payload: marshalAsk(&mallory.self, i.mls.ID(), i.mls.Epoch(), mallory.clock().Add(time.Second))}); reason != api.Reason_REASON_UNSPECIFIED {
		t.Fatal(reason)
	}
	i.whisper(i.frame(0, must(content.NewText("afterwards")), nil))
	alice.until("what she wrote afterwards came", func() bool { return alice.counts("seen") > 0 })
	if n := alice.counts("outbox"); n > 0 {
		t.Errorf("alice has %d things to send in a request", n)
	}
	if got := alice.epochOf(v.ID); got != before {
		t.Errorf("alice commits in the group of a request: epoch %d, was %d", got, before)
	}
}

// An administrator who is left out for what she did is none any more.
func TestAttackOffenderLosesRights(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "mallory")
	alice, mallory := people[0], people[2]
	if err := alice.SetAdmin(testContext(t), in, "mallory", true); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.until("she may", func() bool { return p.members(in) == "alice* bob mallory*" })
	}
	i := turn(mallory, in)
	i.commit(mls.CommitOptions{AuthenticatedData: []byte("another list")})
	alice.until("it goes on without her", func() bool { return alice.members(in) == "alice* bob" })
	var admins []string
	v := must(alice.findConversation(t.Context(), alice.store.reader, in))
	if _, d, err := newestGroup(t.Context(), alice.store.reader, v.id); err == nil {
		admins = d.Admins
	}
	if slices.Contains(admins, "mallory") {
		t.Errorf("administrators are %q", admins)
	}
}

// An administrator who was away when somebody was left out does not begin the group anew
// once more, with those who were removed meanwhile.
func TestAttackLateAdministratorBringsNobodyBack(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol", "dave")
	alice, bob, carol := people[0], people[1], people[2]
	if err := alice.SetAdmin(testContext(t), in, "bob", true); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.until("he may", func() bool { return p.members(in) == "alice* bob* carol dave" })
	}
	bob.offline()
	i := turn(carol, in)
	i.commit(mls.CommitOptions{AuthenticatedData: []byte("another list")})
	alice.until("it goes on without her", func() bool { return alice.members(in) == "alice* bob* dave" })
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"dave"}); err != nil {
		t.Fatal(err)
	}
	alice.until("he is out", func() bool { return alice.members(in) == "alice* bob*" })
	bob.clock = func() time.Time { return time.Now().Add(5 * time.Second) } // incarnations are seconds
	bob.online()
	bob.until("he refuses", hasWarning(bob, in, "without the right to"))
	id := bob.say(in, "not for dave")
	bob.await(id, Accepted)
	alice.await(alice.send(people[3], "the last one"), Delivered)
	for _, row := range people[3].rows(in) {
		if row == "not for dave" || row == "[bob added you]" {
			t.Errorf("dave, whom alice removed, has the row %q", row)
		}
	}
	if got := alice.members(in) + ", " + bob.members(in); strings.Contains(got, "dave") {
		t.Errorf("members: %s", got)
	}
}

// A relay that lies and a contact that helps it offer a key package which bears the
// device id of a member. Who adds the contact must not stop, nor be blamed.
func TestAttackDeviceIDOfAMember(t *testing.T) {
	var forged *api.ClaimedKeyPackage
	relay, _ := newEnemy(t, func(r *realRelay) {
		r.options = append(r.options, grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			response, err := handler(ctx, request)
			if claim, ok := request.(*api.ClaimKeyPackagesRequest); ok && err == nil && claim.GetUsername() == "mallory" && forged != nil {
				answer := response.(*api.ClaimKeyPackagesResponse)
				answer.KeyPackages = append(answer.KeyPackages, forged)
			}
			return response, err
		}), grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(server, obliging{stream})
		}))
	})
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob := people[0], people[1]
	if err := alice.SetAdmin(testContext(t), in, "carol", true); err != nil {
		t.Fatal(err)
	}
	mallory := relay.online("mallory")[0]
	befriend(alice, mallory)
	var seed []byte
	if err := mallory.store.reader.QueryRow("SELECT account_seed FROM profile").Scan(&seed); err != nil {
		t.Fatal(err)
	}
	device := identity.GenerateDeviceKey()
	forged = impostor{identity.IssueCertificate(must(identity.AccountKeyFromSeed(seed)), "mallory", device.Public(), bob.Self().DeviceID, time.Now()), device}.keyPackage(t)
	if err := alice.AddMembers(testContext(t), in, []identity.Username{"mallory"}); err != nil {
		t.Fatal(err)
	}
	alice.until("the change is refused", hasWarning(alice, in, "do not hold together"))
	alice.say(in, "go on")
	people[2].awaitTexts(in, "go on")
	if hasWarning(people[2], in, "without the right to")() {
		t.Errorf("carol blames somebody: %q", people[2].rows(in))
	}
}

// obliging accepts a commit whose list names a device twice.
type obliging struct{ grpc.ServerStream }

func (s obliging) RecvMsg(m any) error {
	for {
		if err := s.ServerStream.RecvMsg(m); err != nil {
			return err
		}
		frame, _ := m.(*api.ClientFrame)
		members := frame.GetSubmit().GetCommit().GetMembers()
		twice := false
		for i := 1; i < len(members); i++ {
			twice = twice || string(members[i]) == string(members[i-1])
		}
		if !twice {
			return nil
		}
		accepted := &api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: frame.GetSubmit().GetId()}}}
		if err := s.SendMsg(&api.ServerFrames{Frames: []*api.ServerFrame{accepted}}); err != nil {
			return err
		}
	}
}

// A stranger sends what belongs to a group that he made up: little of it is kept.
func TestAttackStrangerFillsStrays(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("bob", "mallory")
	bob, mallory := people[0], people[1]
	i := recruit(mallory)
	d := &descriptor{Kind: Group, Conversation: randomBytes(16), Name: "flood", Admins: []string{"mallory"}}
	i.mls = must(mallory.groups.client.CreateGroup(mls.DefaultCipherSuite, mallory.self.identity(), mls.GroupOptions{
		GroupID: randomBytes(groupIDSize), Extensions: must(d.extensions()), Leaf: leafOptions(),
	}))
	pending := must(i.mls.Commit(mls.CommitOptions{}))
	a, b := mallory.Self().DeviceID, bob.Self().DeviceID
	both := []identity.DeviceID{a, b}
	if bytes.Compare(a[:], b[:]) > 0 {
		both = []identity.DeviceID{b, a}
	}
	if r := i.submit(&api.Submit{Kind: api.Kind_KIND_HANDSHAKE, Payload: pending.Commit, Group: i.epoch(), Commit: &api.Commit{Members: deviceIDs(joinIDs(both))}}); r != 0 {
		t.Fatal(r)
	}
	if err := i.mls.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	big := must(i.mls.Encrypt(make([]byte, 3<<20), nil))
	for range 8 {
		if r := i.submit(&api.Submit{Kind: api.Kind_KIND_HANDSHAKE, Payload: big, Group: i.epoch()}); r != 0 {
			t.Fatal(r)
		}
	}
	bob.until("it came", func() bool { return bob.counts("quarantine") > 0 })
	var n int64
	if err := bob.store.reader.QueryRow("SELECT sum(length(payload)) FROM strays").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n > maxUnknownStrayBytes {
		t.Errorf("a stranger has %d MiB in bob's profile", n>>20)
	}
}
