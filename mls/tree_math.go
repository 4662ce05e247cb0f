package mls

import "math/bits"

// This file holds the arithmetic of array-based trees (RFC 9420, Appendix C).
// A tree of 2^h leaves has 2^(h+1)-1 nodes; leaf i stands at node 2i, and the
// level of a node is the number of trailing ones of its index.

// A LeafIndex is the position of a member among the leaves of a group's ratchet
// tree (RFC 9420, Section 4.1). It stays the same as long as the member stays.
type LeafIndex uint32

// maxHeight bounds the ratchet tree to 2^20 leaves, a million members, so that node
// indices never overflow, and corrupt state cannot make us build a huge tree.
const maxHeight = 20

// A nodeIndex is a position in the array of all nodes.
type nodeIndex uint32

func (i LeafIndex) node() nodeIndex { return nodeIndex(2 * i) }

func (x nodeIndex) level() int { return bits.TrailingZeros32(^uint32(x)) }

// rootOf returns the root of a tree of the given height.
func rootOf(height int) nodeIndex { return 1<<height - 1 }

// heightFor returns the height of the smallest tree that has n leaves.
func heightFor(n uint32) int {
	if n <= 1 {
		return 0
	}
	return bits.Len32(n - 1)
}

// left and right return the children of a node above level 0.
func (x nodeIndex) left() nodeIndex  { return x ^ (1 << (x.level() - 1)) }
func (x nodeIndex) right() nodeIndex { return x ^ (3 << (x.level() - 1)) }

// ancestor returns the node at the given level on the direct path of leaf i.
func (i LeafIndex) ancestor(level int) nodeIndex {
	return nodeIndex(uint32(i)>>level<<(level+1) | (1<<level - 1))
}

// parent returns the parent of a node below the root.
func (x nodeIndex) parent() nodeIndex {
	k := x.level()
	b := x >> (k + 1) & 1
	return (x | 1<<k) ^ b<<(k+1)
}

// sibling returns the other child of the node's parent.
func (x nodeIndex) sibling() nodeIndex {
	p := x.parent()
	if x < p {
		return p.right()
	}
	return p.left()
}

// firstLeaf returns the leftmost leaf under a node.
func (x nodeIndex) firstLeaf() LeafIndex {
	return LeafIndex((x - (1<<x.level() - 1)) / 2)
}

// covers reports whether leaf i is the node or a descendant of it.
func (x nodeIndex) covers(i LeafIndex) bool {
	return uint32(i)>>x.level() == uint32(x.firstLeaf())>>x.level()
}

// commonLevel returns the level of the lowest common ancestor of two leaves.
func commonLevel(a, b LeafIndex) int { return bits.Len32(uint32(a ^ b)) }
