package mls

import (
	"bytes"
	"errors"
	"fmt"
)

// A GroupInfo is what a new member needs to know of a group (RFC 9420,
// Section 12.4.3).
type GroupInfo struct {
	GroupContext    GroupContext
	Extensions      []Extension
	ConfirmationTag []byte
	Signer          LeafIndex
	Signature       []byte
}

func (i *GroupInfo) tbs() []byte {
	b := i.GroupContext.appendTo(nil)
	b = appendExtensions(b, i.Extensions)
	b = appendVector(b, i.ConfirmationTag)
	return appendUint32(b, uint32(i.Signer))
}

func (i *GroupInfo) appendTo(b []byte) []byte {
	return appendVector(append(b, i.tbs()...), i.Signature)
}

func readGroupInfo(r *reader) *GroupInfo {
	return &GroupInfo{
		GroupContext:    readGroupContext(r),
		Extensions:      readExtensions(r),
		ConfirmationTag: r.vector(),
		Signer:          LeafIndex(r.uint32()),
		Signature:       r.vector(),
	}
}

// Message returns the GroupInfo as an MLSMessage (RFC 9420, Section 12.4.3).
func (i *GroupInfo) Message() []byte {
	return i.appendTo(appendMessageHeader(nil, WireFormatGroupInfo))
}

const groupInfoLabel = "GroupInfoTBS"

// newGroupInfo makes the GroupInfo of a state, with a GREASE extension.
func (c *Client) newGroupInfo(n *nextState, withTree, withExternalPub bool, extensions []Extension) (*GroupInfo, error) {
	s := n.epoch.tree.suite
	grease, err := c.random(8)
	if err != nil {
		return nil, err
	}
	list := append([]Extension(nil), extensions...)
	if withTree {
		list = append(list, Extension{ExtensionTypeRatchetTree, n.epoch.tree.marshal()})
	}
	if withExternalPub {
		key, err := s.deriveKeyPair(n.epoch.secrets.externalSecret)
		if err != nil {
			return nil, err
		}
		list = append(list, externalPubExtension(key.public))
	}
	list = append(list, Extension{ExtensionType(greaseValue(grease[0])), grease[1:]})
	if err := checkExtensions(list, inGroupInfo); err != nil {
		return nil, err
	}
	info := &GroupInfo{GroupContext: n.epoch.context, Extensions: list, ConfirmationTag: n.tag, Signer: n.private.leaf}
	info.Signature, err = s.signWithLabel(n.signer, groupInfoLabel, info.tbs())
	return info, err
}

// state presents the group's current state in the form that a commit leads to.
func (g *Group) state() *nextState {
	return &nextState{epoch: g.epoch, private: g.private, signer: g.signer, interim: g.interim, tag: g.tag}
}

// GroupInfo returns the GroupInfo of the current epoch as an MLSMessage, with the
// key that an external commit needs (RFC 9420, Section 12.4.3.2). The ratchet tree
// is part of it unless left out.
func (g *Group) GroupInfo(withTree bool, extensions ...Extension) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	info, err := g.client.newGroupInfo(g.state(), withTree, true, extensions)
	if err != nil {
		return nil, fmt.Errorf("making GroupInfo: %w", err)
	}
	return info.Message(), nil
}

// verifyGroupInfo checks a GroupInfo and the tree that belongs to it (RFC 9420,
// Section 12.4.3.1). That we ourselves support the group's extensions is part of
// that, as our leaf is in the tree.
func (c *Client) verifyGroupInfo(s *suite, info *GroupInfo, tree []byte) (*ratchetTree, *treeIndex, error) {
	context := &info.GroupContext
	if context.Version != ProtocolVersionMLS10 {
		return nil, nil, fmt.Errorf("%w: protocol version %d", ErrUnsupported, context.Version)
	}
	if err := checkExtensions(info.Extensions, inGroupInfo); err != nil {
		return nil, nil, err
	}
	if err := c.checkGroupExtensions(context.GroupID, context.Extensions); err != nil {
		return nil, nil, err
	}
	if data, ok := FindExtension(info.Extensions, ExtensionTypeRatchetTree); ok {
		tree = data
	}
	if tree == nil {
		return nil, nil, errors.New("mls: the ratchet tree is neither in the GroupInfo nor given")
	}
	t, err := parseRatchetTree(s, bytes.Clone(tree))
	if err != nil {
		return nil, nil, fmt.Errorf("parsing ratchet tree: %w", err)
	}
	if !bytes.Equal(t.treeHash(), context.TreeHash) {
		return nil, nil, invalid("12.4.3.1", "tree hash does not match the ratchet tree")
	}
	signer := t.leaf(info.Signer)
	if signer == nil {
		return nil, nil, invalid("12.4.3.1", "signer of the GroupInfo is not a member")
	}
	if err := s.verifyWithLabel(signer.SignatureKey, groupInfoLabel, info.tbs(), info.Signature); err != nil {
		return nil, nil, err
	}
	index, err := c.validateTree(t, context.GroupID, context.Extensions)
	if err != nil {
		return nil, nil, fmt.Errorf("validating ratchet tree: %w", err)
	}
	return t, index, nil
}
