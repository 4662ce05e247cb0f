package mls

import (
	"bytes"
	"slices"
	"testing"
)

// A scene is a group in which Bob (leaf 1) makes forged commits that Alice (leaf 0)
// receives.
type scene struct {
	t     testing.TB
	r     *room
	alice *Group // a copy for this test alone
	bob   *Group
}

func newScene(t testing.TB, r *room) *scene {
	return &scene{t, r, cloneGroup(t, r.members[0]), cloneGroup(t, r.members[1])}
}

func (s *scene) member(i int) *Group { return cloneGroup(s.t, s.r.members[i]) }

// reference sends a proposal to Alice, and returns what commits it.
func (s *scene) reference(from *Group, p Proposal) CommittedProposal {
	s.t.Helper()
	message, committed := forgeProposal(s.t, from, p)
	if _, err := s.alice.Process(message); err != nil {
		s.t.Fatalf("proposal refused: %v", err)
	}
	return committed
}

func (s *scene) list(proposals ...Proposal) []CommittedProposal { return valueOf(s.bob, proposals...) }

// newcomer is a client that can be added.
func (s *scene) newcomer() *person { return newPerson(s.t, "newcomer", classic, Config{}) }

func (s *scene) add() Proposal { return &Add{s.newcomer().capable()} }

func pskProposal(id string, nonce byte) *PreSharedKey {
	return &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: []byte(id), PSKNonce: bytes.Repeat([]byte{nonce}, 32)}}
}

func resumption(usage ResumptionPSKUsage, g *Group) *PreSharedKey {
	return &PreSharedKey{PreSharedKeyID{
		PSKType: PSKTypeResumption, Usage: usage, PSKGroupID: g.ID(), PSKEpoch: g.Epoch(), PSKNonce: make([]byte, 32),
	}}
}

func needs(req RequiredCapabilities) Proposal {
	return &GroupContextExtensions{[]Extension{req.Extension()}}
}

// TestProposals breaks the rules for single proposals (RFC 9420, Section 12.1), in a
// proposal of its own and in a commit.
func TestProposals(t *testing.T) {
	r := newDemandingRoom(t, 5)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	external := ExternalSendersExtension([]ExternalSender{{[]byte("key"), BasicCredential(nil)}})
	tests := []struct {
		name string
		p    Proposal
		want any
	}{
		{"Remove of a blank leaf", &Remove{2}, brokenRule{"12.1.3", "blank leaf"}},
		{"Remove out of the tree", &Remove{8}, brokenRule{"12.1.3", "blank leaf"}},
		{"Remove at the largest index", &Remove{1<<32 - 1}, brokenRule{"12.1.3", "blank leaf"}},
		{"PSK nonce empty", &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: []byte("shared")}}, brokenRule{"12.1.4", "nonce"}},
		{"PSK nonce short", &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: []byte("shared"), PSKNonce: make([]byte, 31)}}, brokenRule{"12.1.4", "nonce"}},
		{"PSK nonce long", &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: []byte("shared"), PSKNonce: make([]byte, 33)}}, brokenRule{"12.1.4", "nonce"}},
		{"PSK of an unknown type", &PreSharedKey{PreSharedKeyID{PSKType: 3, PSKNonce: make([]byte, 32)}}, ErrMalformed},
		{"resumption PSK of an unknown usage", &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeResumption, Usage: 4, PSKNonce: make([]byte, 32)}}, ErrMalformed},
		{"resumption PSK of no usage", &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeResumption, PSKNonce: make([]byte, 32)}}, ErrMalformed},
		{"ReInit to a lower version", &ReInit{GroupID: []byte("n"), Version: 0, CipherSuite: classic}, brokenRule{"12.1.5", "lower"}},
		{"ReInit with an extension twice", &ReInit{GroupID: []byte("n"), Version: 1, CipherSuite: classic, Extensions: []Extension{{groupExtension, nil}, {groupExtension, nil}}}, ErrMalformed},
		{"ReInit with a misplaced extension", &ReInit{GroupID: []byte("n"), Version: 1, CipherSuite: classic, Extensions: []Extension{ApplicationIDExtension(nil)}}, brokenRule{"17.3", "place"}},
		{"ExternalInit", &ExternalInit{make([]byte, 32)}, brokenRule{"12.1.6", "ExternalInit"}},
		{"extension twice", &GroupContextExtensions{[]Extension{{groupExtension, nil}, {groupExtension, []byte("x")}}}, ErrMalformed},
		{"ratchet_tree as a group extension", &GroupContextExtensions{[]Extension{{ExtensionTypeRatchetTree, nil}}}, brokenRule{"17.3", "place"}},
		{"required_capabilities cut short", &GroupContextExtensions{[]Extension{{ExtensionTypeRequiredCapabilities, []byte{0, 0}}}}, ErrMalformed},
		{"required_capabilities of odd length", &GroupContextExtensions{[]Extension{{ExtensionTypeRequiredCapabilities, []byte{1, 0, 0, 0}}}}, ErrMalformed},
		{"bytes after required_capabilities", &GroupContextExtensions{[]Extension{{ExtensionTypeRequiredCapabilities, []byte{0, 0, 0, 0}}}}, ErrMalformed},
		{"bytes after external_senders", &GroupContextExtensions{[]Extension{{external.ExtensionType, append(external.ExtensionData, 0)}}}, ErrMalformed},
		{"proposal type 0", &CustomProposal{0, nil}, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, r)
			message, _ := forgeProposal(t, s.bob, tt.p)
			mustRefuse(t, s.alice, message, tt.want)
			f := &forgery{proposals: s.list(tt.p)}
			mustRefuse(t, s.alice, f.public(t, s.bob), tt.want)
		})
	}
}

