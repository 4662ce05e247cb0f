package mls

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
)

// proposalOrRef is ProposalOrRef (RFC 9420, Section 12.4): one of both is set.
type proposalOrRef struct {
	proposal  Proposal
	reference []byte
}

const (
	isProposal  = 1
	isReference = 2
)

func (p proposalOrRef) appendTo(b []byte) []byte {
	if p.proposal != nil {
		return appendProposal(append(b, isProposal), p.proposal)
	}
	return appendVector(append(b, isReference), p.reference)
}

func readProposalOrRef(r *reader) proposalOrRef {
	switch r.uint8() {
	case isProposal:
		return proposalOrRef{proposal: readProposal(r)}
	case isReference:
		return proposalOrRef{reference: r.vector()}
	}
	r.fail("neither proposal nor reference")
	return proposalOrRef{}
}

// A Commit begins a new epoch (RFC 9420, Section 12.4).
type Commit struct {
	proposals []proposalOrRef
	path      *UpdatePath
}

func (c *Commit) appendTo(b []byte) []byte {
	b = appendList(b, c.proposals, func(b []byte, p proposalOrRef) []byte { return p.appendTo(b) })
	if c.path == nil {
		return append(b, 0)
	}
	return c.path.appendTo(append(b, 1))
}

func readCommit(r *reader) *Commit {
	c := &Commit{proposals: readList(r, readProposalOrRef)}
	if r.optional() {
		c.path = readUpdatePath(r)
	}
	return c
}

// CommitOptions are the choices of [Group.Commit].
type CommitOptions struct {
	// Proposals are committed by value, before those that were received. Nobody
	// else sees them before.
	Proposals []Proposal

	// ByValueOnly leaves received proposals out. Otherwise all that can stand in
	// one commit are covered.
	ByValueOnly bool

	// OmitPath leaves the UpdatePath out if the proposals allow it: Adds,
	// PreSharedKeys and ReInits do. The commit is smaller by far, but does
	// nothing to heal the group from a compromise of our state.
	OmitPath bool

	// Identity replaces our credential and signature key, Leaf what our leaf says
	// of us. Either needs a path.
	Identity *Identity
	Leaf     *LeafOptions

	// AuthenticatedData is sent along in the open, and signed.
	AuthenticatedData []byte

	// OmitRatchetTree leaves the ratchet tree out of the Welcome. New members then
	// have to get it by other means.
	OmitRatchetTree bool

	// GroupInfoExtensions are added to the GroupInfo in the Welcome.
	GroupInfoExtensions []Extension
}

// A PendingCommit is a commit of our own that the delivery service has not decided
// on. Send its Commit; if it is accepted, call [Group.MergePendingCommit] and send
// the Welcome; if another commit was first, process that.
type PendingCommit struct {
	// Commit is the message for the group.
	Commit []byte

	// Welcome is the message for the new members, nil if there are none.
	Welcome []byte

	// Proposals are those that the commit covers.
	Proposals []CommittedProposal

	client *Client
	next   *nextState
}

// GroupInfo returns what [Group.GroupInfo] returns once the commit is applied, for
// delivery services that want both at once.
func (p *PendingCommit) GroupInfo(withTree bool, extensions ...Extension) ([]byte, error) {
	info, err := p.client.newGroupInfo(p.next, withTree, true, extensions)
	if err != nil {
		return nil, fmt.Errorf("making GroupInfo: %w", err)
	}
	return info.Message(), nil
}

// Epoch returns the epoch that the commit begins.
func (p *PendingCommit) Epoch() uint64 { return p.next.epoch.context.Epoch }

// Members returns the members of the group after the commit.
func (p *PendingCommit) Members() []Member { return p.next.epoch.tree.listMembers() }

// Commit makes a commit (RFC 9420, Section 12.4.1), which becomes the group's
// pending commit and has no other effect yet. Without proposals, it renews our
// own keys: that heals the group if our state was stolen.
func (g *Group) Commit(opts CommitOptions) (*PendingCommit, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	if g.pending != nil {
		return nil, fmt.Errorf("%w: there is one already", ErrPendingCommit)
	}
	pending, err := g.stageOwnCommit(opts, 0, g.pskValues)
	if err != nil {
		return nil, fmt.Errorf("making commit: %w", err)
	}
	g.setPending(pending)
	return pending, nil
}

