package mls

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// customExtension and customProposal are types of the application's own.
const (
	customExtension  ExtensionType  = 0xF0AA
	customProposal   ProposalType   = 0xF0BB
	customCredential CredentialType = 0xF0CC
)

// TestUnknownValues checks that values that nobody knows, GREASE among them, are
// ignored (RFC 9420, Sections 7.2 and 13.5).
func TestUnknownValues(t *testing.T) {
	r := newRoom(t, classic, public, 2)
	p := newPerson(t, "new", classic, Config{})
	k := p.tamperKeyPackage(func(k *KeyPackage) {
		c := &k.LeafNode.Capabilities
		c.Versions = append(c.Versions, 0x0A0A, 7)
		c.CipherSuites = append(c.CipherSuites, 0x1A1A, 0x7777)
		c.Extensions = append(c.Extensions, 0x2A2A, 0x2A2A)
		c.Proposals = append(c.Proposals, 0x3A3A, 0x7777)
		c.Credentials = append(c.Credentials, 0x4A4A, 0x7777)
		k.LeafNode.Extensions = []Extension{{0x2A2A, []byte("grease")}}
		k.Extensions = []Extension{{0x5A5A, []byte("grease")}}
	})
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Add{k}}}, p)
	r.say(p, "hello")
}

// TestGREASE checks that we send values that others have to ignore, where RFC 9420,
// Section 13.5 allows it.
func TestGREASE(t *testing.T) {
	p := newPerson(t, "p", classic, Config{})
	isGREASE := func(v uint16) bool { return v&0x0F0F == 0x0A0A && v>>8 == v&0xFF && v != 0xFAFA }
	k := p.keyPackage()
	c := k.LeafNode.Capabilities
	for name, last := range map[string]uint16{
		"suites":      uint16(c.CipherSuites[len(c.CipherSuites)-1]),
		"extensions":  uint16(c.Extensions[len(c.Extensions)-1]),
		"proposals":   uint16(c.Proposals[len(c.Proposals)-1]),
		"credentials": uint16(c.Credentials[len(c.Credentials)-1]),
		"KeyPackage":  uint16(k.Extensions[len(k.Extensions)-1].ExtensionType),
		"LeafNode":    uint16(k.LeafNode.Extensions[len(k.LeafNode.Extensions)-1].ExtensionType),
	} {
		if !isGREASE(last) {
			t.Errorf("%s end in %04X", name, last)
		}
	}
	info, err := p.create(GroupOptions{}).GroupInfo(false)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMessage(info)
	if err != nil {
		t.Fatal(err)
	}
	e := m.GroupInfo.Extensions
	if !isGREASE(uint16(e[len(e)-1].ExtensionType)) {
		t.Error("no GREASE in the GroupInfo")
	}
}

// TestLeafInGroupRules breaks the rules that compare a new leaf with the group
// (RFC 9420, Sections 7.3, 12.1.7 and 13.4).
func TestLeafInGroupRules(t *testing.T) {
	required := RequiredCapabilities{
		ExtensionTypes: []ExtensionType{customExtension}, ProposalTypes: []ProposalType{customProposal},
		CredentialTypes: []CredentialType{CredentialTypeBasic, CredentialTypeX509},
	}
	capable := LeafOptions{
		SupportedExtensions: []ExtensionType{customExtension}, SupportedProposals: []ProposalType{customProposal},
		SupportedCredentials: []CredentialType{CredentialTypeX509, CredentialTypeBasic},
	}
	alice := newPerson(t, "alice", classic, public)
	alice.create(GroupOptions{Leaf: capable, Extensions: []Extension{required.Extension(), {customExtension, []byte("x")}}})
	newcomer := func(opts LeafOptions) *KeyPackage {
		p := newPerson(t, "new", classic, Config{})
		k, err := p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{Leaf: opts})
		if err != nil {
			t.Fatal(err)
		}
		p.kps = []*PrivateKeyPackage{k}
		return k.KeyPackage
	}
	without := func(change func(*LeafOptions)) LeafOptions {
		o := capable
		change(&o)
		return o
	}
	tests := map[string]struct {
		leaf LeafOptions
		want string
	}{
		"extension":  {without(func(o *LeafOptions) { o.SupportedExtensions = nil }), "required extension"},
		"proposal":   {without(func(o *LeafOptions) { o.SupportedProposals = nil }), "required proposal"},
		"credential": {without(func(o *LeafOptions) { o.SupportedCredentials = nil }), "required credential type"},
	}
	for name, tt := range tests {
		t.Run("required "+name, func(t *testing.T) {
			_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{newcomer(tt.leaf)}}})
			wantError(t, err, tt.want)
		})
	}
	t.Run("all of them", func(t *testing.T) {
		if _, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{newcomer(capable)}}}); err != nil {
			t.Error(err)
		}
	})
}

