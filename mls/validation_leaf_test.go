package mls

import (
	"errors"
	"slices"
	"testing"
)

// Types of the application's own, which the groups of these tests demand.
const (
	neededExtension  ExtensionType  = 0xF0A0
	neededProposal   ProposalType   = 0xF0A1
	neededCredential CredentialType = 0xF0A2
	groupExtension   ExtensionType  = 0xF0A3
	customType       ProposalType   = 0xF0A4 // supported by all, not required
)

var demandingOptions = GroupOptions{
	Extensions: []Extension{
		RequiredCapabilities{
			ExtensionTypes:  []ExtensionType{neededExtension},
			ProposalTypes:   []ProposalType{neededProposal},
			CredentialTypes: []CredentialType{neededCredential},
		}.Extension(),
		{groupExtension, []byte("of the group")},
	},
	Leaf: capableLeaf,
}

var capableLeaf = LeafOptions{
	SupportedExtensions:  []ExtensionType{neededExtension, groupExtension},
	SupportedProposals:   []ProposalType{neededProposal, customType},
	SupportedCredentials: []CredentialType{neededCredential},
}

// capable returns a key package that meets the demands.
func (p *person) capable() *KeyPackage {
	p.t.Helper()
	k := must(p.client.NewKeyPackage(p.suite, p.id, KeyPackageOptions{Leaf: capableLeaf}))
	p.kps = append(p.kps, k)
	return k.KeyPackage
}

// newDemandingRoom returns a group of n members that has extensions and required
// capabilities. Each member has committed once, so that the tree is full.
func newDemandingRoom(t testing.TB, n int) *room {
	t.Helper()
	psks := pskMap{"shared": []byte("a secret"), "other": []byte("another")}
	r := &room{t: t}
	creator := newPerson(t, "member 0", classic, Config{PSKs: psks})
	creator.create(demandingOptions)
	r.members = append(r.members, creator)
	var joiners []*person
	var adds []Proposal
	for i := 1; i < n; i++ {
		p := newPerson(t, "member "+string(rune('0'+i)), classic, Config{PSKs: psks})
		joiners = append(joiners, p)
		adds = append(adds, &Add{p.capable()})
	}
	r.commit(creator, CommitOptions{Proposals: adds}, joiners...)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	return r
}

// pskMap is a store of external PSKs.
type pskMap map[string][]byte

func (m pskMap) ExternalPSK(id []byte) ([]byte, error) {
	if psk, ok := m[string(id)]; ok {
		return psk, nil
	}
	return nil, ErrUnknownPSK
}

func (m pskMap) ResumptionPSK([]byte, uint64) ([]byte, error) { return nil, ErrUnknownPSK }

func without[T comparable](list []T, v T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(o T) bool { return o == v })
}

type leafRule struct {
	name   string
	change func(*LeafNode)
	want   any
}

// leafRules break what a LeafNode has to fulfil wherever it stands.
var leafRules = []leafRule{
	{"encryption key is no key", func(l *LeafNode) { l.EncryptionKey = []byte("short") }, ErrInvalidKey},
	{"encryption key is empty", func(l *LeafNode) { l.EncryptionKey = nil }, ErrInvalidKey},
	{"signature key is no key", func(l *LeafNode) { l.SignatureKey = l.SignatureKey[:31] }, ErrInvalidKey},
	{"extension type twice", func(l *LeafNode) {
		l.Extensions = []Extension{{neededExtension, nil}, {neededExtension, []byte("x")}}
	}, ErrMalformed},
	{"extension of another place", func(l *LeafNode) {
		l.Extensions = []Extension{externalPubExtension([]byte("key"))}
	}, brokenRule{"17.3", "out of its place"}},
	{"bytes left over in application_id", func(l *LeafNode) {
		e := ApplicationIDExtension([]byte("id"))
		l.Extensions = []Extension{{e.ExtensionType, append(e.ExtensionData, 0)}}
	}, ErrMalformed},
	{"capabilities without the version", func(l *LeafNode) {
		l.Capabilities.Versions = []ProtocolVersion{2}
	}, brokenRule{"7.2", "lack the protocol version"}},
	{"capabilities without the suite", func(l *LeafNode) {
		l.Capabilities.CipherSuites = without(l.Capabilities.CipherSuites, classic)
	}, brokenRule{"7.2", "lack the cipher suite"}},
	{"capabilities without its credential type", func(l *LeafNode) {
		l.Capabilities.Credentials = without(l.Capabilities.Credentials, CredentialTypeBasic)
	}, brokenRule{"7.3", "credential type is not in its capabilities"}},
	{"capabilities with a default extension", func(l *LeafNode) {
		l.Capabilities.Extensions = append(slices.Clone(l.Capabilities.Extensions), ExtensionTypeExternalSenders)
	}, brokenRule{"7.2", "default extension type"}},
	{"capabilities with a default proposal", func(l *LeafNode) {
		l.Capabilities.Proposals = append(slices.Clone(l.Capabilities.Proposals), ProposalTypeAdd)
	}, brokenRule{"7.2", "default proposal type"}},
	{"extension that its capabilities lack", func(l *LeafNode) {
		l.Extensions = []Extension{{0xF0FF, nil}}
	}, brokenRule{"7.3", "extension 0xF0FF is not in its capabilities"}},
}

