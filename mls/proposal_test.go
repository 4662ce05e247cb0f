package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// psks is a PSKStore in memory.
type psks map[string][]byte

func (p psks) ExternalPSK(id []byte) ([]byte, error) {
	if psk, ok := p[string(id)]; ok {
		return psk, nil
	}
	return nil, errors.New("no such PSK")
}

func (p psks) ResumptionPSK(groupID []byte, epoch uint64) ([]byte, error) {
	return p.ExternalPSK(appendUint64(bytes.Clone(groupID), epoch))
}

func externalPSK(id string, nonce int) *PreSharedKey {
	return &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: []byte(id), PSKNonce: make([]byte, nonce)}}
}

func resumptionPSK(g *Group, usage ResumptionPSKUsage, epoch uint64, nonce int) *PreSharedKey {
	return &PreSharedKey{PreSharedKeyID{
		PSKType: PSKTypeResumption, Usage: usage, PSKGroupID: g.ID(), PSKEpoch: epoch, PSKNonce: make([]byte, nonce),
	}}
}

// TestMembersWithoutSupport lets only the members who stay decide on what is
// supported: not those who are removed, nor the new ones (RFC 9420, Section 12.2).
func TestMembersWithoutSupport(t *testing.T) {
	capable := LeafOptions{SupportedProposals: []ProposalType{customProposal}, SupportedExtensions: []ExtensionType{customExtension}}
	r := newRoom(t, classic, public, 3)
	alice := r.members[0]
	for _, p := range r.members[:2] {
		r.commit(p, CommitOptions{Leaf: &capable})
	}
	custom := &CustomProposal{customProposal, []byte("content")}
	_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{custom}})
	wantError(t, err, "not supported by all members")
	p := newPerson(t, "new", classic, Config{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{custom, &Remove{2}, &Add{p.keyPackage()}}})
	if err != nil {
		t.Fatal(err)
	}
	bob := r.members[1].group
	staged := mustStage(t, bob, pending.Commit)
	if got, ok := staged.Proposals[0].Proposal.(*CustomProposal); !ok || string(got.Data) != "content" {
		t.Errorf("custom proposal is %v", staged.Proposals[0].Proposal)
	}
	r.deliver(alice, pending, p)

	// The same for the group's extensions: the member without support goes.
	_, err = alice.group.Commit(CommitOptions{Proposals: []Proposal{&GroupContextExtensions{[]Extension{{customExtension, nil}}}}})
	wantError(t, err, "not supported by all members")
	r.commit(alice, CommitOptions{Proposals: []Proposal{&GroupContextExtensions{[]Extension{{customExtension, nil}}}, &Remove{2}}})
	_, err = alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{newPerson(t, "new", classic, Config{}).keyPackage()}}})
	wantError(t, err, "group extension")
}

