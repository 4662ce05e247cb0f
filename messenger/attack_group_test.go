package messenger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/content"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/mls"
)

// refusesCommit waits until a member has told that somebody changed the group without
// the right to, instead of following.
func (p *person) refusesCommit(in ConversationID) {
	p.t.Helper()
	p.until("the change is refused", hasWarning(p, in, "without the right to"))
}

// The relay cannot add anybody: it has no key that signs. A member without the right
// to has one, and the members refuse.
func TestAttackC1OrdinaryMemberAdds(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	mallory := relay.person("mallory")
	bob := turn(people[1], in)
	bob.commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Add{KeyPackage: bob.keyPackageOf("mallory")}}, OmitPath: true})
	for _, p := range []*person{people[0], people[2]} {
		p.refusesCommit(in)
		if got := p.members(in); strings.Contains(got, "mallory") {
			t.Errorf("%s has members %s", p.name(), got)
		}
		p.say(in, "not for mallory")
	}
	mallory.online()
	mallory.until("what waited came", func() bool { return len(enemy.Delivered(mallory.device(), api.Kind_KIND_WELCOME)) > 0 })
	for _, sealed := range enemy.Delivered(mallory.device(), api.Kind_KIND_APPLICATION) {
		t.Errorf("mallory gets %d bytes", len(sealed.GetPayload()))
	}
}

// A commit from outside, as MLS has it for open groups.
func TestAttackC1ExternalCommit(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	mallory := relay.person("mallory")
	bob := turn(people[1], in)
	info, err := bob.mls.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	_, commit, err := mallory.groups.client.JoinExternal(info, mallory.self.identity(), mls.ExternalJoinOptions{Leaf: leafOptions()})
	if err != nil {
		t.Fatal(err)
	}
	enemy.Substitute(&api.Envelope{Kind: api.Kind_KIND_HANDSHAKE, Payload: commit, Group: bob.mls.ID()})
	enemy.Switch(malice.Reattribute, true)
	bob.whisper(bob.frame(0, must(content.NewText("never arrives")), nil))
	for _, p := range []*person{people[0], people[2]} {
		p.awaitAside(1, errNotMessage)
		if got := p.members(in); strings.Contains(got, "mallory") {
			t.Errorf("%s has members %s", p.name(), got)
		}
	}
	happened(t, enemy, malice.Reattribute)
	enemy.Switch(malice.Reattribute, false)
	people[0].say(in, "go on")
	people[2].awaitTexts(in, "go on")
}

// The relay does not tell bob that carol is out.
func TestAttackC2WithheldRemoval(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	enemy.Aim(bob.device())
	enemy.Switch(malice.Withhold, true)
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"carol"}); err != nil {
		t.Fatal(err)
	}
	carol.until("she is out", func() bool { return carol.conversation(in).State == Closed })
	// What bob writes now is for an epoch that is over: nobody gets it.
	first := bob.say(in, "what carol must not read")
	alice.say(in, "carol is out")
	happened(t, enemy, malice.Withhold)
	bob.until("he knows that others went on", func() bool {
		var behind bool
		err := bob.store.reader.QueryRow("SELECT EXISTS (SELECT 1 FROM groups WHERE awaited > epoch)").Scan(&behind)
		return err == nil && behind
	})
	if m, err := bob.Message(testContext(t), first); err != nil || m.State != Queued {
		t.Errorf("it is %v, %v", m.State, err)
	}
	if got := carol.texts(in); len(got) > 0 {
		t.Errorf("carol reads %q", got)
	}
	// Bob does not wait for ever: he asks, and alice takes him in again.
	bob.forward(2 * patience)
	bob.await(first, Accepted)
	alice.until("bob is back", func() bool { return slices.Contains(alice.texts(in), "what carol must not read") })
	if got := bob.members(in); got != "alice* bob" {
		t.Errorf("bob has members %s", got)
	}
	if !bob.hasRow(in, "[warning]") {
		t.Errorf("bob is not told that he missed something: %q", bob.rows(in))
	}
	if got := carol.texts(in); len(got) > 0 {
		t.Errorf("carol reads %q", got)
	}
}

// forward moves the clock of a person's client.
func (p *person) forward(by time.Duration) {
	p.t.Helper()
	p.offline()
	p.clock = func() time.Time { return time.Now().Add(by) }
	p.online()
}