// contextRules break what a LeafNode has to fulfil in the group of these tests.
var contextRules = []leafRule{
	{"required extension", func(l *LeafNode) {
		l.Capabilities.Extensions = without(l.Capabilities.Extensions, neededExtension)
	}, brokenRule{"7.3", "required extension 0xF0A0"}},
	{"required proposal", func(l *LeafNode) {
		l.Capabilities.Proposals = without(l.Capabilities.Proposals, neededProposal)
	}, brokenRule{"7.3", "required proposal 0xF0A1"}},
	{"required credential", func(l *LeafNode) {
		l.Capabilities.Credentials = without(l.Capabilities.Credentials, neededCredential)
	}, brokenRule{"7.3", "required credential type 0xF0A2"}},
	{"group extension", func(l *LeafNode) {
		l.Capabilities.Extensions = without(l.Capabilities.Extensions, groupExtension)
	}, brokenRule{"13.4", "group extension 0xF0A3"}},
	{"credential type that others lack", func(l *LeafNode) {
		l.Credential = Credential{CredentialType: 0xF0FF, Identity: []byte("x")}
		l.Capabilities.Credentials = append(slices.Clone(l.Capabilities.Credentials), 0xF0FF)
	}, brokenRule{"7.3", "credential type 0xF0FF"}},
	{"credential type of others", func(l *LeafNode) {
		l.Credential = Credential{CredentialType: neededCredential, Identity: []byte("x")}
		l.Capabilities.Credentials = without(l.Capabilities.Credentials, CredentialTypeBasic)
	}, brokenRule{"7.3", "credential type 0x0001"}},
}

// allLeafRules are those of a LeafNode in the tree of the group.
func allLeafRules() []leafRule { return append(slices.Clone(leafRules), contextRules...) }

