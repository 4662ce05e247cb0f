package mls

import (
	"bytes"
	"errors"
	"fmt"
)

// Branch opens a new group with some of the members of this one, bound to it by a
// resumption PSK (RFC 9420, Section 11.3). The key packages are fresh ones of those
// members. The new group can be used at once; send its Welcome.
//
// New members join with this group as their [JoinOptions] Parent.
func (g *Group) Branch(id Identity, keyPackages []*KeyPackage, opts GroupOptions) (branch *Group, welcome []byte, err error) {
	if err := g.checkActive(); err != nil {
		return nil, nil, err
	}
	members := g.epoch.tree.clients()
	for _, k := range keyPackages {
		if !members.has(k.LeafNode) {
			return nil, nil, invalid("11.3", "key package of a client that is not a member")
		}
	}
	if opts.Extensions == nil {
		opts.Extensions = g.epoch.context.Extensions
	}
	return g.openSuccessor(g.suite.id, id, keyPackages, opts, ResumptionPSKUsageBranch)
}

// Reinitialize opens the group that continues this one after a ReInit was
// committed (RFC 9420, Section 11.2). The key packages are fresh ones of all other
// members, for the cipher suite of the ReInit. The new group can be used at once;
// send its Welcome.
//
// New members join with this group as their [JoinOptions] Parent.
func (g *Group) Reinitialize(id Identity, keyPackages []*KeyPackage, leaf LeafOptions) (successor *Group, welcome []byte, err error) {
	if g.reInit == nil {
		return nil, nil, errors.New("mls: group is not closed by a ReInit")
	}
	if g.reInit.Version != ProtocolVersionMLS10 {
		return nil, nil, fmt.Errorf("%w: protocol version %d", ErrUnsupported, g.reInit.Version)
	}
	if err := g.checkSameMembers(keyPackages); err != nil {
		return nil, nil, err
	}
	opts := GroupOptions{GroupID: g.reInit.GroupID, Extensions: g.reInit.Extensions, Leaf: leaf}
	return g.openSuccessor(g.reInit.CipherSuite, id, keyPackages, opts, ResumptionPSKUsageReinit)
}

// checkSameMembers checks that the key packages and we ourselves are the members.
func (g *Group) checkSameMembers(keyPackages []*KeyPackage) error {
	if len(keyPackages) != g.Size()-1 {
		return invalid("11.2", "%d key packages for %d other members", len(keyPackages), g.Size()-1)
	}
	clients := newClientSet()
	for _, k := range keyPackages {
		clients.add(k.LeafNode)
	}
	var err error
	g.epoch.tree.leaves(func(i LeafIndex, l *LeafNode) bool {
		if i != g.private.leaf && !clients.has(l) {
			err = invalid("11.2", "no key package of member %d", i)
		}
		return err == nil
	})
	return err
}

func (g *Group) openSuccessor(cs CipherSuite, id Identity, keyPackages []*KeyPackage, opts GroupOptions, usage ResumptionPSKUsage) (*Group, []byte, error) {
	next, err := g.client.CreateGroup(cs, id, opts)
	if err != nil {
		return nil, nil, err
	}
	proposals := []Proposal{&PreSharedKey{PreSharedKeyID{
		PSKType: PSKTypeResumption, Usage: usage,
		PSKGroupID: g.epoch.context.GroupID, PSKEpoch: g.epoch.context.Epoch,
	}}}
	for _, k := range keyPackages {
		proposals = append(proposals, &Add{k})
	}
	pending, err := next.stageOwnCommit(CommitOptions{Proposals: proposals}, usage, g.pskValue)
	if err != nil {
		return nil, nil, fmt.Errorf("opening successor: %w", err)
	}
	next.advance(pending.next)
	return next, pending.Welcome, nil
}

// clients returns the clients that have a leaf in the tree.
func (t *ratchetTree) clients() *clientSet {
	s := newClientSet()
	t.leaves(func(_ LeafIndex, l *LeafNode) bool {
		s.add(l)
		return true
	})
	return s
}

// includes reports whether all clients of other have a leaf in the tree.
func (t *ratchetTree) includes(other *ratchetTree) bool {
	clients, all := t.clients(), true
	other.leaves(func(_ LeafIndex, l *LeafNode) bool {
		all = clients.has(l)
		return all
	})
	return all
}

// checkParent checks a group that continues another one or branches off it
// (RFC 9420, Section 12.4.3.1).
func (j *joiner) checkParent() error {
	for _, id := range j.secrets.psks {
		if id.PSKType != PSKTypeResumption || id.Usage == ResumptionPSKUsageApplication {
			continue
		}
		parent := j.opts.Parent
		if parent == nil || !bytes.Equal(parent.epoch.context.GroupID, id.PSKGroupID) {
			return errors.New("mls: the group that this one derives from is not given")
		}
		if j.info.GroupContext.Epoch != 1 {
			return invalid("12.4.3.1", "reinitialised or branched group is not at epoch 1")
		}
		if id.Usage == ResumptionPSKUsageReinit {
			return j.checkReinit(parent, id.PSKEpoch)
		}
		return j.checkBranch(parent, id.PSKEpoch)
	}
	return nil
}

func (j *joiner) checkReinit(parent *Group, epoch uint64) error {
	context, reInit := &j.info.GroupContext, parent.reInit
	if reInit == nil || parent.Epoch() != epoch {
		return invalid("12.4.3.1", "last commit of the old group has no ReInit")
	}
	if !bytes.Equal(context.GroupID, reInit.GroupID) || context.Version != reInit.Version || context.CipherSuite != reInit.CipherSuite ||
		!bytes.Equal(appendExtensions(nil, context.Extensions), appendExtensions(nil, reInit.Extensions)) {
		return invalid("12.4.3.1", "group does not match the ReInit")
	}
	if !j.tree.includes(parent.epoch.tree) {
		return invalid("12.4.3.1", "a member of the old group is missing")
	}
	return nil
}

func (j *joiner) checkBranch(parent *Group, epoch uint64) error {
	e := parent.epochAt(epoch)
	if e == nil {
		return ErrUnknownPSK
	}
	// Both are of the one version that there is.
	if j.info.GroupContext.CipherSuite != e.context.CipherSuite {
		return invalid("12.4.3.1", "branch has another cipher suite")
	}
	if !e.tree.includes(j.tree) {
		return invalid("12.4.3.1", "branch has a member that the group has not")
	}
	return nil
}
