package mls

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// joinTest tries forged Welcomes for one newcomer.
type joinTest struct {
	t        *testing.T
	newcomer *person
	next     *nextState // the state that the Welcome leads into
	people   []*person
}

// newJoinTest lets a member of the room add a newcomer. The tree is that of the
// room, with the newcomer unmerged.
func newJoinTest(t *testing.T, r *room, omitPath bool) *joinTest {
	t.Helper()
	n := newPerson(t, "newcomer", classic, Config{PSKs: pskMap{"shared": []byte("a secret")}})
	pending := must(cloneGroup(t, r.members[0]).Commit(CommitOptions{Proposals: []Proposal{&Add{n.capable()}}, OmitPath: omitPath}))
	return &joinTest{t, n, pending.next, r.members}
}

func (j *joinTest) join(welcome []byte, opts JoinOptions) (*Group, error) {
	g, _, err := j.newcomer.client.Join(welcome, j.newcomer.kps, j.newcomer.id.Signer, opts)
	return g, err
}

func (j *joinTest) try(t *testing.T, f welcomeForgery, opts JoinOptions, want any) {
	t.Helper()
	_, err := j.join(f.forge(t, j.next, j.newcomer.kps[0].KeyPackage), opts)
	if want != nil {
		checkRefusal(t, err, want)
	} else if err != nil {
		t.Fatalf("refused: %v", err)
	}
}

// newFlatRoom returns a demanding group without any parent node: its leaves can be
// changed without breaking a parent hash.
func newFlatRoom(t testing.TB, n int) *room {
	t.Helper()
	r := &room{t: t}
	creator := newPerson(t, "member 0", classic, Config{})
	creator.create(demandingOptions)
	r.members = append(r.members, creator)
	var joiners []*person
	var adds []Proposal
	for range n - 1 {
		p := newPerson(t, "member", classic, Config{})
		joiners = append(joiners, p)
		adds = append(adds, &Add{p.capable()})
	}
	r.commit(creator, CommitOptions{Proposals: adds, OmitPath: true}, joiners...)
	return r
}

// TestLeavesOfTree breaks each rule of RFC 9420, Section 7.3 in the tree of a group
// that somebody joins.
func TestLeavesOfTree(t *testing.T) {
	r := newFlatRoom(t, 4)
	j := newJoinTest(t, r, true)
	day := uint64(24 * 60 * 60)
	change := func(i LeafIndex, f func(*LeafNode)) func([]*treeNode) []*treeNode {
		return func(nodes []*treeNode) []*treeNode {
			leaf := *nodes[2*i].leaf
			f(&leaf)
			if err := leaf.sign(j.next.epoch.tree.suite, r.members[i].id.Signer, j.next.epoch.context.GroupID, i); err != nil {
				t.Fatal(err)
			}
			nodes[2*i].leaf = &leaf
			return nodes
		}
	}
	leaf3 := r.members[0].group.epoch.tree.leaf(3)
	rules := append(allLeafRules(),
		leafRule{"valid", func(*LeafNode) {}, nil},
		leafRule{"expired long ago", func(l *LeafNode) {
			l.Lifetime.NotBefore -= 1000 * day
			l.Lifetime.NotAfter -= 1000 * day
		}, nil}, // members stay when the lifetime of their key package ends
		leafRule{"not begun", func(l *LeafNode) { l.Lifetime.NotBefore += day }, brokenRule{"7.3", "has not begun"}},
		leafRule{"from an update", func(l *LeafNode) { l.LeafNodeSource = LeafNodeSourceUpdate }, nil},
		leafRule{"lifetime without bound", func(l *LeafNode) { l.Lifetime.NotAfter = 1<<64 - 1 }, brokenRule{"7.2", "longer than"}},
		leafRule{"lifetime ends before it begins", func(l *LeafNode) { l.Lifetime.NotAfter = 0 }, brokenRule{"7.2", "ends before"}},
		leafRule{"unknown source", func(l *LeafNode) { l.LeafNodeSource = 4 }, ErrMalformed},
		leafRule{"encryption key of another", func(l *LeafNode) { l.EncryptionKey = leaf3.EncryptionKey }, brokenRule{"7.3", "encryption key of a leaf occurs twice"}},
	)
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			j.try(t, welcomeForgery{nodes: change(2, rule.change)}, JoinOptions{}, rule.want)
		})
	}
	sign := func(f func(l *LeafNode) error) func([]*treeNode) []*treeNode {
		return func(nodes []*treeNode) []*treeNode {
			leaf := *nodes[4].leaf
			leaf.LeafNodeSource = LeafNodeSourceUpdate
			if err := f(&leaf); err != nil {
				t.Fatal(err)
			}
			nodes[4].leaf = &leaf
			return nodes
		}
	}
	s, id, signer := j.next.epoch.tree.suite, j.next.epoch.context.GroupID, r.members[2].id.Signer
	for _, tt := range []struct {
		name  string
		nodes func([]*treeNode) []*treeNode
		want  any
	}{
		{"signature", sign(func(l *LeafNode) error { err := l.sign(s, signer, id, 2); l.Signature = flip(l.Signature); return err }), ErrSignature},
		{"no signature", sign(func(l *LeafNode) error { l.Signature = nil; return nil }), ErrSignature},
		{"signed for another place", sign(func(l *LeafNode) error { return l.sign(s, signer, id, 3) }), ErrSignature},
		{"signed for another group", sign(func(l *LeafNode) error { return l.sign(s, signer, []byte("other"), 2) }), ErrSignature},
		{"signature key of another", sign(func(l *LeafNode) error {
			l.SignatureKey = leaf3.SignatureKey
			return l.sign(s, r.members[3].id.Signer, id, 2)
		}), brokenRule{"7.3", "signature key of a leaf occurs twice"}},
		{"leaf of another place", func(nodes []*treeNode) []*treeNode {
			nodes[4] = &treeNode{leaf: nodes[6].leaf, members: 1}
			return nodes
		}, brokenRule{"7.3", "occurs twice"}},
	} {
		t.Run(tt.name, func(t *testing.T) { j.try(t, welcomeForgery{nodes: tt.nodes}, JoinOptions{}, tt.want) })
	}
}