// TestCredentialTypes mixes members whose credentials others do not support.
func TestCredentialTypes(t *testing.T) {
	alice := newPerson(t, "alice", classic, public)
	alice.create(GroupOptions{})
	strange := func(opts LeafOptions) *KeyPackage {
		p := newPerson(t, "strange", classic, Config{})
		p.id.Credential.CredentialType = customCredential
		k, err := p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{Leaf: opts})
		if err != nil {
			t.Fatal(err)
		}
		return k.KeyPackage
	}
	both := LeafOptions{SupportedCredentials: []CredentialType{CredentialTypeBasic, customCredential}}
	_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{strange(both)}}})
	wantError(t, err, "not supported by all members")
	if _, err := alice.group.Commit(CommitOptions{Leaf: &both}); err != nil {
		t.Fatal(err)
	}
	if err := alice.group.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	_, err = alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{strange(LeafOptions{})}}})
	wantError(t, err, "credential type 0x0001 is in use")
	if _, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{strange(both)}}}); err != nil {
		t.Fatal(err)
	}
	if err := alice.group.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	_, err = alice.group.Commit(CommitOptions{Leaf: &LeafOptions{}})
	wantError(t, err, "credential type 0xF0CC is in use")
}

// TestUniqueKeys adds clients whose keys are in the tree already (RFC 9420,
// Section 7.3).
func TestUniqueKeys(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	alice, bob := r.members[0], r.members[1]
	again := bob.keyPackage() // same signature key
	_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{again}}})
	wantError(t, err, "signature key of a leaf occurs twice")

	p := newPerson(t, "new", classic, Config{})
	for _, key := range [][]byte{
		r.members[2].group.ownLeaf().EncryptionKey,
		alice.group.epoch.tree.root.parent.EncryptionKey,
	} {
		k := p.tamperKeyPackage(func(k *KeyPackage) { k.LeafNode.EncryptionKey = key })
		_, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{k}}, OmitPath: true})
		wantError(t, err, "encryption key of a leaf occurs twice")
		refused(t, bob.group, alice.forgeCommit(byValue(&Add{k})), "encryption key of a leaf occurs twice")
	}
	// One who is removed may come back in the same commit.
	r.commit(alice, CommitOptions{Proposals: []Proposal{&Remove{1}, &Add{again}}}, bob)
	r.say(bob, "back")
}

// TestAuthenticationService refuses a credential in each place where it can
// appear.
func TestAuthenticationService(t *testing.T) {
	errNo := errors.New("no")
	var refuse CredentialUse
	var seen []CredentialCheck
	auth := AuthenticationFunc(func(c CredentialCheck) error {
		seen = append(seen, c)
		if c.Use == refuse {
			return errNo
		}
		return nil
	})
	r := newRoom(t, classic, public, 3)
	alice, bob := r.members[0], r.members[1]
	client, err := NewClient(auth, public)
	if err != nil {
		t.Fatal(err)
	}
	bob.client, bob.group.client = client, client

	add := alice.forgeProposal(&Add{newPerson(t, "new", classic, Config{}).keyPackage()})
	refuse = CredentialInKeyPackage
	refused(t, bob.group, add, errNo)

	update, err := alice.group.ProposeUpdate(UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice.group.ClearProposals()
	refuse = CredentialInUpdate
	refused(t, bob.group, update, errNo)
	if last := seen[len(seen)-1]; last.Previous == nil || !bytes.Equal(last.Previous.SignatureKey, alice.group.ownLeaf().SignatureKey) {
		t.Error("Update came without what it replaces")
	}

	commit, err := alice.group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refuse = CredentialInCommit
	refused(t, bob.group, commit.Commit, errNo)
	alice.group.DiscardPendingCommit()

	senders := ExternalSendersExtension([]ExternalSender{{alice.group.ownLeaf().SignatureKey, alice.id.Credential}})
	refuse = CredentialOfExternalSender
	refused(t, bob.group, alice.forgeProposal(&GroupContextExtensions{[]Extension{senders}}), errNo)

	info, err := alice.group.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	refuse = CredentialInTree
	p := newPerson(t, "new", classic, Config{})
	if _, _, err := client.JoinExternal(info, p.id, ExternalJoinOptions{}); !errors.Is(err, errNo) {
		t.Errorf("joining: %v", err)
	}

	// A resync shows whom it replaces.
	refuse = 0
	old := LeafIndex(2)
	_, external, err := r.members[2].client.JoinExternal(info, r.members[2].id, ExternalJoinOptions{Replace: &old})
	if err != nil {
		t.Fatal(err)
	}
	mustStage(t, bob.group, external)
	if last := seen[len(seen)-1]; last.Use != CredentialInCommit || last.Previous == nil {
		t.Errorf("resync asked %+v", last)
	}
	// A stranger in place of a member is refused, unless the application says that
	// it is the same client.
	_, external, err = p.client.JoinExternal(info, p.id, ExternalJoinOptions{Replace: &old})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.group.Process(external); err == nil || !strings.Contains(err.Error(), "authenticating successor in commit") {
		t.Errorf("stranger takes the place of a member: %v", err)
	}
	renamed := Identity{BasicCredential([]byte("someone else")), alice.id.Signer}
	if update, err = alice.group.ProposeUpdate(UpdateOptions{Identity: &renamed}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.group.Process(update); err == nil || !strings.Contains(err.Error(), "authenticating successor in update") {
		t.Errorf("member changes its name: %v", err)
	}
	if _, err := NewClient(nil, Config{}); err == nil {
		t.Error("client without an authentication service")
	}
}
