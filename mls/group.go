package mls

import (
	"bytes"
	"crypto"
	"errors"
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

	saved savedState
}

type groupStatus uint8

const (
	groupActive groupStatus = iota
	groupRemoved
	groupReinitialised
)

// A Member is a client in a group.
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

// GroupOptions are the choices of [Client.CreateGroup].
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

// ID returns the group's identifier.
func (g *Group) ID() []byte { return bytes.Clone(g.epoch.context.GroupID) }

// Epoch returns the number of the current epoch.
func (g *Group) Epoch() uint64 { return g.epoch.context.Epoch }

// CipherSuite returns the group's suite.
func (g *Group) CipherSuite() CipherSuite { return g.suite.id }

// Context returns the GroupContext of the current epoch. Its slices are shared.
func (g *Group) Context() GroupContext { return g.epoch.context }

// Extensions returns the group's extensions.
func (g *Group) Extensions() []Extension { return slices.Clone(g.epoch.context.Extensions) }

// OwnIndex returns our place in the group.
func (g *Group) OwnIndex() LeafIndex { return g.private.leaf }

// Members lists the members in the order of their index.
func (g *Group) Members() []Member { return g.epoch.tree.listMembers() }

// Size returns the number of members.
func (g *Group) Size() int { return int(g.epoch.tree.members()) }

// Member returns the member at an index, if there is one.
func (g *Group) Member(i LeafIndex) (Member, bool) {
	leaf := g.epoch.tree.leaf(i)
	if leaf == nil {
		return Member{}, false
	}
	return newMember(i, leaf), true
}

func (g *Group) ownLeaf() *LeafNode { return g.epoch.tree.leaf(g.private.leaf) }

// Active reports whether messages can be sent: false once we were removed, or the
// group was closed by a ReInit.
func (g *Group) Active() bool { return g.status == groupActive }

// ReInit returns the proposal that closed the group, nil if it is not closed.
func (g *Group) ReInit() *ReInit { return g.reInit }

// PendingCommit returns our commit that waits for the delivery service, nil if
// there is none.
func (g *Group) PendingCommit() *PendingCommit { return g.pending }

// Proposals lists the proposals of this epoch that wait for a commit.
func (g *Group) Proposals() []CommittedProposal {
	list := make([]CommittedProposal, len(g.proposals))
	for i, p := range g.proposals {
		list[i] = CommittedProposal{Proposal: p.proposal, Sender: p.sender}
	}
	return list
}

// ClearProposals forgets the proposals that wait for a commit. A commit of another
// member that refers to one of them cannot be processed then.
func (g *Group) ClearProposals() { g.proposals = nil }

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
// extension, for those who get it by other means than the Welcome.
func (g *Group) RatchetTree() []byte { return g.epoch.tree.marshal() }

func (g *Group) checkActive() error {
	if g.status != groupActive {
		return ErrInactive
	}
	return nil
}

// setPending makes a commit the pending one.
func (g *Group) setPending(p *PendingCommit) { g.pending = p }

// MergePendingCommit applies our pending commit, once the delivery service
// accepted it.
func (g *Group) MergePendingCommit() error {
	if g.pending == nil {
		return fmt.Errorf("%w: there is none", ErrPendingCommit)
	}
	g.advance(g.pending.next)
	return nil
}

// DiscardPendingCommit drops our pending commit. Do that only if it was not sent,
// or is certain not to be accepted.
func (g *Group) DiscardPendingCommit() {
	if g.pending != nil {
		g.pending.next.wipe()
		g.pending = nil
	}
}

// Merge applies a commit that Process returned. A pending commit of our own, which
// has lost the race, is dropped.
func (g *Group) Merge(s *StagedCommit) error {
	if s.base != g.epoch || g.status != groupActive {
		return ErrStagedCommit
	}
	if s.own {
		if g.pending == nil || g.pending.next != s.next {
			return ErrStagedCommit
		}
		return g.MergePendingCommit()
	}
	if s.use != nil {
		// The key may be gone since, if another message took the ratchet on.
		if use, err := g.epoch.messages.find(s.use.sender, s.use.kind, s.use.generation); err == nil {
			g.epoch.messages.consume(use)
		}
	}
	if s.next.removed {
		g.leave()
		return nil
	}
	g.advance(s.next)
	return nil
}

