package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"slices"
)

// A Group is one member's view of a group (RFC 9420, Section 3.1). It is not safe
// for concurrent use.
//
// A method that returns an error leaves the group as it was.
type Group struct {
	client  *Client
	suite   *suite
	signer  crypto.Signer
	signers []crypto.Signer // further keys that our own Updates may bring into use

	epoch     *epochState
	past      []*epochState // oldest first
	index     *treeIndex
	private   *privateTree
	interim   []byte // interim transcript hash
	tag       []byte // confirmation tag of the commit that began the epoch
	proposals []*storedProposal
	pending   *PendingCommit
	status    groupStatus
	reInit    *ReInit // where status is groupReinitialised

	inviter *Member // who signed the Welcome that brought us; not saved

	saved savedState
}

// Inviter returns the member whose Welcome brought us into the group, as it was
// then (RFC 9420, Section 12.4.3.1: the signer of the GroupInfo). It is known from
// [Client.Join] until the group is loaded anew.
func (g *Group) Inviter() (m Member, known bool) {
	if g.inviter == nil {
		return Member{}, false
	}
	return *g.inviter, true
}

type groupStatus uint8

const (
	groupActive groupStatus = iota
	groupRemoved
	groupReinitialised
)

// A Member is a client in a group (RFC 9420, Section 4.1).
type Member struct {
	Index        LeafIndex
	Credential   Credential
	SignatureKey []byte
	LeafNode     *LeafNode // shared; not to be changed
}

func newMember(i LeafIndex, l *LeafNode) Member {
	return Member{Index: i, Credential: l.Credential, SignatureKey: l.SignatureKey, LeafNode: l}
}

func (t *ratchetTree) listMembers() []Member {
	members := make([]Member, 0, t.members())
	t.leaves(func(i LeafIndex, l *LeafNode) bool {
		members = append(members, newMember(i, l))
		return true
	})
	return members
}

// GroupOptions are the choices of [Client.CreateGroup] (RFC 9420, Section 11).
type GroupOptions struct {
	// GroupID names the group; 32 random bytes if nil. It must be unique.
	GroupID []byte

	// Extensions are those of the GroupContext. All members have to support them.
	Extensions []Extension

	Leaf LeafOptions
}

// CreateGroup returns a new group with one member (RFC 9420, Section 11).
func (c *Client) CreateGroup(cs CipherSuite, id Identity, opts GroupOptions) (*Group, error) {
	g, err := c.createGroup(cs, id, opts)
	if err != nil {
		return nil, fmt.Errorf("creating group: %w", err)
	}
	return g, nil
}

func (c *Client) createGroup(cs CipherSuite, id Identity, opts GroupOptions) (*Group, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	groupID := opts.GroupID
	if groupID == nil {
		if groupID, err = c.random(32); err != nil {
			return nil, err
		}
	}
	if err := c.checkGroupExtensions(groupID, opts.Extensions); err != nil {
		return nil, err
	}
	leaf, key, err := c.newOwnLeaf(s, id, opts.Leaf)
	if err != nil {
		return nil, err
	}
	if err := leaf.checkInContext(opts.Extensions); err != nil {
		return nil, err
	}
	epochSecret, err := c.random(s.nh)
	if err != nil {
		return nil, err
	}
	tree := newRatchetTree(s, leaf)
	context := GroupContext{
		Version: ProtocolVersionMLS10, CipherSuite: cs, GroupID: bytes.Clone(groupID),
		TreeHash: tree.treeHash(), Extensions: slices.Clone(opts.Extensions),
	}
	epoch := s.epochFrom(tree, context, context.Marshal(), epochSecret)
	tag := s.mac(epoch.secrets.confirmationKey, nil)
	return &Group{
		client: c, suite: s, signer: id.Signer, epoch: epoch,
		index: newTreeIndex(tree), private: newPrivateTree(0, key),
		interim: s.interimTranscriptHash(nil, tag), tag: tag,
	}, nil
}

// newOwnLeaf makes a leaf as in a key package, for the creator of a group.
func (c *Client) newOwnLeaf(s *suite, id Identity, opts LeafOptions) (*LeafNode, *keyPair, error) {
	leaf, err := c.newLeafNode(s, id, opts)
	if err != nil {
		return nil, nil, err
	}
	key, err := c.generateKeyPair(s)
	if err != nil {
		return nil, nil, err
	}
	leaf.EncryptionKey = key.public
	leaf.LeafNodeSource = LeafNodeSourceKeyPackage
	leaf.Lifetime = c.newLifetime(0)
	if err := leaf.sign(s, id.Signer, nil, 0); err != nil {
		return nil, nil, err
	}
	return leaf, key, leaf.checkAlone(s)
}

// ID returns the group's identifier (RFC 9420, Section 8.1).
func (g *Group) ID() []byte { return bytes.Clone(g.epoch.context.GroupID) }

