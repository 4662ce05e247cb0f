package mls

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A loader puts a group together from its records, which can be corrupt but not
// hostile beyond that: who writes them has our keys.
type loader struct {
	client  *Client
	signers []crypto.Signer
	records map[string][]byte
	nodes   map[nodeRecord]*treeNode

	suite   *suite
	group   *Group
	removed bool // from the group, whose keys are forgotten
}

// A nodeRecord is a record of a tree node at the level where it is referred to: a
// damaged reference must not put it at another one.
type nodeRecord struct {
	number uint64
	level  int
}

var errMissingRecord = errors.New("record is missing")

func (l *loader) record(key []byte) (*reader, error) {
	value, ok := l.records[string(key)]
	if !ok {
		return nil, fmt.Errorf("%w: %q", errMissingRecord, key[0])
	}
	return &reader{rest: value}, nil
}

// stateHeader is the content of the group's main record.
type stateHeader struct {
	suite      CipherSuite
	status     groupStatus
	reInit     *ReInit
	nextNumber uint64
	epoch      uint64
	past       []uint64
	interim    []byte
	tag        []byte
	private    privateRecord
}

type privateRecord struct {
	leaf LeafIndex
	keys []privateKeyRecord
}

type privateKeyRecord struct {
	index  nodeIndex
	secret []byte
}

func readHeader(r *reader) stateHeader {
	if v := r.uint8(); r.err == nil && v != stateVersion {
		r.fail("unknown version of the state")
	}
	h := stateHeader{
		suite:      CipherSuite(r.uint16()),
		status:     groupStatus(r.uint8()),
		reInit:     readOptionalReInit(r),
		nextNumber: r.uint64(),
		epoch:      r.uint64(),
		past:       readList(r, (*reader).uint64),
		interim:    r.vector(),
		tag:        r.vector(),
		private:    readPrivateRecord(r),
	}
	if h.status > groupReinitialised || (h.reInit != nil) != (h.status == groupReinitialised) {
		r.fail("unknown status of the group")
	}
	if len(h.past) > MaxPastEpochs {
		r.fail("too many past epochs")
	}
	return h
}

func readOptionalReInit(r *reader) *ReInit {
	if !r.optional() {
		return nil
	}
	return readReInit(r)
}

func readPrivateRecord(r *reader) privateRecord {
	return privateRecord{
		leaf: LeafIndex(r.uint32()),
		keys: readList(r, func(r *reader) privateKeyRecord {
			return privateKeyRecord{nodeIndex(r.uint32()), r.vector()}
		}),
	}
}

func (l *loader) load() error {
	r, err := l.record(recordKey(recordGroup))
	if err != nil {
		return err
	}
	h := readHeader(r)
	if err := r.finish(); err != nil {
		return err
	}
	if l.suite, err = h.suite.suite(); err != nil {
		return err
	}
	g := &Group{
		client: l.client, suite: l.suite, signers: l.signers, status: h.status, reInit: h.reInit,
		interim: h.interim, tag: h.tag,
	}
	g.saved.nextNumber = h.nextNumber
	l.group, l.removed = g, h.status == groupRemoved
	for _, n := range h.past {
		e, err := l.epoch(n)
		if err != nil {
			return fmt.Errorf("loading epoch %d: %w", n, err)
		}
		g.past = append(g.past, e)
	}
	if g.epoch, err = l.epoch(h.epoch); err != nil {
		return fmt.Errorf("loading epoch %d: %w", h.epoch, err)
	}
	if g.epoch.retired() != l.removed {
		return errors.New("secrets of the current epoch do not fit its status")
	}
	if g.private, err = l.privateTree(h.private, g.epoch.tree); err != nil {
		return err
	}
	if g.signer, err = l.suite.signerFor(g.ownLeaf().SignatureKey, l.signers); err != nil {
		return err
	}
	g.index = newTreeIndex(g.epoch.tree)
	if err := l.loadMessages(); err != nil {
		return err
	}
	if err := l.loadProposals(); err != nil {
		return err
	}
	return l.loadPending()
}

func (l *loader) epoch(n uint64) (*epochState, error) {
	r, err := l.record(recordKey(recordEpoch, n))
	if err != nil {
		return nil, err
	}
	e, err := l.readEpoch(r)
	if err != nil {
		return nil, err
	}
	if err := r.finish(); err != nil {
		return nil, err
	}
	if e.context.Epoch != n {
		return nil, errors.New("record of another epoch")
	}
	e.messages = &secretTree{
		suite: l.suite, height: e.tree.height, nodes: make(map[nodeIndex][]byte), senders: make(map[LeafIndex]*senderRatchets),
		dirtyNodes: make(map[nodeIndex]bool), dirtySenders: make(map[LeafIndex]bool),
	}
	return e, nil
}