// Two commits for one epoch: alice follows hers, bob his, and carol gets bob's.
func TestAttackC3Fork(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	if err := alice.SetAdmin(testContext(t), in, "bob", true); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.until("bob may", func() bool { return p.members(in) == "alice* bob* carol" })
	}
	carol.offline()
	enemy.Aim(carol.device())
	enemy.Rival(bob.device())
	enemy.Switch(malice.Fork, true)
	rename := func(p *person, name string) {
		if err := p.Rename(testContext(t), in, name); err != nil {
			t.Fatal(err)
		}
		p.until("it is renamed", func() bool { return p.conversation(in).Name == name })
	}
	rename(alice, "first")
	rename(bob, "second")
	happened(t, enemy, malice.Fork)
	carol.online()
	carol.until("she follows bob", func() bool { return carol.conversation(in).Name == "second" })
	enemy.Switch(malice.Fork, false)

	// The branches cannot read each other, and do not believe each other.
	for range maxFailures {
		alice.say(in, "from the first branch")
	}
	bob.awaitAside(maxFailures, errCannotOpen)
	carol.awaitAside(maxFailures, errCannotOpen)
	// They heal: all are in one group again, and read the same.
	for _, p := range people {
		p.until("it is in alice's branch", func() bool { v := p.conversation(in); return v.Name == "first" && !v.Healing })
	}
	for _, p := range people {
		p.say(in, "healed "+string(p.name()))
	}
	for _, p := range people {
		p.until("all three can be read", func() bool {
			texts := p.texts(in)
			return slices.Contains(texts, "healed alice") && slices.Contains(texts, "healed bob") && slices.Contains(texts, "healed carol")
		})
	}
	for _, p := range []*person{bob, carol} {
		if !p.hasRow(in, "[warning]") {
			t.Errorf("%s is not told: %q", p.name(), p.rows(in))
		}
	}
}

func TestAttackC4OldHandshakes(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob := people[0], people[1]
	for _, name := range []string{"one", "two"} {
		if err := alice.Rename(testContext(t), in, name); err != nil {
			t.Fatal(err)
		}
		bob.until("it is renamed", func() bool { return bob.conversation(in).Name == name })
	}
	before := bob.rows(in)
	enemy.Switch(malice.ReplayHandshakes, true)
	alice.say(in, "a message")
	bob.awaitTexts(in, "a message")
	bob.awaitAside(1, errNoWelcome)
	bob.awaitAside(1, errTooLate)
	happened(t, enemy, malice.ReplayHandshakes)
	wantRows(t, bob, in, append(before, "a message")...)
	if v := bob.conversation(in); v.Healing || v.Name != "two" {
		t.Errorf("got %+v", v)
	}
	alice.say(in, "another")
	bob.awaitTexts(in, "a message", "another")
}

// A Welcome to a group that we are in, with a key package that was never used.
func TestAttackC4WelcomeToAGroupWeAreIn(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob")
	bob := people[1]
	alice := turn(people[0], in)
	// A group with the same id, which only its maker knows.
	other, err := alice.groups.client.CreateGroup(mls.DefaultCipherSuite, alice.self.identity(), mls.GroupOptions{
		GroupID: alice.mls.ID(), Extensions: alice.mls.Extensions(), Leaf: leafOptions(),
	})
	if err != nil {
		t.Fatal(err)
	}
	k := alice.keyPackageOf("bob")
	pending, err := other.Commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Add{KeyPackage: k}}, OmitPath: true})
	if err != nil {
		t.Fatal(err)
	}
	members := deviceIDs(joinIDs([]identity.DeviceID{alice.Self().DeviceID, bob.Self().DeviceID}))
	slices.SortFunc(members, slices.Compare)
	reason := alice.submit(&api.Submit{
		Kind: api.Kind_KIND_HANDSHAKE, Payload: pending.Commit, Group: alice.epoch(),
		Commit: &api.Commit{Members: members, Welcome: pending.Welcome, Welcomed: [][]byte{bob.self.record.Certificate.DeviceID[:]}},
	})
	if reason != api.Reason_REASON_UNSPECIFIED {
		t.Fatalf("the relay refuses: %v", reason)
	}
	bob.awaitAside(1, errOldWelcome)
	if got := bob.members(in); got != "alice* bob" {
		t.Errorf("bob has members %s", got)
	}
}

// One signed message, sealed twice.
func TestAttackC5SealedAgain(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	bob := turn(people[1], in)
	once := bob.frame(1, must(content.NewText("pay me once")), nil)
	bob.whisper(once)
	bob.whisper(once)
	// The same content under another number, too.
	m, err := content.Parse(once[stampSize:])
	bob.whisper(bob.frame(2, m, err))
	bob.whisper(bob.frame(0, must(content.NewText("the end")), nil))
	for _, p := range []*person{people[0], people[2]} {
		p.awaitTexts(in, "pay me once", "the end")
	}
}