// rawTree encodes nodes as the ratchet_tree extension, whatever they are.
func rawTree(nodes []*treeNode) []byte {
	return appendList(nil, nodes, func(b []byte, n *treeNode) []byte {
		switch {
		case n == nil:
			return append(b, 0)
		case n.leaf != nil:
			return n.leaf.appendTo(append(b, 1, nodeTypeLeaf))
		}
		return n.parent.appendTo(append(b, 1, nodeTypeParent))
	})
}

// TestFormOfTree breaks the rules for the ratchet_tree extension (RFC 9420,
// Section 12.4.3.3).
func TestFormOfTree(t *testing.T) {
	r := newDemandingRoom(t, 4)
	j := newJoinTest(t, r, true)
	nodes := func() []*treeNode { return nodesOf(j.next.epoch.tree) }
	full := nodes()
	last := len(full)
	for full[last-1] == nil {
		last--
	}
	parent := &treeNode{parent: full[3].parent}
	tests := []struct {
		name string
		tree []byte
		want any
	}{
		{"valid", rawTree(full[:last]), nil},
		{"blank node at the end", rawTree(full[:last+1]), ErrMalformed},
		{"blank nodes at the end", rawTree(full), ErrMalformed},
		{"empty", rawTree(nil), ErrMalformed},
		{"all blank", rawTree(make([]*treeNode, 7)), ErrMalformed},
		{"no length", []byte{}, ErrMalformed},
		{"byte left over", append(rawTree(full[:last]), 0), ErrMalformed},
		{"cut short", rawTree(full[:last])[:100], ErrMalformed},
		{"parent at a leaf's place", rawTree(append([]*treeNode{parent}, full[1:last]...)), ErrMalformed},
		{"leaf at a parent's place", rawTree(append([]*treeNode{full[0], full[2]}, full[2:last]...)), ErrMalformed},
		{"even number of nodes", rawTree(append(slices.Clone(full[:last]), parent)), ErrMalformed},
		{"unknown node type", append([]byte{3, 1, 3, 0}, 0), ErrMalformed},
		{"presence octet 2", []byte{1, 2}, ErrMalformed},
		{"without the last leaf", rawTree(full[:last-2]), brokenRule{"12.4.3.1", "tree hash"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { j.try(t, welcomeForgery{tree: tt.tree}, JoinOptions{}, tt.want) })
	}
	t.Run("given by other means", func(t *testing.T) {
		without := welcomeForgery{info: func(i *GroupInfo) { i.Extensions = nil }}
		j.try(t, without, JoinOptions{RatchetTree: rawTree(full[:last])}, nil)
		j.try(t, without, JoinOptions{RatchetTree: r.members[0].group.RatchetTree()}, brokenRule{"12.4.3.1", "tree hash"})
		if _, err := j.join(without.forge(t, j.next, j.newcomer.kps[0].KeyPackage), JoinOptions{}); err == nil {
			t.Fatal("joined without a tree")
		}
	})
	t.Run("unmerged leaves", func(t *testing.T) {
		list := func(unmerged ...uint32) welcomeForgery {
			n := nodes()
			p := *n[3].parent
			p.UnmergedLeaves = unmerged
			n[3] = &treeNode{parent: &p}
			return welcomeForgery{tree: rawTree(n[:last])}
		}
		j.try(t, list(2, 1), JoinOptions{}, ErrMalformed)
		j.try(t, list(1, 1), JoinOptions{}, ErrMalformed)
	})
}

// TestParentsOfTree breaks the rules for parent nodes (RFC 9420, Sections 7.9.2 and
// 12.4.3.1).
func TestParentsOfTree(t *testing.T) {
	r := newDemandingRoom(t, 4)
	j := newJoinTest(t, r, true) // at leaf 4, unmerged at the root
	change := func(x int, f func(*ParentNode)) func([]*treeNode) []*treeNode {
		return func(nodes []*treeNode) []*treeNode {
			p := *nodes[x].parent
			p.UnmergedLeaves = slices.Clone(p.UnmergedLeaves)
			f(&p)
			nodes[x] = &treeNode{parent: &p}
			return nodes
		}
	}
	unmerged := func(x int, leaves ...uint32) func([]*treeNode) []*treeNode {
		return change(x, func(p *ParentNode) { p.UnmergedLeaves = leaves })
	}
	tests := []struct {
		name  string
		nodes func([]*treeNode) []*treeNode
		want  any
	}{
		{"valid", func(n []*treeNode) []*treeNode { return n }, nil},
		{"unmerged leaf not under its node", unmerged(1, 3), brokenRule{"12.4.3.1", "not under its parent"}},
		{"unmerged leaf out of the tree", unmerged(3, 1<<32-1), brokenRule{"12.4.3.1", "not under its parent"}},
		{"unmerged leaf not listed between", unmerged(3, 3), brokenRule{"12.4.3.1", "not listed on the way down"}},
		{"parent hash", change(1, func(p *ParentNode) { p.ParentHash = flip(p.ParentHash) }), brokenRule{"7.9.2", "not parent-hash valid"}},
		{"empty parent hash", change(5, func(p *ParentNode) { p.ParentHash = nil }), brokenRule{"7.9.2", "not parent-hash valid"}},
		{"parent hash at the root", change(3, func(p *ParentNode) { p.ParentHash = make([]byte, 32) }), brokenRule{"7.9.2", "not parent-hash valid"}},
		{"public key", change(3, func(p *ParentNode) {
			p.EncryptionKey = must(r.members[0].client.generateKeyPair(r.members[0].group.suite)).public
		}), brokenRule{"7.9.2", "not parent-hash valid"}},
		{"unmerged leaf that is merged", unmerged(5, 2), brokenRule{"7.9.2", "not parent-hash valid"}},
		{"blank node between", func(n []*treeNode) []*treeNode { n[5] = nil; return n }, brokenRule{"7.9.2", "not parent-hash valid"}},
		{"leaf blanked", func(n []*treeNode) []*treeNode { n[2] = nil; return n }, brokenRule{"7.9.2", "not parent-hash valid"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { j.try(t, welcomeForgery{nodes: tt.nodes}, JoinOptions{}, tt.want) })
	}
	t.Run("node that nobody committed", func(t *testing.T) {
		j := newJoinTest(t, newFlatRoom(t, 4), true)
		j.try(t, welcomeForgery{nodes: func(n []*treeNode) []*treeNode {
			n[1] = &treeNode{parent: &ParentNode{EncryptionKey: must(r.members[0].client.generateKeyPair(r.members[0].group.suite)).public}}
			return n
		}}, JoinOptions{}, brokenRule{"7.9.2", "not parent-hash valid"})
	})
	t.Run("unmerged leaf is blank", func(t *testing.T) {
		r := newDemandingRoom(t, 4)
		add := newPerson(t, "gone", classic, Config{})
		r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Add{add.capable()}}}, add)
		r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{3}}})
		r.commit(r.members[0], CommitOptions{})
		j := newJoinTest(t, r, true)
		j.try(t, welcomeForgery{nodes: func(n []*treeNode) []*treeNode {
			p := *n[7].parent
			p.UnmergedLeaves = append([]uint32{}, p.UnmergedLeaves...)
			p.UnmergedLeaves = append(p.UnmergedLeaves, 7)
			n[7] = &treeNode{parent: &p}
			return n
		}}, JoinOptions{}, brokenRule{"12.4.3.1", "unmerged leaf 7 is blank"})
	})
	t.Run("right half blank", func(t *testing.T) {
		r := newFlatRoom(t, 2)
		j := newJoinTest(t, r, true)
		j.try(t, welcomeForgery{tree: rawTree(nodesOf(j.next.epoch.tree)[:5])}, JoinOptions{}, nil)
		// The node above the right half is the last one then.
		wide := func(n []*treeNode) []*treeNode {
			p := &ParentNode{EncryptionKey: must(r.members[0].client.generateKeyPair(r.members[0].group.suite)).public}
			return append(n, &treeNode{parent: p}, nil, nil, nil, nil, nil, nil, nil)
		}
		j.try(t, welcomeForgery{nodes: wide}, JoinOptions{}, ErrMalformed)
	})
	t.Run("one key at two nodes", func(t *testing.T) { testParentKeyTwice(t) })
}