// TestProposalLists breaks the rules for the proposals of a commit (RFC 9420,
// Section 12.2).
func TestProposalLists(t *testing.T) {
	r := newDemandingRoom(t, 6)
	s := newScene(t, r)
	unable := func() *KeyPackage { // meets the group's demands, but not the custom type
		p := s.newcomer()
		opts := capableLeaf
		opts.SupportedProposals = []ProposalType{neededProposal}
		return must(p.client.NewKeyPackage(p.suite, p.id, KeyPackageOptions{Leaf: opts})).KeyPackage
	}
	sameAs := func(p *person, change func(*KeyPackage)) Proposal {
		return &Add{forgeKeyPackage(t, p, KeyPackageOptions{Leaf: capableLeaf}, change).KeyPackage}
	}
	bystander := r.members[5]
	custom := &CustomProposal{customType, []byte("custom")}
	extensions := &GroupContextExtensions{demandingOptions.Extensions}
	reInit := &ReInit{GroupID: []byte("new"), Version: 1, CipherSuite: classic}
	one := s.newcomer()
	addOne := &Add{one.capable()}
	tests := []struct {
		name string
		list func(s *scene) []CommittedProposal
		want any
	}{
		{"valid", func(s *scene) []CommittedProposal {
			return append(s.list(&Remove{2}, s.add(), s.add(), pskProposal("shared", 1), pskProposal("other", 1), extensions, custom, custom),
				s.reference(s.member(3), forgeUpdate(t, s.member(3), nil)), s.reference(s.member(4), &Remove{5}))
		}, nil},
		{"Update of the committer", func(s *scene) []CommittedProposal {
			return []CommittedProposal{s.reference(s.bob, forgeUpdate(t, s.bob, nil))}
		}, brokenRule{"12.2", "Update of the committer"}},
		{"Update by value", func(s *scene) []CommittedProposal {
			return s.list(forgeUpdate(t, s.bob, nil))
		}, brokenRule{"12.2", "Update of the committer"}},
		{"Remove of the committer", func(s *scene) []CommittedProposal {
			return s.list(&Remove{1})
		}, brokenRule{"12.2", "Remove of the committer"}},
		{"Remove of the committer by reference", func(s *scene) []CommittedProposal {
			return []CommittedProposal{s.reference(s.member(3), &Remove{1})}
		}, brokenRule{"12.2", "Remove of the committer"}},
		{"two Removes of a leaf", func(s *scene) []CommittedProposal {
			return s.list(&Remove{2}, &Remove{3}, &Remove{2})
		}, brokenRule{"12.2", "two Updates or Removes for leaf 2"}},
		{"two Updates of a leaf", func(s *scene) []CommittedProposal {
			g := s.member(3)
			return []CommittedProposal{s.reference(g, forgeUpdate(t, g, nil)), s.reference(g, forgeUpdate(t, g, nil))}
		}, brokenRule{"12.2", "two Updates or Removes for leaf 3"}},
		{"Update and Remove of a leaf", func(s *scene) []CommittedProposal {
			g := s.member(3)
			return append(s.list(&Remove{3}), s.reference(g, forgeUpdate(t, g, nil)))
		}, brokenRule{"12.2", "two Updates or Removes for leaf 3"}},
		{"two Updates with one encryption key", func(s *scene) []CommittedProposal {
			update := forgeUpdate(t, s.member(3), nil)
			copied := forgeUpdate(t, s.member(4), func(l *LeafNode) { l.EncryptionKey = update.LeafNode.EncryptionKey })
			return []CommittedProposal{s.reference(s.member(3), update), s.reference(s.member(4), copied)}
		}, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
		{"one key package twice", func(s *scene) []CommittedProposal {
			return s.list(addOne, addOne)
		}, brokenRule{"7.3", "occurs twice"}},
		{"one proposal by reference twice", func(s *scene) []CommittedProposal {
			p := s.reference(s.member(3), addOne)
			return []CommittedProposal{p, p}
		}, brokenRule{"7.3", "occurs twice"}},
		{"one client twice", func(s *scene) []CommittedProposal {
			return s.list(sameAs(one, nil), sameAs(one, nil))
		}, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"two clients with one encryption key", func(s *scene) []CommittedProposal {
			return s.list(addOne, sameAs(s.newcomer(), func(k *KeyPackage) { k.LeafNode.EncryptionKey = addOne.KeyPackage.LeafNode.EncryptionKey }))
		}, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
		{"client that is a member", func(s *scene) []CommittedProposal {
			return s.list(sameAs(bystander, nil))
		}, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"committer as a new member", func(s *scene) []CommittedProposal {
			return s.list(sameAs(r.members[1], nil))
		}, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"member in exchange for itself", func(s *scene) []CommittedProposal {
			return s.list(sameAs(bystander, nil), &Remove{5})
		}, nil},
		{"encryption key of a member", func(s *scene) []CommittedProposal {
			return s.list(sameAs(s.newcomer(), func(k *KeyPackage) { k.LeafNode.EncryptionKey = s.bob.epoch.tree.leaf(5).EncryptionKey }))
		}, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
		{"one PSK twice", func(s *scene) []CommittedProposal {
			return s.list(pskProposal("shared", 1), pskProposal("other", 1), pskProposal("shared", 1))
		}, brokenRule{"12.2", "two PreSharedKey proposals"}},
		{"one PSK with two nonces", func(s *scene) []CommittedProposal {
			return s.list(pskProposal("shared", 1), pskProposal("shared", 2))
		}, nil},
		{"one resumption PSK twice", func(s *scene) []CommittedProposal {
			return s.list(resumption(ResumptionPSKUsageApplication, s.bob), resumption(ResumptionPSKUsageApplication, s.bob))
		}, brokenRule{"12.2", "two PreSharedKey proposals"}},
		{"resumption PSK", func(s *scene) []CommittedProposal {
			return s.list(resumption(ResumptionPSKUsageApplication, s.bob))
		}, nil},
		{"resumption PSK of a reinitialisation", func(s *scene) []CommittedProposal {
			return s.list(resumption(ResumptionPSKUsageReinit, s.bob))
		}, brokenRule{"12.1.4", "resumption PSK"}},
		{"resumption PSK of a branch", func(s *scene) []CommittedProposal {
			return s.list(resumption(ResumptionPSKUsageBranch, s.bob))
		}, brokenRule{"12.1.4", "resumption PSK"}},
		{"unknown PSK", func(s *scene) []CommittedProposal {
			return s.list(pskProposal("unheard of", 1))
		}, ErrUnknownPSK},
		{"two GroupContextExtensions", func(s *scene) []CommittedProposal {
			return s.list(extensions, extensions)
		}, brokenRule{"12.2", "two GroupContextExtensions"}},
		{"ReInit with an Add", func(s *scene) []CommittedProposal {
			return s.list(reInit, s.add())
		}, brokenRule{"12.2", "ReInit together"}},
		{"two ReInits", func(s *scene) []CommittedProposal {
			return s.list(reInit, reInit)
		}, brokenRule{"12.2", "ReInit together"}},
		{"ReInit", func(s *scene) []CommittedProposal { return s.list(reInit) }, nil},
		{"custom type that a member lacks", func(s *scene) []CommittedProposal {
			return s.list(&CustomProposal{0xF0FF, nil})
		}, brokenRule{"12.2", "proposal type 0xF0FF"}},
		{"custom type that a new member lacks", func(s *scene) []CommittedProposal {
			return s.list(custom, &Add{unable()})
		}, nil},
		{"group extension that members lack", func(s *scene) []CommittedProposal {
			return s.list(&GroupContextExtensions{[]Extension{{0xF0FF, nil}}})
		}, brokenRule{"13.4", "group extension 0xF0FF"}},
		{"required extension that members lack", func(s *scene) []CommittedProposal {
			return s.list(needs(RequiredCapabilities{ExtensionTypes: []ExtensionType{0xF0FF}}))
		}, brokenRule{"7.3", "required extension 0xF0FF"}},
		{"required proposal that a new member lacks", func(s *scene) []CommittedProposal {
			return s.list(needs(RequiredCapabilities{ProposalTypes: []ProposalType{customType}}), &Add{unable()})
		}, brokenRule{"7.3", "required proposal 0xF0A4"}},
		{"required credential that members lack", func(s *scene) []CommittedProposal {
			return s.list(needs(RequiredCapabilities{CredentialTypes: []CredentialType{0xF0FF}}))
		}, brokenRule{"7.3", "required credential type 0xF0FF"}},
		{"proposal by an unknown reference", func(s *scene) []CommittedProposal {
			return []CommittedProposal{{Proposal: custom, Sender: memberSender(1), ref: make([]byte, 32)}}
		}, ErrUnknownProposal},
		{"proposal by an empty reference", func(s *scene) []CommittedProposal {
			return []CommittedProposal{{Proposal: custom, Sender: memberSender(1), ref: []byte{}}}
		}, ErrUnknownProposal},
		{"proposal by a truncated reference", func(s *scene) []CommittedProposal {
			p := s.reference(s.member(3), custom)
			p.ref = p.ref[:31]
			return []CommittedProposal{p}
		}, ErrUnknownProposal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, r)
			f := &forgery{proposals: tt.list(s)}
			checkOrRefuse(t, s.alice, f.public(t, s.bob), tt.want)
		})
	}
	for _, tt := range tests[1:] {
		// Whoever makes a commit checks the same list.
		t.Run("own/"+tt.name, func(t *testing.T) {
			s := newScene(t, r)
			list := tt.list(s)
			var proposals []Proposal
			for _, p := range list {
				if p.ref != nil {
					t.Skip("members choose among the proposals that they received")
				}
				proposals = append(proposals, p.Proposal)
			}
			before := s.bob.Marshal()
			_, err := s.bob.Commit(CommitOptions{Proposals: proposals, ByValueOnly: true})
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkRefusal(t, err, tt.want)
			if !bytes.Equal(before, s.bob.Marshal()) {
				t.Fatal("a refused commit changed the state")
			}
		})
	}
}

// TestRequirementsOfOtherMembers checks a new requirement against members that no
// proposal touches, and not against those that the commit removes (RFC 9420,
// Section 12.1.7).
func TestRequirementsOfOtherMembers(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	able := newPerson(t, "able", classic, Config{})
	k := must(able.client.NewKeyPackage(classic, able.id, KeyPackageOptions{Leaf: capableLeaf}))
	able.kps = append(able.kps, k)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Add{k.KeyPackage}}}, able)
	g := able.group
	for _, tt := range []struct {
		name string
		p    Proposal
		want brokenRule
	}{
		{"extension in use", &GroupContextExtensions{[]Extension{{groupExtension, nil}}}, brokenRule{"13.4", "not supported by all members"}},
		{"required extension", needs(RequiredCapabilities{ExtensionTypes: []ExtensionType{neededExtension}}), brokenRule{"13.4", "not supported by all members"}},
		{"required proposal", needs(RequiredCapabilities{ProposalTypes: []ProposalType{neededProposal}}), brokenRule{"12.1.7", "required proposal"}},
		{"required credential", needs(RequiredCapabilities{CredentialTypes: []CredentialType{neededCredential}}), brokenRule{"12.1.7", "required credential"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			receiver := cloneGroup(t, r.members[0])
			f := &forgery{proposals: valueOf(g, tt.p)}
			mustRefuse(t, receiver, f.public(t, g), tt.want)
			f = &forgery{proposals: valueOf(g, tt.p, &Remove{1})}
			mustRefuse(t, receiver, f.public(t, g), tt.want)
			f = &forgery{proposals: valueOf(g, tt.p, &Remove{1}, &Remove{0})}
			if staged := mustStage(t, cloneGroup(t, r.members[1]), f.public(t, g)); !staged.RemovesUs {
				t.Fatal("commit does not remove us")
			}
		})
	}
	// A custom proposal is not vetoed by those who leave.
	custom := &CustomProposal{customType, nil}
	f := &forgery{proposals: valueOf(g, custom, &Remove{1})}
	mustRefuse(t, cloneGroup(t, r.members[0]), f.public(t, g), brokenRule{"12.2", "proposal type"})
	if _, err := g.Commit(CommitOptions{Proposals: []Proposal{custom, &Remove{1}, &Remove{0}}}); err != nil {
		t.Fatal(err)
	}
}

