package mls

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// A group is saved as records, each under a key of its own, so that a message
// rewrites the record of one sender, and a commit those of one path:
//
//	g                    what the group is, and its private keys
//	q number             a proposal that waits for a commit
//	p                    our pending commit
//	e epoch              an epoch: its GroupContext, secrets, and root of the tree
//	t number             a node of the ratchet tree, and the numbers of its children
//	s epoch node         a secret of the epoch's secret tree
//	r epoch leaf         the ratchets of a sender in the epoch
//
// Tree nodes never change, as in memory: a new epoch brings new ones, and shares the
// rest.
const (
	recordGroup    = 'g'
	recordProposal = 'q'
	recordPending  = 'p'
	recordEpoch    = 'e'
	recordNode     = 't'
	recordSecret   = 's'
	recordRatchets = 'r'
)

// stateVersion is the version of the format of the records.
const stateVersion = 2

// A Record is a part of a saved group. Its value holds secrets.
type Record struct {
	Key   []byte
	Value []byte // nil if the record is to be deleted
}

// savedState is what the group knows of its records.
type savedState struct {
	epochs     map[uint64]savedEpoch
	pending    *PendingCommit
	proposals  []*storedProposal
	header     []byte
	nextNumber uint64
	unsaved    []*treeNode // numbered, but not known to be saved
	roots      []*ratchetTree
	deletions  [][]byte // of forgotten epochs
}

type savedEpoch struct {
	state   *epochState
	retired bool
}

// Save hands what changed since the last Save to the application, which stores it
// in one transaction: a record with a nil Value is to be deleted, any other to be
// put in place of the record with its Key, if there is one. If store returns an
// error, nothing counts as saved, and the next Save hands out the same again.
//
// Keys are at most 13 bytes and unique within the group.
func (g *Group) Save(store func([]Record) error) error {
	changes := g.changes()
	if len(changes) > 0 {
		if err := store(changes); err != nil {
			return fmt.Errorf("saving group: %w", err)
		}
	}
	g.markSaved()
	return nil
}

// Records returns the whole group, whatever was saved before.
func (g *Group) Records() []Record {
	w := make(recordWriter)
	for _, t := range g.liveTrees() {
		g.numberNodes(t.root, t.height)
		w.nodes(t.root)
	}
	for _, e := range g.liveEpochs() {
		w.epoch(e)
		e.messages.writeAll(e.context.Epoch, w)
	}
	w.proposals(g.proposals)
	if g.pending != nil {
		w.put(recordKey(recordPending), g.pending.appendTo(nil))
	}
	w.put(recordKey(recordGroup), g.appendHeader(nil))
	return w.sorted()
}

// Marshal returns the whole group in one piece, to be read by
// [Client.UnmarshalGroup].
func (g *Group) Marshal() []byte {
	b := []byte{stateVersion}
	for _, r := range g.Records() {
		b = appendVector(appendVector(b, r.Key), r.Value)
	}
	return b
}

// UnmarshalGroup reads the output of [Group.Marshal]. See [Client.LoadGroup] for
// the signers.
func (c *Client) UnmarshalGroup(state []byte, signers ...crypto.Signer) (*Group, error) {
	r := reader{rest: bytes.Clone(state)}
	if r.uint8() != stateVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrState)
	}
	var records []Record
	for r.err == nil && len(r.rest) > 0 {
		records = append(records, Record{Key: r.vector(), Value: r.vector()})
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, r.err)
	}
	return c.LoadGroup(func(yield func([]byte, []byte) bool) {
		for _, r := range records {
			if !yield(r.Key, r.Value) {
				return
			}
		}
	}, signers...)
}

type recordWriter map[string][]byte

func recordKey(kind byte, parts ...uint64) []byte {
	b := []byte{kind}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, p)
	}
	return b
}

func secretKey(kind byte, epoch uint64, index uint32) []byte {
	return binary.BigEndian.AppendUint32(recordKey(kind, epoch), index)
}

func (w recordWriter) put(key, value []byte) { w[string(key)] = value }

// remove deletes a record that is not written anew.
func (w recordWriter) remove(key []byte) {
	if _, ok := w[string(key)]; !ok {
		w[string(key)] = nil
	}
}

func (w recordWriter) sorted() []Record {
	records := make([]Record, 0, len(w))
	for _, key := range slices.Sorted(maps.Keys(w)) {
		records = append(records, Record{Key: []byte(key), Value: w[key]})
	}
	return records
}

// liveEpochs returns the epochs that have records, oldest first.
func (g *Group) liveEpochs() []*epochState { return append(slices.Clone(g.past), g.epoch) }

// liveTrees returns the trees that have records.
func (g *Group) liveTrees() []*ratchetTree {
	var trees []*ratchetTree
	for _, e := range g.liveEpochs() {
		trees = append(trees, e.tree)
	}
	if g.pending != nil {
		trees = append(trees, g.pending.next.epoch.tree)
	}
	return trees
}

