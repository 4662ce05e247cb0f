package mls

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestOwnMistakes makes the calls that an application should not make. Each gives an
// error, and leaves the group as it was.
func TestOwnMistakes(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	p := r.members[0]
	c, id, g := p.client, p.id, p.group
	p256 := must(MLS_128_DHKEMP256_AES128GCM_SHA256_P256.GenerateSignatureKey())
	p521 := must(MLS_256_DHKEMP521_AES256GCM_SHA512_P521.GenerateSignatureKey())
	unknown := func(signer crypto.Signer) Identity { return Identity{id.Credential, signer} }
	strange := Identity{Credential{CredentialType: customCredential}, id.Signer}
	twice := []Extension{{customExtension, nil}, {customExtension, nil}}
	huge := make([]byte, maxVectorLength/2+1) // never touched, so it takes no memory
	const none = CipherSuite(0x0A0A)
	add := &Add{newPerson(t, "new", classic, Config{}).keyPackage()}
	expired := newPerson(t, "old", classic, Config{}).tamperKeyPackage(func(k *KeyPackage) { k.LeafNode.Lifetime = Lifetime{1, 2} })
	keyPackage := add.KeyPackage.Message()
	nobody := LeafIndex(3)
	for _, tt := range []struct {
		name string
		err  error
		want any
	}{
		{"key package of an unknown suite", call(c.NewKeyPackage(none, id, KeyPackageOptions{})), ErrUnsupported},
		{"key package without a signer", call(c.NewKeyPackage(classic, Identity{}, KeyPackageOptions{})), "identity without a signer"},
		{"key package with an ECDSA key", call(c.NewKeyPackage(classic, unknown(p256), KeyPackageOptions{})), errWrongScheme},
		{"key package with an Ed25519 key", call(c.NewKeyPackage(MLS_128_DHKEMP256_AES128GCM_SHA256_P256, id, KeyPackageOptions{})), errWrongScheme},
		{"key package with a key of another curve", call(c.NewKeyPackage(MLS_128_DHKEMP256_AES128GCM_SHA256_P256, unknown(p521), KeyPackageOptions{})), errWrongScheme},
		{"key package with an extension that is not supported", call(c.NewKeyPackage(classic, id, KeyPackageOptions{Extensions: twice[:1]})), "not among the supported extensions"},
		{"key package with an extension twice", call(c.NewKeyPackage(classic, id, KeyPackageOptions{Leaf: LeafOptions{Extensions: twice}})), "listed twice"},
		{"group of an unknown suite", call(c.CreateGroup(none, id, GroupOptions{})), ErrUnsupported},
		{"group without a signer", call(c.CreateGroup(classic, Identity{}, GroupOptions{})), "identity without a signer"},
		{"group with an extension of a leaf", call(c.CreateGroup(classic, id, GroupOptions{Extensions: []Extension{ApplicationIDExtension(nil)}})), "out of its place"},
		{"group with an extension that we lack", call(c.CreateGroup(classic, id, GroupOptions{Extensions: twice[:1]})), "is not in the leaf's capabilities"},
		{"reference of an unknown suite", call((&KeyPackage{CipherSuite: none}).Ref()), ErrUnsupported},
		{"checking a key package of an unknown suite", c.ValidateKeyPackage(&KeyPackage{CipherSuite: none}), ErrUnsupported},
		{"key package in place of a Welcome", call(call2(c.Join(keyPackage, p.kps, id.Signer, JoinOptions{}))), "not a Welcome"},
		{"Welcome that does not parse", call(call2(c.Join(nil, p.kps, id.Signer, JoinOptions{}))), ErrMalformed},
		{"key package in place of a GroupInfo", call(call2(c.JoinExternal(keyPackage, id, ExternalJoinOptions{}))), "not a GroupInfo"},
		{"GroupInfo that does not parse", call(call2(c.JoinExternal(nil, id, ExternalJoinOptions{}))), ErrMalformed},
		{"external join in place of nobody", call(call2(c.JoinExternal(must(g.GroupInfo(true)), id, ExternalJoinOptions{Replace: &nobody}))), "blank leaf"},
		{"GroupInfo in place of a key package", call(ParseKeyPackage(must(g.GroupInfo(false)))), "not a key package"},
		{"GroupInfo with an extension twice", call(g.GroupInfo(true, twice...)), "listed twice"},
		{"loading without a signer", call(c.UnmarshalGroup(g.Marshal())), ErrState},
		{"loading with a nil signer", call(c.UnmarshalGroup(g.Marshal(), crypto.Signer(nil))), ErrState},
		{"export of a negative length", call(g.Export("x", nil, -1)), ErrTooLarge},
		{"export of too much", call(g.Export("x", nil, 255*32+1)), ErrTooLarge},
		{"huge message", call(g.Encrypt(huge, nil)), ErrTooLarge},
		{"huge authenticated data", call(g.Encrypt(nil, huge)), ErrTooLarge},
		{"commit with huge authenticated data", call(g.Commit(CommitOptions{AuthenticatedData: huge})), ErrTooLarge},
		{"proposal with huge authenticated data", call(g.Propose(&Remove{1}, huge)), ErrTooLarge},
		{"Update as any proposal", call(g.Propose(&Update{g.ownLeaf()}, nil)), "made by ProposeUpdate"},
		{"Remove of nobody", call(g.Propose(&Remove{9}, nil)), "blank leaf"},
		{"Add of an expired key package", call(g.Commit(CommitOptions{Proposals: []Proposal{&Add{expired}}})), "lifetime"},
		{"Update with an ECDSA key", call(g.ProposeUpdate(UpdateOptions{Identity: &Identity{id.Credential, p256}})), errWrongScheme},
		{"Update to a credential that the leaf does not list", call(g.ProposeUpdate(UpdateOptions{Identity: &strange})), "not among the leaf's capabilities"},
		{"commit with an ECDSA key", call(g.Commit(CommitOptions{Identity: &Identity{id.Credential, p256}})), errWrongScheme},
		{"commit with a PSK that we lack", call(g.Commit(CommitOptions{Proposals: []Proposal{externalPSK("z", 0)}})), ErrUnknownPSK},
		{"merging no commit", g.MergePendingCommit(), ErrPendingCommit},
		{"external proposal for an unknown suite", call(c.ProposeExternally(GroupAddress{none, g.ID(), 1}, 0, id.Signer, add)), ErrUnsupported},
		{"external proposal of an Update", call(c.ProposeExternally(GroupAddress{classic, g.ID(), 1}, 0, id.Signer, &Update{g.ownLeaf()})), "from an external sender"},
		{"signature key of an unknown suite", call(none.GenerateSignatureKey()), ErrUnsupported},
		{"parsing a signature key of an unknown suite", call(none.ParseSignatureKey(nil)), ErrUnsupported},
		{"parsing a short signature key", call(classic.ParseSignatureKey(make([]byte, 31))), errWrongScheme},
		{"parsing a long scalar", call(MLS_128_DHKEMP256_AES128GCM_SHA256_P256.ParseSignatureKey(make([]byte, 33))), errWrongScheme},
		{"public key for an unknown suite", call(none.SignaturePublicKey(id.Signer)), ErrUnsupported},
		{"client without an AuthenticationService", call(NewClient(nil, Config{})), "needs an AuthenticationService"},
		{"private key package of another version", call(ParsePrivateKeyPackage(append([]byte{9}, p.another().Marshal()[1:]...))), ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch want := tt.want.(type) {
			case error:
				if !errors.Is(tt.err, want) {
					t.Errorf("got %v, want %v", tt.err, want)
				}
			case string:
				if tt.err == nil || !strings.Contains(tt.err.Error(), want) {
					t.Errorf("got %v, want %q", tt.err, want)
				}
			}
		})
	}
	// The group is as usable as before.
	r.commit(p, CommitOptions{})
	r.say(p, "after all that")
}