// testParentKeyTwice builds a tree in which the keys of two parent nodes are the same
// and all parent hashes are right, as two colluding members could.
func testParentKeyTwice(t *testing.T) {
	r := newFlatRoom(t, 4)
	j := newJoinTest(t, r, true)
	s, id := j.next.epoch.tree.suite, j.next.epoch.context.GroupID
	key := must(r.members[0].client.generateKeyPair(s)).public
	other := must(r.members[0].client.generateKeyPair(s)).public
	for _, tt := range []struct {
		keys [2][]byte
		want any
	}{
		{[2][]byte{key, other}, nil},
		{[2][]byte{key, key}, brokenRule{"12.4.3.1", "occurs twice"}},
		{[2][]byte{key, r.members[3].group.ownLeaf().EncryptionKey}, brokenRule{"12.4.3.1", "occurs twice"}},
	} {
		j.try(t, welcomeForgery{nodes: func(n []*treeNode) []*treeNode {
			for i, x := range []int{1, 5} {
				tree := treeOf(s, n)
				leaf, index := *n[x-1].leaf, LeafIndex(x/2)
				p := &ParentNode{EncryptionKey: tt.keys[i]}
				leaf.LeafNodeSource = LeafNodeSourceCommit
				leaf.ParentHash = tree.parentHash(p, tree.node(nodeIndex(x+1)), nodeIndex(x+1))
				if err := leaf.sign(s, r.members[index].id.Signer, id, index); err != nil {
					t.Fatal(err)
				}
				n[x-1], n[x] = &treeNode{leaf: &leaf, members: 1}, &treeNode{parent: p}
			}
			return n
		}}, JoinOptions{}, tt.want)
	}
}

