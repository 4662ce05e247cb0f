package mls

import "maps"

// A treeIndex counts what occurs in a ratchet tree: keys, credential types, and
// capabilities. With it, the rules that compare a leaf with all members cost
// the same in a group of ten as in one of ten thousand.
//
// It is a base that belongs to the group's current epoch, and the changes that
// the next one makes to it, which are applied when that epoch begins.
type treeIndex struct {
	base  map[indexKey]int
	delta map[indexKey]int

	// inUse counts members by the type of their credential. There are few types,
	// so that each index has a map of its own.
	inUse map[CredentialType]int
}

type indexKind uint8

const (
	countEncryptionKey indexKind = iota
	countSignatureKey
	countCredential // members that support a credential type
	countExtension
	countProposal
)

type indexKey struct {
	kind indexKind
	typ  uint16
	key  string
}

func newTreeIndex(t *ratchetTree) *treeIndex {
	x := &treeIndex{base: make(map[indexKey]int, 4*t.members()), inUse: make(map[CredentialType]int)}
	count := func(k indexKey) { x.base[k]++ }
	t.leaves(func(_ LeafIndex, l *LeafNode) bool {
		indexLeaf(l, count)
		x.inUse[l.Credential.CredentialType]++
		return true
	})
	_ = t.parents(func(_ nodeIndex, n *treeNode) error { // which returns none
		count(encryptionIndex(n.parent.EncryptionKey))
		return nil
	})
	return x
}

// next returns an index of the same content that can be changed aside.
func (x *treeIndex) next() *treeIndex {
	return &treeIndex{base: x.base, delta: maps.Clone(x.delta), inUse: maps.Clone(x.inUse)}
}

// merge makes the changes part of the base, which every other index on the same
// base thereby loses.
func (x *treeIndex) merge() {
	for k, d := range x.delta {
		if v := x.base[k] + d; v == 0 {
			delete(x.base, k)
		} else {
			x.base[k] = v
		}
	}
	x.delta = nil
}

func (x *treeIndex) count(k indexKey) int { return x.base[k] + x.delta[k] }

func (x *treeIndex) change(k indexKey, by int) {
	if x.delta == nil {
		x.delta = make(map[indexKey]int)
	}
	x.delta[k] += by
}

func encryptionIndex(key []byte) indexKey {
	return indexKey{kind: countEncryptionKey, key: string(key)}
}

func signatureIndex(key []byte) indexKey {
	return indexKey{kind: countSignatureKey, key: string(key)}
}

// indexLeaf calls count once for each thing that a leaf contributes.
func indexLeaf(l *LeafNode, count func(indexKey)) {
	count(encryptionIndex(l.EncryptionKey))
	count(signatureIndex(l.SignatureKey))
	indexTypes(countCredential, l.Capabilities.Credentials, count)
	indexTypes(countExtension, l.Capabilities.Extensions, count)
	indexTypes(countProposal, l.Capabilities.Proposals, count)
}

// indexTypes counts each type of a list once, however often it is listed.
func indexTypes[T ~uint16](kind indexKind, list []T, count func(indexKey)) {
	seen := make(map[T]bool, len(list))
	for _, t := range list {
		if !seen[t] {
			seen[t] = true
			count(indexKey{kind: kind, typ: uint16(t)})
		}
	}
}

func (x *treeIndex) addLeaf(l *LeafNode) {
	x.inUse[l.Credential.CredentialType]++
	indexLeaf(l, func(k indexKey) { x.change(k, 1) })
}

func (x *treeIndex) removeLeaf(l *LeafNode) {
	x.inUse[l.Credential.CredentialType]--
	indexLeaf(l, func(k indexKey) { x.change(k, -1) })
}

func (x *treeIndex) addParent(p *ParentNode) { x.change(encryptionIndex(p.EncryptionKey), 1) }

func (x *treeIndex) removeParent(p *ParentNode) {
	if p != nil {
		x.change(encryptionIndex(p.EncryptionKey), -1)
	}
}

// removePath takes the direct path of a leaf out of the index.
func (x *treeIndex) removePath(t *ratchetTree, i LeafIndex) {
	for _, n := range t.path(i) {
		x.removeParent(n.parent)
	}
}

// checkUnique applies the rule that keys are unique (RFC 9420, Section 7.3) to a
// leaf that is in the index.
func (x *treeIndex) checkUnique(l *LeafNode) error {
	if x.count(encryptionIndex(l.EncryptionKey)) > 1 {
		return invalid("7.3", "encryption key of a leaf occurs twice in the tree")
	}
	if x.count(signatureIndex(l.SignatureKey)) > 1 {
		return invalid("7.3", "signature key of a leaf occurs twice in the tree")
	}
	return nil
}

// checkCredentialTypes applies the rule that every member supports the credential
// type of every other (RFC 9420, Section 7.3).
func (x *treeIndex) checkCredentialTypes(members uint32) error {
	for t, n := range x.inUse {
		if n > 0 && x.count(indexKey{kind: countCredential, typ: uint16(t)}) != int(members) {
			return invalid("7.3", "credential type 0x%04X is in use, but not supported by all members", uint16(t))
		}
	}
	return nil
}

// checkExtensionSupport applies the rule that every member supports every
// extension of the group (RFC 9420, Sections 12.1.7 and 13.4).
func (x *treeIndex) checkExtensionSupport(t ExtensionType, members uint32) error {
	if !t.isDefault() && x.count(indexKey{kind: countExtension, typ: uint16(t)}) != int(members) {
		return invalid("13.4", "group extension 0x%04X is not supported by all members", uint16(t))
	}
	return nil
}

// checkRequirements applies the rule that every member meets the group's required
// capabilities (RFC 9420, Section 12.1.7).
func (x *treeIndex) checkRequirements(req RequiredCapabilities, members uint32) error {
	for _, t := range req.ExtensionTypes {
		if err := x.checkExtensionSupport(t, members); err != nil {
			return err
		}
	}
	for _, t := range req.ProposalTypes {
		if !t.isDefault() && x.count(indexKey{kind: countProposal, typ: uint16(t)}) != int(members) {
			return invalid("12.1.7", "required proposal 0x%04X is not supported by all members", uint16(t))
		}
	}
	for _, t := range req.CredentialTypes {
		if x.count(indexKey{kind: countCredential, typ: uint16(t)}) != int(members) {
			return invalid("12.1.7", "required credential type 0x%04X is not supported by all members", uint16(t))
		}
	}
	return nil
}