// Edits, deletions and reactions count for what their own sender wrote, also where
// they come first.
func TestAttackC6EditInAnothersName(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, carol := people[0], people[2]
	id := alice.say(in, "I agree")
	carol.awaitTexts(in, "I agree")
	people[1].awaitTexts(in, "I agree")
	bob := turn(people[1], in)
	target := content.MessageID(id)
	bob.whisper(bob.frame(1, must(content.Edit(target, "I refuse")), nil))
	bob.whisper(bob.frame(2, must(content.Delete(target)), nil))
	bob.whisper(bob.frame(3, must(content.Receipt(content.StatusRead, target)), nil))
	bob.whisper(bob.frame(4, must(content.NewText("done")), nil))
	for _, p := range []*person{alice, carol} {
		p.awaitTexts(in, "I agree", "done")
		if m, err := p.Message(testContext(t), id); err != nil || m.Edited || m.Deleted || m.Text != "I agree" {
			t.Errorf("%s sees %+v, %v", p.name(), m, err)
		}
	}
	if receipts, err := alice.Receipts(testContext(t), id); err != nil || slices.Contains(receipts, Receipt{"carol", Read}) {
		t.Errorf("receipts %v, %v: bob spoke for carol", receipts, err)
	}
	found, err := carol.Search(testContext(t), "refuse", nil, 10)
	if err != nil || len(found) > 0 {
		t.Errorf("search finds %v, %v", found, err)
	}
}

func TestAttackC7OrdinaryMemberChangesSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*descriptor) *descriptor
	}{
		{"admin", func(d *descriptor) *descriptor { return d.withAdmin("bob", true) }},
		{"name", func(d *descriptor) *descriptor { d.Name = "bob's"; return d }},
		{"expiry", func(d *descriptor) *descriptor { d.Expiry = 60; return d }},
		{"conversation", func(d *descriptor) *descriptor { d.Conversation = make([]byte, 16); return d }},
	} {
		t.Run(c.name, func(t *testing.T) {
			relay, _ := newEnemy(t)
			people, in := circle(relay, "alice", "bob", "carol")
			bob := turn(people[1], in)
			d := must(findDescriptor(bob.mls.Extensions()))
			bob.commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.GroupContextExtensions{Extensions: must(c.change(d).extensions())}}})
			for _, p := range []*person{people[0], people[2]} {
				p.refusesCommit(in)
				if v := p.conversation(in); v.Name != "circle" || v.Expiry != 0 {
					t.Errorf("%s has %+v", p.name(), v)
				}
				p.until("the group goes on", func() bool { return p.members(in) == "alice* carol" })
			}
		})
	}
}

func TestAttackC7OrdinaryMemberRemoves(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	bob := turn(people[1], in)
	members := must(listMembers(t.Context(), bob.store.reader, bob.group.id))
	i := slices.IndexFunc(members, func(m memberDevice) bool { return m.username == "carol" })
	bob.commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Remove{Removed: members[i].leaf}}})
	for _, p := range []*person{people[0], people[2]} {
		p.refusesCommit(in)
		p.until("the group goes on without him", func() bool { return p.members(in) == "alice* carol" })
	}
	if !hasWarning(people[0], in, "goes on without bob")() {
		t.Errorf("alice is not told: %q", people[0].rows(in))
	}
	people[0].await(people[0].say(in, "who is here?"), Delivered)
	people[2].awaitTexts(in, "who is here?")
}

// A member introduces a third person under a false key. Who knows the right one is
// asked; who does not know the name pins nobody.
func TestAttackC10FalseIntroduction(t *testing.T) {
	relay, enemy := newEnemy(t)
	people := relay.online("alice", "bob", "carol", "mallory")
	alice, bob, carol, mallory := people[0], people[1], people[2], people[3]
	befriend(bob, carol)
	for _, p := range []*person{alice, bob} {
		befriend(mallory, p)
	}
	v, err := mallory.CreateGroup(testContext(t), "trap", []identity.Username{"alice", "bob"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, bob, mallory} {
		p.until("the group is there", func() bool {
			all, err := p.Members(testContext(t), v.ID)
			return err == nil && len(all) == 3
		})
	}
	insider := turn(mallory, v.ID)
	forged := newImpostor("carol")
	k, err := mls.ParseKeyPackage(forged.keyPackage(t).GetKeyPackage())
	if err != nil {
		t.Fatal(err)
	}
	// The relay plays along: it takes a device on its list that it never registered.
	enemy.Aim(forged.certificate.DeviceID.String())
	enemy.Switch(malice.SilentExclusion, true)
	insider.commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Add{KeyPackage: k}}, OmitPath: true})
	bob.until("he is told", hasWarning(bob, v.ID, "without the right to"))
	if k := bob.contact(carol); k.AccountKey != carol.Self().AccountKey || k.NewKey != nil {
		t.Errorf("bob believes %+v", k)
	}
	if bob.members(v.ID) != "alice bob mallory*" {
		t.Errorf("bob has members %s", bob.members(v.ID))
	}
	if all, err := alice.Contacts(testContext(t)); err != nil || slices.ContainsFunc(all, func(k Contact) bool { return k.Username == "carol" }) {
		t.Errorf("alice pinned carol: %v, %v", all, err)
	}
}