// stageOwnCommit makes a commit. The first one of a group that continues another
// may use a PSK of that one.
func (g *Group) stageOwnCommit(opts CommitOptions, usage ResumptionPSKUsage, psks pskLookup) (*PendingCommit, error) {
	if len(opts.AuthenticatedData) > maxVectorLength/2 {
		return nil, ErrTooLarge
	}
	list, err := g.collectProposals(opts)
	if err != nil {
		return nil, err
	}
	t := g.newTransition()
	t.creationUsage = usage
	if err := t.checkList(list, g.private.leaf); err != nil {
		return nil, err
	}
	if err := t.apply(list); err != nil {
		return nil, err
	}
	b := &commitBuilder{
		transition:  t,
		sender:      memberSender(g.private.leaf),
		leaf:        g.private.leaf,
		signer:      g.signer,
		initSecret:  g.epoch.secrets.initSecret,
		interim:     g.interim,
		psks:        psks,
		opts:        opts,
		wireFormat:  g.client.handshakeFormat(),
		membership:  g.epoch.secrets.membershipKey,
		contextSign: g.epoch.contextBytes,
	}
	if t.needsPath || !opts.OmitPath || opts.Identity != nil || opts.Leaf != nil {
		if b.newLeaf, err = g.newCommitLeaf(b, opts); err != nil {
			return nil, err
		}
	}
	if err := b.build(); err != nil {
		return nil, err
	}
	return b.protect(g)
}

// newCommitLeaf returns our leaf for the path of a commit.
func (g *Group) newCommitLeaf(b *commitBuilder, opts CommitOptions) (*LeafNode, error) {
	id := Identity{Credential: g.ownLeaf().Credential, Signer: g.signer}
	if opts.Identity != nil {
		id = *opts.Identity
		b.transition.signer = id.Signer
	}
	return g.client.replaceLeafNode(g.suite, g.ownLeaf(), id, opts.Leaf)
}

// collectProposals returns the proposals of a commit, those by value first.
func (g *Group) collectProposals(opts CommitOptions) ([]CommittedProposal, error) {
	sender := memberSender(g.private.leaf)
	var list []CommittedProposal
	for _, p := range opts.Proposals {
		p, err := g.completeProposal(p)
		if err != nil {
			return nil, err
		}
		if err := g.client.checkProposal(g.epoch, p, sender); err != nil {
			return nil, err
		}
		list = append(list, CommittedProposal{Proposal: p, Sender: sender})
	}
	if !opts.ByValueOnly {
		list = g.extendList(list, g.selectProposals(list))
	}
	return list, nil
}

// extendList adds those of the received proposals to a list that can stand in a
// commit with it. A proposal that is valid alone can still spoil every commit that
// covers it, and must not keep us from making one. If there are few of these, few
// attempts find them.
func (g *Group) extendList(list, received []CommittedProposal) []CommittedProposal {
	if len(received) == 0 || g.canCommit(list) != nil {
		return list
	}
	var extend func(list, more []CommittedProposal) []CommittedProposal
	extend = func(list, more []CommittedProposal) []CommittedProposal {
		all := append(slices.Clip(list), more...)
		if g.canCommit(all) == nil {
			return all
		}
		if len(more) == 1 {
			return list
		}
		return extend(extend(list, more[:len(more)/2]), more[len(more)/2:])
	}
	return extend(list, received)
}

// canCommit checks a list of proposals as the receivers of a commit are going to.
func (g *Group) canCommit(list []CommittedProposal) error {
	t := g.newTransition()
	if err := t.checkList(list, g.private.leaf); err != nil {
		return err
	}
	if err := t.apply(list); err != nil {
		return err
	}
	return t.checkLeaves(nil)
}

// completeProposal fills in the nonce of a PreSharedKey.
func (g *Group) completeProposal(p Proposal) (Proposal, error) {
	psk, ok := p.(*PreSharedKey)
	if !ok || len(psk.PSK.PSKNonce) > 0 {
		return p, nil
	}
	nonce, err := g.client.random(g.suite.nh)
	if err != nil {
		return nil, err
	}
	c := *psk
	c.PSK.PSKNonce = nonce
	return &c, nil
}

