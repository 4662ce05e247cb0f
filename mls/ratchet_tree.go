package mls

import (
	"fmt"
	"slices"
)

// A ParentNode is an intermediate node of the ratchet tree (RFC 9420,
// Section 7.1).
type ParentNode struct {
	EncryptionKey  []byte
	ParentHash     []byte
	UnmergedLeaves []uint32 // in increasing order
}

func (p *ParentNode) appendTo(b []byte) []byte {
	b = appendVector(b, p.EncryptionKey)
	b = appendVector(b, p.ParentHash)
	return appendUint32List(b, p.UnmergedLeaves)
}

func readParentNode(r *reader) *ParentNode {
	p := &ParentNode{
		EncryptionKey:  r.vector(),
		ParentHash:     r.vector(),
		UnmergedLeaves: readList(r, (*reader).uint32),
	}
	for i := 1; i < len(p.UnmergedLeaves); i++ {
		if p.UnmergedLeaves[i-1] >= p.UnmergedLeaves[i] {
			r.fail("unmerged leaves not in increasing order")
		}
	}
	return p
}

// A treeNode is a node of the ratchet tree with its subtree. It never changes
// once it is part of a tree, but for the cached hash: every change makes new
// nodes along one direct path and shares the rest. So the next state of a group
// can be computed aside at the cost of a path, a failed commit leaves nothing
// behind, past epochs keep their trees for next to nothing, and comparing
// pointers finds what changed since the last save.
type treeNode struct {
	left, right *treeNode   // nil at level 0, and where all below is blank
	leaf        *LeafNode   // at level 0; nil if blank
	parent      *ParentNode // above level 0; nil if blank
	members     uint32      // non-blank leaves in the subtree
	hash        []byte      // tree hash; nil until it is asked for
	record      uint64      // number of the saved record; 0 if never saved
}

// A ratchetTree is the public part of the tree of a group (RFC 9420, Section 4.1).
type ratchetTree struct {
	suite  *suite
	root   *treeNode
	height int
}

// blankSubtree returns a subtree of any height in which all is blank: a node
// without children. A tree of hostile make can be blank but for one leaf, at a byte
// a node, and must not take a hundred times of that in memory.
func blankSubtree() *treeNode { return &treeNode{} }

// collapsed reports whether the node is a blank leaf or a blank subtree.
func (n *treeNode) collapsed() bool { return n.left == nil && n.leaf == nil }

// collapse returns a new node above level 0, without its children if all is blank.
func (n *treeNode) collapse() *treeNode {
	if n.parent == nil && n.left.collapsed() && n.right.collapsed() {
		return blankSubtree()
	}
	return n
}

// children returns the children of a node above level 0.
func (n *treeNode) children() (left, right *treeNode) {
	if n.left == nil {
		return blankSubtree(), blankSubtree()
	}
	return n.left, n.right
}

func newRatchetTree(s *suite, leaf *LeafNode) *ratchetTree {
	return &ratchetTree{suite: s, root: &treeNode{leaf: leaf, members: 1}}
}

// leafCount returns the number of leaves, blank ones included.
func (t *ratchetTree) leafCount() uint32 { return 1 << t.height }

func (t *ratchetTree) members() uint32 { return t.root.members }

// contains reports whether the tree has a leaf, blank or not, at the index.
func (t *ratchetTree) contains(i LeafIndex) bool { return uint64(i) < 1<<t.height }

// child returns the child of a node at the given level on the way to leaf i.
func (n *treeNode) child(i LeafIndex, level int) *treeNode {
	left, right := n.children()
	if i>>(level-1)&1 == 0 {
		return left
	}
	return right
}

// copathChild returns the other child.
func (n *treeNode) copathChild(i LeafIndex, level int) *treeNode {
	left, right := n.children()
	if i>>(level-1)&1 == 0 {
		return right
	}
	return left
}

// leaf returns the LeafNode at the index, nil if it is blank or out of the tree.
func (t *ratchetTree) leaf(i LeafIndex) *LeafNode {
	if !t.contains(i) {
		return nil
	}
	n := t.root
	for level := t.height; level > 0; level-- {
		n = n.child(i, level)
	}
	return n.leaf
}

// node returns the node with the given index, which is in the tree.
func (t *ratchetTree) node(x nodeIndex) *treeNode {
	n, leaf := t.root, x.firstLeaf()
	for level := t.height; level > x.level(); level-- {
		n = n.child(leaf, level)
	}
	return n
}

// path returns the nodes of the direct path of leaf i from level 1 to the root.
func (t *ratchetTree) path(i LeafIndex) []*treeNode {
	nodes := make([]*treeNode, t.height)
	n := t.root
	for level := t.height; level > 0; level-- {
		nodes[level-1] = n
		n = n.child(i, level)
	}
	return nodes
}

// replace returns the tree with another leaf at index i, and with each parent on
// its direct path as f returns it for its level and old content.
func (t *ratchetTree) replace(i LeafIndex, leaf *LeafNode, f func(level int, p *ParentNode) *ParentNode) *ratchetTree {
	return &ratchetTree{suite: t.suite, height: t.height, root: t.root.replace(i, t.height, leaf, f)}
}