// TestProposalOfAnotherEpoch commits by reference what was proposed an epoch ago
// (RFC 9420, Section 12.1).
func TestProposalOfAnotherEpoch(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	message, committed := forgeProposal(t, cloneGroup(t, r.members[1]), &Remove{2})
	if _, err := r.members[0].group.Process(message); err != nil {
		t.Fatal(err)
	}
	r.commit(r.members[1], CommitOptions{ByValueOnly: true})
	f := &forgery{proposals: []CommittedProposal{committed}}
	mustRefuse(t, r.members[0].group, f.public(t, cloneGroup(t, r.members[1])), ErrUnknownProposal)
	mustRefuse(t, r.members[0].group, message, &EpochError{r.members[0].group.Epoch(), r.members[0].group.Epoch() - 1})
}

// TestPathOfCommit breaks the rules for the UpdatePath (RFC 9420, Sections 7.5, 7.6,
// 12.4 and 12.4.2).
func TestPathOfCommit(t *testing.T) {
	r := newDemandingRoom(t, 6)
	bob := cloneGroup(t, r.members[1])
	own := bob.private.keys[LeafIndex(1).ancestor(2)] // a key that Bob knows, and is going to replace
	drop := func(nodes []UpdatePathNode, i int) []UpdatePathNode {
		return slices.Delete(slices.Clone(nodes), i, i+1)
	}
	garbage := HPKECiphertext{KEMOutput: make([]byte, 32), Ciphertext: make([]byte, 48)}
	custom := &CustomProposal{customType, nil}
	kemOutput := func(size int) func(*scene) *forgery {
		return func(*scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes[0].EncryptedPathSecret[0].KEMOutput = make([]byte, size) }}
		}
	}
	tests := []struct {
		name string
		f    func(s *scene) *forgery
		want any
	}{
		{"no proposal and no path", func(s *scene) *forgery { return &forgery{noPath: true} }, brokenRule{"12.4", "lacks the path"}},
		{"Remove without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(&Remove{3})}
		}, brokenRule{"12.4", "lacks the path"}},
		{"Remove and Add without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(s.add(), &Remove{3})}
		}, brokenRule{"12.4", "lacks the path"}},
		{"Update without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: []CommittedProposal{s.reference(s.member(3), forgeUpdate(t, s.member(3), nil))}}
		}, brokenRule{"12.4", "lacks the path"}},
		{"GroupContextExtensions without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(&GroupContextExtensions{demandingOptions.Extensions})}
		}, brokenRule{"12.4", "lacks the path"}},
		{"custom proposal without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(custom)}
		}, brokenRule{"12.4", "lacks the path"}},
		{"Add without path", func(s *scene) *forgery { return &forgery{noPath: true, proposals: s.list(s.add())} }, nil},
		{"PreSharedKey without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(pskProposal("shared", 1))}
		}, nil},
		{"ReInit without path", func(s *scene) *forgery {
			return &forgery{noPath: true, proposals: s.list(&ReInit{GroupID: []byte("n"), Version: 1, CipherSuite: classic})}
		}, nil},
		{"Add with path", func(s *scene) *forgery { return &forgery{proposals: s.list(s.add(), s.add())} }, nil},
		{"path too short", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes = p.Nodes[:len(p.Nodes)-1] }}
		}, brokenRule{"7.6", "nodes instead of"}},
		{"path without its first node", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes = drop(p.Nodes, 0) }}
		}, brokenRule{"7.6", "nodes instead of"}},
		{"empty path", func(s *scene) *forgery { return &forgery{path: func(p *UpdatePath) { p.Nodes = nil }} }, brokenRule{"7.6", "nodes instead of"}},
		{"path too long", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) {
				p.Nodes = append(p.Nodes, UpdatePathNode{EncryptionKey: must(s.bob.client.generateKeyPair(s.bob.suite)).public})
			}}
		}, brokenRule{"7.6", "nodes instead of"}},
		{"ciphertext missing", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes[0].EncryptedPathSecret = nil }}
		}, brokenRule{"7.6", "ciphertexts instead of"}},
		{"ciphertext too many", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) {
				n := &p.Nodes[1]
				n.EncryptedPathSecret = append(n.EncryptedPathSecret, garbage)
			}}
		}, brokenRule{"7.6", "ciphertexts instead of"}},
		{"ciphertext for a new member", func(s *scene) *forgery {
			return &forgery{proposals: s.list(s.add()), path: func(p *UpdatePath) {
				n := &p.Nodes[len(p.Nodes)-1]
				n.EncryptedPathSecret = append(n.EncryptedPathSecret, garbage)
			}}
		}, brokenRule{"7.6", "ciphertexts instead of"}},
		{"public key is no key", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes[2].EncryptionKey = []byte("short") }}
		}, ErrInvalidKey},
		{"public key is empty", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes[2].EncryptionKey = nil }}
		}, ErrInvalidKey},
		{"public key of another node", func(s *scene) *forgery {
			return &forgery{keys: func(keys [][]byte) { keys[0] = s.bob.epoch.tree.leaf(4).EncryptionKey }}
		}, brokenRule{"12.4.2", "in the tree already"}},
		{"public key of a replaced node", func(s *scene) *forgery {
			return &forgery{keys: func(keys [][]byte) { keys[0] = own.public }}
		}, brokenRule{"12.4.2", "in the tree already"}},
		{"leaf key of a replaced node", func(s *scene) *forgery { return &forgery{leafKey: own} }, brokenRule{"12.4.2", "in the tree already"}},
		{"one public key at two nodes", func(s *scene) *forgery {
			return &forgery{keys: func(keys [][]byte) { keys[0] = keys[1] }}
		}, brokenRule{"12.4.2", "occurs twice in the update path"}},
		{"leaf key at a node", func(s *scene) *forgery {
			key := must(s.bob.client.generateKeyPair(s.bob.suite))
			return &forgery{leafKey: key, keys: func(keys [][]byte) { keys[1] = key.public }}
		}, brokenRule{"12.4.2", "occurs twice in the update path"}},
		{"key of a new member", func(s *scene) *forgery {
			add := &Add{s.newcomer().capable()}
			return &forgery{proposals: s.list(add), keys: func(keys [][]byte) { keys[1] = add.KeyPackage.LeafNode.EncryptionKey }}
		}, brokenRule{"12.4.2", "in the tree already"}},
		{"path secret of another key", func(s *scene) *forgery {
			return &forgery{keys: func(keys [][]byte) { keys[2] = must(s.bob.client.generateKeyPair(s.bob.suite)).public }}
		}, brokenRule{"7.5", "path secret does not give the public key"}},
		{"public key after the parent hash", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) { p.Nodes[1].EncryptionKey = must(s.bob.client.generateKeyPair(s.bob.suite)).public }}
		}, brokenRule{"7.5", "parent hash"}},
		{"ciphertext that does not open", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) {
				p.Nodes[0].EncryptedPathSecret[0].Ciphertext = flip(p.Nodes[0].EncryptedPathSecret[0].Ciphertext)
			}}
		}, ErrDecryption},
		{"KEM output empty", kemOutput(0), ErrDecryption},
		{"KEM output cut short", kemOutput(31), ErrDecryption},
		{"KEM output too long", kemOutput(33), ErrDecryption},
		{"path secret of a wrong length", func(s *scene) *forgery {
			return &forgery{path: func(p *UpdatePath) {
				// Alice is the only one under the first node's other child.
				tr := s.bob.newTransition()
				tr.tree = tr.tree.withPath(1, p.LeafNode, nil)
				context := pathContext(s.bob, p)
				p.Nodes[0].EncryptedPathSecret[0] = must(s.bob.suite.encryptWithLabel(s.alice.ownLeaf().EncryptionKey, updatePathLabel, context, make([]byte, 31)))
			}}
		}, brokenRule{"7.4", "path secret of a wrong length"}},
		{"path under the old GroupContext", func(s *scene) *forgery {
			return &forgery{context: func(c *GroupContext) { *c = s.bob.epoch.context }}
		}, ErrDecryption},
		{"path under the old epoch", func(s *scene) *forgery { return &forgery{context: func(c *GroupContext) { c.Epoch-- }} }, ErrDecryption},
		{"path under the old tree hash", func(s *scene) *forgery {
			return &forgery{context: func(c *GroupContext) { c.TreeHash = s.bob.epoch.context.TreeHash }}
		}, ErrDecryption},
		{"path under the new transcript hash", func(s *scene) *forgery {
			return &forgery{context: func(c *GroupContext) { c.ConfirmedTranscriptHash = flip(c.ConfirmedTranscriptHash) }}
		}, ErrDecryption},
		{"path under the old extensions", func(s *scene) *forgery {
			return &forgery{
				proposals: s.list(&GroupContextExtensions{}),
				context:   func(c *GroupContext) { c.Extensions = demandingOptions.Extensions },
			}
		}, ErrDecryption},
		{"other init secret", func(s *scene) *forgery {
			return &forgery{secrets: func(in *epochInput) { in.initSecret = flip(in.initSecret) }}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"other commit secret", func(s *scene) *forgery {
			return &forgery{secrets: func(in *epochInput) { in.commitSecret = flip(in.commitSecret) }}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"other PSK", func(s *scene) *forgery {
			return &forgery{proposals: s.list(pskProposal("shared", 1)), secrets: func(in *epochInput) { in.pskSecret = flip(in.pskSecret) }}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"PSK left out", func(s *scene) *forgery {
			return &forgery{proposals: s.list(pskProposal("shared", 1)), secrets: func(in *epochInput) { in.pskSecret = make([]byte, 32) }}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"other transcript", func(s *scene) *forgery {
			return &forgery{secrets: func(in *epochInput) { in.interim = flip(in.interim) }}
		}, brokenRule{"6.1", "confirmation tag"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, r)
			f := tt.f(s)
			checkOrRefuse(t, s.alice, f.public(t, s.bob), tt.want)
		})
	}
}

// pathContext returns the provisional GroupContext of a commit of nothing but a path.
func pathContext(g *Group, p *UpdatePath) []byte {
	tr := g.newTransition()
	tree := must(tr.tree.mergePath(g.private.leaf, p, nil))
	tr.tree = tree
	context := tr.provisionalContext()
	return context.Marshal()
}

// TestExternalCommits breaks the rules for external commits (RFC 9420,
// Sections 12.2 and 12.4.3.2).
func TestExternalCommits(t *testing.T) {
	r := newDemandingRoom(t, 5)
	old := r.members[4]
	able := func(l *LeafNode) { l.Capabilities, l.Extensions = r.members[0].group.ownLeaf().Capabilities, nil }
	joiner := Sender{SenderType: SenderTypeNewMemberCommit}
	list := func(proposals ...Proposal) []CommittedProposal {
		var list []CommittedProposal
		for _, p := range proposals {
			list = append(list, CommittedProposal{Proposal: p, Sender: joiner})
		}
		return list
	}
	wire := func(change func([]proposalOrRef) []proposalOrRef) func(*authenticatedContent) {
		return func(a *authenticatedContent) { a.content.commit.proposals = change(a.content.commit.proposals) }
	}
	tests := []struct {
		name string
		f    func(s *scene) *forgery
		want any
	}{
		{"valid", func(s *scene) *forgery { return &forgery{} }, nil},
		{"in place of an old self", func(s *scene) *forgery { return &forgery{external: old, proposals: list(&Remove{4})} }, nil},
		{"with PSKs", func(s *scene) *forgery {
			return &forgery{proposals: list(pskProposal("shared", 1), pskProposal("other", 1))}
		}, nil},
		{"no ExternalInit", func(s *scene) *forgery {
			return &forgery{content: wire(func(p []proposalOrRef) []proposalOrRef { return p[1:] })}
		}, brokenRule{"12.2", "0 ExternalInit"}},
		{"two ExternalInits", func(s *scene) *forgery {
			return &forgery{content: wire(func(p []proposalOrRef) []proposalOrRef { return append(p, p[0]) })}
		}, brokenRule{"12.2", "2 ExternalInit"}},
		{"ExternalInit cut short", func(s *scene) *forgery {
			return &forgery{content: wire(func(p []proposalOrRef) []proposalOrRef {
				return []proposalOrRef{{proposal: &ExternalInit{p[0].proposal.(*ExternalInit).KEMOutput[:31]}}}
			})}
		}, brokenRule{"8.3", "does not decapsulate"}},
		{"ExternalInit empty", func(s *scene) *forgery {
			return &forgery{content: wire(func([]proposalOrRef) []proposalOrRef { return []proposalOrRef{{proposal: &ExternalInit{}}} })}
		}, brokenRule{"8.3", "does not decapsulate"}},
		{"ExternalInit of another", func(s *scene) *forgery {
			return &forgery{content: wire(func(p []proposalOrRef) []proposalOrRef {
				return []proposalOrRef{{proposal: &ExternalInit{must(s.bob.client.generateKeyPair(s.bob.suite)).public}}}
			})}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"two Removes", func(s *scene) *forgery {
			return &forgery{external: old, proposals: list(&Remove{4}, &Remove{3})}
		}, brokenRule{"12.2", "2 Remove"}},
		{"Remove of a blank leaf", func(s *scene) *forgery { return &forgery{proposals: list(&Remove{7})} }, brokenRule{"12.1.3", "blank leaf"}},
		{"Add", func(s *scene) *forgery { return &forgery{proposals: list(s.add())} }, brokenRule{"12.2", "proposal of type 0x0001"}},
		{"Update", func(s *scene) *forgery { return &forgery{proposals: list(forgeUpdate(t, s.bob, nil))} }, brokenRule{"12.2", "Update"}},
		{"ReInit", func(s *scene) *forgery {
			return &forgery{proposals: list(&ReInit{GroupID: []byte("n"), Version: 1, CipherSuite: classic})}
		}, brokenRule{"12.2", "proposal of type 0x0005"}},
		{"GroupContextExtensions", func(s *scene) *forgery {
			return &forgery{proposals: list(&GroupContextExtensions{demandingOptions.Extensions})}
		}, brokenRule{"12.2", "proposal of type 0x0007"}},
		{"custom proposal", func(s *scene) *forgery {
			return &forgery{proposals: list(&CustomProposal{customType, nil})}
		}, brokenRule{"12.2", "proposal of type 0xF0A4"}},
		{"proposal by reference", func(s *scene) *forgery {
			return &forgery{proposals: []CommittedProposal{s.reference(s.member(3), pskProposal("shared", 1))}}
		}, brokenRule{"12.4.3.2", "by reference"}},
		{"one PSK twice", func(s *scene) *forgery {
			return &forgery{proposals: list(pskProposal("shared", 1), pskProposal("shared", 1))}
		}, brokenRule{"12.2", "two PreSharedKey"}},
		{"PSK of a branch", func(s *scene) *forgery {
			return &forgery{proposals: list(resumption(ResumptionPSKUsageBranch, s.bob))}
		}, brokenRule{"12.1.4", "resumption PSK"}},
		{"unknown PSK", func(s *scene) *forgery { return &forgery{proposals: list(pskProposal("unheard of", 1))} }, ErrUnknownPSK},
		{"no path", func(s *scene) *forgery { return &forgery{noPath: true} }, brokenRule{"12.4.3.2", "without a path"}},
		{"signed by another", func(s *scene) *forgery { return &forgery{signer: otherSigner(t, classic)} }, ErrSignature},
		{"signed by a member", func(s *scene) *forgery { return &forgery{signer: s.bob.signer} }, ErrSignature},
		{"client that is a member", func(s *scene) *forgery { return &forgery{external: old} }, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"client that is a member, in place of another", func(s *scene) *forgery {
			return &forgery{external: old, proposals: list(&Remove{3})}
		}, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"encryption key of the old self", func(s *scene) *forgery {
			return &forgery{external: old, proposals: list(&Remove{4}), leafKey: s.member(4).private.keys[LeafIndex(4).node()]}
		}, brokenRule{"12.2", "keeps the encryption key"}},
		{"leaf lacks the required capabilities", func(s *scene) *forgery {
			return &forgery{leaf: func(*LeafNode) {}}
		}, brokenRule{"7.3", "required extension"}},
		{"other confirmation tag", func(s *scene) *forgery {
			return &forgery{finished: func(a *authenticatedContent) { a.auth.confirmationTag = flip(a.auth.confirmationTag) }}
		}, brokenRule{"6.1", "confirmation tag"}},
		{"other epoch", func(s *scene) *forgery {
			return &forgery{content: func(a *authenticatedContent) { a.content.epoch++ }}
		}, &EpochError{r.members[0].group.Epoch(), r.members[0].group.Epoch() + 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, r)
			f := tt.f(s)
			if f.external == nil {
				f.external = s.newcomer()
			}
			if f.leaf == nil {
				f.leaf = able
			}
			checkOrRefuse(t, s.alice, f.public(t, s.bob), tt.want)
		})
	}
	t.Run("signature does not cover the GroupContext", func(t *testing.T) {
		s := newScene(t, r)
		f := &forgery{external: s.newcomer(), leaf: able}
		a := f.forge(t, s.bob)
		if err := a.sign(s.bob.suite, f.external.id.Signer, nil); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, s.alice, a.protectPublic(s.bob.suite, nil, nil), ErrSignature)
	})
}

