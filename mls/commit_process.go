package mls

import (
	"bytes"
	"crypto"
	"errors"
)

// A StagedCommit is a commit of another member that was verified but not applied
// (RFC 9420, Section 12.4.2). Look at what it does, then call [Group.Merge]; or drop
// it, and the group stays as it is.
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
	var err error
	if in.pskSecret, err = t.suite.pskSecret(t.psks, g.pskValue); err != nil {
		return nil, err
	}
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
	signers := append([]crypto.Signer{g.signer}, g.signers...)
	if next.signer, err = g.suite.signerFor(next.epoch.tree.leaf(next.private.leaf).SignatureKey, signers); err != nil {
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