// TestSelectProposals commits what is best of conflicting proposals (RFC 9420,
// Section 12.2).
func TestSelectProposals(t *testing.T) {
	r := newRoom(t, classic, public, 5)
	alice := r.members[0]
	tell := func(by *person, message []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.members {
			if p != by {
				if _, err := p.group.Process(message); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	propose := func(by *person, p Proposal) {
		t.Helper()
		m, err := by.group.Propose(p, nil)
		tell(by, m, err)
	}
	doubtful := r.members[1]
	m, err := doubtful.group.ProposeUpdate(UpdateOptions{})
	tell(doubtful, m, err)
	m, err = r.members[2].group.ProposeUpdate(UpdateOptions{})
	tell(r.members[2], m, err)
	m, err = r.members[2].group.ProposeUpdate(UpdateOptions{})
	tell(r.members[2], m, err)
	m, err = alice.group.ProposeUpdate(UpdateOptions{})
	tell(alice, m, err)
	propose(r.members[2], &Remove{3})
	propose(r.members[4], &Remove{3})
	propose(r.members[4], &Remove{1})
	propose(r.members[4], &Remove{0}) // of the committer
	propose(r.members[4], &ReInit{Version: 1, CipherSuite: classic, GroupID: []byte("next")})
	p := newPerson(t, "new", classic, Config{})
	k := p.keyPackage()
	propose(r.members[4], &Add{k})
	propose(r.members[2], &Add{k})
	if _, err := alice.group.Encrypt(nil, nil); !errors.Is(err, ErrProposalsPending) {
		t.Errorf("message before the commit: %v", err)
	}
	pending, err := alice.group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[ProposalType]int)
	for _, p := range pending.Proposals {
		counts[p.Proposal.ProposalType()]++
	}
	if counts[ProposalTypeRemove] != 2 || counts[ProposalTypeUpdate] != 1 || counts[ProposalTypeAdd] != 1 || len(pending.Proposals) != 4 {
		t.Errorf("committed %v", counts)
	}
	r.deliver(alice, pending, p)
	if len(r.members) != 4 {
		t.Errorf("%d members", len(r.members))
	}
}

// TestExpiredAdd leaves out of a commit whose key package has expired since it was
// proposed (RFC 9420, Section 7.3).
func TestExpiredAdd(t *testing.T) {
	now := time.Now()
	r := newRoom(t, classic, Config{Time: func() time.Time { return now }}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	for _, name := range []string{"new", "newer"} {
		add := must(bob.Propose(&Add{newPerson(t, name, classic, Config{Time: bob.client.config.Time}).keyPackage()}, nil))
		if _, err := alice.Process(add); err != nil {
			t.Fatal(err)
		}
		now = now.Add(DefaultLifetime)
	}
	pending, err := alice.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if list := pending.Proposals; len(list) != 1 || string(list[0].Proposal.(*Add).KeyPackage.LeafNode.Credential.Identity) != "newer" {
		t.Errorf("committed %v", list)
	}
}

// TestExternalProposals takes proposals from those the group lists, and from those
// who want to be added (RFC 9420, Section 12.1.8).
func TestExternalProposals(t *testing.T) {
	service := newPerson(t, "service", classic, Config{})
	key, err := classic.SignaturePublicKey(service.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(t, classic, public, 3)
	alice, bob := r.members[0], r.members[1].group
	to := func() GroupAddress { return GroupAddress{classic, bob.ID(), bob.Epoch()} }
	before, err := service.client.ProposeExternally(to(), 0, service.id.Signer, &Remove{2})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, bob, before, "not in the group's list")
	r.commit(alice, CommitOptions{Proposals: []Proposal{&GroupContextExtensions{[]Extension{
		ExternalSendersExtension([]ExternalSender{{key, service.id.Credential}}),
	}}}})
	refused(t, bob, before, &EpochError{})

	wrongIndex, err := service.client.ProposeExternally(to(), 1, service.id.Signer, &Remove{2})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, bob, wrongIndex, "not in the group's list")
	wrongKey, err := service.client.ProposeExternally(to(), 0, alice.id.Signer, &Remove{2})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, bob, wrongKey, ErrSignature)
	if _, err := service.client.ProposeExternally(to(), 0, service.id.Signer, &ExternalInit{}); err == nil {
		t.Error("ExternalInit from an external sender")
	}
	for _, p := range []Proposal{&Update{bob.ownLeaf()}, &ExternalInit{make([]byte, 32)}} {
		forged := service.forgeFrom(bob, Sender{SenderType: SenderTypeExternal}, p)
		refused(t, bob, forged, "from an external sender")
	}

	remove, err := service.client.ProposeExternally(to(), 0, service.id.Signer, &Remove{2})
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "new", classic, Config{})
	join, err := p.client.ProposeJoin(to(), p.keyPackage(), p.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.members {
		for _, b := range [][]byte{remove, join} {
			if _, err := m.group.Process(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.commit(alice, CommitOptions{}, p)
	r.say(p, "in")
	if len(r.members) != 3 {
		t.Errorf("%d members", len(r.members))
	}
}

// forgeFrom makes a message from outside of a group, whatever it says.
func (p *person) forgeFrom(g *Group, sender Sender, q Proposal) []byte {
	p.t.Helper()
	a := g.newContent(content{contentType: ContentTypeProposal, proposal: q}, nil)
	a.wireFormat, a.content.sender = WireFormatPublicMessage, sender
	if err := a.sign(g.suite, p.id.Signer, nil); err != nil {
		p.t.Fatal(err)
	}
	return a.protectPublic(g.suite, nil, nil)
}

// TestPSKs mixes external and resumption PSKs into a commit with new members.
func TestPSKs(t *testing.T) {
	config := Config{PSKs: psks{"a": []byte("key")}}
	r := newRoom(t, classic, config, 3)
	alice := r.members[0]
	for range 2 {
		r.commit(alice, CommitOptions{})
	}
	r.commit(alice, CommitOptions{OmitPath: true, Proposals: []Proposal{
		externalPSK("a", 0), resumptionPSK(alice.group, ResumptionPSKUsageApplication, 1, 0),
		resumptionPSK(alice.group, ResumptionPSKUsageApplication, 3, 0),
	}})
	p := newPerson(t, "new", classic, config)
	r.commit(alice, CommitOptions{Proposals: []Proposal{externalPSK("a", 0), &Add{p.keyPackage()}}}, p)
	r.say(p, "in")

	many := make([]Proposal, 1<<16)
	for i := range many {
		many[i] = externalPSK("a", 0)
	}
	_, err := alice.group.Commit(CommitOptions{Proposals: many})
	checkRefusal(t, err, brokenRule{"8.4", "more than a PSKLabel can count"})
	without := newPerson(t, "without", classic, Config{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{externalPSK("a", 0), &Add{without.keyPackage()}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := without.client.Join(pending.Welcome, without.kps, without.id.Signer, JoinOptions{}); !errors.Is(err, ErrUnknownPSK) {
		t.Errorf("joining without the PSK: %v", err)
	}
	wrong := newPerson(t, "wrong", classic, Config{PSKs: psks{"a": []byte("another key")}})
	wrong.kps = without.kps
	if _, _, err := wrong.client.Join(pending.Welcome, wrong.kps, without.id.Signer, JoinOptions{}); !errors.Is(err, ErrDecryption) {
		t.Errorf("joining with another PSK: %v", err)
	}
}

// TestStoredProposalsAreBounded has a member propose without end.
func TestStoredProposalsAreBounded(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0].group, r.members[1].group
	for i := range MaxStoredProposals {
		alice.proposals = append(alice.proposals, &storedProposal{ref: appendUint32(nil, uint32(i))})
	}
	message, err := bob.Propose(&Remove{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Process(message); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if len(alice.proposals) != MaxStoredProposals {
		t.Errorf("%d proposals are kept", len(alice.proposals))
	}
	alice.proposals = []*storedProposal{{size: MaxStoredProposalBytes}}
	if _, err := alice.Process(message); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	alice.proposals[0].size -= 6 // what an encoded Remove takes
	if _, err := alice.Process(message); err != nil {
		t.Error(err)
	}
}

// TestProposalTwice receives one proposal twice, as a PublicMessage can be.
func TestProposalTwice(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	alice, bob := r.members[0].group, r.members[1].group
	message := must(bob.Propose(&Remove{2}, nil))
	for range 2 {
		if _, err := alice.Process(message); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(alice.Proposals()); n != 1 {
		t.Errorf("%d proposals are kept", n)
	}
}

// TestDropProposal forbids one of two proposals.
func TestDropProposal(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	p := r.members[0]
	alice, bob := p.group, r.members[1].group
	wanted := must(r.members[2].group.Propose(&Remove{3}, nil))
	unwanted, err := alice.Process(must(bob.Propose(&Remove{2}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Process(wanted); err != nil {
		t.Fatal(err)
	}
	refers := must(bob.Commit(CommitOptions{}))
	nothing := func([]Record) error { return nil }
	if err := alice.Save(nothing); err != nil {
		t.Fatal(err)
	}
	alice.DropProposal(unwanted.(*ReceivedProposal))
	if list := alice.Proposals(); len(list) != 1 || list[0].Proposal.(*Remove).Removed != 3 {
		t.Errorf("%v wait", list)
	}
	saved := false
	if err := alice.Save(func(records []Record) error {
		saved = slices.ContainsFunc(records, func(r Record) bool { return r.Key[0] == recordProposal && r.Value == nil })
		return nil
	}); err != nil || !saved {
		t.Errorf("what was dropped is not saved: %v", err)
	}
	if list := cloneGroup(t, p).Proposals(); len(list) != 1 {
		t.Errorf("%v wait after loading", list)
	}
	refused(t, alice, refers.Commit, ErrUnknownProposal)
	alice.DropProposal(unwanted.(*ReceivedProposal)) // again
	if pending := must(alice.Commit(CommitOptions{})); len(pending.Proposals) != 1 {
		t.Errorf("committed %v", pending.Proposals)
	}
}

// TestOwnPublicMessage gives a member its own proposal back.
func TestOwnPublicMessage(t *testing.T) {
	r := newRoom(t, classic, Config{PublicHandshakes: true}, 3)
	alice := r.members[0].group
	message, err := alice.Propose(&Remove{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, alice, message, ErrOwnMessage)
}
