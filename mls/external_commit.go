package mls

import (
	"errors"
	"fmt"
)

// ExternalJoinOptions are the choices of [Client.JoinExternal] (RFC 9420, Section
// 12.4.3.2).
type ExternalJoinOptions struct {
	// RatchetTree is the group's tree, if the GroupInfo comes without.
	RatchetTree []byte

	// Leaf is what our leaf says of us.
	Leaf LeafOptions

	// Replace is the place of an old appearance of ours, which the commit removes.
	Replace *LeafIndex

	// PSKs are mixed into the key schedule.
	PSKs []PreSharedKeyID

	// AuthenticatedData is sent along in the open, and signed.
	AuthenticatedData []byte
}

// JoinExternal joins a group by a commit of our own, without anybody adding us
// (RFC 9420, Section 12.4.3.2). It takes a GroupInfo with an external_pub
// extension. The group is worth nothing before the delivery service accepted the
// commit: if it does not, drop the group and begin again with a newer GroupInfo.
func (c *Client) JoinExternal(groupInfo []byte, id Identity, opts ExternalJoinOptions) (g *Group, commit []byte, err error) {
	m, err := ParseMessage(groupInfo)
	if err != nil {
		return nil, nil, err
	}
	if m.GroupInfo == nil {
		return nil, nil, malformed("message is not a GroupInfo")
	}
	g, commit, err = c.joinExternal(m.GroupInfo, id, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("joining by an external commit: %w", err)
	}
	return g, commit, nil
}

func (c *Client) joinExternal(info *GroupInfo, id Identity, opts ExternalJoinOptions) (*Group, []byte, error) {
	s, err := info.GroupContext.CipherSuite.suite()
	if err != nil {
		return nil, nil, err
	}
	tree, index, err := c.verifyGroupInfo(s, info, opts.RatchetTree)
	if err != nil {
		return nil, nil, err
	}
	data, ok := FindExtension(info.Extensions, ExtensionTypeExternalPub)
	if !ok {
		return nil, nil, errors.New("mls: GroupInfo without external_pub")
	}
	externalPub, err := parseAll(data, (*reader).vector)
	if err != nil {
		return nil, nil, err
	}
	kemOutput, initSecret, err := s.sendExternalInit(externalPub)
	if err != nil {
		return nil, nil, err
	}
	sender := Sender{SenderType: SenderTypeNewMemberCommit}
	list, err := c.externalProposals(s, kemOutput, sender, opts)
	if err != nil {
		return nil, nil, err
	}
	old := &epochState{context: info.GroupContext, contextBytes: info.GroupContext.Marshal(), tree: tree}
	t := &transition{
		client: c, suite: s, old: old, tree: tree, index: index.next(), extensions: old.context.Extensions,
		signer: id.Signer, addedLeaves: make(map[LeafIndex]bool),
	}
	b, err := t.prepareExternal(list, sender, info, id, opts)
	if err != nil {
		return nil, nil, err
	}
	b.initSecret = initSecret
	if err := b.build(); err != nil {
		return nil, nil, err
	}
	b.path.chain.wipe()
	clear(initSecret)
	clear(b.out.joinerSecret)
	clear(b.out.welcomeSecret)
	b.next.index.merge()
	g := &Group{
		client: c, suite: s, signer: b.next.signer, epoch: b.next.epoch, index: b.next.index,
		private: b.next.private, interim: b.next.interim, tag: b.next.tag,
	}
	return g, b.content.protectPublic(s, nil, old.contextBytes), nil
}

// externalProposals returns the proposals of an external commit.
func (c *Client) externalProposals(s *suite, kemOutput []byte, sender Sender, opts ExternalJoinOptions) ([]CommittedProposal, error) {
	list := []CommittedProposal{{Proposal: &ExternalInit{kemOutput}, Sender: sender}}
	if opts.Replace != nil {
		list = append(list, CommittedProposal{Proposal: &Remove{*opts.Replace}, Sender: sender})
	}
	for _, id := range opts.PSKs {
		nonce, err := c.random(s.nh)
		if err != nil {
			return nil, err
		}
		id.PSKNonce = nonce
		list = append(list, CommittedProposal{Proposal: &PreSharedKey{id}, Sender: sender})
	}
	return list, nil
}

// prepareExternal applies the proposals and takes a place in the tree.
func (t *transition) prepareExternal(list []CommittedProposal, sender Sender, info *GroupInfo, id Identity, opts ExternalJoinOptions) (*commitBuilder, error) {
	if err := t.checkExternalList(list); err != nil {
		return nil, err
	}
	if err := t.apply(list); err != nil {
		return nil, err
	}
	tree, leaf, err := t.tree.reserve()
	if err != nil {
		return nil, err
	}
	t.tree = tree
	newLeaf, err := t.client.newLeafNode(t.suite, id, opts.Leaf)
	if err != nil {
		return nil, err
	}
	return &commitBuilder{
		transition:  t,
		sender:      sender,
		leaf:        leaf,
		newLeaf:     newLeaf,
		signer:      id.Signer,
		interim:     t.suite.interimTranscriptHash(info.GroupContext.ConfirmedTranscriptHash, info.ConfirmationTag),
		psks:        t.client.storedPSK,
		opts:        CommitOptions{AuthenticatedData: opts.AuthenticatedData},
		wireFormat:  WireFormatPublicMessage,
		contextSign: t.old.contextBytes,
	}, nil
}
