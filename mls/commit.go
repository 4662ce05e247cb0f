package mls

import (
	"crypto"
	"fmt"
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

// CommitOptions are the choices of [Group.Commit] (RFC 9420, Section 12.4.1).
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
// on (RFC 9420, Section 12.4.1). Send its Commit; if it is accepted, call
// [Group.MergePendingCommit] and send the Welcome; if another commit was first,
// process that.
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
	pending, err := g.stageOwnCommit(opts, 0, g.pskValue)
	if err != nil {
		return nil, fmt.Errorf("making commit: %w", err)
	}
	g.pending = pending
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
	var err error
	if in.pskSecret, err = t.suite.pskSecret(t.psks, b.psks); err != nil {
		return err
	}
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
