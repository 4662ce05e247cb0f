package mls

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// forgeWelcome makes a Welcome as the given member, with a GroupInfo and secrets
// that were changed before they were signed and encrypted.
type forgeWelcome struct {
	info    func(*GroupInfo)
	tree    func(*ratchetTree) *ratchetTree // for the extension and the tree hash
	raw     func([]byte) []byte             // for the extension alone
	secrets func(*groupSecrets)
	signer  *person
	key     *KeyPackage // another one than the tree has
	noPath  bool
}

// make adds the newcomer by a commit and forges the Welcome.
func (f forgeWelcome) make(by, newcomer *person) []byte {
	by.t.Helper()
	g := by.group
	k := newcomer.keyPackage()
	pending, err := g.Commit(CommitOptions{Proposals: []Proposal{&Add{k}}, OmitPath: f.noPath})
	if err != nil {
		by.t.Fatal(err)
	}
	defer g.DiscardPendingCommit()
	n := *pending.next
	epoch := *n.epoch
	n.epoch = &epoch
	if f.tree != nil {
		epoch.tree = f.tree(epoch.tree)
		epoch.context.TreeHash = epoch.tree.treeHash()
	}
	// The key schedule is run anew, since the context may be another.
	joiner, path := make([]byte, g.suite.nh), []byte(nil)
	welcomeSecret := g.suite.welcomeSecret(g.suite.memberSecret(joiner, make([]byte, g.suite.nh)))
	info := &GroupInfo{GroupContext: epoch.context, Signer: g.private.leaf}
	raw := epoch.tree.marshal()
	if f.raw != nil {
		raw = f.raw(raw)
	}
	info.Extensions = []Extension{{ExtensionTypeRatchetTree, raw}}
	if f.info != nil {
		f.info(info)
	}
	if info.ConfirmationTag == nil {
		e, _ := g.suite.newEpoch(epoch.tree, info.GroupContext, info.GroupContext.Marshal(), bytes.Clone(joiner), make([]byte, g.suite.nh))
		info.ConfirmationTag = g.suite.mac(e.secrets.confirmationKey, info.GroupContext.ConfirmedTranscriptHash)
	}
	signer := by
	if f.signer != nil {
		signer = f.signer
	}
	if info.Signature, err = g.suite.signWithLabel(signer.id.Signer, groupInfoLabel, info.tbs()); err != nil {
		by.t.Fatal(err)
	}
	secrets := &groupSecrets{joinerSecret: joiner, pathSecret: path}
	if f.secrets != nil {
		f.secrets(secrets)
	}
	if f.key != nil {
		k = f.key
	}
	w := &Welcome{cipherSuite: g.suite.id, encryptedGroupInfo: g.suite.sealGroupInfo(welcomeSecret, info.appendTo(nil))}
	c, err := g.suite.encryptWithLabel(k.InitKey, welcomeLabel, w.encryptedGroupInfo, secrets.appendTo(nil))
	if err != nil {
		by.t.Fatal(err)
	}
	ref, err := k.Ref()
	if err != nil {
		by.t.Fatal(err)
	}
	w.secrets = []encryptedGroupSecrets{{ref, c}}
	return w.appendTo(appendMessageHeader(nil, WireFormatWelcome))
}