// leave forgets all keys of a group that we were removed from (RFC 9420,
// Section 12.4.2). What it was stays known.
func (g *Group) leave() {
	g.DiscardPendingCommit()
	g.forget(len(g.past))
	g.saved.deletions = append(g.saved.deletions, g.epoch.messages.keys(g.epoch.context.Epoch)...)
	g.epoch.messages.wipe()
	g.epoch.secrets.wipe()
	clear(g.private.keys)
	g.proposals = nil
	g.status = groupRemoved
}

// advance begins the next epoch.
func (g *Group) advance(next *nextState) {
	if g.pending != nil && g.pending.next != next {
		g.pending.next.wipe()
	}
	old := g.epoch
	old.secrets.retire()
	g.past = append(slices.Clone(g.past), old)
	g.forget(len(g.past) - MaxPastEpochs)

	next.index.merge()
	g.epoch, g.index, g.private, g.signer = next.epoch, next.index, next.private, next.signer
	g.interim, g.tag = next.interim, next.tag
	g.proposals, g.pending = nil, nil
	if next.reInit != nil {
		g.status, g.reInit = groupReinitialised, next.reInit
	}
}

// wipe forgets all secrets.
func (e *epochSecrets) wipe() {
	for _, f := range e.fields() {
		clear(*f)
		*f = nil
	}
	e.senderDataExpander = nil
}

// retire forgets the secrets that a past epoch does not need (RFC 9420,
// Section 9.2). Slices handed to nobody else are zeroed.
func (e *epochSecrets) retire() {
	for _, f := range e.fields() {
		if f != &e.senderDataSecret && f != &e.resumptionPSK {
			clear(*f)
			*f = nil
		}
	}
}

// forget drops the n oldest past epochs.
func (g *Group) forget(n int) {
	for range n {
		old := g.past[0]
		g.saved.deletions = append(g.saved.deletions, old.messages.keys(old.context.Epoch)...)
		g.saved.deletions = append(g.saved.deletions, recordKey(recordEpoch, old.context.Epoch))
		old.messages.wipe()
		old.secrets.wipe()
		g.past = g.past[1:]
	}
}

// ForgetPastEpochs drops what is kept to open late messages of epochs before the
// given one, and their resumption PSKs. [MaxPastEpochs] are kept at most; an
// application calls this to keep them for a limited time, too.
func (g *Group) ForgetPastEpochs(before uint64) {
	n := 0
	for n < len(g.past) && g.past[n].context.Epoch < before {
		n++
	}
	g.forget(n)
}

// epochAt returns the current epoch or one of the past ones that are kept.
func (g *Group) epochAt(n uint64) *epochState {
	if n == g.Epoch() {
		return g.epoch
	}
	for _, e := range g.past {
		if e.context.Epoch == n {
			return e
		}
	}
	return nil
}

// signerFor returns our signer for the signature key of our leaf.
func (g *Group) signerFor(key []byte) (crypto.Signer, error) {
	for _, signer := range append([]crypto.Signer{g.signer}, g.signers...) {
		public, err := g.suite.scheme.encode(signer.Public())
		if err == nil && bytes.Equal(public, key) {
			return signer, nil
		}
	}
	return nil, errNoSigner
}

// pskValues looks up pre-shared keys, among those of the group's own epochs and
// with the application.
func (g *Group) pskValues(ids []PreSharedKeyID) ([][]byte, error) {
	var psks [][]byte
	for _, id := range ids {
		psk, err := g.pskValue(id)
		if err != nil {
			return nil, err
		}
		psks = append(psks, psk)
	}
	return psks, nil
}

func (g *Group) pskValue(id PreSharedKeyID) ([]byte, error) {
	if id.PSKType == PSKTypeResumption && bytes.Equal(id.PSKGroupID, g.epoch.context.GroupID) {
		if e := g.epochAt(id.PSKEpoch); e != nil {
			return e.secrets.resumptionPSK, nil
		}
	}
	return g.client.storedPSK(id)
}

func (g *Group) knowsPSK(id PreSharedKeyID) bool {
	_, err := g.pskValue(id)
	return err == nil
}

func (c *Client) handshakeFormat() WireFormat {
	if c.config.PublicHandshakes {
		return WireFormatPublicMessage
	}
	return WireFormatPrivateMessage
}

// Encrypt seals application data for the group (RFC 9420, Section 6.3). The
// authenticated data is sent along in the open, and signed.
//
// Save the group before the message leaves: the key of a message that is sent
// twice with different content would give both away.
func (g *Group) Encrypt(data, authenticatedData []byte) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	if len(g.proposals) > 0 {
		return nil, ErrProposalsPending
	}
	if len(data) > maxVectorLength/2 || len(authenticatedData) > maxVectorLength/2 {
		return nil, ErrTooLarge
	}
	a := g.newContent(content{contentType: ContentTypeApplication, applicationData: data}, authenticatedData)
	a.wireFormat = WireFormatPrivateMessage
	if err := a.sign(g.suite, g.signer, g.epoch.contextBytes); err != nil {
		return nil, err
	}
	return g.encrypt(a)
}