type pskLookup func([]PreSharedKeyID) ([][]byte, error)

// A commitBuilder makes a commit out of a transition with its proposals applied,
// for members and for external joiners alike (RFC 9420, Section 12.4.1).
type commitBuilder struct {
	transition  *transition
	sender      Sender
	leaf        LeafIndex
	newLeaf     *LeafNode // nil for a commit without path
	signer      crypto.Signer
	initSecret  []byte
	interim     []byte
	psks        pskLookup
	opts        CommitOptions
	wireFormat  WireFormat
	membership  []byte
	contextSign []byte

	content *authenticatedContent
	path    *newPath
	next    *nextState
	out     epochOutput
}

func (b *commitBuilder) build() error {
	t := b.transition
	commit := &Commit{}
	for _, p := range t.proposals {
		if p.ref != nil {
			commit.proposals = append(commit.proposals, proposalOrRef{reference: p.ref})
		} else {
			commit.proposals = append(commit.proposals, proposalOrRef{proposal: p.Proposal})
		}
	}
	in := epochInput{initSecret: b.initSecret, commitSecret: make([]byte, t.suite.nh), interim: b.interim}
	if b.newLeaf != nil {
		if err := b.buildPath(commit); err != nil {
			return err
		}
		in.commitSecret = b.path.chain.commitSecret
	} else if err := t.checkLeaves(nil); err != nil {
		return err
	}
	psks, err := b.psks(t.psks)
	if err != nil {
		return err
	}
	in.pskSecret = t.suite.pskSecret(t.psks, psks)
	b.content = &authenticatedContent{
		wireFormat: b.wireFormat,
		content: framedContent{
			groupID:           t.old.context.GroupID,
			epoch:             t.old.context.Epoch,
			sender:            b.sender,
			authenticatedData: b.opts.AuthenticatedData,
			content:           content{contentType: ContentTypeCommit, commit: commit},
		},
	}
	if err := b.content.sign(t.suite, b.signer, b.contextSign); err != nil {
		return err
	}
	b.next, b.out = t.finish(b.content, in)
	b.content.auth.confirmationTag = b.next.tag
	clear(in.commitSecret)
	clear(in.pskSecret)
	return nil
}

// buildPath replaces the keys on our path and encrypts them to the others.
func (b *commitBuilder) buildPath(commit *Commit) error {
	t := b.transition
	path, err := t.client.makePath(t.tree, b.leaf, b.newLeaf, t.signer, t.old.context.GroupID)
	if err != nil {
		return err
	}
	if err := b.newLeaf.checkAlone(t.suite); err != nil {
		return err
	}
	public := &UpdatePath{LeafNode: path.leaf}
	for _, key := range path.chain.publicKeys() {
		public.Nodes = append(public.Nodes, UpdatePathNode{EncryptionKey: key})
	}
	if err := t.replacePath(b.leaf, public); err != nil {
		return err
	}
	t.tree = path.tree
	t.private = path.keys
	if err := t.checkLeaves(&b.leaf); err != nil {
		return err
	}
	context := t.provisionalContext()
	commit.path, err = path.encrypt(context.Marshal(), t.addedLeaves)
	b.path = path
	return err
}

// protect makes the messages of a member's commit. The key of the commit message
// is used up at once, so that no other message can take it.
func (b *commitBuilder) protect(g *Group) (*PendingCommit, error) {
	p := &PendingCommit{Proposals: b.transition.proposals, client: g.client, next: b.next}
	if b.wireFormat == WireFormatPublicMessage {
		p.Commit = b.content.protectPublic(g.suite, b.membership, b.contextSign)
	}
	var err error
	if len(b.transition.added) > 0 {
		if p.Welcome, err = b.welcome(); err != nil {
			return nil, fmt.Errorf("making Welcome: %w", err)
		}
	}
	if b.wireFormat == WireFormatPrivateMessage {
		if p.Commit, err = g.encrypt(b.content); err != nil {
			return nil, err
		}
	}
	if b.path != nil {
		b.path.chain.wipe()
	}
	clear(b.out.joinerSecret)
	clear(b.out.welcomeSecret)
	return p, nil
}

