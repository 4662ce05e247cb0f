package mls

import (
	"testing"
)

// freshKeyPackages returns key packages of all members but one.
func (r *room) freshKeyPackages(except *person, cs CipherSuite) []*KeyPackage {
	r.t.Helper()
	var list []*KeyPackage
	for _, p := range r.members {
		if p == except {
			continue
		}
		k, err := p.client.NewKeyPackage(cs, p.id, KeyPackageOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		p.kps = append(p.kps, k)
		list = append(list, k.KeyPackage)
	}
	return list
}

// TestBranch opens a group with some of the members (RFC 9420, Section 11.3).
func TestBranch(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	alice, bob := r.members[0], r.members[1]
	list := r.freshKeyPackages(alice, classic)
	branch, welcome, err := alice.group.Branch(alice.id, list[:2], GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if branch.Epoch() != 1 || branch.Size() != 3 {
		t.Errorf("branch at epoch %d with %d members", branch.Epoch(), branch.Size())
	}
	if _, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{}); err == nil {
		t.Error("joined a branch without the group")
	}
	other := newRoom(t, classic, Config{}, 2)
	if _, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: other.members[0].group}); err == nil {
		t.Error("joined a branch with another group")
	}
	g, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
	if err != nil {
		t.Fatal(err)
	}
	b, err := branch.Encrypt([]byte("few"), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, g, b)

	stranger := newPerson(t, "stranger", classic, Config{})
	_, _, err = alice.group.Branch(alice.id, []*KeyPackage{stranger.keyPackage()}, GroupOptions{})
	wantError(t, err, "not a member")
	// A branch that has a stranger all the same is refused by those who are asked.
	_, welcome, err = alice.group.openSuccessor(classic, alice.id, []*KeyPackage{bob.keyPackage(), stranger.keyPackage()}, GroupOptions{}, ResumptionPSKUsageBranch)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
	wantError(t, err, "a member that the group has not")
	// So is one of another suite.
	k, err := bob.client.NewKeyPackage(3, bob.id, KeyPackageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, welcome, err = alice.group.openSuccessor(3, alice.id, []*KeyPackage{k.KeyPackage}, GroupOptions{}, ResumptionPSKUsageBranch)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(welcome, []*PrivateKeyPackage{k}, bob.id.Signer, JoinOptions{Parent: bob.group})
	if err == nil {
		t.Error("joined a branch of another suite")
	}
	// So is one that names two groups that it derives from.
	two, err := alice.client.CreateGroup(classic, alice.id, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	twice, err := two.stageOwnCommit(CommitOptions{Proposals: []Proposal{
		resumptionPSK(alice.group, ResumptionPSKUsageBranch, 1, 0), resumptionPSK(alice.group, ResumptionPSKUsageBranch, 1, 0), &Add{bob.keyPackage()},
	}}, ResumptionPSKUsageBranch, alice.group.pskValue)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(twice.Welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
	wantError(t, err, "two PSKs for a reinitialisation or branch")
	// And one that has gone on before the Welcome.
	branch, _, err = alice.group.Branch(alice.id, []*KeyPackage{bob.keyPackage()}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := branch.stageOwnCommit(CommitOptions{Proposals: []Proposal{
		resumptionPSK(alice.group, ResumptionPSKUsageBranch, alice.group.Epoch(), 0), &Remove{1}, &Add{bob.keyPackage()},
	}}, ResumptionPSKUsageBranch, alice.group.pskValue)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(pending.Welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
	wantError(t, err, "not at epoch 1")
}

// TestReinitialize moves a group to another suite (RFC 9420, Section 11.2).
func TestReinitialize(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0], r.members[1]
	const next = MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519
	if _, _, err := alice.group.Reinitialize(alice.id, nil, LeafOptions{}); err == nil {
		t.Error("reinitialised a group that is not closed")
	}
	r.commit(bob, CommitOptions{Proposals: []Proposal{&ReInit{GroupID: []byte("next"), Version: ProtocolVersionMLS10, CipherSuite: next}}})
	for _, p := range r.members {
		if p.group.Active() || p.group.ReInit() == nil {
			t.Fatal("group is still active")
		}
		if _, err := p.group.Encrypt(nil, nil); err == nil {
			t.Fatal("message in a closed group")
		}
	}
	list := r.freshKeyPackages(alice, next)
	if _, _, err := alice.group.Reinitialize(alice.id, list[:1], LeafOptions{}); err == nil {
		t.Error("successor without a member")
	}
	_, welcome, err := alice.group.Reinitialize(alice.id, list, LeafOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var groups []*Group
	for _, p := range r.members[1:] {
		g, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{Parent: p.group})
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	if g := groups[0]; string(g.ID()) != "next" || g.CipherSuite() != next || g.Size() != 3 || g.Epoch() != 1 {
		t.Errorf("successor %q of suite %v with %d members", g.ID(), g.CipherSuite(), g.Size())
	}
	b, err := groups[0].Encrypt([]byte("hello"), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, groups[1], b)

	// Successors that differ from what was agreed on are refused.
	for name, f := range map[string]struct {
		list []*KeyPackage
		opts GroupOptions
		want string
	}{
		"other group id":  {list, GroupOptions{GroupID: []byte("other")}, "does not match the ReInit"},
		"other extension": {list, GroupOptions{GroupID: []byte("next"), Extensions: []Extension{RequiredCapabilities{}.Extension()}}, "does not match the ReInit"},
		"member missing":  {list[:1], GroupOptions{GroupID: []byte("next")}, "member of the old group is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, welcome, err := alice.group.openSuccessor(next, alice.id, f.list, f.opts, ResumptionPSKUsageReinit)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
			wantError(t, err, f.want)
		})
	}
	t.Run("not closed", func(t *testing.T) {
		open := newRoom(t, classic, Config{}, 2)
		list := open.freshKeyPackages(open.members[0], classic)
		_, welcome, err := open.members[0].group.openSuccessor(classic, open.members[0].id, list, GroupOptions{}, ResumptionPSKUsageReinit)
		if err != nil {
			t.Fatal(err)
		}
		p := open.members[1]
		_, _, err = p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{Parent: p.group})
		wantError(t, err, "no ReInit")
	})
	loaded, err := alice.client.UnmarshalGroup(alice.group.Marshal(), alice.id.Signer)
	if err != nil || loaded.ReInit() == nil || loaded.Active() {
		t.Errorf("closed group loads as active: %v", err)
	}
}

// TestLastResort marks a key package that is used twice.
func TestLastResort(t *testing.T) {
	p := newPerson(t, "p", classic, Config{})
	k, err := p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{LastResort: true, Leaf: LeafOptions{Extensions: []Extension{ApplicationIDExtension([]byte("app"))}}})
	if err != nil {
		t.Fatal(err)
	}
	if !k.KeyPackage.LastResort() || p.keyPackage().LastResort() {
		t.Error("last resort is not told apart")
	}
	for range 2 {
		alice := newPerson(t, "alice", classic, Config{})
		alice.create(GroupOptions{})
		pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{k.KeyPackage}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.client.Join(pending.Welcome, []*PrivateKeyPackage{k}, p.id.Signer, JoinOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNewIdentity replaces credential and signature key by a commit and by an
// Update.
func TestNewIdentity(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	identity := func(name string) *Identity {
		id := newPerson(t, name, classic, Config{}).id
		return &id
	}
	alice, bob := r.members[0], r.members[1]
	alice.id = *identity("alice, renewed")
	r.commit(alice, CommitOptions{Identity: &alice.id})
	if m, _ := bob.group.Member(0); string(m.Credential.Identity) != "alice, renewed" {
		t.Errorf("member 0 is %q", m.Credential.Identity)
	}
	r.say(alice, "it is me")
	old := bob.id.Signer
	bob.id = *identity("bob, renewed")
	m, err := bob.group.ProposeUpdate(UpdateOptions{Identity: &bob.id})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, r.members[2]} {
		if _, err := p.group.Process(m); err != nil {
			t.Fatal(err)
		}
	}
	if bob.group, err = bob.client.UnmarshalGroup(bob.group.Marshal(), old, bob.id.Signer); err != nil {
		t.Fatal(err)
	}
	r.commit(alice, CommitOptions{})
	r.say(bob, "it is me, too")
	r.commit(bob, CommitOptions{})
}