// TestWelcomeRules breaks the rules for joining (RFC 9420, Section 12.4.3.1).
func TestWelcomeRules(t *testing.T) {
	config := Config{PSKs: psks{"a": []byte("key")}}
	r := newRoom(t, classic, config, 6)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	r.commit(r.members[5], CommitOptions{Proposals: []Proposal{&Remove{4}}})
	alice, bob := r.members[0], r.members[1]
	replaceLeaf := alice.replaceLeaf
	replaceParent := func(i LeafIndex, level int, change func(*ParentNode)) func(*ratchetTree) *ratchetTree {
		return func(tree *ratchetTree) *ratchetTree {
			return tree.replace(i, tree.leaf(i), func(at int, p *ParentNode) *ParentNode {
				if at != level {
					return p
				}
				c := ParentNode{}
				if p != nil {
					c = *p
				}
				c.UnmergedLeaves = slices.Clone(c.UnmergedLeaves)
				change(&c)
				return &c
			})
		}
	}
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b }
	tests := map[string]struct {
		forge forgeWelcome
		want  any
	}{
		"tree hash":           {forgeWelcome{info: func(i *GroupInfo) { i.GroupContext.TreeHash = flip(i.GroupContext.TreeHash) }}, "tree hash does not match"},
		"confirmation tag":    {forgeWelcome{info: func(i *GroupInfo) { i.ConfirmationTag = make([]byte, 32) }}, "confirmation tag"},
		"no confirmation tag": {forgeWelcome{info: func(i *GroupInfo) { i.ConfirmationTag = []byte{} }}, "confirmation tag"},
		"blank signer":        {forgeWelcome{info: func(i *GroupInfo) { i.Signer = 7 }}, "not a member"},
		"signer out of tree":  {forgeWelcome{info: func(i *GroupInfo) { i.Signer = 1 << 31 }}, "not a member"},
		"signature":           {forgeWelcome{signer: bob}, ErrSignature},
		"cipher suite":        {forgeWelcome{info: func(i *GroupInfo) { i.GroupContext.CipherSuite = 3 }}, "another cipher suite"},
		"version":             {forgeWelcome{info: func(i *GroupInfo) { i.GroupContext.Version = 2 }}, ErrUnsupported},
		"unsupported extension": {forgeWelcome{info: func(i *GroupInfo) {
			i.GroupContext.Extensions = []Extension{{customExtension, nil}}
		}}, "is not supported"},
		"required_capabilities": {forgeWelcome{info: func(i *GroupInfo) {
			i.GroupContext.Extensions = []Extension{RequiredCapabilities{ProposalTypes: []ProposalType{customProposal}}.Extension()}
		}}, "required proposal"},
		"no tree":                {forgeWelcome{info: func(i *GroupInfo) { i.Extensions = nil }}, nil},
		"empty tree":             {forgeWelcome{raw: func([]byte) []byte { return []byte{0} }}, ErrMalformed},
		"tree, trailing":         {forgeWelcome{raw: func(b []byte) []byte { return append(b, 0) }}, ErrMalformed},
		"tree, cut":              {forgeWelcome{raw: func(b []byte) []byte { return b[:len(b)-1] }}, ErrMalformed},
		"our leaf":               {forgeWelcome{tree: func(tree *ratchetTree) *ratchetTree { return tree.remove(4) }}, "leaf of our key package"},
		"leaf parent hash":       {forgeWelcome{tree: replaceLeaf(5, r.members[4], func(l *LeafNode) { l.ParentHash = flip(l.ParentHash) })}, "parent-hash valid"},
		"leaf, no parent hash":   {forgeWelcome{tree: replaceLeaf(5, r.members[4], func(l *LeafNode) { l.ParentHash = nil })}, "parent-hash valid"},
		"leaf of another source": {forgeWelcome{tree: replaceLeaf(5, r.members[4], func(l *LeafNode) { l.LeafNodeSource, l.ParentHash = LeafNodeSourceUpdate, nil })}, "parent-hash valid"},
		"parent key":             {forgeWelcome{tree: replaceParent(0, 1, func(p *ParentNode) { p.EncryptionKey = flip(p.EncryptionKey) })}, "parent-hash valid"},
		"parent hash":            {forgeWelcome{tree: replaceParent(0, 1, func(p *ParentNode) { p.ParentHash = flip(p.ParentHash) })}, "parent-hash valid"},
		"parent hash of root":    {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.ParentHash = []byte("x") })}, "parent-hash valid"},
		"parent of nobody":       {forgeWelcome{tree: replaceParent(6, 1, func(p *ParentNode) { p.EncryptionKey = make([]byte, 32) })}, ErrMalformed},
		"unmerged elsewhere":     {forgeWelcome{tree: replaceParent(0, 1, func(p *ParentNode) { p.UnmergedLeaves = []uint32{2} })}, "not under its parent node"},
		"unmerged out of tree":   {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.UnmergedLeaves = []uint32{1 << 30} })}, "not under its parent node"},
		"unmerged blank":         {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.UnmergedLeaves = []uint32{7} })}, "is blank"},
		"unmerged not between":   {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.UnmergedLeaves = append([]uint32{0}, p.UnmergedLeaves...) })}, "not listed on the way down"},
		"unmerged unsorted":      {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.UnmergedLeaves = []uint32{4, 3} })}, ErrMalformed},
		"unmerged twice":         {forgeWelcome{tree: replaceParent(0, 3, func(p *ParentNode) { p.UnmergedLeaves = []uint32{4, 4} })}, ErrMalformed},
		"path secret":            {forgeWelcome{secrets: func(s *groupSecrets) { s.pathSecret = make([]byte, 32) }}, "path secret does not give"},
		"path secret, short":     {forgeWelcome{secrets: func(s *groupSecrets) { s.pathSecret = make([]byte, 31) }}, "path secret of a wrong length"},
		"path secret, empty":     {forgeWelcome{secrets: func(s *groupSecrets) { s.pathSecret = []byte{} }}, "path secret of a wrong length"},
		"joiner secret":          {forgeWelcome{secrets: func(s *groupSecrets) { s.joinerSecret = bytes.Repeat([]byte{1}, 32) }}, ErrDecryption},
		"PSK not used":           {forgeWelcome{secrets: func(s *groupSecrets) { s.psks = []PreSharedKeyID{externalPSK("a", 32).PSK} }}, ErrDecryption},
		"PSK twice":              {forgeWelcome{secrets: func(s *groupSecrets) { s.psks = slices.Repeat([]PreSharedKeyID{externalPSK("a", 32).PSK}, 2) }}, "listed twice"},
		"PSK nonce":              {forgeWelcome{secrets: func(s *groupSecrets) { s.psks = []PreSharedKeyID{externalPSK("a", 31).PSK} }}, "nonce"},
		"PSK unknown":            {forgeWelcome{secrets: func(s *groupSecrets) { s.psks = []PreSharedKeyID{externalPSK("z", 32).PSK} }}, ErrUnknownPSK},
		"key package of another": {forgeWelcome{key: newPerson(t, "x", classic, config).keyPackage()}, ErrNoKeyPackage},
		"external_pub trailing": {forgeWelcome{info: func(i *GroupInfo) {
			i.Extensions = append(i.Extensions, Extension{ExtensionTypeExternalPub, []byte{0, 0}})
		}}, ErrMalformed},
		"extension twice": {forgeWelcome{info: func(i *GroupInfo) { i.Extensions = append(i.Extensions, i.Extensions[0]) }}, ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, "new", classic, config)
			welcome := tt.forge.make(alice, p)
			_, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{})
			if err == nil {
				t.Fatal("joined")
			}
			wantError(t, err, tt.want)
		})
	}
	t.Run("leaves", func(t *testing.T) { testWelcomeLeaves(t, config) })
	t.Run("nothing wrong", func(t *testing.T) {
		p := newPerson(t, "new", classic, config)
		p.join(forgeWelcome{}.make(alice, p), JoinOptions{})
	})
	t.Run("group known", func(t *testing.T) {
		p := newPerson(t, "new", classic, config)
		welcome := forgeWelcome{}.make(alice, p)
		_, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{Known: func(id []byte) bool { return bytes.Equal(id, alice.group.ID()) }})
		wantError(t, err, "member of a group of that identifier")
	})
	t.Run("wrong private keys", func(t *testing.T) {
		p := newPerson(t, "new", classic, config)
		welcome := forgeWelcome{}.make(alice, p)
		k := *p.kps[0]
		k.InitKey, k.EncryptionKey = k.EncryptionKey, k.InitKey
		if _, _, err := p.client.Join(welcome, []*PrivateKeyPackage{&k}, p.id.Signer, JoinOptions{}); err == nil {
			t.Error("joined with keys of another key package")
		}
		if _, _, err := p.client.Join(welcome, p.kps, alice.id.Signer, JoinOptions{}); !errors.Is(err, errNoSigner) {
			t.Errorf("joined with the signer of another: %v", err)
		}
	})
}