// A StagedCommit is a commit of another member that was verified but not applied.
// Look at what it does, then call [Group.Merge]; or drop it, and the group stays as
// it is.
type StagedCommit struct {
	// Committer is who made the commit: a member, or the joiner of an external
	// commit, who is the last one of Added then.
	Committer Sender

	// Proposals are those that the commit covers.
	Proposals []CommittedProposal

	// Added, Updated and Removed are the members that the commit adds, whose leaf
	// it replaces (the committer is one of these if the commit has a path), and
	// that it removes.
	Added, Updated, Removed []Member

	// RemovesUs is set if we are removed. After Merge the group is inactive.
	RemovesUs bool

	// ReInit is set if the group is closed, to be continued in a new one.
	ReInit *ReInit

	// AuthenticatedData is what the committer sent along.
	AuthenticatedData []byte

	own  bool // it is our pending commit
	base *epochState
	use  *keyUse // key of the message, to be used up with Merge
	next *nextState
}

// Own reports whether this is our own pending commit, come back from the delivery
// service.
func (s *StagedCommit) Own() bool { return s.own }

// Epoch returns the epoch that the commit begins.
func (s *StagedCommit) Epoch() uint64 { return s.base.context.Epoch + 1 }

// Members returns the members of the group after the commit; nil if we are not
// among them.
func (s *StagedCommit) Members() []Member {
	if s.next.removed {
		return nil
	}
	return s.next.epoch.tree.listMembers()
}

// stageCommit verifies a commit whose signature was verified (RFC 9420,
// Section 12.4.2).
func (g *Group) stageCommit(a *authenticatedContent) (*StagedCommit, error) {
	commit, external := a.content.commit, a.content.sender.SenderType == SenderTypeNewMemberCommit
	list, err := g.resolveProposals(commit, a.content.sender)
	if err != nil {
		return nil, err
	}
	t := g.newTransition()
	if external {
		err = t.checkExternalList(list)
	} else {
		err = t.checkList(list, a.content.sender.LeafIndex)
	}
	if err != nil {
		return nil, err
	}
	if err := t.apply(list); err != nil {
		return nil, err
	}
	staged := &StagedCommit{
		Committer: a.content.sender, Proposals: list, ReInit: t.reInit,
		AuthenticatedData: a.content.authenticatedData, base: g.epoch,
	}
	committer := a.content.sender.LeafIndex
	if external {
		if t.tree, committer, err = t.tree.reserve(); err != nil {
			return nil, err
		}
	}
	commitSecret, err := t.processPath(commit, committer, external)
	if err != nil {
		return nil, err
	}
	staged.describe(t, commit, committer, external)
	if t.removedSelf {
		staged.RemovesUs = true
		staged.next = &nextState{removed: true}
		return staged, nil
	}
	staged.next, err = g.confirm(t, a, commitSecret)
	return staged, err
}

// confirm runs the key schedule and compares the confirmation tag.
func (g *Group) confirm(t *transition, a *authenticatedContent, commitSecret []byte) (*nextState, error) {
	in := epochInput{initSecret: g.epoch.secrets.initSecret, commitSecret: commitSecret, interim: g.interim}
	psks, err := g.pskValues(t.psks)
	if err != nil {
		return nil, err
	}
	in.pskSecret = t.suite.pskSecret(t.psks, psks)
	if t.externalInit != nil {
		in.initSecret, err = t.suite.receiveExternalInit(g.epoch.secrets.externalSecret, t.externalInit.KEMOutput)
		if err != nil {
			return nil, err
		}
	}
	next, out := t.finish(a, in)
	clear(out.joinerSecret)
	clear(out.welcomeSecret)
	clear(commitSecret)
	clear(in.pskSecret)
	if t.externalInit != nil {
		clear(in.initSecret)
	}
	if !macEqual(next.tag, a.auth.confirmationTag) {
		next.wipe()
		return nil, invalid("6.1", "confirmation tag does not match")
	}
	if next.signer, err = g.signerFor(next.epoch.tree.leaf(next.private.leaf).SignatureKey); err != nil {
		return nil, err
	}
	return next, nil
}

