package mls

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"maps"
)

// An UpdatePathNode is the new key of one parent node, and its path secret for
// those under the node's other child (RFC 9420, Section 7.6).
type UpdatePathNode struct {
	EncryptionKey       []byte
	EncryptedPathSecret []HPKECiphertext
}

// An UpdatePath replaces the committer's leaf and the keys above it (RFC 9420,
// Section 7.6).
type UpdatePath struct {
	LeafNode *LeafNode
	Nodes    []UpdatePathNode
}

func (p *UpdatePath) appendTo(b []byte) []byte {
	b = p.LeafNode.appendTo(b)
	return appendList(b, p.Nodes, func(b []byte, n UpdatePathNode) []byte {
		b = appendVector(b, n.EncryptionKey)
		return appendList(b, n.EncryptedPathSecret, func(b []byte, c HPKECiphertext) []byte { return c.appendTo(b) })
	})
}

func readUpdatePath(r *reader) *UpdatePath {
	return &UpdatePath{
		LeafNode: readLeafNode(r),
		Nodes: readList(r, func(r *reader) UpdatePathNode {
			return UpdatePathNode{EncryptionKey: r.vector(), EncryptedPathSecret: readList(r, readHPKECiphertext)}
		}),
	}
}

// keys returns the public keys that the path brings for parent nodes.
func (p *UpdatePath) keys() [][]byte {
	keys := make([][]byte, len(p.Nodes))
	for i, n := range p.Nodes {
		keys[i] = n.EncryptionKey
	}
	return keys
}

// filteredPath returns the levels of the filtered direct path of a leaf, from the
// bottom up: those whose node has members under its other child (RFC 9420,
// Section 4.1.2). The root can be missing.
func (t *ratchetTree) filteredPath(i LeafIndex) []int {
	var levels []int
	for level, n := range t.path(i) {
		if n.copathChild(i, level+1).members > 0 {
			levels = append(levels, level+1)
		}
	}
	return levels
}

// copathNode returns the child of the node at the given level that is not on the
// direct path of leaf i.
func (t *ratchetTree) copathNode(i LeafIndex, level int) (nodeIndex, *treeNode) {
	x := i.ancestor(level - 1).sibling()
	return x, t.node(x)
}

// pathParents returns the parent nodes that an update path puts on the filtered
// direct path of leaf i, and the parent hash for the leaf (RFC 9420,
// Section 7.9).
func (t *ratchetTree) pathParents(i LeafIndex, levels []int, keys [][]byte) (map[int]*ParentNode, []byte) {
	parents := make(map[int]*ParentNode, len(levels))
	hash := []byte{}
	for j := len(levels) - 1; j >= 0; j-- {
		p := &ParentNode{EncryptionKey: keys[j], ParentHash: hash}
		sIndex, s := t.copathNode(i, levels[j])
		hash = t.parentHash(p, s, sIndex)
		parents[levels[j]] = p
	}
	return parents, hash
}

// withPath returns the tree with a new leaf and the given parents on its direct
// path, where all else is blank.
func (t *ratchetTree) withPath(i LeafIndex, leaf *LeafNode, parents map[int]*ParentNode) *ratchetTree {
	return t.replace(i, leaf, func(level int, _ *ParentNode) *ParentNode { return parents[level] })
}

// A privateTree holds the private keys of the ratchet tree that one member knows:
// those of its leaf and of nodes on its direct path.
type privateTree struct {
	leaf LeafIndex
	keys map[nodeIndex]*keyPair
}

func newPrivateTree(leaf LeafIndex, key *keyPair) *privateTree {
	return &privateTree{leaf: leaf, keys: map[nodeIndex]*keyPair{leaf.node(): key}}
}

func (p *privateTree) clone() *privateTree {
	return &privateTree{leaf: p.leaf, keys: maps.Clone(p.keys)}
}

// wipe zeroes the keys that the next state does not hold, as far as they are ours:
// those inside of crypto/hpke are not.
func (p *privateTree) wipe(next *privateTree) {
	for x, key := range p.keys {
		if next.keys[x] != key {
			clear(key.secret)
		}
	}
}

