package mls

import "slices"

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

// maxExtendWork bounds how many proposals extendList checks, each as often as it is
// part of a list: some hundred that spoil commits are found, and a flood of them takes
// no more than seconds.
const maxExtendWork = 32 * MaxStoredProposals

// extendList adds those of the received proposals to a list that can stand in a
// commit with it. A proposal that is valid alone can still spoil every commit that
// covers it, and must not keep us from making one. If there are few of these, few
// attempts find them; if there are so many that it takes too long, those that are not
// sorted out by then stay out of the commit, good ones as well.
func (g *Group) extendList(list, received []CommittedProposal) []CommittedProposal {
	if len(received) == 0 || g.canCommit(list) != nil {
		return list
	}
	work := 0
	var extend func(list, more []CommittedProposal) []CommittedProposal
	extend = func(list, more []CommittedProposal) []CommittedProposal {
		all := append(slices.Clip(list), more...)
		if work += len(all); work > maxExtendWork {
			return list
		}
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

// selectProposals returns those of the stored proposals that can stand in one
// commit of the given member, along with others by value (RFC 9420,
// Section 12.2): a Remove rather than an Update of the same leaf, the last Update
// rather than an earlier one, anything rather than a ReInit.
func (g *Group) selectProposals(byValue []CommittedProposal) []CommittedProposal {
	own := g.private.leaf
	removed, updated := make(map[LeafIndex]bool), make(map[LeafIndex]bool)
	psks := make(map[string]bool)
	clients := newClientSet()
	extensions, reInit := false, false
	for _, p := range byValue {
		switch q := p.Proposal.(type) {
		case *Remove:
			removed[q.Removed] = true
		case *PreSharedKey:
			psks[q.PSK.name()] = true
		case *Add:
			clients.add(q.KeyPackage.LeafNode)
		case *GroupContextExtensions:
			extensions = true
		case *ReInit:
			reInit = true
		}
	}
	if reInit {
		return nil
	}
	var selected []CommittedProposal
	keep := func(p *storedProposal) {
		selected = append(selected, CommittedProposal{Proposal: p.proposal, Sender: p.sender, ref: p.ref, stored: p})
	}
	var lastReInit *storedProposal
	// Newest first, Removes before Updates.
	for _, p := range slices.Backward(g.proposals) {
		if q, ok := p.proposal.(*Remove); ok && q.Removed != own && !removed[q.Removed] {
			removed[q.Removed] = true
			keep(p)
		}
	}
	freed := g.keysOf(removed)
	for _, p := range slices.Backward(g.proposals) {
		switch q := p.proposal.(type) {
		case *Update:
			i := p.sender.LeafIndex
			if i != own && !removed[i] && !updated[i] {
				updated[i] = true
				keep(p)
			}
		case *PreSharedKey:
			if !psks[q.PSK.name()] && g.knowsPSK(q.PSK) {
				psks[q.PSK.name()] = true
				keep(p)
			}
		case *Add:
			if leaf := q.KeyPackage.LeafNode; !clients.has(leaf) && g.canAdd(leaf, freed) {
				clients.add(leaf)
				keep(p)
			}
		case *GroupContextExtensions:
			if !extensions {
				extensions = true
				keep(p)
			}
		case *CustomProposal:
			keep(p)
		case *ReInit:
			lastReInit = p
		}
	}
	if len(selected)+len(byValue) == 0 && lastReInit != nil {
		keep(lastReInit)
	}
	slices.Reverse(selected)
	return selected
}

// keysOf counts the keys of members.
func (g *Group) keysOf(members map[LeafIndex]bool) map[indexKey]int {
	keys := make(map[indexKey]int)
	for i := range members {
		if l := g.epoch.tree.leaf(i); l != nil {
			keys[encryptionIndex(l.EncryptionKey)]++
			keys[signatureIndex(l.SignatureKey)]++
		}
	}
	return keys
}

// canAdd reports whether a client is not a member yet, or one that is going to be
// removed, which frees its keys; and its key package has not expired since it was
// proposed (RFC 9420, Section 7.3).
func (g *Group) canAdd(leaf *LeafNode, freed map[indexKey]int) bool {
	if leaf.Lifetime.checkTime(g.client.now()) != nil {
		return false
	}
	encryption, signature := encryptionIndex(leaf.EncryptionKey), signatureIndex(leaf.SignatureKey)
	return g.index.count(encryption) == freed[encryption] && g.index.count(signature) == freed[signature]
}
