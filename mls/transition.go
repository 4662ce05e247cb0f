package mls

import (
	"crypto"
	"fmt"
)

// An epochState is what a group holds for one epoch.
type epochState struct {
	context      GroupContext
	contextBytes []byte
	tree         *ratchetTree
	secrets      *epochSecrets
	messages     *secretTree
}

// A transition computes the next epoch aside from the current one, which it
// leaves as it is (RFC 9420, Sections 12.3 and 12.4).
type transition struct {
	client *Client
	suite  *suite
	old    *epochState

	tree       *ratchetTree
	index      *treeIndex
	extensions []Extension
	private    *privateTree // nil if we are not a member yet
	signer     crypto.Signer

	// What the proposals ask for.
	proposals     []CommittedProposal
	added         []addedMember
	addedLeaves   map[LeafIndex]bool
	updated       []LeafIndex
	removed       []LeafIndex
	psks          []PreSharedKeyID
	externalInit  *ExternalInit
	reInit        *ReInit
	needsPath     bool
	removedSelf   bool
	newExtensions bool
	creationUsage ResumptionPSKUsage // allowed in the first commit of a group
}

type addedMember struct {
	index      LeafIndex
	keyPackage *KeyPackage
}

func (g *Group) newTransition() *transition {
	return &transition{
		client: g.client, suite: g.suite, old: g.epoch,
		tree: g.epoch.tree, index: g.index.next(), extensions: g.epoch.context.Extensions,
		private: g.private.clone(), signer: g.signer,
		addedLeaves: make(map[LeafIndex]bool),
	}
}