func TestKeyPackages(t *testing.T) {
	day := uint64(24 * 60 * 60)
	rules := []struct {
		name   string
		change func(*KeyPackage)
		want   any
	}{
		{"other version", func(k *KeyPackage) { k.Version = 2 }, brokenRule{"10.1", "protocol version"}},
		{"other cipher suite", func(k *KeyPackage) {
			k.CipherSuite = MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519
		}, brokenRule{"10.1", "cipher suite"}},
		{"init key is no key", func(k *KeyPackage) { k.InitKey = k.InitKey[:31] }, ErrInvalidKey},
		{"init key is the encryption key", func(k *KeyPackage) {
			k.InitKey = k.LeafNode.EncryptionKey
		}, brokenRule{"10.1", "init key and encryption key"}},
		{"leaf from an update", func(k *KeyPackage) {
			k.LeafNode.LeafNodeSource = LeafNodeSourceUpdate
		}, brokenRule{"7.3", "another source"}},
		{"leaf from a commit", func(k *KeyPackage) {
			k.LeafNode.LeafNodeSource = LeafNodeSourceCommit
		}, brokenRule{"7.3", "another source"}},
		{"expired", func(k *KeyPackage) {
			k.LeafNode.Lifetime.NotBefore -= 80 * day
			k.LeafNode.Lifetime.NotAfter -= 91 * day
		}, brokenRule{"7.3", "has ended"}},
		{"not yet valid", func(k *KeyPackage) {
			k.LeafNode.Lifetime.NotBefore += day
		}, brokenRule{"7.3", "has not begun"}},
		{"ends before it begins", func(k *KeyPackage) {
			k.LeafNode.Lifetime.NotAfter = k.LeafNode.Lifetime.NotBefore - 1
		}, brokenRule{"7.2", "ends before"}},
		{"valid for too long", func(k *KeyPackage) {
			k.LeafNode.Lifetime.NotAfter += 100 * day
		}, brokenRule{"7.2", "longer than"}},
		{"valid for all time", func(k *KeyPackage) {
			k.LeafNode.Lifetime = Lifetime{0, 1<<64 - 1}
		}, brokenRule{"7.2", "longer than"}},
		{"extension type twice", func(k *KeyPackage) {
			k.Extensions = []Extension{{neededExtension, nil}, {neededExtension, nil}}
		}, ErrMalformed},
		{"extension of another place", func(k *KeyPackage) {
			k.Extensions = []Extension{ApplicationIDExtension([]byte("x"))}
		}, brokenRule{"17.3", "out of its place"}},
		// An unknown extension is to be ignored (RFC 9420, Section 10), even where the
		// sender should have listed it.
		{"extension that its capabilities lack", func(k *KeyPackage) {
			k.Extensions = []Extension{{0xF0FF, nil}}
		}, nil},
	}
	for _, rule := range leafRules {
		rules = append(rules, struct {
			name   string
			change func(*KeyPackage)
			want   any
		}{"leaf: " + rule.name, func(k *KeyPackage) { rule.change(k.LeafNode) }, rule.want})
	}
	r := newDemandingRoom(t, 3)
	forge := func(t *testing.T, change func(*KeyPackage)) *KeyPackage {
		p := newPerson(t, "joiner", classic, Config{})
		return forgeKeyPackage(t, p, KeyPackageOptions{Leaf: capableLeaf}, change).KeyPackage
	}
	try := func(t *testing.T, k *KeyPackage, want any) {
		bob := cloneGroup(t, r.members[1])
		add := &Add{k}
		t.Run("commit", func(t *testing.T) {
			f := &forgery{proposals: valueOf(bob, add)}
			checkOrRefuse(t, cloneGroup(t, r.members[0]), f.public(t, bob), want)
		})
		t.Run("proposal", func(t *testing.T) {
			message, _ := forgeProposal(t, bob, add)
			checkOrRefuse(t, cloneGroup(t, r.members[0]), message, want)
		})
	}
	t.Run("valid", func(t *testing.T) { try(t, forge(t, nil), nil) })
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) { try(t, forge(t, rule.change), rule.want) })
	}
	for _, broken := range []struct {
		name   string
		change func(*KeyPackage)
	}{
		{"leaf signature", func(k *KeyPackage) { k.LeafNode.Signature = flip(k.LeafNode.Signature) }},
		{"leaf without signature", func(k *KeyPackage) { k.LeafNode.Signature = nil }},
		{"signature", func(k *KeyPackage) { k.Signature = flip(k.Signature) }},
		{"no signature", func(k *KeyPackage) { k.Signature = nil }},
		{"signed leaf of another", func(k *KeyPackage) {
			k.LeafNode = forge(t, nil).LeafNode
		}},
		{"extension after signing", func(k *KeyPackage) { k.Extensions = []Extension{{neededExtension, nil}} }},
	} {
		t.Run(broken.name, func(t *testing.T) {
			k := forge(t, nil)
			broken.change(k)
			try(t, k, ErrSignature)
		})
	}
	t.Run("leaf signature alone", func(t *testing.T) {
		p := newPerson(t, "joiner", classic, Config{})
		k := forgeKeyPackage(t, p, KeyPackageOptions{Leaf: capableLeaf}, nil).KeyPackage
		k.LeafNode.Signature = flip(k.LeafNode.Signature)
		k.Signature = must(must(classic.suite()).signWithLabel(p.id.Signer, keyPackageLabel, k.tbs()))
		try(t, k, ErrSignature)
	})
}

