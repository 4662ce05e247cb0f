package mls

import (
	"bytes"
	"errors"
	"fmt"
)

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

// UpdateOptions are the choices of [Group.ProposeUpdate] (RFC 9420, Section 12.1.2).
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
	g.storeProposal(p)
	return b, nil
}

func (g *Group) storeProposal(p *storedProposal) {
	if n := len(g.proposals); n > 0 {
		p.number = g.proposals[n-1].number + 1
	}
	p.size = len(appendProposal(nil, p.proposal))
	g.proposals = append(g.proposals, p)
}

func (g *Group) storedProposal(ref []byte) *storedProposal {
	for _, p := range g.proposals {
		if bytes.Equal(p.ref, ref) {
			return p
		}
	}
	return nil
}