// prune forgets the keys of nodes that are blank or have another key now.
func (p *privateTree) prune(t *ratchetTree) {
	path := t.path(p.leaf)
	maps.DeleteFunc(p.keys, func(x nodeIndex, key *keyPair) bool {
		switch level := x.level(); {
		case level == 0:
			return false
		case level > len(path) || path[level-1].parent == nil:
			return true
		default:
			return !bytes.Equal(path[level-1].parent.EncryptionKey, key.public)
		}
	})
}

// A pathChain is the sequence of path secrets and keys from one node of a
// filtered direct path upwards (RFC 9420, Section 7.4).
type pathChain struct {
	secrets      [][]byte
	keys         []*keyPair
	commitSecret []byte
}

// derivePath derives n keys and the commit secret, which is one step after the
// last path secret, be it of the root or not (RFC 9420, Section 12.4.1).
func (s *suite) derivePath(pathSecret []byte, n int) (*pathChain, error) {
	c := &pathChain{}
	for range n {
		node := s.deriveSecret(pathSecret, "node")
		key, err := s.deriveKeyPair(node)
		clear(node)
		if err != nil {
			return nil, err
		}
		c.secrets = append(c.secrets, pathSecret)
		c.keys = append(c.keys, key)
		pathSecret = s.deriveSecret(pathSecret, "path")
	}
	c.commitSecret = pathSecret
	return c, nil
}

func (c *pathChain) publicKeys() [][]byte {
	keys := make([][]byte, len(c.keys))
	for i, k := range c.keys {
		keys[i] = k.public
	}
	return keys
}

// wipe zeroes the path secrets.
func (c *pathChain) wipe() {
	for _, s := range c.secrets {
		clear(s)
	}
}

// A newPath is a path that we made, before it is encrypted to the others.
type newPath struct {
	tree   *ratchetTree // with the path
	leaf   *LeafNode
	levels []int
	chain  *pathChain
	keys   *privateTree
}

// makePath replaces the keys on our own direct path (RFC 9420, Section 7.5). The
// leaf comes without key and signature.
func (c *Client) makePath(t *ratchetTree, i LeafIndex, leaf *LeafNode, signer crypto.Signer, groupID []byte) (*newPath, error) {
	s := t.suite
	levels := t.filteredPath(i)
	pathSecret, err := c.random(s.nh)
	if err != nil {
		return nil, err
	}
	chain, err := s.derivePath(pathSecret, len(levels))
	if err != nil {
		return nil, err
	}
	leafKey, err := c.generateKeyPair(s)
	if err != nil {
		return nil, err
	}
	parents, parentHash := t.pathParents(i, levels, chain.publicKeys())
	leaf.LeafNodeSource, leaf.EncryptionKey, leaf.ParentHash = LeafNodeSourceCommit, leafKey.public, parentHash
	if err := leaf.sign(s, signer, groupID, i); err != nil {
		return nil, err
	}
	keys := newPrivateTree(i, leafKey)
	for j, level := range levels {
		keys.keys[i.ancestor(level)] = chain.keys[j]
	}
	return &newPath{tree: t.withPath(i, leaf, parents), leaf: leaf, levels: levels, chain: chain, keys: keys}, nil
}