// replaceLeaf changes a leaf of a tree and signs it.
func (p *person) replaceLeaf(i LeafIndex, by *person, change func(*LeafNode)) func(*ratchetTree) *ratchetTree {
	return func(tree *ratchetTree) *ratchetTree {
		l := *tree.leaf(i)
		change(&l)
		if err := l.sign(tree.suite, by.id.Signer, p.group.ID(), i); err != nil {
			p.t.Fatal(err)
		}
		return tree.replace(i, &l, func(_ int, p *ParentNode) *ParentNode { return p })
	}
}

// testWelcomeLeaves joins a group without parent nodes, since their hashes would
// show that a leaf was changed before its own rules are looked at.
func testWelcomeLeaves(t *testing.T, config Config) {
	r := newRoom(t, classic, config, 1)
	alice := r.members[0]
	for range 3 {
		p := newPerson(t, "p", classic, config)
		r.commit(alice, CommitOptions{OmitPath: true, Proposals: []Proposal{&Add{p.keyPackage()}}}, p)
	}
	bob, carol := r.members[1], r.members[2]
	tests := map[string]struct {
		change func(*ratchetTree) *ratchetTree
		want   any
	}{
		"signature":      {alice.replaceLeaf(1, alice, func(*LeafNode) {}), ErrSignature},
		"encryption key": {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.EncryptionKey = carol.group.ownLeaf().EncryptionKey }), "encryption key of a leaf occurs twice"},
		"signature key":  {alice.replaceLeaf(1, carol, func(l *LeafNode) { l.SignatureKey = carol.group.ownLeaf().SignatureKey }), "signature key of a leaf occurs twice"},
		"invalid key":    {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.EncryptionKey = nil }), ErrInvalidKey},
		"credential":     {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.Capabilities.Credentials = []CredentialType{CredentialTypeX509} }), "redential type"},
		"other credential": {alice.replaceLeaf(1, bob, func(l *LeafNode) {
			l.Credential.CredentialType = customCredential
			l.Capabilities.Credentials = []CredentialType{customCredential, CredentialTypeBasic}
		}), "redential type"},
		"suite":        {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.Capabilities.CipherSuites = nil }), "lack the cipher suite"},
		"extension":    {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.Extensions = []Extension{{customExtension, nil}} }), "is not in its capabilities"},
		"lifetime":     {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.Lifetime = Lifetime{0, 1<<64 - 1} }), "lifetime is longer"},
		"of an Update": {alice.replaceLeaf(1, bob, func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceUpdate; l.Lifetime = Lifetime{} }), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, "new", classic, config)
			welcome := forgeWelcome{tree: tt.change, noPath: true}.make(alice, p)
			_, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{})
			if tt.want == nil { // an Update's leaf, rightly signed for its place
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.want)
		})
	}
}

