package mls

import "slices"

// treeHash returns the tree hash of the root (RFC 9420, Section 7.8).
func (t *ratchetTree) treeHash() []byte {
	return t.nodeHash(t.root, rootOf(t.height))
}

// nodeHash returns the tree hash of a node, and remembers it: only nodes that are
// new since the last call cost anything.
func (t *ratchetTree) nodeHash(n *treeNode, x nodeIndex) []byte {
	if n.hash != nil {
		return n.hash
	}
	switch {
	case x.level() == 0:
		n.hash = t.suite.leafHash(x.firstLeaf(), n.leaf)
	case n.left == nil:
		n.hash = t.suite.blankHash(x)
	default:
		n.hash = t.suite.parentNodeHash(n.parent, t.nodeHash(n.left, x.left()), t.nodeHash(n.right, x.right()))
	}
	return n.hash
}

// blankHash returns the tree hash of a subtree in which all is blank.
func (s *suite) blankHash(x nodeIndex) []byte {
	if x.level() == 0 {
		return s.leafHash(x.firstLeaf(), nil)
	}
	return s.parentNodeHash(nil, s.blankHash(x.left()), s.blankHash(x.right()))
}

func (s *suite) leafHash(i LeafIndex, leaf *LeafNode) []byte {
	b := make([]byte, 0, 512)
	b = appendUint32(append(b, nodeTypeLeaf), uint32(i))
	if leaf == nil {
		b = append(b, 0)
	} else {
		b = leaf.appendTo(append(b, 1))
	}
	return s.hash(b)
}

func (s *suite) parentNodeHash(p *ParentNode, left, right []byte) []byte {
	b := make([]byte, 0, 512)
	b = append(b, nodeTypeParent)
	if p == nil {
		b = append(b, 0)
	} else {
		b = p.appendTo(append(b, 1))
	}
	return s.hash(appendVector(appendVector(b, left), right))
}

// originalHash returns the tree hash of a subtree as it was before the given
// leaves were added: with them blank, and listed as unmerged nowhere (RFC 9420,
// Section 7.9). Where none of them is in the subtree, that is its tree hash.
func (t *ratchetTree) originalHash(n *treeNode, x nodeIndex, added []uint32) []byte {
	added = within(added, x)
	if len(added) == 0 || n.collapsed() {
		return t.nodeHash(n, x)
	}
	if x.level() == 0 {
		return t.suite.leafHash(x.firstLeaf(), nil)
	}
	parent := n.parent
	if parent != nil && len(parent.UnmergedLeaves) > 0 {
		p := *parent
		p.UnmergedLeaves = slices.DeleteFunc(slices.Clone(p.UnmergedLeaves), func(i uint32) bool {
			_, found := slices.BinarySearch(added, i)
			return found
		})
		parent = &p
	}
	return t.suite.parentNodeHash(parent, t.originalHash(n.left, x.left(), added), t.originalHash(n.right, x.right(), added))
}

// within returns the part of a sorted list of leaves that lies under a node.
func within(leaves []uint32, x nodeIndex) []uint32 {
	first := uint32(x.firstLeaf())
	from, _ := slices.BinarySearch(leaves, first)
	to, _ := slices.BinarySearch(leaves, first+1<<x.level())
	return leaves[from:to]
}