func (n *treeNode) replace(i LeafIndex, level int, leaf *LeafNode, f func(int, *ParentNode) *ParentNode) *treeNode {
	if level == 0 {
		if leaf == nil {
			return &treeNode{}
		}
		return &treeNode{leaf: leaf, members: 1}
	}
	c := &treeNode{parent: f(level, n.parent)}
	c.left, c.right = n.children()
	if i>>(level-1)&1 == 0 {
		c.left = c.left.replace(i, level-1, leaf, f)
	} else {
		c.right = c.right.replace(i, level-1, leaf, f)
	}
	c.members = c.left.members + c.right.members
	return c.collapse()
}

func blankParent(int, *ParentNode) *ParentNode { return nil }

// update replaces a leaf and blanks its direct path (RFC 9420, Section 12.1.2).
func (t *ratchetTree) update(i LeafIndex, leaf *LeafNode) *ratchetTree {
	return t.replace(i, leaf, blankParent)
}

// remove blanks a leaf and its direct path (RFC 9420, Section 12.1.3). The tree
// keeps its height until truncate.
func (t *ratchetTree) remove(i LeafIndex) *ratchetTree {
	return t.replace(i, nil, blankParent)
}

// truncate removes the right half of the tree as long as it is blank (RFC 9420,
// Section 7.7).
func (t *ratchetTree) truncate() *ratchetTree {
	c := *t
	for c.height > 0 {
		left, right := c.root.children()
		if right.members > 0 {
			break
		}
		c.root = left
		c.height--
	}
	return &c
}

// add puts a leaf at the leftmost blank place, and extends the tree if there is
// none (RFC 9420, Section 12.1.1).
func (t *ratchetTree) add(leaf *LeafNode) (*ratchetTree, LeafIndex, error) {
	t, i, err := t.reserve()
	if err != nil {
		return nil, 0, err
	}
	return t.replace(i, leaf, func(_ int, p *ParentNode) *ParentNode {
		if p == nil {
			return nil
		}
		c := *p
		at, _ := slices.BinarySearch(c.UnmergedLeaves, uint32(i))
		c.UnmergedLeaves = slices.Insert(slices.Clone(c.UnmergedLeaves), at, uint32(i))
		return &c
	}), i, nil
}

// reserve returns the tree, extended if it is full, and its leftmost blank leaf.
func (t *ratchetTree) reserve() (*ratchetTree, LeafIndex, error) {
	if t.members() == t.leafCount() {
		if t.height == maxHeight {
			return nil, 0, fmt.Errorf("%w: group is full", ErrUnsupported)
		}
		right := blankSubtree()
		t = &ratchetTree{suite: t.suite, height: t.height + 1, root: &treeNode{
			left: t.root, right: right, members: t.root.members,
		}}
	}
	var i LeafIndex
	n := t.root
	for level := t.height; level > 0 && n.left != nil; level-- {
		if n.left.members < 1<<(level-1) {
			n = n.left
			continue
		}
		i |= 1 << (level - 1)
		n = n.right
	}
	return t, i, nil
}

// leaves calls f for each non-blank leaf, from left to right, until it returns
// false.
func (t *ratchetTree) leaves(f func(LeafIndex, *LeafNode) bool) {
	t.root.leaves(0, t.height, f)
}

func (n *treeNode) leaves(first LeafIndex, level int, f func(LeafIndex, *LeafNode) bool) bool {
	switch {
	case n.members == 0:
		return true
	case level == 0:
		return f(first, n.leaf)
	}
	return n.left.leaves(first, level-1, f) && n.right.leaves(first+1<<(level-1), level-1, f)
}

// parents calls f for each non-blank parent node, from the leaves up, until it
// returns an error.
func (t *ratchetTree) parents(f func(nodeIndex, *treeNode) error) error {
	return t.root.parents(rootOf(t.height), f)
}

func (n *treeNode) parents(x nodeIndex, f func(nodeIndex, *treeNode) error) error {
	if n.left == nil {
		return nil
	}
	if err := n.left.parents(x.left(), f); err != nil {
		return err
	}
	if err := n.right.parents(x.right(), f); err != nil {
		return err
	}
	if n.parent == nil {
		return nil
	}
	return f(x, n)
}

// diff calls f for each node of the tree that is not part of an earlier or later
// state of it. Subtrees that both share cost nothing.
func (t *ratchetTree) diff(other *ratchetTree, f func(nodeIndex, *treeNode)) {
	var walk func(x nodeIndex, n, o *treeNode)
	walk = func(x nodeIndex, n, o *treeNode) {
		if n == nil || n == o {
			return
		}
		f(x, n)
		if n.left == nil {
			return
		}
		if o == nil {
			o = &treeNode{}
		}
		walk(x.left(), n.left, o.left)
		walk(x.right(), n.right, o.right)
	}
	// A tree that grew or shrank has the smaller one at its left edge.
	n, o := t.root, other.root
	for level := t.height; level > other.height; level-- {
		f(rootOf(level), n)
		left, right := n.children()
		walk(rootOf(level).right(), right, nil)
		n = left
	}
	for level := other.height; level > t.height && o != nil; level-- {
		o = o.left
	}
	walk(rootOf(min(t.height, other.height)), n, o)
}