// TestRatchetTreeForm parses trees that are not formed as RFC 9420,
// Section 12.4.3.3 wants it.
func TestRatchetTreeForm(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	tree := r.members[0].group.epoch.tree
	leaf := append([]byte{1, nodeTypeLeaf}, tree.leaf(0).Marshal()...)
	parent := tree.root.parent.appendTo([]byte{1, nodeTypeParent})
	blank := []byte{0}
	join := func(nodes ...[]byte) []byte { return appendVector(nil, bytes.Join(nodes, nil)) }
	for name, b := range map[string][]byte{
		"blank":                  join(blank),
		"ends in a blank":        join(leaf, parent, leaf, blank),
		"leaf as parent":         join(leaf, leaf, leaf),
		"parent as leaf":         join(parent),
		"presence octet 2":       join(append([]byte{2}, leaf[1:]...)),
		"node type 3":            join(append([]byte{1, 3}, leaf[2:]...)),
		"length not the minimum": append([]byte{0x80, 0, byte(len(leaf) >> 8), byte(len(leaf))}, leaf...),
	} {
		if _, err := parseRatchetTree(tree.suite, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseRatchetTree(tree.suite, join(leaf, parent, leaf)); err != nil {
		t.Error(err)
	}
	// Nobody is under the right child of a root that ends the list.
	if _, err := parseRatchetTree(tree.suite, join(leaf, parent)); !errors.Is(err, ErrMalformed) {
		t.Errorf("even number of nodes: %v", err)
	}
}

// TestTreeOutOfBand joins with a tree that the Welcome does not hold.
func TestTreeOutOfBand(t *testing.T) {
	alice := newPerson(t, "alice", classic, Config{})
	alice.create(GroupOptions{})
	p := newPerson(t, "new", classic, Config{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}}, OmitRatchetTree: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.group.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.client.Join(pending.Welcome, p.kps, p.id.Signer, JoinOptions{}); err == nil {
		t.Error("joined without a tree")
	}
	p.join(pending.Welcome, JoinOptions{RatchetTree: alice.group.RatchetTree()})
	(&room{t: t, members: []*person{alice, p}}).checkAgreement()
}

// TestWelcomeNamesItsMembers reads from a Welcome what a delivery service needs
// to hand it out (RFC 9420, Section 12.4.3.1).
func TestWelcomeNamesItsMembers(t *testing.T) {
	alice := newPerson(t, "alice", classic, Config{})
	alice.create(GroupOptions{})
	var want [][]byte
	var proposals []Proposal
	for _, name := range []string{"bob", "carol"} {
		k := newPerson(t, name, classic, Config{}).keyPackage()
		ref, err := k.Ref()
		if err != nil {
			t.Fatal(err)
		}
		want, proposals = append(want, ref), append(proposals, &Add{k})
	}
	pending, err := alice.group.Commit(CommitOptions{Proposals: proposals})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMessage(pending.Welcome)
	if err != nil {
		t.Fatal(err)
	}
	if m.Welcome.CipherSuite() != classic {
		t.Errorf("suite %v", m.Welcome.CipherSuite())
	}
	if got := m.Welcome.NewMembers(); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestForeignInitKey joins with a private key that is another key package's.
func TestForeignInitKey(t *testing.T) {
	alice, bob := newPerson(t, "alice", classic, Config{}), newPerson(t, "bob", classic, Config{})
	alice.create(GroupOptions{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{bob.keyPackage()}}})
	if err != nil {
		t.Fatal(err)
	}
	bob.keyPackage()
	mixed := *bob.kps[0]
	mixed.InitKey = bob.kps[1].InitKey
	_, _, err = bob.client.Join(pending.Welcome, []*PrivateKeyPackage{&mixed}, bob.id.Signer, JoinOptions{})
	if err == nil || !strings.Contains(err.Error(), "does not belong to the key package") {
		t.Errorf("got %v", err)
	}
}

// TestJoinWithoutTree leaves the ratchet tree out of the Welcome, and gives it by
// no other means either.
func TestJoinWithoutTree(t *testing.T) {
	alice, bob := newPerson(t, "alice", classic, Config{}), newPerson(t, "bob", classic, Config{})
	alice.create(GroupOptions{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{bob.keyPackage()}}, OmitRatchetTree: true})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bob.client.Join(pending.Welcome, bob.kps, bob.id.Signer, JoinOptions{})
	if err == nil || !strings.Contains(err.Error(), "neither in the GroupInfo nor given") {
		t.Errorf("got %v", err)
	}
}