// changes returns what is to be written since the last save.
func (g *Group) changes() []Record {
	w := make(recordWriter)
	live := g.liveTrees()
	for _, t := range live {
		g.numberNodes(t.root, t.height)
	}
	for _, n := range g.saved.unsaved {
		w.put(recordKey(recordNode, n.record), n.appendRecord(nil))
	}
	for _, e := range g.liveEpochs() {
		n := e.context.Epoch
		old, ok := g.saved.epochs[n]
		if !ok || old.state != e || old.retired != e.retired() {
			w.epoch(e)
		}
		e.messages.writeChanges(n, w)
	}
	same := 0
	for same < min(len(g.proposals), len(g.saved.proposals)) && g.proposals[same] == g.saved.proposals[same] {
		same++
	}
	w.proposals(g.proposals[same:])
	for _, p := range g.saved.proposals[same:] {
		w.remove(recordKey(recordProposal, p.number))
	}
	if g.pending != g.saved.pending {
		if g.pending != nil {
			w.put(recordKey(recordPending), g.pending.appendTo(nil))
		} else {
			w.remove(recordKey(recordPending))
		}
	}
	if header := g.appendHeader(nil); !bytes.Equal(header, g.saved.header) {
		w.put(recordKey(recordGroup), header)
	}
	for _, key := range g.saved.deletions {
		w.remove(key)
	}
	g.collect(live, w)
	return w.sorted()
}

// collect deletes the nodes of saved trees that no live tree has. A node that went
// out of use between two states never comes back, so that comparing with the
// nearest live state, which is the oldest but for a pending commit, is enough.
func (g *Group) collect(live []*ratchetTree, w recordWriter) {
	for _, old := range g.saved.roots {
		if slices.ContainsFunc(live, func(t *ratchetTree) bool { return t.root == old.root }) {
			continue
		}
		garbage := make(map[uint64]bool)
		old.diff(live[0], func(_ nodeIndex, n *treeNode) { garbage[n.record] = true })
		for _, t := range live[1:] {
			kept := make(map[uint64]bool)
			old.diff(t, func(_ nodeIndex, n *treeNode) { kept[n.record] = true })
			maps.DeleteFunc(garbage, func(n uint64, _ bool) bool { return !kept[n] })
		}
		for n := range garbage {
			if n != 0 {
				w.remove(recordKey(recordNode, n))
			}
		}
	}
}

func (g *Group) markSaved() {
	s := &g.saved
	s.epochs = make(map[uint64]savedEpoch)
	for _, e := range g.liveEpochs() {
		s.epochs[e.context.Epoch] = savedEpoch{e, e.retired()}
		clear(e.messages.dirtyNodes)
		clear(e.messages.dirtySenders)
	}
	s.pending, s.proposals = g.pending, slices.Clone(g.proposals)
	clear(s.header) // it holds private keys
	s.header = g.appendHeader(nil)
	s.unsaved, s.deletions = nil, nil
	s.roots = g.liveTrees()
}

// retired reports whether the epoch is a past one.
func (e *epochState) retired() bool { return e.secrets.initSecret == nil }

// numberNodes numbers the nodes that are new.
func (g *Group) numberNodes(n *treeNode, level int) {
	if n.record != 0 {
		return
	}
	g.saved.nextNumber++
	n.record = g.saved.nextNumber
	g.saved.unsaved = append(g.saved.unsaved, n)
	if level > 0 && !n.blank() {
		g.numberNodes(n.left, level-1)
		g.numberNodes(n.right, level-1)
	}
}

// blank reports whether the subtree holds nothing at all.
func (n *treeNode) blank() bool { return n.members == 0 && n.parent == nil }

// Kinds of node records.
const (
	nodeRecordBlank  = 0
	nodeRecordLeaf   = 1
	nodeRecordParent = 2
	nodeRecordInner  = 3 // a parent node that is blank, in a subtree that is not
)

func (n *treeNode) appendRecord(b []byte) []byte {
	switch {
	case n.blank():
		return append(b, nodeRecordBlank)
	case n.leaf != nil:
		return n.leaf.appendTo(append(b, nodeRecordLeaf))
	case n.parent != nil:
		b = n.parent.appendTo(append(b, nodeRecordParent))
	default:
		b = append(b, nodeRecordInner)
	}
	return appendUint64(appendUint64(b, n.left.record), n.right.record)
}

// nodes writes all nodes of a subtree.
func (w recordWriter) nodes(n *treeNode) {
	key := recordKey(recordNode, n.record)
	if _, ok := w[string(key)]; ok {
		return
	}
	w.put(key, n.appendRecord(nil))
	if n.left != nil && !n.blank() {
		w.nodes(n.left)
		w.nodes(n.right)
	}
}

func (w recordWriter) epoch(e *epochState) {
	w.put(recordKey(recordEpoch, e.context.Epoch), e.appendTo(nil))
}

