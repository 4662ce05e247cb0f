package mls

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// validateTree checks the tree of a group that we join (RFC 9420,
// Section 12.4.3.1), and returns its index.
func (c *Client) validateTree(t *ratchetTree, groupID []byte, groupExtensions []Extension) (*treeIndex, error) {
	if err := t.checkUnmergedLeaves(); err != nil {
		return nil, err
	}
	if err := t.verifyParentHashes(); err != nil {
		return nil, err
	}
	index := newTreeIndex(t)
	if err := t.checkUniqueKeys(index); err != nil {
		return nil, err
	}
	if err := c.validateLeaves(t, groupID, groupExtensions); err != nil {
		return nil, err
	}
	return index, index.checkCredentialTypes(t.members())
}

// checkUnmergedLeaves checks that each unmerged leaf is a member under the node
// that lists it, and that the non-blank nodes between the two list it as well:
// those alone, not the nodes above.
func (t *ratchetTree) checkUnmergedLeaves() error {
	return t.parents(func(x nodeIndex, n *treeNode) error {
		for _, u := range n.parent.UnmergedLeaves {
			i := LeafIndex(u)
			if !x.covers(i) {
				return invalid("12.4.3.1", "unmerged leaf %d is not under its parent node", i)
			}
			d := n
			for level := x.level(); level > 0; level-- {
				if d.parent != nil && !d.parent.unmerged(i) {
					return invalid("12.4.3.1", "unmerged leaf %d is not listed on the way down from node %d", i, x)
				}
				d = d.child(i, level)
			}
			if d.leaf == nil {
				return invalid("12.4.3.1", "unmerged leaf %d is blank", i)
			}
		}
		return nil
	})
}

func (p *ParentNode) unmerged(i LeafIndex) bool {
	_, found := slices.BinarySearch(p.UnmergedLeaves, uint32(i))
	return found
}

func (t *ratchetTree) checkUniqueKeys(index *treeIndex) error {
	err := t.parents(func(x nodeIndex, n *treeNode) error {
		if index.count(encryptionIndex(n.parent.EncryptionKey)) > 1 {
			return invalid("12.4.3.1", "encryption key of node %d occurs twice in the tree", x)
		}
		return nil
	})
	t.leaves(func(_ LeafIndex, l *LeafNode) bool {
		if err == nil {
			err = index.checkUnique(l)
		}
		return err == nil
	})
	return err
}

// validateLeaves applies RFC 9420, Section 7.3 to every leaf. A lifetime bounds when
// a client may be added, and members stay after it, so that one that has ended is
// accepted: otherwise one client that sleeps would keep everybody from joining its
// groups. One that has not begun is not: nobody can have added that client yet.
func (c *Client) validateLeaves(t *ratchetTree, groupID []byte, groupExtensions []Extension) error {
	type member struct {
		index LeafIndex
		leaf  *LeafNode
	}
	members := make([]member, 0, t.members())
	t.leaves(func(i LeafIndex, l *LeafNode) bool {
		members = append(members, member{i, l})
		return true
	})
	return parallel(len(members), func(i int) error {
		index, leaf := members[i].index, members[i].leaf
		if err := leaf.checkAlone(t.suite); err != nil {
			return err
		}
		if err := leaf.checkInContext(groupExtensions); err != nil {
			return err
		}
		if leaf.LeafNodeSource == LeafNodeSourceKeyPackage {
			if err := leaf.Lifetime.checkRange(c.config.MaxLifetime); err != nil {
				return err
			}
			if err := leaf.Lifetime.checkBegun(c.now()); err != nil {
				return err
			}
		}
		if err := leaf.verify(t.suite, groupID, index); err != nil {
			return err
		}
		return c.authenticate(leaf.credentialCheck(groupID, CredentialInTree, nil))
	})
}

// parallel calls f for 0 to n-1 on as many goroutines as can run at once, and
// returns one of the errors.
func parallel(n int, f func(int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n/4)
	if workers < 2 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}