// Epoch returns the number of the current epoch (RFC 9420, Section 8.1).
func (g *Group) Epoch() uint64 { return g.epoch.context.Epoch }

// CipherSuite returns the group's suite (RFC 9420, Section 8.1).
func (g *Group) CipherSuite() CipherSuite { return g.suite.id }

// Context returns the GroupContext of the current epoch (RFC 9420, Section 8.1). Its
// slices are shared.
func (g *Group) Context() GroupContext { return g.epoch.context }

// Extensions returns the group's extensions (RFC 9420, Section 8.1).
func (g *Group) Extensions() []Extension { return slices.Clone(g.epoch.context.Extensions) }

// OwnIndex returns our place in the group (RFC 9420, Section 4.1).
func (g *Group) OwnIndex() LeafIndex { return g.private.leaf }

// Members lists the members in the order of their index (RFC 9420, Section 4.1).
func (g *Group) Members() []Member { return g.epoch.tree.listMembers() }

// Size returns the number of members (RFC 9420, Section 4.1).
func (g *Group) Size() int { return int(g.epoch.tree.members()) }

// Member returns the member at an index, if there is one (RFC 9420, Section 4.1).
func (g *Group) Member(i LeafIndex) (Member, bool) {
	leaf := g.epoch.tree.leaf(i)
	if leaf == nil {
		return Member{}, false
	}
	return newMember(i, leaf), true
}

func (g *Group) ownLeaf() *LeafNode { return g.epoch.tree.leaf(g.private.leaf) }

// Active reports whether messages can be sent (RFC 9420, Section 12.4.2): false once
// we were removed, or the group was closed by a ReInit.
func (g *Group) Active() bool { return g.status == groupActive }

// ReInit returns the proposal that closed the group, nil if it is not closed (RFC
// 9420, Section 11.2).
func (g *Group) ReInit() *ReInit { return g.reInit }

// PendingCommit returns our commit that waits for the delivery service, nil if there
// is none (RFC 9420, Section 14).
func (g *Group) PendingCommit() *PendingCommit { return g.pending }

// Proposals lists the proposals of this epoch that wait for a commit (RFC 9420,
// Section 12.1).
func (g *Group) Proposals() []CommittedProposal {
	list := make([]CommittedProposal, len(g.proposals))
	for i, p := range g.proposals {
		list[i] = CommittedProposal{Proposal: p.proposal, Sender: p.sender}
	}
	return list
}

// ClearProposals forgets the proposals that wait for a commit (RFC 9420, Section
// 12.4). A commit of another member that refers to one of them cannot be processed
// then.
func (g *Group) ClearProposals() { g.proposals = nil }

// DropProposal forgets one proposal that waits for a commit, because the application
// does not allow it (RFC 9420, Sections 12.1.8 and 12.2). A commit that refers to it
// cannot be processed then.
func (g *Group) DropProposal(p *ReceivedProposal) {
	kept := make([]*storedProposal, 0, len(g.proposals))
	for _, stored := range g.proposals {
		if !bytes.Equal(stored.ref, p.ref) {
			kept = append(kept, stored)
		}
	}
	g.proposals = kept
}

// EpochAuthenticator returns a value that is the same for all members who agree on
// the state of the group, and different otherwise (RFC 9420, Section 8.7). It is nil
// once we were removed.
func (g *Group) EpochAuthenticator() []byte { return bytes.Clone(g.epoch.secrets.epochAuthenticator) }

// ResumptionPSK returns the key that proves membership in this epoch to another
// group (RFC 9420, Section 8.6). It is nil once we were removed.
func (g *Group) ResumptionPSK() []byte { return bytes.Clone(g.epoch.secrets.resumptionPSK) }

// Export derives a secret of the epoch for the application's own use, known to
// all members (RFC 9420, Section 8.5). The length is at most 255 hashes.
func (g *Group) Export(label string, context []byte, length int) ([]byte, error) {
	if length < 0 || length > 255*g.suite.nh {
		return nil, fmt.Errorf("%w: export of %d bytes", ErrTooLarge, length)
	}
	if g.status == groupRemoved {
		return nil, ErrInactive
	}
	return g.suite.export(g.epoch.secrets.exporterSecret, label, context, length), nil
}

// RatchetTree returns the group's ratchet tree in the form of the ratchet_tree
// extension, for those who get it by other means than the Welcome (RFC 9420, Section
// 12.4.3.3).
func (g *Group) RatchetTree() []byte { return g.epoch.tree.marshal() }

func (g *Group) checkActive() error {
	if g.status != groupActive {
		return ErrInactive
	}
	return nil
}

// signerFor returns the one of our signers that has the signature key of our leaf.
func (s *suite) signerFor(key []byte, signers []crypto.Signer) (crypto.Signer, error) {
	for _, signer := range signers {
		public, err := Identity{Signer: signer}.publicKey(s)
		if err == nil && bytes.Equal(public, key) {
			return signer, nil
		}
	}
	return nil, errNoSigner
}
