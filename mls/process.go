package mls

import (
	"bytes"
	"fmt"
)

// Processed is what [Group.Process] makes of a message (RFC 9420, Section 6): an
// [*ApplicationMessage], a [*ReceivedProposal], or a [*StagedCommit].
type Processed interface{ processed() }

func (*ApplicationMessage) processed() {}
func (*ReceivedProposal) processed()   {}
func (*StagedCommit) processed()       {}

// A ReceivedProposal was verified and is kept for the next commit (RFC 9420, Section
// 12.1). If policy forbids it, give it to [Group.DropProposal].
type ReceivedProposal struct {
	Proposal          Proposal
	Sender            Sender
	AuthenticatedData []byte

	ref []byte
}

const (
	// MaxStoredProposals is how many proposals of others a group keeps in an epoch
	// (RFC 9420, Section 12.1).
	MaxStoredProposals = 4096

	// MaxStoredProposalBytes is how many bytes these may take together, encoded
	// (RFC 9420, Section 12.1).
	MaxStoredProposalBytes = 16 << 20
)

// Process takes a message for the group, as the delivery service brought it
// (RFC 9420, Section 6). A commit is verified but not applied: see
// [StagedCommit].
//
// A message that is refused changes nothing, and its key can still be used by the
// genuine one. An application message that is opened uses up its key: save the
// group together with the message.
func (g *Group) Process(message []byte) (Processed, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	if g.pending != nil && bytes.Equal(message, g.pending.Commit) {
		return g.stageOwn(), nil
	}
	m, err := ParseMessage(message)
	if err != nil {
		return nil, err
	}
	switch {
	case m.PublicMessage != nil:
		return g.processPublic(m.PublicMessage)
	case m.PrivateMessage != nil:
		return g.processPrivate(m.PrivateMessage)
	}
	return nil, fmt.Errorf("%w: wire format %d as a message to a group", ErrUnsupported, m.WireFormat)
}

// stageOwn presents our pending commit as a staged one, as the others see it.
func (g *Group) stageOwn() *StagedCommit {
	p := g.pending
	s := &StagedCommit{
		Committer: memberSender(g.private.leaf), Proposals: p.Proposals, ReInit: p.next.reInit,
		own: true, base: g.epoch, next: p.next,
	}
	if m, err := ParseMessage(p.Commit); err == nil && m.PublicMessage != nil {
		s.AuthenticatedData = m.PublicMessage.AuthenticatedData()
	} else if err == nil && m.PrivateMessage != nil {
		s.AuthenticatedData = m.PrivateMessage.AuthenticatedData()
	}
	old, after := g.epoch.tree, p.next.epoch.tree
	added := make(map[string]bool)
	for _, c := range p.Proposals {
		switch q := c.Proposal.(type) {
		case *Add:
			added[string(q.KeyPackage.LeafNode.EncryptionKey)] = true
		case *Remove:
			s.Removed = append(s.Removed, newMember(q.Removed, old.leaf(q.Removed)))
		}
	}
	after.diff(old, func(x nodeIndex, n *treeNode) {
		switch {
		case n.leaf == nil:
		case added[string(n.leaf.EncryptionKey)]:
			s.Added = append(s.Added, newMember(x.firstLeaf(), n.leaf))
		default:
			s.Updated = append(s.Updated, newMember(x.firstLeaf(), n.leaf))
		}
	})
	return s
}

func (g *Group) processPublic(m *PublicMessage) (Processed, error) {
	if !bytes.Equal(m.content.groupID, g.epoch.context.GroupID) {
		return nil, ErrWrongGroup
	}
	if m.content.epoch != g.Epoch() {
		return nil, &EpochError{Have: g.Epoch(), Want: m.content.epoch}
	}
	key, err := g.senderKey(&m.content)
	if err != nil {
		return nil, err
	}
	a, err := m.unprotectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
	if err != nil {
		return nil, err
	}
	if err := a.verify(g.suite, key, g.epoch.contextBytes); err != nil {
		return nil, err
	}
	if a.content.sender.isMember(g.private.leaf) {
		return nil, ErrOwnMessage
	}
	if a.content.contentType == ContentTypeCommit {
		return g.stage(a)
	}
	return g.receiveProposal(a)
}

func (g *Group) stage(a *authenticatedContent) (Processed, error) {
	staged, err := g.stageCommit(a)
	if err != nil {
		return nil, fmt.Errorf("processing commit: %w", err)
	}
	return staged, nil
}