// TestWelcome breaks the rules for joining by a Welcome (RFC 9420,
// Section 12.4.3.1).
func TestWelcome(t *testing.T) {
	r := newDemandingRoom(t, 4)
	j := newJoinTest(t, r, true)
	reInit := func(usage ResumptionPSKUsage) PreSharedKeyID {
		return resumption(usage, r.members[0].group).PSK
	}
	psk := pskProposal("shared", 1).PSK
	list := func(ids ...PreSharedKeyID) func(*groupSecrets) {
		return func(s *groupSecrets) { s.psks = ids }
	}
	secret := []byte("a secret")
	tests := []struct {
		name string
		f    welcomeForgery
		want any
	}{
		{"valid", welcomeForgery{}, nil},
		{"valid with PSK", welcomeForgery{secrets: list(psk), psks: [][]byte{secret}}, nil},
		{"unknown GroupInfo extension", welcomeForgery{info: func(i *GroupInfo) { i.Extensions = append(i.Extensions, Extension{0x5A5A, []byte("?")}) }}, nil},
		{"GroupInfo signature", welcomeForgery{signed: func(i *GroupInfo) { i.Signature = flip(i.Signature) }}, ErrSignature},
		{"no GroupInfo signature", welcomeForgery{signed: func(i *GroupInfo) { i.Signature = nil }}, ErrSignature},
		{"signed by another", welcomeForgery{signer: otherSigner(t, classic)}, ErrSignature},
		{"signed by another member", welcomeForgery{signer: r.members[2].id.Signer}, ErrSignature},
		{"signer is blank", welcomeForgery{info: func(i *GroupInfo) { i.Signer = 5 }}, brokenRule{"12.4.3.1", "signer of the GroupInfo is not a member"}},
		{"signer out of the tree", welcomeForgery{info: func(i *GroupInfo) { i.Signer = 1<<32 - 1 }}, brokenRule{"12.4.3.1", "signer of the GroupInfo is not a member"}},
		{"signer is the joiner", welcomeForgery{info: func(i *GroupInfo) { i.Signer = 4 }, signer: j.newcomer.id.Signer}, brokenRule{"12.4.3.1", "signed by us"}},
		{"changed after signing", welcomeForgery{signed: func(i *GroupInfo) { i.Extensions = append(i.Extensions, Extension{0xF0FF, nil}) }}, ErrSignature},
		{"tree hash", welcomeForgery{context: func(c *GroupContext) { c.TreeHash = flip(c.TreeHash) }}, brokenRule{"12.4.3.1", "tree hash"}},
		{"no tree hash", welcomeForgery{context: func(c *GroupContext) { c.TreeHash = nil }}, brokenRule{"12.4.3.1", "tree hash"}},
		{"truncated tree hash", welcomeForgery{context: func(c *GroupContext) { c.TreeHash = c.TreeHash[:31] }}, brokenRule{"12.4.3.1", "tree hash"}},
		{"confirmation tag", welcomeForgery{tag: flip}, brokenRule{"12.4.3.1", "confirmation tag"}},
		{"empty confirmation tag", welcomeForgery{tag: func([]byte) []byte { return nil }}, brokenRule{"12.4.3.1", "confirmation tag"}},
		{"truncated confirmation tag", welcomeForgery{tag: func(b []byte) []byte { return b[:1] }}, brokenRule{"12.4.3.1", "confirmation tag"}},
		{"GroupInfo of another suite", welcomeForgery{context: func(c *GroupContext) {
			c.CipherSuite = MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519
		}}, brokenRule{"12.4.3.1", "another cipher suite"}},
		{"other version", welcomeForgery{context: func(c *GroupContext) { c.Version = 2 }}, ErrUnsupported},
		{"Welcome of another suite", welcomeForgery{welcome: func(w *Welcome) { w.cipherSuite = MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519 }}, brokenRule{"12.4.3.1", "Welcome has another cipher suite"}},
		{"Welcome of an unknown suite", welcomeForgery{welcome: func(w *Welcome) { w.cipherSuite = 0x0A0A }}, ErrUnsupported},
		{"Welcome for others", welcomeForgery{welcome: func(w *Welcome) { w.secrets[0].newMember = make([]byte, 32) }}, ErrNoKeyPackage},
		{"Welcome for a truncated reference", welcomeForgery{welcome: func(w *Welcome) { w.secrets[0].newMember = w.secrets[0].newMember[:16] }}, ErrNoKeyPackage},
		{"Welcome for nobody", welcomeForgery{welcome: func(w *Welcome) { w.secrets = nil }}, ErrNoKeyPackage},
		{"group secrets changed", welcomeForgery{welcome: func(w *Welcome) { w.secrets[0].secrets.Ciphertext = flip(w.secrets[0].secrets.Ciphertext) }}, ErrDecryption},
		{"GroupInfo changed", welcomeForgery{welcome: func(w *Welcome) { w.encryptedGroupInfo = flip(w.encryptedGroupInfo) }}, ErrDecryption},
		{"bytes after the group secrets", welcomeForgery{plain: func(b []byte) []byte { return append(b, 0) }}, ErrMalformed},
		{"group secrets cut short", welcomeForgery{plain: func(b []byte) []byte { return b[:len(b)-1] }}, ErrMalformed},
		{"other joiner secret", welcomeForgery{plain: func(b []byte) []byte { b[1] ^= 1; return b }}, ErrDecryption},
		{"unsupported group extension", welcomeForgery{context: func(c *GroupContext) {
			c.Extensions = append(slices.Clone(c.Extensions), Extension{0xF0FF, nil})
		}}, brokenRule{"13.4", "group extension 0xF0FF"}},
		{"group extension out of its place", welcomeForgery{context: func(c *GroupContext) {
			c.Extensions = append(slices.Clone(c.Extensions), externalPubExtension([]byte("x")))
		}}, brokenRule{"17.3", "place"}},
		{"group extension twice", welcomeForgery{context: func(c *GroupContext) {
			c.Extensions = append(slices.Clone(c.Extensions), c.Extensions[0])
		}}, ErrMalformed},
		{"GroupInfo extension twice", welcomeForgery{info: func(i *GroupInfo) { i.Extensions = append(i.Extensions, i.Extensions[0]) }}, ErrMalformed},
		{"GroupInfo extension out of its place", welcomeForgery{info: func(i *GroupInfo) {
			i.Extensions = append(i.Extensions, RequiredCapabilities{}.Extension())
		}}, brokenRule{"17.3", "place"}},
		{"PSK twice", welcomeForgery{secrets: list(psk, psk), psks: [][]byte{secret, secret}}, brokenRule{"12.2", "listed twice"}},
		{"PSK with a short nonce", welcomeForgery{secrets: func(s *groupSecrets) {
			p := psk
			p.PSKNonce = p.PSKNonce[:31]
			s.psks = []PreSharedKeyID{p}
		}, psks: [][]byte{secret}}, brokenRule{"8.4", "nonce"}},
		{"PSK that we lack", welcomeForgery{secrets: list(pskProposal("unheard of", 1).PSK), psks: [][]byte{secret}}, ErrUnknownPSK},
		{"PSK left out by the inviter", welcomeForgery{plain: func(b []byte) []byte {
			return appendList(b[:len(b)-1], []PreSharedKeyID{psk}, func(b []byte, id PreSharedKeyID) []byte { return id.appendTo(b) })
		}}, ErrDecryption},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { j.try(t, tt.f, JoinOptions{}, tt.want) })
	}
	t.Run("our leaf is missing", func(t *testing.T) {
		r := newFlatRoom(t, 4)
		j := newJoinTest(t, r, true)
		j.try(t, welcomeForgery{nodes: func(n []*treeNode) []*treeNode { return n[:7] }}, JoinOptions{}, brokenRule{"12.4.3.1", "leaf of our key package"})
	})
	t.Run("our leaf was changed", func(t *testing.T) {
		r := newFlatRoom(t, 4)
		j := newJoinTest(t, r, true)
		j.try(t, welcomeForgery{nodes: func(n []*treeNode) []*treeNode {
			leaf := *n[8].leaf
			leaf.Lifetime.NotAfter--
			if err := leaf.sign(j.next.epoch.tree.suite, j.newcomer.id.Signer, nil, 0); err != nil {
				t.Fatal(err)
			}
			n[8].leaf = &leaf
			return n
		}}, JoinOptions{}, brokenRule{"12.4.3.1", "leaf of our key package"})
	})
	t.Run("group that we are in", func(t *testing.T) {
		known := func(id []byte) bool { return bytes.Equal(id, r.members[0].group.ID()) }
		j.try(t, welcomeForgery{}, JoinOptions{Known: known}, brokenRule{"12.4.3.1", "of that identifier"})
	})
	t.Run("path secret", func(t *testing.T) {
		j := newJoinTest(t, r, false) // the commit has a path, and the Welcome a path secret
		j.try(t, welcomeForgery{}, JoinOptions{}, nil)
		for n, want := range map[int]any{
			32: brokenRule{"7.5", "path secret does not give the public key"},
			31: brokenRule{"7.4", "path secret of a wrong length"},
			0:  brokenRule{"7.4", "path secret of a wrong length"},
		} {
			j.try(t, welcomeForgery{secrets: func(s *groupSecrets) { s.pathSecret = make([]byte, n) }}, JoinOptions{}, want)
		}
	})
	t.Run("path secret without a path", func(t *testing.T) {
		j := newJoinTest(t, newFlatRoom(t, 4), true)
		j.try(t, welcomeForgery{secrets: func(s *groupSecrets) { s.pathSecret = make([]byte, 32) }}, JoinOptions{}, brokenRule{"7.5", "path secret does not give the public key"})
	})
	t.Run("key packages that do not fit", func(t *testing.T) {
		welcome := (&welcomeForgery{}).forge(t, j.next, j.newcomer.kps[0].KeyPackage)
		other := newPerson(t, "other", classic, Config{})
		other.capable()
		k, o := *j.newcomer.kps[0], other.kps[0]
		for _, wrong := range []struct {
			k    PrivateKeyPackage
			want string
		}{
			{PrivateKeyPackage{k.KeyPackage, o.InitKey, k.EncryptionKey}, "private init key does not belong"},
			{PrivateKeyPackage{k.KeyPackage, k.InitKey, o.EncryptionKey}, "private encryption key does not belong"},
			{PrivateKeyPackage{k.KeyPackage, k.EncryptionKey, k.InitKey}, "private init key does not belong"},
			{PrivateKeyPackage{k.KeyPackage, nil, nil}, "HPKE"},
		} {
			_, _, err := j.newcomer.client.Join(welcome, []*PrivateKeyPackage{&wrong.k}, j.newcomer.id.Signer, JoinOptions{})
			if err == nil || !strings.Contains(err.Error(), wrong.want) {
				t.Errorf("got %v, want %q", err, wrong.want)
			}
		}
		if _, _, err := j.newcomer.client.Join(welcome, j.newcomer.kps, other.id.Signer, JoinOptions{}); err == nil {
			t.Error("joined with another signature key")
		}
		if _, _, err := j.newcomer.client.Join(o.KeyPackage.Message(), j.newcomer.kps, j.newcomer.id.Signer, JoinOptions{}); err == nil {
			t.Error("joined by a key package")
		}
		_, used, err := j.newcomer.client.Join(welcome, []*PrivateKeyPackage{o, &k}, j.newcomer.id.Signer, JoinOptions{})
		if err != nil || used != &k {
			t.Errorf("used %v: %v", used, err)
		}
	})
	t.Run("successor of another group", func(t *testing.T) {
		parent := r.members[0].group
		two := welcomeForgery{secrets: list(reInit(ResumptionPSKUsageReinit), reInit(ResumptionPSKUsageBranch)), psks: [][]byte{parent.ResumptionPSK(), parent.ResumptionPSK()}}
		j.try(t, two, JoinOptions{Parent: parent}, brokenRule{"12.4.3.1", "two PSKs"})
		branch := welcomeForgery{secrets: list(reInit(ResumptionPSKUsageBranch)), psks: [][]byte{parent.ResumptionPSK()}}
		j.try(t, branch, JoinOptions{Parent: parent}, brokenRule{"12.4.3.1", "not at epoch 1"})
		branch.context = func(c *GroupContext) { c.Epoch = 1 }
		j.try(t, branch, JoinOptions{Parent: parent}, brokenRule{"12.4.3.1", "member that the group has not"})
		again := welcomeForgery{secrets: list(reInit(ResumptionPSKUsageReinit)), psks: [][]byte{parent.ResumptionPSK()}, context: branch.context}
		j.try(t, again, JoinOptions{Parent: parent}, brokenRule{"12.4.3.1", "no ReInit"})
		if _, err := j.join(again.forge(t, j.next, j.newcomer.kps[0].KeyPackage), JoinOptions{}); err == nil {
			t.Fatal("joined a successor without its parent")
		}
	})
}