func (l *loader) readEpoch(r *reader) (*epochState, error) {
	height, root := int(r.uint8()), r.uint64()
	e := &epochState{contextBytes: r.vector(), secrets: &epochSecrets{}}
	for _, f := range e.secrets.fields() {
		*f = r.vector()
		if len(*f) == 0 {
			*f = nil
		} else if len(*f) != l.suite.nh {
			return nil, errors.New("secret of a wrong length")
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	for _, f := range e.secrets.fields() {
		kept := f == &e.secrets.senderDataSecret || f == &e.secrets.resumptionPSK
		if *f == nil && !l.removed && (kept || !e.retired()) {
			return nil, errors.New("secret is missing")
		}
	}
	var err error
	if e.context, err = parseAll(e.contextBytes, readGroupContext); err != nil {
		return nil, err
	}
	if height > maxHeight {
		return nil, errors.New("tree is too high")
	}
	e.tree = &ratchetTree{suite: l.suite, height: height}
	if e.tree.root, err = l.node(root, height); err != nil {
		return nil, err
	}
	if !bytes.Equal(e.tree.treeHash(), e.context.TreeHash) {
		return nil, errors.New("tree hash does not match")
	}
	return e, nil
}

// node reads a node and those below it. Each record is read once, whatever refers
// to it, so that trees of several epochs share what they shared before.
func (l *loader) node(number uint64, level int) (*treeNode, error) {
	if n, ok := l.nodes[nodeRecord{number, level}]; ok {
		return n, nil
	}
	r, err := l.record(recordKey(recordNode, number))
	if err != nil {
		return nil, err
	}
	n := &treeNode{}
	switch kind := r.uint8(); {
	case kind == nodeRecordBlank:
		n = blankSubtree()
	case kind == nodeRecordLeaf && level == 0:
		n.leaf, n.members = readLeafNode(r), 1
	case kind == nodeRecordParent && level > 0:
		n.parent = readParentNode(r)
		err = l.children(n, r, level)
	case kind == nodeRecordInner && level > 0:
		err = l.children(n, r, level)
	default:
		return nil, malformed("unknown kind of node record")
	}
	if err != nil {
		return nil, err
	}
	if err := r.finish(); err != nil {
		return nil, err
	}
	n.record = number
	l.nodes[nodeRecord{number, level}] = n
	return n, nil
}

func (l *loader) children(n *treeNode, r *reader, level int) (err error) {
	left, right := r.uint64(), r.uint64()
	if r.err != nil {
		return r.err
	}
	if n.left, err = l.node(left, level-1); err != nil {
		return err
	}
	if n.right, err = l.node(right, level-1); err != nil {
		return err
	}
	n.members = n.left.members + n.right.members
	return nil
}

func (l *loader) privateTree(p privateRecord, t *ratchetTree) (*privateTree, error) {
	leaf := t.leaf(p.leaf)
	if leaf == nil {
		return nil, errors.New("our leaf is blank")
	}
	private := &privateTree{leaf: p.leaf, keys: make(map[nodeIndex]*keyPair)}
	for _, k := range p.keys {
		key, err := l.suite.parseKeyPair(k.secret)
		if err != nil {
			return nil, err
		}
		private.keys[k.index] = key
	}
	if l.removed {
		return private, nil
	}
	own := private.keys[p.leaf.node()]
	if own == nil || !bytes.Equal(own.public, leaf.EncryptionKey) {
		return nil, errors.New("key of our leaf does not match")
	}
	before := len(private.keys)
	private.prune(t)
	if len(private.keys) != before {
		return nil, errors.New("key of a node does not match")
	}
	return private, nil
}

// loadMessages reads the records of the secret trees.
func (l *loader) loadMessages() error {
	for key, value := range l.records {
		kind := key[:min(1, len(key))]
		if kind != string(recordSecret) && kind != string(recordRatchets) {
			continue
		}
		if len(key) != 13 {
			return malformed("key of a record")
		}
		e := l.group.epochAt(binary.BigEndian.Uint64([]byte(key[1:9])))
		if e == nil {
			return errors.New("message keys of an unknown epoch")
		}
		index := binary.BigEndian.Uint32([]byte(key[9:]))
		if kind == string(recordSecret) {
			if len(value) != l.suite.nh || uint64(index) >= 2<<e.tree.height {
				return malformed("secret of the secret tree")
			}
			e.messages.nodes[nodeIndex(index)] = value
			continue
		}
		ratchets, err := parseAll(value, l.readRatchets)
		if err != nil {
			return err
		}
		if !e.tree.contains(LeafIndex(index)) {
			return malformed("ratchets of a leaf out of the tree")
		}
		e.messages.senders[LeafIndex(index)] = ratchets
	}
	return nil
}

func (l *loader) readRatchets(r *reader) *senderRatchets {
	var ratchets senderRatchets
	for i := range ratchets {
		t := &ratchet{secret: r.vector(), next: r.uint32()}
		t.skipped = readList(r, func(r *reader) messageKey {
			k := messageKey{generation: r.uint32(), key: r.vector(), nonce: r.vector()}
			if len(k.key) != l.suite.nk || len(k.nonce) != nonceSize || k.generation >= t.next {
				r.fail("skipped message key")
			}
			return k
		})
		if len(t.secret) != l.suite.nh || len(t.skipped) > MaxSkippedKeys {
			r.fail("message ratchet")
		}
		for j := 1; j < len(t.skipped); j++ {
			if t.skipped[j-1].generation >= t.skipped[j].generation {
				r.fail("skipped message keys out of order")
				break
			}
		}
		ratchets[i] = t
	}
	return &ratchets
}

func (l *loader) loadProposals() error {
	for key, value := range l.records {
		if key == "" || key[0] != recordProposal {
			continue
		}
		if len(key) != 9 {
			return malformed("key of a record")
		}
		p, err := parseAll(value, l.readProposal)
		if err != nil {
			return err
		}
		p.number = binary.BigEndian.Uint64([]byte(key[1:]))
		l.group.proposals = append(l.group.proposals, p)
	}
	slices.SortFunc(l.group.proposals, func(a, b *storedProposal) int { return cmp.Compare(a.number, b.number) })
	return nil
}

func (l *loader) readProposal(r *reader) *storedProposal {
	p := &storedProposal{ref: r.vector()}
	before := len(r.rest)
	p.proposal = readProposal(r)
	p.size = before - len(r.rest)
	p.sender = readSender(r)
	if !r.optional() {
		return p
	}
	secret := r.vector()
	if r.err != nil {
		return p
	}
	key, err := l.suite.parseKeyPair(secret)
	if err != nil {
		r.fail("private key of an Update")
		return p
	}
	p.leafKey = key
	return p
}

func (l *loader) loadPending() error {
	r, err := l.record(recordKey(recordPending))
	if errors.Is(err, errMissingRecord) {
		return nil
	}
	p := &PendingCommit{Commit: r.vector(), Welcome: r.vector(), client: l.client}
	if len(p.Welcome) == 0 {
		p.Welcome = nil
	}
	p.Proposals = readList(r, func(r *reader) CommittedProposal {
		return CommittedProposal{Proposal: readProposal(r), Sender: readSender(r)}
	})
	n := &nextState{reInit: readOptionalReInit(r), interim: r.vector(), tag: r.vector()}
	private := readPrivateRecord(r)
	if r.err != nil {
		return r.err
	}
	if n.epoch, err = l.readEpoch(r); err != nil {
		return fmt.Errorf("loading pending commit: %w", err)
	}
	encryptionSecret := r.vector()
	if err := r.finish(); err != nil {
		return err
	}
	if len(encryptionSecret) != l.suite.nh || n.epoch.retired() {
		return malformed("secrets of the pending commit")
	}
	n.epoch.messages = newSecretTree(l.suite, n.epoch.tree.height, encryptionSecret)
	if n.private, err = l.privateTree(private, n.epoch.tree); err != nil {
		return err
	}
	if n.signer, err = l.suite.signerFor(n.epoch.tree.leaf(n.private.leaf).SignatureKey, l.signers); err != nil {
		return err
	}
	// The index of the pending state is that of the group with what changed.
	n.index = l.group.index.next()
	l.group.epoch.tree.diff(n.epoch.tree, func(_ nodeIndex, t *treeNode) {
		if t.leaf != nil {
			n.index.removeLeaf(t.leaf)
		}
		n.index.removeParent(t.parent)
	})
	n.epoch.tree.diff(l.group.epoch.tree, func(_ nodeIndex, t *treeNode) {
		if t.leaf != nil {
			n.index.addLeaf(t.leaf)
		}
		if t.parent != nil {
			n.index.addParent(t.parent)
		}
	})
	p.next = n
	l.group.pending = p
	return nil
}