// senderKey returns the signature key of the sender of a PublicMessage, and checks
// that a sender of its type may send such content (RFC 9420, Section 6.1).
func (g *Group) senderKey(c *framedContent) ([]byte, error) {
	switch c.sender.SenderType {
	case SenderTypeMember:
		leaf := g.epoch.tree.leaf(c.sender.LeafIndex)
		if leaf == nil {
			return nil, invalid("6.1", "sender %d is not a member", c.sender.LeafIndex)
		}
		return leaf.SignatureKey, nil
	case SenderTypeExternal:
		return g.externalSenderKey(c)
	case SenderTypeNewMemberProposal:
		if add, ok := c.proposal.(*Add); ok && c.contentType == ContentTypeProposal {
			return add.KeyPackage.LeafNode.SignatureKey, nil
		}
		return nil, invalid("6.1", "new member proposes something other than to be added")
	case SenderTypeNewMemberCommit:
		if c.contentType != ContentTypeCommit {
			return nil, invalid("6.1", "joiner of an external commit sends something else")
		}
		if c.commit.path == nil {
			return nil, invalid("12.4.3.2", "external commit without a path")
		}
		return c.commit.path.LeafNode.SignatureKey, nil
	}
	return nil, invalid("6.1", "unknown sender type")
}

func (g *Group) externalSenderKey(c *framedContent) ([]byte, error) {
	if c.contentType != ContentTypeProposal {
		return nil, invalid("6.1", "external sender sends something other than a proposal")
	}
	senders, err := externalSenders(g.epoch.context.Extensions)
	if err != nil {
		return nil, err
	}
	if uint64(c.sender.SenderIndex) >= uint64(len(senders)) {
		return nil, invalid("12.1.8", "external sender %d is not in the group's list", c.sender.SenderIndex)
	}
	return senders[c.sender.SenderIndex].SignatureKey, nil
}

func (g *Group) processPrivate(m *PrivateMessage) (Processed, error) {
	if !bytes.Equal(m.groupID, g.epoch.context.GroupID) {
		return nil, ErrWrongGroup
	}
	e := g.epochAt(m.epoch)
	if e == nil || e != g.epoch && m.contentType != ContentTypeApplication {
		return nil, &EpochError{Have: g.Epoch(), Want: m.epoch}
	}
	a, use, err := g.open(e, m)
	if err != nil {
		return nil, err
	}
	switch m.contentType {
	case ContentTypeCommit:
		staged, err := g.stageCommit(a)
		if err != nil {
			return nil, fmt.Errorf("processing commit: %w", err)
		}
		staged.use = use
		return staged, nil
	case ContentTypeProposal:
		p, err := g.receiveProposal(a)
		if err != nil {
			return nil, err
		}
		e.messages.consume(use)
		use.wipe()
		return p, nil
	}
	e.messages.consume(use)
	use.wipe()
	sender := a.content.sender.LeafIndex
	return &ApplicationMessage{
		Sender:            newMember(sender, e.tree.leaf(sender)),
		Epoch:             m.epoch,
		Generation:        use.generation,
		Data:              a.content.applicationData,
		AuthenticatedData: m.authenticatedData,
	}, nil
}

// open decrypts and verifies a PrivateMessage of an epoch. The key is for the
// caller to consume.
func (g *Group) open(e *epochState, m *PrivateMessage) (*authenticatedContent, *keyUse, error) {
	data, err := m.decryptSenderData(g.suite, e.secrets.senderData(g.suite))
	if err != nil {
		return nil, nil, err
	}
	leaf := e.tree.leaf(data.leafIndex)
	if leaf == nil {
		return nil, nil, invalid("6.3.2", "sender %d is not a member", data.leafIndex)
	}
	if data.leafIndex == g.private.leaf {
		return nil, nil, ErrOwnMessage
	}
	use, err := e.messages.find(data.leafIndex, ratchetFor(m.contentType), data.generation)
	if err != nil {
		return nil, nil, err
	}
	a, err := m.decryptContent(g.suite, data, use)
	if err != nil {
		return nil, nil, err
	}
	if err := a.verify(g.suite, leaf.SignatureKey, e.contextBytes); err != nil {
		return nil, nil, err
	}
	return a, use, nil
}

// receiveProposal checks a proposal and keeps it (RFC 9420, Section 12.1).
func (g *Group) receiveProposal(a *authenticatedContent) (*ReceivedProposal, error) {
	p, sender := a.content.proposal, a.content.sender
	if err := g.client.checkProposal(g.epoch, p, sender); err != nil {
		return nil, fmt.Errorf("processing proposal: %w", err)
	}
	ref := a.proposalRef(g.suite)
	if g.storedProposal(ref) == nil {
		if err := g.checkRoom(p); err != nil {
			return nil, err
		}
		g.storeProposal(&storedProposal{ref: ref, proposal: p, sender: sender})
	}
	return &ReceivedProposal{Proposal: p, Sender: sender, AuthenticatedData: a.content.authenticatedData, ref: ref}, nil
}

// checkRoom refuses a proposal that does not fit beside those that wait.
func (g *Group) checkRoom(p Proposal) error {
	size := len(appendProposal(nil, p))
	for _, stored := range g.proposals {
		size += stored.size
	}
	if len(g.proposals) >= MaxStoredProposals || size > MaxStoredProposalBytes {
		return fmt.Errorf("%w: %d proposals in one epoch", ErrTooLarge, len(g.proposals))
	}
	return nil
}