// TestSuccessors breaks the rules for reinitialised groups and branches (RFC 9420,
// Sections 11.2 and 11.3).
func TestSuccessors(t *testing.T) {
	r := newDemandingRoom(t, 3)
	outsider := newPerson(t, "outsider", classic, Config{})
	alice, bob := r.members[0], r.members[1]
	opts := GroupOptions{Leaf: capableLeaf}
	_, _, err := alice.group.Branch(alice.id, []*KeyPackage{outsider.capable()}, opts)
	checkRefusal(t, err, brokenRule{"11.3", "not a member"})
	_, welcome, err := alice.group.Branch(alice.id, []*KeyPackage{bob.capable()}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{}); err == nil {
		t.Fatal("joined a branch without its parent")
	}
	other := newRoom(t, classic, Config{}, 1).members[0].group
	if _, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: other}); err == nil {
		t.Fatal("joined a branch with another parent")
	}
	if _, _, err := bob.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group}); err != nil {
		t.Fatal(err)
	}
	// An application that keeps the PSK has to give the parent nevertheless.
	keeping := Config{PSKs: resumptionMap{alice.group.ResumptionPSK()}}
	keeper := newPerson(t, "keeper", classic, keeping)
	for _, parent := range []*Group{nil, newRoom(t, classic, keeping, 1).members[0].group} {
		_, _, err := keeper.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: parent})
		if err == nil || !strings.Contains(err.Error(), "derives from is not given") {
			t.Fatalf("got %v", err)
		}
	}
	// Of an epoch that the parent has forgotten, nothing can be compared.
	parent := cloneGroup(t, bob)
	old := must(parent.Commit(CommitOptions{}))
	if err := parent.MergePendingCommit(); err != nil || old.Epoch() != parent.Epoch() {
		t.Fatal(err)
	}
	parent.ForgetPastEpochs(parent.Epoch())
	parent.client = keeper.client
	_, _, err = keeper.client.Join(welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: parent})
	checkRefusal(t, err, ErrUnknownPSK)
	if _, _, err := alice.group.Reinitialize(alice.id, nil, capableLeaf); err == nil {
		t.Fatal("reinitialised an open group")
	}

	extensions := demandingOptions.Extensions
	r.commit(alice, CommitOptions{Proposals: []Proposal{&ReInit{GroupID: []byte("new"), Version: 1, CipherSuite: classic, Extensions: extensions}}})
	for _, p := range r.members {
		if _, err := p.group.Encrypt([]byte("x"), nil); err == nil {
			t.Fatal("a closed group sends")
		}
		if _, err := p.group.Commit(CommitOptions{}); err == nil {
			t.Fatal("a closed group commits")
		}
	}
	carol := r.members[2]
	_, _, err = alice.group.Reinitialize(alice.id, []*KeyPackage{bob.capable()}, capableLeaf)
	checkRefusal(t, err, brokenRule{"11.2", "key packages for"})
	_, _, err = alice.group.Reinitialize(alice.id, []*KeyPackage{bob.capable(), outsider.capable()}, capableLeaf)
	checkRefusal(t, err, brokenRule{"11.2", "no key package of member 2"})

	// A malicious member opens another group than was agreed on.
	open := func(group GroupOptions, cs CipherSuite, people ...*person) []byte {
		t.Helper()
		group.Leaf = capableLeaf
		var kps []*KeyPackage
		for _, p := range people {
			k := must(p.client.NewKeyPackage(cs, p.id, KeyPackageOptions{Leaf: capableLeaf}))
			p.kps = append(p.kps, k)
			kps = append(kps, k.KeyPackage)
		}
		_, welcome, err := alice.group.openSuccessor(cs, alice.id, kps, group, ResumptionPSKUsageReinit)
		if err != nil {
			t.Fatal(err)
		}
		return welcome
	}
	agreed := GroupOptions{GroupID: []byte("new"), Extensions: extensions}
	// earlier opens it with a PSK of an epoch before the ReInit.
	earlier := func() []byte {
		group := agreed
		group.Leaf = capableLeaf
		next := must(alice.client.CreateGroup(classic, alice.id, group))
		psk := resumption(ResumptionPSKUsageReinit, alice.group)
		psk.PSK.PSKEpoch--
		proposals := []Proposal{psk, &Add{bob.capable()}, &Add{carol.capable()}}
		return must(next.stageOwnCommit(CommitOptions{Proposals: proposals}, ResumptionPSKUsageReinit, alice.group.pskValue)).Welcome
	}
	for _, tt := range []struct {
		name    string
		welcome []byte
		want    any
	}{
		{"agreed", open(agreed, classic, bob, carol), nil},
		{"other identifier", open(GroupOptions{GroupID: []byte("old"), Extensions: extensions}, classic, bob, carol), brokenRule{"12.4.3.1", "does not match the ReInit"}},
		{"other extensions", open(GroupOptions{GroupID: []byte("new"), Extensions: extensions[:1]}, classic, bob, carol), brokenRule{"12.4.3.1", "does not match the ReInit"}},
		{"other suite", open(agreed, MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519, bob, carol), brokenRule{"12.4.3.1", "does not match the ReInit"}},
		{"earlier epoch", earlier(), brokenRule{"12.4.3.1", "last commit of the old group has no ReInit"}},
		{"member missing", open(agreed, classic, bob), brokenRule{"12.4.3.1", "member of the old group is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := bob.client.Join(tt.welcome, bob.kps, bob.id.Signer, JoinOptions{Parent: bob.group})
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkRefusal(t, err, tt.want)
		})
	}
}

