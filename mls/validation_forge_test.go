package mls

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
)

// This file makes messages that an honest member would not make, but that are
// genuine in every other respect: signed, tagged, encrypted, with a confirmation
// tag that fits. So each refusal is for the one rule that a test breaks.

// A brokenRule is the refusal that a test expects.
type brokenRule struct{ section, text string }

// checkRefusal compares an error with a brokenRule or an error to be wrapped.
func checkRefusal(t testing.TB, err error, want any) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want refusal: %v", want)
	}
	switch want := want.(type) {
	case brokenRule:
		var v *ValidationError
		if !errors.As(err, &v) || v.Section != want.section || !strings.Contains(v.Rule, want.text) {
			t.Fatalf("refused with %q, want %q of Section %s", err, want.text, want.section)
		}
	case *EpochError:
		var e *EpochError
		if !errors.As(err, &e) || *e != *want {
			t.Fatalf("refused with %q, want %q", err, want)
		}
	case error:
		if !errors.Is(err, want) {
			t.Fatalf("refused with %q, want %q", err, want)
		}
	default:
		t.Fatalf("test expects a %T", want)
	}
}

// mustRefuse checks that a group refuses a message, for the right reason, and that
// nothing of its state changes.
func mustRefuse(t testing.TB, g *Group, message []byte, want any) {
	t.Helper()
	before := g.Marshal()
	_, err := g.Process(message)
	checkRefusal(t, err, want)
	if !bytes.Equal(before, g.Marshal()) {
		t.Fatal("a refused message changed the state")
	}
}