// TestAuthenticationServiceIsAsked refuses credentials everywhere one can appear
// (RFC 9420, Section 5.3.1).
func TestAuthenticationServiceIsAsked(t *testing.T) {
	r := newDemandingRoom(t, 4)
	refuse := errorString("who is that?")
	ask := func(t *testing.T, p *person, use CredentialUse, previous *LeafNode, do func(g *Group) error) {
		t.Helper()
		asked := false
		client := must(NewClient(AuthenticationFunc(func(c CredentialCheck) error {
			if c.Use != use {
				return nil
			}
			asked = true
			if (c.Previous != nil) != (previous != nil) || previous != nil && !bytes.Equal(c.Previous.SignatureKey, previous.SignatureKey) {
				t.Errorf("asked about a change from %+v", c.Previous)
			}
			return refuse
		}), Config{}))
		g := must(client.UnmarshalGroup(p.group.Marshal(), p.id.Signer))
		before := g.Marshal()
		checkRefusal(t, do(g), refuse)
		if !asked {
			t.Error("was not asked")
		}
		if !bytes.Equal(before, g.Marshal()) {
			t.Error("state changed")
		}
	}
	process := func(message []byte) func(*Group) error {
		return func(g *Group) error { _, err := g.Process(message); return err }
	}
	alice, bob := r.members[0], cloneGroup(t, r.members[1])
	newcomer := newPerson(t, "newcomer", classic, Config{})
	add := &Add{newcomer.capable()}
	able := func(l *LeafNode) { l.Capabilities, l.Extensions = bob.ownLeaf().Capabilities, nil }
	message, _ := forgeProposal(t, bob, add)
	ask(t, alice, CredentialInKeyPackage, nil, process(message))
	ask(t, alice, CredentialInKeyPackage, nil, process((&forgery{proposals: valueOf(bob, add)}).public(t, bob)))
	ask(t, alice, CredentialInKeyPackage, nil, func(g *Group) error {
		_, err := g.Commit(CommitOptions{Proposals: []Proposal{add}})
		return err
	})
	message, _ = forgeProposal(t, bob, forgeUpdate(t, bob, nil))
	ask(t, alice, CredentialInUpdate, bob.ownLeaf(), process(message))
	ask(t, alice, CredentialInCommit, bob.ownLeaf(), process((&forgery{}).public(t, bob)))
	ask(t, alice, CredentialInCommit, nil, process((&forgery{external: newcomer, leaf: able}).public(t, bob)))
	resync := &forgery{external: newcomer, leaf: able, proposals: []CommittedProposal{{Proposal: &Remove{3}, Sender: Sender{SenderType: SenderTypeNewMemberCommit}}}}
	ask(t, alice, CredentialInCommit, bob.epoch.tree.leaf(3), process(resync.public(t, bob)))
	senders := &GroupContextExtensions{append(slices.Clone(demandingOptions.Extensions), ExternalSendersExtension([]ExternalSender{{[]byte("k"), BasicCredential(nil)}}))}
	ask(t, alice, CredentialOfExternalSender, nil, process((&forgery{proposals: valueOf(bob, senders)}).public(t, bob)))
	ask(t, alice, CredentialInTree, nil, func(g *Group) error {
		pending := must(cloneGroup(t, alice).Commit(CommitOptions{Proposals: []Proposal{add}}))
		_, _, err := g.client.Join(pending.Welcome, newcomer.kps, newcomer.id.Signer, JoinOptions{})
		return err
	})
	ask(t, alice, CredentialInTree, nil, func(g *Group) error {
		_, _, err := g.client.JoinExternal(must(bob.GroupInfo(true)), newcomer.id, ExternalJoinOptions{Leaf: capableLeaf})
		return err
	})
}

type errorString string

func (e errorString) Error() string { return string(e) }