func call2[T, U any](v T, _ U, err error) (T, error) { return v, err }

// another returns a private key package.
func (p *person) another() *PrivateKeyPackage {
	return must(p.client.NewKeyPackage(p.suite, p.id, KeyPackageOptions{}))
}

// TestMergingAtTheWrongTime merges our own commit after it was discarded, and the
// commit of another in a group that is closed.
func TestMergingAtTheWrongTime(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0].group, r.members[1].group
	first := must(alice.Commit(CommitOptions{}))
	own, others := mustStage(t, alice, first.Commit), mustStage(t, bob, first.Commit)
	alice.DiscardPendingCommit()
	if err := alice.Merge(own); !errors.Is(err, ErrStagedCommit) {
		t.Errorf("merging a discarded commit: %v", err)
	}
	must(alice.Commit(CommitOptions{}))
	if err := alice.Merge(own); !errors.Is(err, ErrStagedCommit) {
		t.Errorf("merging a discarded commit while another waits: %v", err)
	}
	if err := alice.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	removal := must(r.members[2].group.Commit(CommitOptions{Proposals: []Proposal{&Remove{1}}}))
	staged := mustStage(t, bob, removal.Commit)
	if err := bob.Merge(staged); err != nil || !staged.RemovesUs {
		t.Fatal(err)
	}
	if err := bob.Merge(others); !errors.Is(err, ErrStagedCommit) {
		t.Errorf("merging into a group that we were removed from: %v", err)
	}
	if _, _, err := bob.Branch(r.members[1].id, nil, GroupOptions{}); !errors.Is(err, ErrInactive) {
		t.Errorf("branching off it: %v", err)
	}
}

