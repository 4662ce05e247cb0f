package messenger

import (
	"context"
	"slices"
	"strings"
	"testing"

	"sealpost/api"
	"sealpost/content"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/mls"
)

// newEnemy returns a real relay with an enemy on every line.
func newEnemy(t testing.TB, change ...func(*realRelay)) (*realRelay, *malice.Relay) {
	t.Helper()
	enemy := new(malice.Relay)
	r := &realRelay{t: t, dir: t.TempDir(), address: "127.0.0.1:0", limits: defaultLimits(), options: enemy.ServerOptions()}
	for _, c := range change {
		c(r)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r, enemy
}

// pair returns two people on line who accepted each other, and the conversation.
func pair(r *realRelay) (alice, bob *person, in ConversationID) {
	r.t.Helper()
	people := r.online("alice", "bob")
	befriend(people[0], people[1])
	return people[0], people[1], people[0].DirectID("bob")
}

// circle returns a group of people on line, of which the first is the administrator.
func circle(r *realRelay, names ...identity.Username) ([]*person, ConversationID) {
	r.t.Helper()
	people := friends(r, names...)
	v, err := people[0].CreateGroup(testContext(r.t), "circle", names[1:])
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range people {
		p.until("the group is there", func() bool {
			all, err := p.Members(testContext(r.t), v.ID)
			return err == nil && len(all) == len(names)
		})
	}
	return people, v.ID
}

// friends are online, and all accept each other.
func friends(r *realRelay, names ...identity.Username) []*person {
	r.t.Helper()
	people := r.online(names...)
	for i, p := range people {
		for _, other := range people[:i] {
			befriend(p, other)
		}
	}
	return people
}

// recruit has a person talk to the relay by hand, as no client would.
func recruit(p *person) *insider {
	p.t.Helper()
	p.offline()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	i := &insider{person: p}
	i.connect(ctx)
	return i
}

func (p *person) device() string { return p.Self().DeviceID.String() }

// reconnect ends the line and begins another, as a relay can at any time.
func (p *person) reconnect() {
	p.t.Helper()
	p.offline()
	p.online()
}

// happened fails a test whose attack did not take place.
func happened(t testing.TB, enemy *malice.Relay, attack malice.Attack) {
	t.Helper()
	if enemy.Count(attack) == 0 {
		t.Fatalf("the attack %s did not take place", attack)
	}
}

// awaitAside waits until so many envelopes are put aside for a reason, and checks
// that each reason is one harmless line.
func (p *person) awaitAside(n int, why refusal) {
	p.t.Helper()
	count := func() int {
		found := 0
		for _, q := range p.quarantine() {
			if q.Reason == "" || strings.ContainsAny(q.Reason, "\n\x1b") {
				p.t.Errorf("reason %q is not one harmless line", q.Reason)
			}
			if q.Reason == string(why) {
				found++
			}
		}
		return found
	}
	p.until("envelopes are put aside because "+string(why), func() bool { return count() >= n })
}

// hasRow says whether a conversation shows a row, in the short form of rows.
func (p *person) hasRow(in ConversationID, row string) bool {
	p.t.Helper()
	return slices.Contains(p.rows(in), row)
}

// An insider has the keys of a genuine member, and a client that keeps no rule.
type insider struct {
	*person
	group  *group
	mls    *mls.Group
	stream api.DeliveryStream
}

// turn gives the keys of a member to an insider. The member's own client goes off
// line.
func turn(p *person, in ConversationID) *insider {
	p.t.Helper()
	p.offline()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	v, err := p.findConversation(ctx, p.store.reader, in)
	if err != nil {
		p.t.Fatal(err)
	}
	i := &insider{person: p}
	if i.group, err = currentGroup(ctx, p.store.reader, v.id); err != nil || i.group == nil {
		p.t.Fatalf("no group to attack: %v", err)
	}
	if i.mls, err = p.groups.load(ctx, p.store.reader, i.group.id); err != nil {
		p.t.Fatal(err)
	}
	i.connect(ctx)
	return i
}

func (i *insider) connect(ctx context.Context) {
	i.t.Helper()
	conn, err := i.line.connect(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if i.stream, err = api.Connect(ctx, conn); err != nil {
		i.t.Fatal(err)
	}
}

// submit hands something to the relay, and returns why it was refused.
func (i *insider) submit(s *api.Submit) api.Reason {
	i.t.Helper()
	s.Id = randomBytes(16)
	if err := i.stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}); err != nil {
		i.t.Fatal(err)
	}
	for {
		frame, err := i.stream.Recv()
		if err != nil {
			i.t.Fatal(err)
		}
		switch {
		case string(frame.GetAccepted().GetId()) == string(s.Id):
			return api.Reason_REASON_UNSPECIFIED
		case string(frame.GetRejected().GetId()) == string(s.Id):
			return frame.GetRejected().GetReason()
		}
	}
}

