package mls

import (
	"bytes"
	"slices"
)

// parentHash returns the parent hash of P with copath child S (RFC 9420,
// Section 7.9).
func (t *ratchetTree) parentHash(p *ParentNode, s *treeNode, sIndex nodeIndex) []byte {
	original := t.originalHash(s, sIndex, p.UnmergedLeaves)
	b := make([]byte, 0, len(p.EncryptionKey)+len(p.ParentHash)+len(original)+8)
	b = appendVector(b, p.EncryptionKey)
	b = appendVector(b, p.ParentHash)
	return t.suite.hash(appendVector(b, original))
}

// verifyParentHashes checks that every non-blank parent node is parent-hash valid
// (RFC 9420, Section 7.9.2), from the top down: below each there has to be
// exactly one node that chains to it. That each chain ends in a leaf follows,
// since a parent node at the end of one is itself checked.
func (t *ratchetTree) verifyParentHashes() error {
	return t.parents(func(x nodeIndex, n *treeNode) error {
		links := t.chains(n, x.left(), n.left, x.right(), n.right) + t.chains(n, x.right(), n.right, x.left(), n.left)
		if links != 1 {
			return invalid("7.9.2", "parent node %d is not parent-hash valid", x)
		}
		return nil
	})
}

// chains counts the nodes D in the resolution of C, a child of P with sibling S,
// whose parent hash is valid with respect to P: one or none.
func (t *ratchetTree) chains(p *treeNode, cIndex nodeIndex, c *treeNode, sIndex nodeIndex, s *treeNode) int {
	// The unmerged leaves of P under C have to be the resolution of C without D,
	// which leaves a single candidate for D.
	unmerged := within(p.parent.UnmergedLeaves, cIndex)
	res := t.resolution(cIndex, c, nil)
	if len(res) != len(unmerged)+1 {
		return 0
	}
	// checkUnmergedLeaves has shown that they are all in the resolution.
	d := res[slices.IndexFunc(res, func(r resolvedNode) bool {
		_, found := slices.BinarySearch(unmerged, uint32(r.index.firstLeaf()))
		return r.node.leaf == nil || !found
	})]
	if !bytes.Equal(d.parentHash(), t.parentHash(p.parent, s, sIndex)) {
		return 0
	}
	return 1
}

// parentHash returns the node's parent_hash field, nil if it has none.
func (r resolvedNode) parentHash() []byte {
	if r.node.leaf == nil {
		return r.node.parent.ParentHash
	}
	if r.node.leaf.LeafNodeSource != LeafNodeSourceCommit {
		return nil
	}
	return r.node.leaf.ParentHash
}