// TestReInitToAnotherVersion closes a group for a version that does not exist yet
// (RFC 9420, Section 11.2).
func TestReInitToAnotherVersion(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0], r.members[1]
	r.commit(alice, CommitOptions{Proposals: []Proposal{&ReInit{GroupID: []byte("new"), Version: 2, CipherSuite: classic}}})
	list := []*KeyPackage{bob.keyPackage()}
	if _, _, err := alice.group.Reinitialize(alice.id, list, LeafOptions{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	// Whoever opens a group of this version all the same is refused.
	_, welcome, err := alice.group.openSuccessor(classic, alice.id, list, GroupOptions{GroupID: []byte("new")}, ResumptionPSKUsageReinit)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
	checkRefusal(t, err, brokenRule{"12.4.3.1", "does not match the ReInit"})
}

// TestExport exports secrets shorter and longer than a hash (RFC 9420, Section 8.5).
func TestExport(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	s, exporter := alice.suite, alice.epoch.secrets.exporterSecret
	for _, length := range []int{0, 1, 32, 33, 1000, 255 * 32} {
		derived := s.deriveSecret(exporter, "label")
		info := appendKDFLabel(nil, "exported", s.hash([]byte("context")), length)
		want := must(hkdf.Expand(s.newHash, derived, string(info), length))
		for _, g := range []*Group{alice, bob} {
			if got := must(g.Export("label", []byte("context"), length)); !bytes.Equal(got, want) {
				t.Errorf("%d bytes are %.10x, want %.10x", length, got, want)
			}
		}
	}
}

// TestLimits reaches the largest tree and the last generation.
func TestLimits(t *testing.T) {
	s := must(classic.suite())
	full := &ratchetTree{suite: s, height: maxHeight, root: &treeNode{members: 1 << maxHeight}}
	if _, _, err := full.add(&LeafNode{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("adding to a full tree: %v", err)
	}
	leaf := newPerson(t, "p", classic, Config{}).keyPackage().LeafNode
	wide := make([]*treeNode, 2<<maxHeight+1)
	wide[0], wide[len(wide)-1] = &treeNode{leaf: leaf}, &treeNode{leaf: leaf}
	if _, err := parseRatchetTree(s, rawTree(wide)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("parsing a tree that is too wide: %v", err)
	}
	tree := newSecretTree(s, 1, make([]byte, s.nh))
	use := must(tree.find(0, applicationRatchet, 0))
	tree.consume(use)
	tree.senders[0][applicationRatchet].next = 1<<32 - 1
	if _, err := tree.findNext(0, applicationRatchet); !errors.Is(err, ErrGenerationUsed) {
		t.Errorf("message past the last generation: %v", err)
	}
	tree.wipe()
	if _, err := tree.find(1, applicationRatchet, 0); !errors.Is(err, ErrGenerationUsed) {
		t.Errorf("message of an epoch whose keys are gone: %v", err)
	}
}

// A brittleReader fails once, after its turns.
type brittleReader struct{ turns int }

func (r *brittleReader) Read(b []byte) (int, error) {
	if r.turns--; r.turns == -1 {
		return 0, errBroken
	}
	return rand.Read(b)
}

var errBroken = errors.New("broken")

// A brittleSigner fails once, after its turns, as a hardware key can.
type brittleSigner struct {
	crypto.Signer
	turns int
}

func (s *brittleSigner) Sign(source io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.turns--; s.turns == -1 {
		return nil, errBroken
	}
	return s.Signer.Sign(source, digest, opts)
}

// TestBrokenSources has randomness and signer fail at each place where they are
// used. Every call gives that error and leaves the group as it was, or works.
func TestBrokenSources(t *testing.T) {
	source := &brittleReader{1 << 30}
	config := Config{Rand: source, PSKs: pskMap{"a": []byte("key")}}
	r := newRoom(t, classic, config, 3)
	p := r.members[0]
	signer := &brittleSigner{p.id.Signer, 1 << 30}
	p.id.Signer = signer
	p.group = must(p.client.UnmarshalGroup(p.group.Marshal(), signer))
	info := must(r.members[1].group.GroupInfo(true))
	address := GroupAddress{classic, p.group.ID(), 1}
	psk, add := externalPSK("a", 0).PSK, &Add{newPerson(t, "new", classic, Config{}).keyPackage()}
	for name, f := range map[string]func(g *Group) error{
		"NewKeyPackage": func(*Group) error { return call(p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{})) },
		"CreateGroup":   func(*Group) error { return call(p.client.CreateGroup(classic, p.id, GroupOptions{})) },
		"JoinExternal": func(*Group) error {
			place := LeafIndex(0)
			return call(call2(p.client.JoinExternal(info, p.id, ExternalJoinOptions{Replace: &place, PSKs: []PreSharedKeyID{psk}})))
		},
		"Commit": func(g *Group) error {
			return call(g.Commit(CommitOptions{Leaf: &LeafOptions{}, Proposals: []Proposal{
				&PreSharedKey{psk}, add, &Remove{1},
			}}))
		},
		"Propose":           func(g *Group) error { return call(g.Propose(&PreSharedKey{psk}, nil)) },
		"ProposeUpdate":     func(g *Group) error { return call(g.ProposeUpdate(UpdateOptions{})) },
		"Encrypt":           func(g *Group) error { return call(g.Encrypt([]byte("x"), nil)) },
		"GroupInfo":         func(g *Group) error { return call(g.GroupInfo(true)) },
		"Branch":            func(g *Group) error { return call(call2(g.Branch(p.id, nil, GroupOptions{}))) },
		"ProposeExternally": func(*Group) error { return call(p.client.ProposeExternally(address, 0, signer, &PreSharedKey{psk})) },
	} {
		t.Run(name, func(t *testing.T) {
			for what, turns := range map[string]*int{"randomness": &source.turns, "signer": &signer.turns} {
				const plenty = 1 << 30
				try := func(n int) error {
					g := must(p.client.UnmarshalGroup(p.group.Marshal(), signer))
					before := g.Marshal()
					*turns = n
					err := f(g)
					if err != nil && !bytes.Equal(g.Marshal(), before) {
						t.Errorf("%s fails at use %d: the group changed", what, n)
					}
					return err
				}
				err := try(plenty)
				uses := plenty - *turns
				*turns = plenty
				if err != nil || uses == 0 {
					t.Fatalf("%s is used %d times: %v", what, uses, err)
				}
				for n := range uses {
					err := try(n)
					*turns = plenty
					if !errors.Is(err, errBroken) {
						t.Errorf("%s fails at use %d of %d: %v", what, n, uses, err)
					}
				}
			}
		})
	}
}