func (i *insider) epoch() *api.GroupEpoch {
	return &api.GroupEpoch{Id: i.mls.ID(), Epoch: i.mls.Epoch()}
}

// commit makes a commit that MLS has nothing against, and has the relay take it.
func (i *insider) commit(options mls.CommitOptions) {
	i.t.Helper()
	members, err := listMembers(context.Background(), i.store.reader, i.group.id)
	if err != nil {
		i.t.Fatal(err)
	}
	roster, added, err := rosterAfter(members, options, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	next, welcomed := ascending(roster), ascending(added)
	if options.AuthenticatedData == nil {
		hash := identity.DeliveryListHash(i.mls.ID(), i.mls.Epoch()+1, next)
		options.AuthenticatedData = hash[:]
	}
	epoch := i.epoch()
	pending, err := i.mls.Commit(options)
	if err != nil {
		i.t.Fatal(err)
	}
	if reason := i.submit(&api.Submit{
		Kind: api.Kind_KIND_HANDSHAKE, Payload: pending.Commit, Group: epoch,
		Commit: &api.Commit{Members: deviceIDs(joinIDs(next)), Welcome: pending.Welcome, Welcomed: deviceIDs(joinIDs(welcomed))},
	}); reason != api.Reason_REASON_UNSPECIFIED {
		i.t.Fatalf("the relay refuses the commit: %v", reason)
	}
	if err := i.mls.MergePendingCommit(); err != nil {
		i.t.Fatal(err)
	}
}

// whisper sends data as an application message.
func (i *insider) whisper(data []byte) {
	i.t.Helper()
	sealed, err := i.mls.Encrypt(data, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if reason := i.submit(&api.Submit{Kind: api.Kind_KIND_APPLICATION, Payload: sealed, Group: i.epoch()}); reason != api.Reason_REASON_UNSPECIFIED {
		i.t.Fatalf("the relay refuses the message: %v", reason)
	}
}

// frame puts content into the frame that a member gives it. What has the number 0 is
// not counted.
func (i *insider) frame(counter uint64, m *content.Message, err error) []byte {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
	body, err := m.Marshal()
	if err != nil {
		i.t.Fatal(err)
	}
	return stamp(counter, i.clock().UnixMilli(), body)
}

// keyPackageOf claims a key package of somebody else's, as every device can.
func (i *insider) keyPackageOf(name identity.Username) *mls.KeyPackage {
	i.t.Helper()
	response, err := callDirectory(testContext(i.t), i.Client, func(ctx context.Context, d api.DirectoryClient) (*api.ClaimKeyPackagesResponse, error) {
		return d.ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: string(name)})
	})
	if err != nil || len(response.GetKeyPackages()) == 0 {
		i.t.Fatalf("claiming a key package: %v", err)
	}
	k, err := mls.ParseKeyPackage(response.GetKeyPackages()[0].GetKeyPackage())
	if err != nil {
		i.t.Fatal(err)
	}
	return k
}