// What a removed member kept opens nothing that was said later.
func TestAttackC12RemovedMembersKeys(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob := people[0], people[1]
	alice.say(in, "with carol")
	people[2].awaitTexts(in, "with carol")
	bob.awaitTexts(in, "with carol")
	carol := turn(people[2], in)
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"carol"}); err != nil {
		t.Fatal(err)
	}
	bob.until("carol is out", func() bool { return bob.members(in) == "alice* bob" })
	known := len(enemy.Delivered(bob.device(), api.Kind_KIND_APPLICATION))
	alice.say(in, "without carol")
	bob.awaitTexts(in, "with carol", "without carol")
	later := enemy.Delivered(bob.device(), api.Kind_KIND_APPLICATION)[known:]
	if len(later) == 0 {
		t.Fatal("nothing was said later")
	}
	for _, e := range later {
		if m, err := carol.mls.Process(e.GetPayload()); err == nil {
			t.Errorf("carol reads %v", m)
		}
	}
	// Nor can she write: the relay does not take it, and no member would open it.
	sealed, err := carol.mls.Encrypt([]byte("still here"), nil)
	if err != nil {
		t.Fatal(err)
	}
	epoch := carol.epoch()
	epoch.Epoch++
	if reason := carol.submit(&api.Submit{Kind: api.Kind_KIND_APPLICATION, Payload: sealed, Group: epoch}); reason != api.Reason_REASON_NOT_A_MEMBER {
		t.Errorf("the relay says %v", reason)
	}
}

// Proposals that MLS allows and this messenger has no use for.
func TestAttackC13UselessProposals(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice := turn(people[0], in) // even of an administrator
	context := alice.mls.Context()
	alice.commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.ReInit{
		GroupID: randomBytes(groupIDSize), Version: context.Version, CipherSuite: 0x0001, Extensions: context.Extensions,
	}}})
	for _, p := range people[1:] {
		p.refusesCommit(in)
	}
}

// A commit that signs another delivery list than the members it leaves.
func TestAttackForgedListHash(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice := turn(people[0], in)
	alice.commit(mls.CommitOptions{AuthenticatedData: make([]byte, 32)})
	for _, p := range people[1:] {
		p.refusesCommit(in)
	}
}

// The relay puts somebody on the delivery list who is no member: what he gets he
// cannot open, and everybody is told.
func TestAttackGhostMember(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob := people[0], people[1]
	ghost := relay.online("ghost")[0]
	enemy.Aim(ghost.device())
	enemy.Switch(malice.GhostMember, true)
	if err := alice.Rename(testContext(t), in, "haunted"); err != nil {
		t.Fatal(err)
	}
	bob.until("it is renamed", func() bool { return bob.conversation(in).Name == "haunted" })
	happened(t, enemy, malice.GhostMember)
	alice.say(in, "who listens?")
	bob.until("he is told", func() bool { return bob.hasRow(in, "[warning]") })
	bob.say(in, "I see a ghost")
	alice.until("she is told", func() bool { return alice.hasRow(in, "[warning]") })
	ghost.until("it listens", func() bool { return len(enemy.Delivered(ghost.device(), api.Kind_KIND_APPLICATION)) > 0 })
	if all, err := ghost.Conversations(testContext(t)); err != nil || len(all) > 0 {
		t.Errorf("the ghost has %v, %v", all, err)
	}
}

// The relay leaves a member out of the delivery list.
func TestAttackSilentExclusion(t *testing.T) {
	relay, enemy := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	enemy.Aim(carol.device())
	enemy.Switch(malice.SilentExclusion, true)
	if err := alice.Rename(testContext(t), in, "without carol"); err != nil {
		t.Fatal(err)
	}
	bob.until("it is renamed", func() bool { return bob.conversation(in).Name == "without carol" })
	happened(t, enemy, malice.SilentExclusion)
	alice.say(in, "where is carol?")
	bob.until("he is told", func() bool { return bob.hasRow(in, "[warning]") })
	bob.say(in, "somebody left her out")
	alice.until("she is told", func() bool { return alice.hasRow(in, "[warning]") })
	if got := carol.texts(in); len(got) > 0 {
		t.Errorf("carol reads %q", got)
	}
	var refused error
	_, refused = carol.Send(testContext(t), in, "hello?")
	if errors.Is(refused, ErrConversationClosed) {
		t.Error("carol believes that she was removed")
	}
}