// TestECDSAKeys has leaves whose signature key is no point of the suite's curve, or
// not in its uncompressed form (RFC 9420, Section 5.1.1).
func TestECDSAKeys(t *testing.T) {
	cs := MLS_128_DHKEMP256_AES128GCM_SHA256_P256
	p := newPerson(t, "p", cs, Config{})
	for name, change := range map[string]func(key []byte) []byte{
		"empty":                 func([]byte) []byte { return nil },
		"cut short":             func(key []byte) []byte { return key[:64] },
		"compressed":            func(key []byte) []byte { return append([]byte{2 + key[64]&1}, key[1:33]...) },
		"not on the curve":      flip,
		"the point at infinity": func([]byte) []byte { return []byte{0} },
	} {
		k := forgeKeyPackage(t, p, KeyPackageOptions{}, func(k *KeyPackage) { k.LeafNode.SignatureKey = change(k.LeafNode.SignatureKey) })
		if err := p.client.ValidateKeyPackage(k.KeyPackage); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkOrRefuse expects the message to be accepted if want is nil.
func checkOrRefuse(t *testing.T, g *Group, message []byte, want any) {
	t.Helper()
	if want != nil {
		mustRefuse(t, g, message, want)
		return
	}
	if _, err := g.Process(message); err != nil {
		t.Fatalf("refused: %v", err)
	}
}

func flip(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// TestKeyPackageVersionOfMessage breaks RFC 9420, Section 10.
func TestKeyPackageVersionOfMessage(t *testing.T) {
	p := newPerson(t, "p", classic, Config{})
	k := forgeKeyPackage(t, p, KeyPackageOptions{}, func(k *KeyPackage) { k.Version = 2 })
	_, err := ParseKeyPackage(k.KeyPackage.Message())
	checkRefusal(t, err, brokenRule{"10", "another version"})
}

// TestLeafOfUpdate breaks each rule of RFC 9420, Section 7.3 in an Update.
func TestLeafOfUpdate(t *testing.T) {
	r := newDemandingRoom(t, 6)
	bob, carol := cloneGroup(t, r.members[1]), cloneGroup(t, r.members[2])
	// committed sends Bob's Update to Alice, and commits it by Carol.
	committed := func(t *testing.T, update *Update) (alice *Group, commit []byte) {
		alice = cloneGroup(t, r.members[0])
		message, ref := forgeProposal(t, bob, update)
		if _, err := alice.Process(message); err != nil {
			t.Fatalf("refused as a proposal already: %v", err)
		}
		f := &forgery{proposals: []CommittedProposal{ref}}
		return alice, f.public(t, carol)
	}
	t.Run("valid", func(t *testing.T) {
		alice, commit := committed(t, forgeUpdate(t, bob, nil))
		checkOrRefuse(t, alice, commit, nil)
	})
	rules := append(slices.Clone(leafRules),
		leafRule{"source is a commit", func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceCommit }, brokenRule{"7.3", "another source"}},
		leafRule{"source is a key package", func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceKeyPackage }, brokenRule{"7.3", "another source"}},
		leafRule{"encryption key stays", func(l *LeafNode) { l.EncryptionKey = bob.ownLeaf().EncryptionKey }, brokenRule{"7.3", "keeps the encryption key"}},
	)
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			message, _ := forgeProposal(t, bob, forgeUpdate(t, bob, rule.change))
			mustRefuse(t, cloneGroup(t, r.members[0]), message, rule.want)
		})
	}
	inTree := append(slices.Clone(contextRules),
		leafRule{"encryption key of another", func(l *LeafNode) { l.EncryptionKey = carol.epoch.tree.leaf(3).EncryptionKey }, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
		leafRule{"encryption key of a parent", func(l *LeafNode) {
			l.EncryptionKey = carol.epoch.tree.node(LeafIndex(5).ancestor(1)).parent.EncryptionKey
		}, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
	)
	for _, rule := range inTree {
		t.Run(rule.name, func(t *testing.T) {
			alice, commit := committed(t, forgeUpdate(t, bob, rule.change))
			mustRefuse(t, alice, commit, rule.want)
		})
	}
	t.Run("signature key of another", func(t *testing.T) {
		dave := r.members[3]
		update := forgeUpdate(t, bob, func(l *LeafNode) { l.SignatureKey = dave.group.ownLeaf().SignatureKey })
		if err := update.LeafNode.sign(bob.suite, dave.id.Signer, bob.epoch.context.GroupID, 1); err != nil {
			t.Fatal(err)
		}
		alice, commit := committed(t, update)
		mustRefuse(t, alice, commit, brokenRule{"7.3", "signature key of a leaf occurs twice"})
	})
	for _, broken := range []struct {
		name string
		sign func(*LeafNode) error
	}{
		{"signed for another leaf", func(l *LeafNode) error { return l.sign(bob.suite, bob.signer, bob.epoch.context.GroupID, 2) }},
		{"signed for another group", func(l *LeafNode) error { return l.sign(bob.suite, bob.signer, []byte("other"), 1) }},
		{"signed by another", func(l *LeafNode) error {
			return l.sign(bob.suite, otherSigner(t, classic), bob.epoch.context.GroupID, 1)
		}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			update := forgeUpdate(t, bob, nil)
			if err := broken.sign(update.LeafNode); err != nil {
				t.Fatal(err)
			}
			message, _ := forgeProposal(t, bob, update)
			mustRefuse(t, cloneGroup(t, r.members[0]), message, ErrSignature)
		})
	}
}