// resumptionMap knows one resumption PSK, whichever is asked for.
type resumptionMap struct{ psk []byte }

func (resumptionMap) ExternalPSK([]byte) ([]byte, error)             { return nil, ErrUnknownPSK }
func (m resumptionMap) ResumptionPSK([]byte, uint64) ([]byte, error) { return m.psk, nil }

// TestGroupInfoForExternalCommit breaks the rules for the GroupInfo of an external
// joiner (RFC 9420, Section 12.4.3.2).
func TestGroupInfoForExternalCommit(t *testing.T) {
	r := newDemandingRoom(t, 3)
	g := r.members[0].group
	joiner := newPerson(t, "joiner", classic, Config{})
	forge := func(change, signed func(*GroupInfo)) []byte {
		info := must(ParseMessage(must(g.GroupInfo(true)))).GroupInfo
		if change != nil {
			change(info)
		}
		info.Signature = must(g.suite.signWithLabel(g.signer, groupInfoLabel, info.tbs()))
		if signed != nil {
			signed(info)
		}
		return info.Message()
	}
	replace := func(t ExtensionType, data []byte) func(*GroupInfo) {
		return func(i *GroupInfo) {
			for j := range i.Extensions {
				if i.Extensions[j].ExtensionType == t {
					i.Extensions[j].ExtensionData = data
				}
			}
		}
	}
	key := must(g.client.generateKeyPair(g.suite)).public
	for _, tt := range []struct {
		name           string
		change, signed func(*GroupInfo)
		want           any
	}{
		{"valid", nil, nil, nil},
		{"signature", nil, func(i *GroupInfo) { i.Signature = flip(i.Signature) }, ErrSignature},
		{"tree hash", func(i *GroupInfo) { i.GroupContext.TreeHash = flip(i.GroupContext.TreeHash) }, nil, brokenRule{"12.4.3.1", "tree hash"}},
		{"signer is blank", func(i *GroupInfo) { i.Signer = 3 }, nil, brokenRule{"12.4.3.1", "signer of the GroupInfo"}},
		{"external_pub without a length of its own", replace(ExtensionTypeExternalPub, key), nil, ErrMalformed},
		{"external_pub with bytes left over", replace(ExtensionTypeExternalPub, append(appendVector(nil, key), 0)), nil, ErrMalformed},
		{"external_pub is no key", replace(ExtensionTypeExternalPub, appendVector(nil, key[:31])), nil, ErrInvalidKey},
		{"unknown suite", func(i *GroupInfo) { i.GroupContext.CipherSuite = 0xF0FF }, nil, ErrUnsupported},
		{"group extension that we lack", func(i *GroupInfo) {
			i.GroupContext.Extensions = append(slices.Clone(i.GroupContext.Extensions), Extension{0xF0FF, nil})
		}, nil, brokenRule{"13.4", "group extension 0xF0FF"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := joiner.client.JoinExternal(forge(tt.change, tt.signed), joiner.id, ExternalJoinOptions{Leaf: capableLeaf})
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkRefusal(t, err, tt.want)
		})
	}
	t.Run("without external_pub", func(t *testing.T) {
		info := must(ParseMessage(must(g.GroupInfo(true)))).GroupInfo
		info.Extensions = slices.DeleteFunc(info.Extensions, func(e Extension) bool { return e.ExtensionType == ExtensionTypeExternalPub })
		info.Signature = must(g.suite.signWithLabel(g.signer, groupInfoLabel, info.tbs()))
		_, _, err := joiner.client.JoinExternal(info.Message(), joiner.id, ExternalJoinOptions{Leaf: capableLeaf})
		if err == nil || !strings.Contains(err.Error(), "GroupInfo without external_pub") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("we cannot do what the group requires", func(t *testing.T) {
		_, _, err := joiner.client.JoinExternal(forge(nil, nil), joiner.id, ExternalJoinOptions{})
		checkRefusal(t, err, brokenRule{"7.3", "required"})
	})
}
