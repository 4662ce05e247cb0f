package mls

import (
	"bytes"
	"errors"
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

// TestProposalRules breaks the rules for single proposals (RFC 9420, Section 12.1),
// in a proposal and in a commit by value.
func TestProposalRules(t *testing.T) {
	r := newRoom(t, classic, public, 4)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	alice, bob := r.members[0], r.members[1].group
	leaf := func(change func(*LeafNode)) *LeafNode {
		l := *alice.group.ownLeaf()
		key, err := alice.client.generateKeyPair(alice.group.suite)
		if err != nil {
			t.Fatal(err)
		}
		l.LeafNodeSource, l.EncryptionKey, l.ParentHash = LeafNodeSourceUpdate, key.public, nil
		change(&l)
		alice.resignLeaf(&l)
		return &l
	}
	tests := map[string]struct {
		proposal Proposal
		want     any
	}{
		"Remove of a blank leaf":      {&Remove{2}, "Remove of a blank leaf"},
		"Remove out of the tree":      {&Remove{1 << 31}, "Remove of a blank leaf"},
		"Update as a commit":          {&Update{leaf(func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceCommit })}, "another source"},
		"Update as a key package":     {&Update{leaf(func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceKeyPackage })}, "another source"},
		"Update keeps its key":        {&Update{leaf(func(l *LeafNode) { l.EncryptionKey = alice.group.ownLeaf().EncryptionKey })}, "keeps the encryption key"},
		"Update without credential":   {&Update{leaf(func(l *LeafNode) { l.Capabilities.Credentials = nil })}, "not in its capabilities"},
		"PSK nonce short":             {externalPSK("a", 31), "PSK nonce"},
		"PSK nonce missing":           {externalPSK("a", 0), "PSK nonce"},
		"PSK nonce long":              {externalPSK("a", 33), "PSK nonce"},
		"ReInit to version 0":         {&ReInit{Version: 0, CipherSuite: classic}, "lower protocol version"},
		"ReInit, extension twice":     {&ReInit{Version: 1, Extensions: []Extension{{customExtension, nil}, {customExtension, nil}}}, ErrMalformed},
		"ExternalInit":                {&ExternalInit{make([]byte, 32)}, "outside of an external commit"},
		"extension twice":             {&GroupContextExtensions{[]Extension{{customExtension, nil}, {customExtension, nil}}}, ErrMalformed},
		"extension of a leaf":         {&GroupContextExtensions{[]Extension{ApplicationIDExtension(nil)}}, "out of its place"},
		"required_capabilities cut":   {&GroupContextExtensions{[]Extension{{ExtensionTypeRequiredCapabilities, []byte{0, 0}}}}, ErrMalformed},
		"required_capabilities trail": {&GroupContextExtensions{[]Extension{{ExtensionTypeRequiredCapabilities, []byte{0, 0, 0, 0}}}}, ErrMalformed},
		"external_senders trailing":   {&GroupContextExtensions{[]Extension{{ExtensionTypeExternalSenders, []byte{0, 0}}}}, ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, bob, alice.forgeProposal(tt.proposal), tt.want)
			if _, ok := tt.proposal.(*Update); !ok {
				refused(t, bob, alice.forgeCommit(byValue(tt.proposal)), tt.want)
			}
		})
	}
	t.Run("Update signed for another place", func(t *testing.T) {
		l := leaf(func(*LeafNode) {})
		if err := l.sign(bob.suite, alice.id.Signer, bob.ID(), 3); err != nil {
			t.Fatal(err)
		}
		refused(t, bob, alice.forgeProposal(&Update{l}), ErrSignature)
		if err := l.sign(bob.suite, alice.id.Signer, []byte("other group"), 0); err != nil {
			t.Fatal(err)
		}
		refused(t, bob, alice.forgeProposal(&Update{l}), ErrSignature)
	})
}