// cloneGroup returns a second copy of a person's group, to do harm with.
func cloneGroup(t testing.TB, p *person) *Group {
	t.Helper()
	g, err := p.client.UnmarshalGroup(p.group.Marshal(), p.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A forgery is a commit and what is wrong with it. Each hook runs before what
// follows from its argument is computed.
type forgery struct {
	proposals []CommittedProposal
	noPath    bool
	external  *person // joins by an external commit instead

	leafKey    *keyPair
	leaf       func(*LeafNode) // before it is signed
	keys       func([][]byte)  // public keys of the path, before the parent hash
	groupID    []byte          // that the leaf is signed for
	index      *LeafIndex      // likewise
	leafSigner crypto.Signer
	context    func(*GroupContext) // that the path is encrypted under
	path       func(*UpdatePath)   // before the commit is signed
	content    func(*authenticatedContent)
	signer     crypto.Signer
	secrets    func(*epochInput)
	finished   func(*authenticatedContent) // after signature and confirmation tag

	next *nextState // out: the forger's own next state
}

// valueOf presents proposals as those of a member's commit.
func valueOf(g *Group, proposals ...Proposal) []CommittedProposal {
	var list []CommittedProposal
	for _, p := range proposals {
		list = append(list, CommittedProposal{Proposal: p, Sender: memberSender(g.private.leaf)})
	}
	return list
}

// forge makes the commit without checking a single rule.
func (f *forgery) forge(t testing.TB, g *Group) *authenticatedContent {
	t.Helper()
	s := g.suite
	sender, leaf, signer := memberSender(g.private.leaf), g.private.leaf, g.signer
	tr := g.newTransition()
	list := f.proposals
	in := epochInput{initSecret: g.epoch.secrets.initSecret, commitSecret: make([]byte, s.nh), interim: g.interim}
	if f.external != nil {
		sender, signer = Sender{SenderType: SenderTypeNewMemberCommit}, f.external.id.Signer
		pub := must(s.deriveKeyPair(g.epoch.secrets.externalSecret)).public
		kemOutput, initSecret, err := s.sendExternalInit(pub)
		if err != nil {
			t.Fatal(err)
		}
		in.initSecret = initSecret
		list = append([]CommittedProposal{{Proposal: &ExternalInit{kemOutput}, Sender: sender}}, list...)
	}
	_ = tr.apply(list) // what it objects to is what the receiver shall object to
	tr.proposals = list
	if f.external != nil {
		tree, i, err := tr.tree.reserve()
		if err != nil {
			t.Fatal(err)
		}
		tr.tree, leaf = tree, i
	}
	commit := &Commit{}
	for _, p := range list {
		if p.ref != nil {
			commit.proposals = append(commit.proposals, proposalOrRef{reference: p.ref})
		} else {
			commit.proposals = append(commit.proposals, proposalOrRef{proposal: p.Proposal})
		}
	}
	if !f.noPath {
		in.commitSecret = f.forgePath(t, g, tr, commit, leaf, signer)
	}
	in.pskSecret = must(s.pskSecret(nil, nil))
	if secret, err := s.pskSecret(tr.psks, g.pskValue); err == nil {
		in.pskSecret = secret
	}
	a := &authenticatedContent{
		wireFormat: WireFormatPublicMessage,
		content: framedContent{
			groupID: g.epoch.context.GroupID, epoch: g.epoch.context.Epoch, sender: sender,
			content: content{contentType: ContentTypeCommit, commit: commit},
		},
	}
	if f.content != nil {
		f.content(a)
	}
	if f.signer != nil {
		signer = f.signer
	}
	if err := a.sign(s, signer, g.epoch.contextBytes); err != nil {
		t.Fatal(err)
	}
	if f.secrets != nil {
		f.secrets(&in)
	}
	next, _ := tr.finish(a, in)
	a.auth.confirmationTag = next.tag
	f.next = next
	if f.finished != nil {
		f.finished(a)
	}
	return a
}

func (f *forgery) forgePath(t testing.TB, g *Group, tr *transition, commit *Commit, i LeafIndex, signer crypto.Signer) []byte {
	s := g.suite
	key := f.leafKey
	if key == nil {
		key = must(g.client.generateKeyPair(s))
	}
	var leaf *LeafNode
	if f.external != nil {
		leaf = must(f.external.client.newLeafNode(s, f.external.id, LeafOptions{}))
	} else {
		leaf = must(g.client.replaceLeafNode(s, g.ownLeaf(), Identity{g.ownLeaf().Credential, g.signer}, nil))
	}
	levels := tr.tree.filteredPath(i)
	chain := must(s.derivePath(must(g.client.random(s.nh)), len(levels)))
	keys := chain.publicKeys()
	if f.keys != nil {
		f.keys(keys)
	}
	parents, parentHash := tr.tree.pathParents(i, levels, keys)
	leaf.LeafNodeSource, leaf.EncryptionKey, leaf.ParentHash = LeafNodeSourceCommit, key.public, parentHash
	if f.leaf != nil {
		f.leaf(leaf)
	}
	groupID, index := g.epoch.context.GroupID, i
	if f.groupID != nil {
		groupID = f.groupID
	}
	if f.index != nil {
		index = *f.index
	}
	leafSigner := signer
	if f.leafSigner != nil {
		leafSigner = f.leafSigner
	}
	if err := leaf.sign(s, leafSigner, groupID, index); err != nil {
		t.Fatal(err)
	}
	path := &newPath{tree: tr.tree.withPath(i, leaf, parents), leaf: leaf, levels: levels, chain: chain, keys: newPrivateTree(i, key)}
	for j, level := range levels {
		path.keys.keys[i.ancestor(level)] = chain.keys[j]
	}
	tr.tree, tr.private, tr.signer = path.tree, path.keys, signer
	context := tr.provisionalContext()
	if f.context != nil {
		f.context(&context)
	}
	commit.path = must(path.encrypt(context.Marshal(), tr.addedLeaves))
	for j := range commit.path.Nodes {
		commit.path.Nodes[j].EncryptionKey = keys[j]
	}
	if f.path != nil {
		f.path(commit.path)
	}
	return chain.commitSecret
}

// public forges the commit and sends it as a PublicMessage.
func (f *forgery) public(t testing.TB, g *Group) []byte {
	t.Helper()
	a := f.forge(t, g)
	return a.protectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
}

// forgeProposal makes a proposal of a member without checking it, and returns what
// to commit it by.
func forgeProposal(t testing.TB, g *Group, p Proposal) (message []byte, committed CommittedProposal) {
	t.Helper()
	return forgeProposalFrom(t, g, memberSender(g.private.leaf), g.signer, p)
}

func forgeProposalFrom(t testing.TB, g *Group, sender Sender, signer crypto.Signer, p Proposal) ([]byte, CommittedProposal) {
	t.Helper()
	a := &authenticatedContent{
		wireFormat: WireFormatPublicMessage,
		content: framedContent{
			groupID: g.epoch.context.GroupID, epoch: g.epoch.context.Epoch, sender: sender,
			content: content{contentType: ContentTypeProposal, proposal: p},
		},
	}
	if err := a.sign(g.suite, signer, g.epoch.contextBytes); err != nil {
		t.Fatal(err)
	}
	message := a.protectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
	return message, CommittedProposal{Proposal: p, Sender: sender, ref: a.proposalRef(g.suite)}
}

// forgeUpdate makes an Update whose leaf a test changes before it is signed.
func forgeUpdate(t testing.TB, g *Group, change func(*LeafNode)) *Update {
	t.Helper()
	leaf := must(g.client.replaceLeafNode(g.suite, g.ownLeaf(), Identity{g.ownLeaf().Credential, g.signer}, nil))
	leaf.LeafNodeSource, leaf.EncryptionKey = LeafNodeSourceUpdate, must(g.client.generateKeyPair(g.suite)).public
	if change != nil {
		change(leaf)
	}
	if err := leaf.sign(g.suite, g.signer, g.epoch.context.GroupID, g.private.leaf); err != nil {
		t.Fatal(err)
	}
	return &Update{leaf}
}

// forgeKeyPackage makes a key package that a test changes before both signatures
// are made anew.
func forgeKeyPackage(t testing.TB, p *person, opts KeyPackageOptions, change func(*KeyPackage)) *PrivateKeyPackage {
	t.Helper()
	k := must(p.client.NewKeyPackage(p.suite, p.id, opts))
	s := must(p.suite.suite())
	if change != nil {
		change(k.KeyPackage)
	}
	if err := k.KeyPackage.LeafNode.sign(s, p.id.Signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	k.KeyPackage.Signature = must(s.signWithLabel(p.id.Signer, keyPackageLabel, k.KeyPackage.tbs()))
	return k
}

// A welcomeForgery is a Welcome and what is wrong with it.
type welcomeForgery struct {
	nodes   func([]*treeNode) []*treeNode // the ratchet tree as an array
	tree    []byte                        // sent instead of the tree
	context func(*GroupContext)
	tag     func([]byte) []byte
	info    func(*GroupInfo) // before it is signed
	signed  func(*GroupInfo)
	signer  crypto.Signer
	secrets func(*groupSecrets)
	plain   func([]byte) []byte // of the group secrets
	welcome func(*Welcome)
	psks    [][]byte
}

// forge makes a Welcome into the state n, which its signer could make, too: whoever
// invites us chooses the joiner_secret, and everything that follows from it.
func (f *welcomeForgery) forge(t testing.TB, n *nextState, k *KeyPackage) []byte {
	t.Helper()
	tree, s := n.epoch.tree, n.epoch.tree.suite
	if f.nodes != nil {
		tree = treeOf(s, f.nodes(nodesOf(tree)))
	}
	context := n.epoch.context
	context.TreeHash = tree.treeHash()
	if f.context != nil {
		f.context(&context)
	}
	secrets := &groupSecrets{joinerSecret: bytes.Repeat([]byte{7}, s.nh)}
	if f.secrets != nil {
		f.secrets(secrets)
	}
	pskSecret := must(s.pskSecret(nil, nil))
	if f.psks != nil {
		pskSecret = must(s.pskSecret(secrets.psks, inOrder(f.psks)))
	}
	epoch, welcomeSecret := s.newEpoch(tree, context, context.Marshal(), secrets.joinerSecret, pskSecret)
	tag := s.mac(epoch.secrets.confirmationKey, context.ConfirmedTranscriptHash)
	if f.tag != nil {
		tag = f.tag(tag)
	}
	data := f.tree
	if data == nil {
		data = tree.marshal()
	}
	info := &GroupInfo{GroupContext: context, ConfirmationTag: tag, Signer: n.private.leaf, Extensions: []Extension{{ExtensionTypeRatchetTree, data}}}
	if f.info != nil {
		f.info(info)
	}
	signer := n.signer
	if f.signer != nil {
		signer = f.signer
	}
	info.Signature = must(s.signWithLabel(signer, groupInfoLabel, info.tbs()))
	if f.signed != nil {
		f.signed(info)
	}
	w := &Welcome{cipherSuite: s.id, encryptedGroupInfo: s.sealGroupInfo(welcomeSecret, info.appendTo(nil))}
	plain := secrets.appendTo(nil)
	if f.plain != nil {
		plain = f.plain(plain)
	}
	c := must(s.encryptWithLabel(k.InitKey, welcomeLabel, w.encryptedGroupInfo, plain))
	w.secrets = []encryptedGroupSecrets{{newMember: must(k.Ref()), secrets: c}}
	if f.welcome != nil {
		f.welcome(w)
	}
	return w.appendTo(appendMessageHeader(nil, WireFormatWelcome))
}

// nodesOf flattens a tree into the array of its nodes, blank ones nil.
func nodesOf(t *ratchetTree) []*treeNode {
	nodes := make([]*treeNode, 2<<t.height-1)
	for x := range nodes {
		n := t.node(nodeIndex(x))
		switch {
		case n.leaf != nil:
			nodes[x] = &treeNode{leaf: n.leaf, members: 1}
		case n.parent != nil:
			nodes[x] = &treeNode{parent: n.parent}
		}
	}
	return nodes
}

func treeOf(s *suite, nodes []*treeNode) *ratchetTree {
	height := heightFor(uint32(len(nodes)/2 + 1))
	return &ratchetTree{suite: s, height: height, root: buildTree(nodes, rootOf(height))}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// otherSigner returns a signature key that nobody in the group has.
func otherSigner(t testing.TB, cs CipherSuite) crypto.Signer {
	t.Helper()
	return must(cs.GenerateSignatureKey())
}

// inOrder has the pre-shared keys of a list at hand in its order.
func inOrder(psks [][]byte) pskLookup {
	return func(PreSharedKeyID) (psk []byte, _ error) {
		psk, psks = psks[0], psks[1:]
		return psk, nil
	}
}