func (e *epochState) appendTo(b []byte) []byte {
	b = append(b, byte(e.tree.height))
	b = appendUint64(b, e.tree.root.record)
	b = appendVector(b, e.contextBytes)
	for _, f := range e.secrets.fields() {
		b = appendVector(b, *f)
	}
	return b
}

func (t *secretTree) writeChanges(epoch uint64, w recordWriter) {
	for x := range t.dirtyNodes {
		if secret := t.nodes[x]; secret != nil {
			w.put(secretKey(recordSecret, epoch, uint32(x)), bytes.Clone(secret))
		} else {
			w.remove(secretKey(recordSecret, epoch, uint32(x)))
		}
	}
	for i := range t.dirtySenders {
		w.put(secretKey(recordRatchets, epoch, uint32(i)), t.senders[i].appendTo(nil))
	}
}

func (t *secretTree) writeAll(epoch uint64, w recordWriter) {
	for x, secret := range t.nodes {
		w.put(secretKey(recordSecret, epoch, uint32(x)), bytes.Clone(secret))
	}
	for i, r := range t.senders {
		w.put(secretKey(recordRatchets, epoch, uint32(i)), r.appendTo(nil))
	}
}

// keys lists the records of the tree, to delete them.
func (t *secretTree) keys(epoch uint64) [][]byte {
	var keys [][]byte
	for x := range t.nodes {
		keys = append(keys, secretKey(recordSecret, epoch, uint32(x)))
	}
	for x := range t.dirtyNodes {
		keys = append(keys, secretKey(recordSecret, epoch, uint32(x)))
	}
	for i := range t.senders {
		keys = append(keys, secretKey(recordRatchets, epoch, uint32(i)))
	}
	return keys
}

func (r *senderRatchets) appendTo(b []byte) []byte {
	for _, r := range r {
		b = appendUint32(appendVector(b, r.secret), r.next)
		b = appendList(b, r.skipped, func(b []byte, k messageKey) []byte {
			return appendVector(appendVector(appendUint32(b, k.generation), k.key), k.nonce)
		})
	}
	return b
}

func (g *Group) appendHeader(b []byte) []byte {
	b = append(b, stateVersion)
	b = appendUint16(b, uint16(g.suite.id))
	b = append(b, byte(g.status))
	b = appendReInit(b, g.reInit)
	b = appendUint64(b, g.saved.nextNumber)
	b = appendUint64(b, g.epoch.context.Epoch)
	b = appendList(b, g.past, func(b []byte, e *epochState) []byte { return appendUint64(b, e.context.Epoch) })
	b = appendVector(appendVector(b, g.interim), g.tag)
	return g.private.appendTo(b)
}

func appendReInit(b []byte, r *ReInit) []byte {
	if r == nil {
		return append(b, 0)
	}
	return r.appendBody(append(b, 1))
}

func (p *privateTree) appendTo(b []byte) []byte {
	b = appendUint32(b, uint32(p.leaf))
	return appendList(b, slices.Sorted(maps.Keys(p.keys)), func(b []byte, x nodeIndex) []byte {
		return appendVector(appendUint32(b, uint32(x)), p.keys[x].secret)
	})
}

func (w recordWriter) proposals(list []*storedProposal) {
	for _, p := range list {
		w.put(recordKey(recordProposal, p.number), p.appendTo(nil))
	}
}

func (p *storedProposal) appendTo(b []byte) []byte {
	b = p.sender.appendTo(appendProposal(appendVector(b, p.ref), p.proposal))
	if p.leafKey == nil {
		return append(b, 0)
	}
	return appendVector(append(b, 1), p.leafKey.secret)
}

func (p *PendingCommit) appendTo(b []byte) []byte {
	b = appendVector(appendVector(b, p.Commit), p.Welcome)
	b = appendList(b, p.Proposals, func(b []byte, p CommittedProposal) []byte {
		return p.Sender.appendTo(appendProposal(b, p.Proposal))
	})
	n := p.next
	b = appendReInit(b, n.reInit)
	b = appendVector(appendVector(b, n.interim), n.tag)
	b = n.private.appendTo(b)
	b = n.epoch.appendTo(b)
	return appendVector(b, n.epoch.messages.nodes[rootOf(n.epoch.tree.height)])
}

// LoadGroup reads a group from its records, in any order. The signature keys are
// not among them: give the signer of our leaf, and those that a pending commit or
// an own Update proposal is going to bring into use.
func (c *Client) LoadGroup(records iter.Seq2[[]byte, []byte], signers ...crypto.Signer) (*Group, error) {
	l := &loader{client: c, signers: signers, records: make(map[string][]byte), nodes: make(map[nodeRecord]*treeNode)}
	for key, value := range records {
		l.records[string(key)] = bytes.Clone(value)
	}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	l.group.markSaved()
	return l.group, nil
}