// TestProposalListRules breaks the rules for the list of proposals of a commit
// (RFC 9420, Section 12.2).
func TestProposalListRules(t *testing.T) {
	store := psks{"a": []byte("key"), "b": []byte("key")}
	config := Config{PublicHandshakes: true, PSKs: store}
	r := newRoom(t, classic, config, 4)
	alice, bob := r.members[0], r.members[1].group
	carol := r.members[2]
	joiner := newPerson(t, "new", classic, Config{})
	k := joiner.keyPackage()

	// Updates can only be committed by reference.
	update, err := carol.group.ProposeUpdate(UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	carol.group.ClearProposals()
	update2, err := carol.group.ProposeUpdate(UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := alice.group.ProposeUpdate(UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice.group.ClearProposals()
	var refs []proposalOrRef
	for _, m := range [][]byte{update, update2, own} {
		if _, err := bob.Process(m); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, proposalOrRef{reference: bob.proposals[len(bob.proposals)-1].ref})
	}
	carolsUpdate, _ := ParseMessage(update)
	v := byValue
	tests := map[string]struct {
		list []proposalOrRef
		want any
	}{
		"empty, no path":             {nil, "lacks the path"},
		"Remove, no path":            {[]proposalOrRef{v(&Remove{2})}, "lacks the path"},
		"Update, no path":            {refs[:1], "lacks the path"},
		"extensions, no path":        {[]proposalOrRef{v(&GroupContextExtensions{})}, "lacks the path"},
		"custom type, no path":       {[]proposalOrRef{v(&CustomProposal{customProposal, nil})}, "not supported by all members"},
		"Update of the committer":    {refs[2:], "Update of the committer"},
		"Update by value":            {[]proposalOrRef{v(carolsUpdate.PublicMessage.content.proposal)}, "Update of the committer"},
		"Remove of the committer":    {[]proposalOrRef{v(&Remove{0})}, "Remove of the committer"},
		"two Updates of one leaf":    {refs[:2], "two Updates or Removes"},
		"Update and Remove":          {[]proposalOrRef{refs[0], v(&Remove{2})}, "two Updates or Removes"},
		"Remove and Update":          {[]proposalOrRef{v(&Remove{2}), refs[0]}, "two Updates or Removes"},
		"two Removes":                {[]proposalOrRef{v(&Remove{2}), v(&Remove{2})}, "two Updates or Removes"},
		"two Adds of one client":     {[]proposalOrRef{v(&Add{k}), v(&Add{k})}, "occurs twice"},
		"Add of a member":            {[]proposalOrRef{v(&Add{carol.keyPackage()})}, "occurs twice"},
		"two PSKs":                   {[]proposalOrRef{v(externalPSK("a", 32)), v(externalPSK("a", 32))}, "two PreSharedKey proposals"},
		"unknown PSK":                {[]proposalOrRef{v(externalPSK("z", 32))}, ErrUnknownPSK},
		"reinit PSK":                 {[]proposalOrRef{v(resumptionPSK(bob, ResumptionPSKUsageReinit, 1, 32))}, "reinitialisation or branch"},
		"branch PSK":                 {[]proposalOrRef{v(resumptionPSK(bob, ResumptionPSKUsageBranch, 1, 32))}, "reinitialisation or branch"},
		"two GroupContextExtensions": {[]proposalOrRef{v(&GroupContextExtensions{}), v(&GroupContextExtensions{})}, "two GroupContextExtensions"},
		"ReInit and another":         {[]proposalOrRef{v(&ReInit{Version: 1}), v(&Add{k})}, "ReInit together"},
		"two ReInits":                {[]proposalOrRef{v(&ReInit{Version: 1}), v(&ReInit{Version: 1})}, "ReInit together"},
		"ExternalInit":               {[]proposalOrRef{v(&ExternalInit{make([]byte, 32)})}, "outside of an external commit"},
		"unknown reference":          {[]proposalOrRef{{reference: make([]byte, 32)}}, ErrUnknownProposal},
		"empty reference":            {[]proposalOrRef{{reference: []byte{}}}, ErrUnknownProposal},
		"correct, but the wrong tag": {[]proposalOrRef{v(&Add{k}), v(externalPSK("a", 32)), v(externalPSK("b", 32))}, "confirmation tag"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { refused(t, bob, alice.forgeCommit(tt.list...), tt.want) })
	}
	extensions := map[string]struct {
		list []Extension
		want string
	}{
		"unsupported extension": {[]Extension{{customExtension, nil}}, "not in the leaf's capabilities"},
		"required proposal":     {[]Extension{RequiredCapabilities{ProposalTypes: []ProposalType{customProposal}}.Extension()}, "required proposal"},
		"required extension":    {[]Extension{RequiredCapabilities{ExtensionTypes: []ExtensionType{customExtension}}.Extension()}, "required extension"},
		"required credential":   {[]Extension{RequiredCapabilities{CredentialTypes: []CredentialType{CredentialTypeX509}}.Extension()}, "required credential"},
	}
	for name, tt := range extensions {
		t.Run(name, func(t *testing.T) {
			_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&GroupContextExtensions{tt.list}}})
			wantError(t, err, tt.want)
			refused(t, bob, alice.tamperCommit(CommitOptions{}, func(c *Commit) {
				c.proposals = []proposalOrRef{v(&GroupContextExtensions{tt.list})}
			}), tt.want)
		})
	}
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