// encrypt encrypts each path secret to the resolution of the copath node, without
// the leaves that the same commit adds (RFC 9420, Section 7.6).
func (p *newPath) encrypt(groupContext []byte, added map[LeafIndex]bool) (*UpdatePath, error) {
	type job struct {
		secret, key []byte
		out         *HPKECiphertext
	}
	var jobs []job
	path := &UpdatePath{LeafNode: p.leaf, Nodes: make([]UpdatePathNode, len(p.levels))}
	for j, level := range p.levels {
		x, n := p.tree.copathNode(p.keys.leaf, level)
		res := p.tree.resolution(x, n, added)
		path.Nodes[j] = UpdatePathNode{
			EncryptionKey:       p.chain.keys[j].public,
			EncryptedPathSecret: make([]HPKECiphertext, len(res)),
		}
		for k, r := range res {
			jobs = append(jobs, job{p.chain.secrets[j], r.encryptionKey(), &path.Nodes[j].EncryptedPathSecret[k]})
		}
	}
	err := parallel(len(jobs), func(i int) (err error) {
		*jobs[i].out, err = p.tree.suite.encryptWithLabel(jobs[i].key, updatePathLabel, groupContext, jobs[i].secret)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("encrypting path secrets: %w", err)
	}
	return path, nil
}

const updatePathLabel = "UpdatePathNode"

// mergePath puts the public part of a sender's UpdatePath into the tree, and
// checks its form and its parent hash (RFC 9420, Section 7.5).
func (t *ratchetTree) mergePath(i LeafIndex, path *UpdatePath, added map[LeafIndex]bool) (*ratchetTree, error) {
	levels := t.filteredPath(i)
	if len(path.Nodes) != len(levels) {
		return nil, invalid("7.6", "update path has %d nodes instead of %d", len(path.Nodes), len(levels))
	}
	for j, level := range levels {
		x, n := t.copathNode(i, level)
		if want := len(t.resolution(x, n, added)); len(path.Nodes[j].EncryptedPathSecret) != want {
			return nil, invalid("7.6", "update path node has %d ciphertexts instead of %d", len(path.Nodes[j].EncryptedPathSecret), want)
		}
		if err := t.suite.checkPublicKey(path.Nodes[j].EncryptionKey); err != nil {
			return nil, err
		}
	}
	parents, parentHash := t.pathParents(i, levels, path.keys())
	if !bytes.Equal(path.LeafNode.ParentHash, parentHash) {
		return nil, invalid("7.5", "parent hash of the committer's leaf does not match its path")
	}
	return t.withPath(i, path.LeafNode, parents), nil
}

// decryptPath takes the path secret that is meant for us out of a sender's path,
// which is merged into t, stores the keys that follow from it, and returns the
// commit secret (RFC 9420, Section 7.5).
func (p *privateTree) decryptPath(t *ratchetTree, sender LeafIndex, path *UpdatePath, groupContext []byte, added map[LeafIndex]bool) ([]byte, error) {
	secret, levels, err := p.decryptPathSecret(t, sender, path, groupContext, added)
	if err != nil {
		return nil, err
	}
	return p.implant(t, levels, secret)
}

// decryptPathSecret returns the path secret of the lowest node that we share with
// the sender, and the levels from there on of the sender's filtered direct path.
func (p *privateTree) decryptPathSecret(t *ratchetTree, sender LeafIndex, path *UpdatePath, groupContext []byte, added map[LeafIndex]bool) ([]byte, []int, error) {
	shared := commonLevel(p.leaf, sender)
	levels := t.filteredPath(sender)
	for j, level := range levels {
		if level != shared {
			continue
		}
		x, n := t.copathNode(sender, level)
		for k, r := range t.resolution(x, n, added) {
			key, ok := p.keys[r.index]
			if !ok || !bytes.Equal(key.public, r.encryptionKey()) {
				continue
			}
			secret, err := t.suite.decryptWithLabel(key.private, updatePathLabel, groupContext, path.Nodes[j].EncryptedPathSecret[k])
			if err != nil {
				return nil, nil, fmt.Errorf("decrypting path secret: %w", err)
			}
			return secret, levels[j:], nil
		}
	}
	return nil, nil, errors.New("mls: no key for the update path")
}

// implant stores the keys of the nodes at the given levels of our direct path,
// which have to be those in the tree, and returns the commit secret.
func (p *privateTree) implant(t *ratchetTree, levels []int, pathSecret []byte) ([]byte, error) {
	if len(pathSecret) != t.suite.nh {
		return nil, invalid("7.4", "path secret of a wrong length")
	}
	chain, err := t.suite.derivePath(pathSecret, len(levels))
	if err != nil {
		return nil, err
	}
	defer chain.wipe()
	for j, level := range levels {
		x := p.leaf.ancestor(level)
		parent := t.node(x).parent
		if parent == nil || !bytes.Equal(parent.EncryptionKey, chain.keys[j].public) {
			return nil, invalid("7.5", "path secret does not give the public key of node %d", x)
		}
		p.keys[x] = chain.keys[j]
	}
	return chain.commitSecret, nil
}