// resolveProposals looks up the proposals that a commit refers to, and checks
// those that it brings by value.
func (g *Group) resolveProposals(commit *Commit, sender Sender) ([]CommittedProposal, error) {
	stored := make(map[string]*storedProposal, len(g.proposals))
	for _, p := range g.proposals {
		stored[string(p.ref)] = p
	}
	var list []CommittedProposal
	for _, p := range commit.proposals {
		if p.proposal == nil {
			stored := stored[string(p.reference)]
			if stored == nil {
				return nil, ErrUnknownProposal
			}
			list = append(list, CommittedProposal{Proposal: stored.proposal, Sender: stored.sender, ref: stored.ref, stored: stored})
			continue
		}
		if _, ok := p.proposal.(*Update); ok {
			return nil, invalid("12.2", "Update of the committer")
		}
		if err := g.client.checkProposal(g.epoch, p.proposal, sender); err != nil {
			return nil, err
		}
		list = append(list, CommittedProposal{Proposal: p.proposal, Sender: sender})
	}
	return list, nil
}

// processPath checks the path of a commit, applies it, and returns the commit
// secret.
func (t *transition) processPath(commit *Commit, committer LeafIndex, external bool) ([]byte, error) {
	if commit.path == nil {
		if t.needsPath {
			return nil, invalid("12.4", "commit lacks the path that its proposals need")
		}
		return make([]byte, t.suite.nh), t.checkLeaves(nil)
	}
	leaf := commit.path.LeafNode
	if err := t.checkCommitLeaf(leaf, committer, external); err != nil {
		return nil, err
	}
	if err := t.replacePath(committer, commit.path); err != nil {
		return nil, err
	}
	tree, err := t.tree.mergePath(committer, commit.path, t.addedLeaves)
	if err != nil {
		return nil, err
	}
	t.tree = tree
	if err := t.checkLeaves(&committer); err != nil {
		return nil, err
	}
	if t.removedSelf {
		return nil, nil
	}
	context := t.provisionalContext()
	return t.private.decryptPath(t.tree, committer, commit.path, context.Marshal(), t.addedLeaves)
}

// checkCommitLeaf checks the leaf in the path of a commit (RFC 9420,
// Sections 7.3 and 12.4.2).
func (t *transition) checkCommitLeaf(leaf *LeafNode, committer LeafIndex, external bool) error {
	if leaf.LeafNodeSource != LeafNodeSourceCommit {
		return invalid("7.3", "leaf node in a commit has another source")
	}
	if err := leaf.checkAlone(t.suite); err != nil {
		return err
	}
	groupID := t.old.context.GroupID
	if err := leaf.verify(t.suite, groupID, committer); err != nil {
		return err
	}
	previous := t.tree.leaf(committer)
	if external {
		previous = nil
		if len(t.removed) == 1 {
			previous = t.old.tree.leaf(t.removed[0])
		}
		if previous != nil && bytes.Equal(previous.EncryptionKey, leaf.EncryptionKey) {
			return invalid("12.2", "external commit keeps the encryption key of the leaf that it removes")
		}
	}
	return t.client.authenticate(leaf.credentialCheck(groupID, CredentialInCommit, previous))
}

// describe fills in what the application sees of a commit.
func (s *StagedCommit) describe(t *transition, commit *Commit, committer LeafIndex, external bool) {
	for _, a := range t.added {
		s.Added = append(s.Added, newMember(a.index, a.keyPackage.LeafNode))
	}
	for _, i := range t.updated {
		s.Updated = append(s.Updated, newMember(i, t.tree.leaf(i)))
	}
	for _, i := range t.removed {
		s.Removed = append(s.Removed, newMember(i, t.old.tree.leaf(i)))
	}
	switch {
	case external:
		s.Added = append(s.Added, newMember(committer, commit.path.LeafNode))
	case commit.path != nil:
		s.Updated = append(s.Updated, newMember(committer, commit.path.LeafNode))
	}
}

var errNoSigner = errors.New("mls: no signer for the signature key of our leaf")