// apply applies a list of proposals that passed the rules for lists (RFC 9420,
// Section 12.3).
func (t *transition) apply(list []CommittedProposal) error {
	t.proposals = list
	t.needsPath = len(list) == 0
	for _, p := range list {
		t.needsPath = t.needsPath || p.Proposal.ProposalType().needsPath()
		switch q := p.Proposal.(type) {
		case *GroupContextExtensions:
			t.extensions, t.newExtensions = q.Extensions, true
		case *PreSharedKey:
			t.psks = append(t.psks, q.PSK)
		case *ExternalInit:
			t.externalInit = q
		case *ReInit:
			t.reInit = q
		}
	}
	for _, p := range list {
		if q, ok := p.Proposal.(*Update); ok {
			if err := t.applyUpdate(p, q); err != nil {
				return err
			}
		}
	}
	for _, p := range list {
		if q, ok := p.Proposal.(*Remove); ok {
			if err := t.applyRemove(q.Removed); err != nil {
				return err
			}
		}
	}
	t.tree = t.tree.truncate()
	if err := t.checkCustomTypes(); err != nil {
		return err
	}
	for _, p := range list {
		if q, ok := p.Proposal.(*Add); ok {
			if err := t.applyAdd(q.KeyPackage); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *transition) applyUpdate(p CommittedProposal, update *Update) error {
	i := p.Sender.LeafIndex
	old := t.tree.leaf(i) // not blank, since it has sent the Update
	if t.private != nil && i == t.private.leaf {
		if p.stored == nil || p.stored.leafKey == nil {
			return fmt.Errorf("%w: our own Update", ErrUnknownProposal)
		}
		t.private.keys[i.node()] = p.stored.leafKey
	}
	t.index.removeLeaf(old)
	t.index.removePath(t.tree, i)
	t.tree = t.tree.update(i, update.LeafNode)
	t.index.addLeaf(update.LeafNode)
	t.updated = append(t.updated, i)
	return nil
}

func (t *transition) applyRemove(i LeafIndex) error {
	old := t.tree.leaf(i)
	if old == nil {
		return invalid("12.1.3", "Remove of a blank leaf")
	}
	if t.private != nil && i == t.private.leaf {
		t.removedSelf = true
	}
	t.index.removeLeaf(old)
	t.index.removePath(t.tree, i)
	t.tree = t.tree.remove(i)
	t.removed = append(t.removed, i)
	return nil
}

func (t *transition) applyAdd(k *KeyPackage) error {
	tree, i, err := t.tree.add(k.LeafNode)
	if err != nil {
		return err
	}
	t.tree = tree
	t.index.addLeaf(k.LeafNode)
	t.added = append(t.added, addedMember{i, k})
	t.addedLeaves[i] = true
	return nil
}

// checkCustomTypes checks that each member that stays supports the proposal types
// in use (RFC 9420, Section 12.2). It runs after Removes and before Adds.
func (t *transition) checkCustomTypes() error {
	for _, p := range t.proposals {
		typ := p.Proposal.ProposalType()
		if typ.isDefault() {
			continue
		}
		if t.index.count(indexKey{kind: countProposal, typ: uint16(typ)}) != int(t.tree.members()) {
			return invalid("12.2", "proposal type 0x%04X is not supported by all members", uint16(typ))
		}
	}
	return nil
}

// checkLeaves applies the rules that compare leaves with each other and with the
// group's extensions to the leaves that are new (RFC 9420, Section 7.3).
func (t *transition) checkLeaves(committer *LeafIndex) error {
	leaves := append([]LeafIndex(nil), t.updated...)
	for _, a := range t.added {
		leaves = append(leaves, a.index)
	}
	if committer != nil {
		leaves = append(leaves, *committer)
	}
	for _, i := range leaves {
		leaf := t.tree.leaf(i)
		if leaf == nil {
			continue // updated by one proposal and removed by another is refused before
		}
		if err := t.index.checkUnique(leaf); err != nil {
			return err
		}
		if err := leaf.checkInContext(t.extensions); err != nil {
			return err
		}
	}
	if len(leaves) > 0 {
		if err := t.index.checkCredentialTypes(t.tree.members()); err != nil {
			return err
		}
	}
	if t.newExtensions {
		return t.checkNewExtensions()
	}
	return nil
}

// checkNewExtensions checks that all members support what a
// GroupContextExtensions proposal brings (RFC 9420, Section 12.1.7).
func (t *transition) checkNewExtensions() error {
	for _, e := range t.extensions {
		if err := t.index.checkExtensionSupport(e.ExtensionType, t.tree.members()); err != nil {
			return err
		}
	}
	req, err := requiredCapabilities(t.extensions)
	if err != nil {
		return err
	}
	return t.index.checkRequirements(req, t.tree.members())
}

// replacePath records in the index that the leaf and the path of the committer
// were replaced, once it was checked that the new keys are nowhere in the tree
// yet (RFC 9420, Section 12.4.2).
func (t *transition) replacePath(i LeafIndex, path *UpdatePath) error {
	keys := append(path.keys(), path.LeafNode.EncryptionKey)
	seen := make(map[string]bool, len(keys)) // its length is not checked yet
	for _, key := range keys {
		if t.index.count(encryptionIndex(key)) > 0 {
			return invalid("12.4.2", "key of the update path is in the tree already")
		}
		if seen[string(key)] {
			return invalid("12.4.2", "key occurs twice in the update path")
		}
		seen[string(key)] = true
	}
	if old := t.tree.leaf(i); old != nil {
		t.index.removeLeaf(old)
	}
	t.index.removePath(t.tree, i)
	t.index.addLeaf(path.LeafNode)
	for _, key := range path.keys() {
		t.index.change(encryptionIndex(key), 1)
	}
	return nil
}

// provisionalContext is the GroupContext of the next epoch with the transcript of
// the old one (RFC 9420, Section 12.4.1).
func (t *transition) provisionalContext() GroupContext {
	c := t.old.context
	c.Epoch++
	c.TreeHash = t.tree.treeHash()
	c.Extensions = t.extensions
	return c
}

// A nextState is the state of a group after a commit.
type nextState struct {
	epoch   *epochState
	index   *treeIndex
	private *privateTree
	signer  crypto.Signer
	interim []byte
	tag     []byte // confirmation tag
	reInit  *ReInit
	removed bool
}

// wipe zeroes the secrets of a state that is never going to be used.
func (n *nextState) wipe() {
	if n.epoch == nil {
		return
	}
	n.epoch.secrets.wipe()
	n.epoch.messages.wipe()
}

// epochInput is what the key schedule takes in (RFC 9420, Section 8).
type epochInput struct {
	initSecret   []byte
	commitSecret []byte
	pskSecret    []byte
	interim      []byte // of the old epoch
}

// epochOutput is what Welcomes need.
type epochOutput struct {
	joinerSecret  []byte
	welcomeSecret []byte
}

// finish computes the secrets of the next epoch from a signed commit, and its
// confirmation tag.
func (t *transition) finish(commit *authenticatedContent, in epochInput) (*nextState, epochOutput) {
	s := t.suite
	context := t.provisionalContext()
	context.ConfirmedTranscriptHash = s.confirmedTranscriptHash(in.interim, commit)
	contextBytes := context.Marshal()
	joiner := s.joinerSecret(in.initSecret, in.commitSecret, contextBytes)
	epoch, welcome := s.newEpoch(t.tree, context, contextBytes, joiner, in.pskSecret)
	tag := s.mac(epoch.secrets.confirmationKey, context.ConfirmedTranscriptHash)
	if t.private != nil {
		t.private.prune(t.tree)
	}
	return &nextState{
		epoch:   epoch,
		index:   t.index,
		private: t.private,
		signer:  t.signer,
		interim: s.interimTranscriptHash(context.ConfirmedTranscriptHash, tag),
		tag:     tag,
		reInit:  t.reInit,
	}, epochOutput{joinerSecret: joiner, welcomeSecret: welcome}
}

// newEpoch runs the key schedule from the joiner_secret on.
func (s *suite) newEpoch(tree *ratchetTree, context GroupContext, contextBytes, joiner, pskSecret []byte) (epoch *epochState, welcomeSecret []byte) {
	member := s.memberSecret(joiner, pskSecret)
	defer clear(member)
	return s.epochFrom(tree, context, contextBytes, s.epochSecret(member, contextBytes)), s.welcomeSecret(member)
}

func (s *suite) epochFrom(tree *ratchetTree, context GroupContext, contextBytes, epochSecret []byte) *epochState {
	secrets, encryptionSecret := s.deriveEpoch(epochSecret)
	return &epochState{
		context:      context,
		contextBytes: contextBytes,
		tree:         tree,
		secrets:      secrets,
		messages:     newSecretTree(s, tree.height, encryptionSecret),
	}
}