// TestLeafOfCommit breaks each rule of RFC 9420, Sections 7.3 and 12.4.2 in the
// leaf of an UpdatePath, of a member's commit and of an external one.
func TestLeafOfCommit(t *testing.T) {
	r := newDemandingRoom(t, 4)
	bob := cloneGroup(t, r.members[1])
	rules := append(allLeafRules(),
		leafRule{"source is an update", func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceUpdate }, brokenRule{"7.3", "another source"}},
		leafRule{"source is a key package", func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceKeyPackage }, brokenRule{"7.3", "another source"}},
		leafRule{"encryption key stays", func(l *LeafNode) { l.EncryptionKey = bob.ownLeaf().EncryptionKey }, brokenRule{"12.4.2", "in the tree already"}},
		leafRule{"encryption key of another", func(l *LeafNode) { l.EncryptionKey = bob.epoch.tree.leaf(3).EncryptionKey }, brokenRule{"12.4.2", "in the tree already"}},
		leafRule{"encryption key of a parent", func(l *LeafNode) { l.EncryptionKey = bob.epoch.tree.root.parent.EncryptionKey }, brokenRule{"12.4.2", "in the tree already"}},
		leafRule{"parent hash", func(l *LeafNode) { l.ParentHash = flip(l.ParentHash) }, brokenRule{"7.5", "parent hash"}},
		leafRule{"no parent hash", func(l *LeafNode) { l.ParentHash = nil }, brokenRule{"7.5", "parent hash"}},
		leafRule{"truncated parent hash", func(l *LeafNode) { l.ParentHash = l.ParentHash[:31] }, brokenRule{"7.5", "parent hash"}},
	)
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			f := &forgery{leaf: rule.change}
			mustRefuse(t, cloneGroup(t, r.members[0]), f.public(t, bob), rule.want)
		})
		t.Run("external/"+rule.name, func(t *testing.T) {
			f := &forgery{external: newPerson(t, "joiner", classic, Config{}), leaf: func(l *LeafNode) {
				l.Capabilities, l.Extensions = bob.ownLeaf().Capabilities, nil
				rule.change(l)
			}}
			want := rule.want
			if rule.name == "signature key is no key" {
				want = ErrSignature // the commit is signed by that key
			}
			mustRefuse(t, cloneGroup(t, r.members[0]), f.public(t, bob), want)
		})
	}
	other, index := otherSigner(t, classic), LeafIndex(3)
	for _, broken := range []struct {
		name string
		f    forgery
		want any
	}{
		{"signed by another", forgery{leafSigner: other}, ErrSignature},
		{"signed for another group", forgery{groupID: []byte("other")}, ErrSignature},
		{"signed for another leaf", forgery{index: &index}, ErrSignature},
		{"signature key of another", forgery{
			leaf:       func(l *LeafNode) { l.SignatureKey = bob.epoch.tree.leaf(3).SignatureKey },
			leafSigner: r.members[3].id.Signer,
		}, brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"valid", forgery{}, nil},
	} {
		t.Run(broken.name, func(t *testing.T) {
			f := broken.f
			checkOrRefuse(t, cloneGroup(t, r.members[0]), f.public(t, bob), broken.want)
		})
	}
}