// resolvedNode is an element of a resolution.
type resolvedNode struct {
	index nodeIndex
	node  *treeNode
}

func (r resolvedNode) encryptionKey() []byte {
	if r.node.leaf != nil {
		return r.node.leaf.EncryptionKey
	}
	return r.node.parent.EncryptionKey
}

// resolution returns the nodes that together cover all members under a node
// (RFC 9420, Section 4.1.1), without the leaves in except.
func (t *ratchetTree) resolution(x nodeIndex, n *treeNode, except map[LeafIndex]bool) []resolvedNode {
	var res []resolvedNode
	var walk func(nodeIndex, *treeNode)
	walk = func(x nodeIndex, n *treeNode) {
		switch {
		case n.leaf != nil:
			if !except[x.firstLeaf()] {
				res = append(res, resolvedNode{x, n})
			}
		case n.parent != nil:
			res = append(res, resolvedNode{x, n})
			for _, i := range n.parent.UnmergedLeaves {
				if !except[LeafIndex(i)] {
					leaf := LeafIndex(i).node()
					res = append(res, resolvedNode{leaf, t.node(leaf)})
				}
			}
		case n.left != nil:
			walk(x.left(), n.left)
			walk(x.right(), n.right)
		}
	}
	walk(x, n)
	return res
}

// Node types (RFC 9420, Section 7.8).
const (
	nodeTypeLeaf   = 1
	nodeTypeParent = 2
)

// marshal encodes the tree as in the ratchet_tree extension, blank nodes at its
// end left out (RFC 9420, Section 12.4.3.3).
func (t *ratchetTree) marshal() []byte {
	return appendSized(nil, func(b []byte) []byte {
		end := len(b)
		var walk func(n *treeNode, level int)
		walk = func(n *treeNode, level int) {
			if n.collapsed() {
				b = append(b, make([]byte, 2<<level-1)...)
				return
			}
			if level > 0 {
				walk(n.left, level-1)
			}
			switch {
			case n.leaf != nil:
				b = n.leaf.appendTo(append(b, 1, nodeTypeLeaf))
				end = len(b)
			case n.parent != nil:
				b = n.parent.appendTo(append(b, 1, nodeTypeParent))
				end = len(b)
			default:
				b = append(b, 0)
			}
			if level > 0 {
				walk(n.right, level-1)
			}
		}
		walk(t.root, t.height)
		return b[:end]
	})
}

// parseRatchetTree parses the data of a ratchet_tree extension. It checks the
// form alone: validateTree checks the rest.
func parseRatchetTree(s *suite, b []byte) (*ratchetTree, error) {
	position := 0
	nodes, err := parseAll(b, func(r *reader) []*treeNode {
		return readList(r, func(r *reader) *treeNode {
			n := readNode(r, position%2 == 0)
			position++
			return n
		})
	})
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, malformed("empty ratchet tree")
	}
	if nodes[len(nodes)-1] == nil {
		return nil, malformed("ratchet tree ends in a blank node")
	}
	if len(nodes)%2 == 0 {
		// Nobody is under the right child of that node, so that no commit can
		// have set it.
		return nil, malformed("ratchet tree ends in a parent node")
	}
	if len(nodes) >= 2<<maxHeight {
		return nil, fmt.Errorf("%w: ratchet tree of %d nodes", ErrUnsupported, len(nodes))
	}
	t := &ratchetTree{suite: s, height: heightFor(uint32(len(nodes)/2 + 1))}
	t.root = buildTree(nodes, rootOf(t.height))
	return t, nil
}

// readNode reads optional<Node>; leaves stand at even positions.
func readNode(r *reader, atLeaf bool) *treeNode {
	if !r.optional() {
		return nil
	}
	switch r.uint8() {
	case nodeTypeLeaf:
		if !atLeaf {
			r.fail("leaf node at the place of a parent node")
		}
		return &treeNode{leaf: readLeafNode(r), members: 1}
	case nodeTypeParent:
		if atLeaf {
			r.fail("parent node at the place of a leaf node")
		}
		return &treeNode{parent: readParentNode(r)}
	}
	r.fail("unknown node type")
	return nil
}

func buildTree(nodes []*treeNode, x nodeIndex) *treeNode {
	if int(x.firstLeaf().node()) >= len(nodes) {
		return blankSubtree()
	}
	n := &treeNode{}
	if int(x) < len(nodes) && nodes[x] != nil {
		n = nodes[x]
	}
	if x.level() > 0 {
		n.left, n.right = buildTree(nodes, x.left()), buildTree(nodes, x.right())
		n.members = n.left.members + n.right.members
		n = n.collapse()
	}
	return n
}