// newContent frames a content that we send as a member.
func (g *Group) newContent(c content, authenticatedData []byte) *authenticatedContent {
	return &authenticatedContent{
		wireFormat: g.client.handshakeFormat(),
		content: framedContent{
			groupID:           g.epoch.context.GroupID,
			epoch:             g.epoch.context.Epoch,
			sender:            memberSender(g.private.leaf),
			authenticatedData: authenticatedData,
			content:           c,
		},
	}
}

// encrypt seals a signed content as a PrivateMessage with our next key, which is
// used up thereby.
func (g *Group) encrypt(a *authenticatedContent) ([]byte, error) {
	guard, err := g.client.random(4)
	if err != nil {
		return nil, err
	}
	use, err := g.epoch.messages.findNext(g.private.leaf, ratchetFor(a.content.contentType))
	if err != nil {
		return nil, err
	}
	b := a.protectPrivate(g.suite, g.epoch.secrets.senderData(g.suite), use, [4]byte(guard), g.client.config.Padding)
	g.epoch.messages.consume(use)
	use.wipe()
	return b, nil
}

// Propose makes a proposal (RFC 9420, Section 12.1), and keeps it for the next
// commit. To propose to replace our own leaf, use [Group.ProposeUpdate].
func (g *Group) Propose(p Proposal, authenticatedData []byte) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	if _, ok := p.(*Update); ok {
		return nil, errors.New("mls: an Update is made by ProposeUpdate")
	}
	p, err := g.completeProposal(p)
	if err != nil {
		return nil, err
	}
	return g.propose(&storedProposal{proposal: p}, authenticatedData)
}

// UpdateOptions are the choices of [Group.ProposeUpdate].
type UpdateOptions struct {
	Identity          *Identity    // a new credential or signature key
	Leaf              *LeafOptions // what our leaf says of us, if it changes
	AuthenticatedData []byte
}

// ProposeUpdate proposes to replace our leaf by one with a new key (RFC 9420,
// Section 12.1.2). It takes effect when another member commits it.
func (g *Group) ProposeUpdate(opts UpdateOptions) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	id := Identity{Credential: g.ownLeaf().Credential, Signer: g.signer}
	if opts.Identity != nil {
		id = *opts.Identity
	}
	leaf, err := g.client.replaceLeafNode(g.suite, g.ownLeaf(), id, opts.Leaf)
	if err != nil {
		return nil, err
	}
	key, err := g.client.generateKeyPair(g.suite)
	if err != nil {
		return nil, err
	}
	leaf.LeafNodeSource, leaf.EncryptionKey = LeafNodeSourceUpdate, key.public
	if err := leaf.sign(g.suite, id.Signer, g.epoch.context.GroupID, g.private.leaf); err != nil {
		return nil, err
	}
	b, err := g.propose(&storedProposal{proposal: &Update{leaf}, leafKey: key}, opts.AuthenticatedData)
	if err == nil && opts.Identity != nil {
		g.signers = append(g.signers, id.Signer)
	}
	return b, err
}

func (g *Group) propose(p *storedProposal, authenticatedData []byte) ([]byte, error) {
	if len(authenticatedData) > maxVectorLength/2 {
		return nil, ErrTooLarge
	}
	p.sender = memberSender(g.private.leaf)
	if err := g.client.checkProposal(g.epoch, p.proposal, p.sender); err != nil {
		return nil, fmt.Errorf("making proposal: %w", err)
	}
	a := g.newContent(content{contentType: ContentTypeProposal, proposal: p.proposal}, authenticatedData)
	if err := a.sign(g.suite, g.signer, g.epoch.contextBytes); err != nil {
		return nil, err
	}
	b := a.protectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
	if a.wireFormat == WireFormatPrivateMessage {
		var err error
		if b, err = g.encrypt(a); err != nil {
			return nil, err
		}
	}
	p.ref = a.proposalRef(g.suite)
	g.proposals = append(g.proposals, p)
	return b, nil
}

func (g *Group) storedProposal(ref []byte) *storedProposal {
	for _, p := range g.proposals {
		if bytes.Equal(p.ref, ref) {
			return p
		}
	}
	return nil
}
