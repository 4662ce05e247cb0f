package mls

import (
	"bytes"
	"fmt"
	"slices"
)

const (
	// MaxForwardDistance is how many generations a message may lie ahead of the next
	// one that is expected of its sender (RFC 9420, Section 9.1). It bounds the work
	// that a message can cause.
	MaxForwardDistance = 1000

	// MaxSkippedKeys is how many keys of skipped generations are kept for each
	// ratchet of each sender, so that messages may come out of order (RFC 9420,
	// Section 9.1). The oldest are forgotten first.
	MaxSkippedKeys = 256

	// MaxPastEpochs is how many epochs back a late message is still opened, and a
	// resumption PSK is still known (RFC 9420, Section 15.3).
	MaxPastEpochs = 5
)

// A ratchetKind is one of the two ratchets of each sender (RFC 9420, Section 9).
type ratchetKind int

const (
	handshakeRatchet ratchetKind = iota
	applicationRatchet
)

func ratchetFor(t ContentType) ratchetKind {
	if t == ContentTypeApplication {
		return applicationRatchet
	}
	return handshakeRatchet
}

// A secretTree holds what the message keys of an epoch derive from (RFC 9420,
// Section 9). It begins as one secret at the root. As senders appear, secrets on
// their path are replaced by those of the children, and at a leaf by two
// ratchets, so that it never holds a secret from which a used one derives.
type secretTree struct {
	suite   *suite
	nodes   map[nodeIndex][]byte
	senders map[LeafIndex]*senderRatchets
	height  int

	// What changed since the state was last saved.
	dirtyNodes   map[nodeIndex]bool
	dirtySenders map[LeafIndex]bool
}

type senderRatchets [2]*ratchet

// A ratchet derives a key and a nonce for each message of a sender (RFC 9420,
// Section 9.1). It is replaced as a whole when it moves.
type ratchet struct {
	secret  []byte
	next    uint32 // the generation that secret belongs to
	skipped []messageKey
}

// A messageKey encrypts one message.
type messageKey struct {
	generation uint32
	key, nonce []byte
}

func (k messageKey) wipe() {
	clear(k.key)
	clear(k.nonce)
}

func newSecretTree(s *suite, height int, encryptionSecret []byte) *secretTree {
	root := rootOf(height)
	return &secretTree{
		suite:        s,
		height:       height,
		nodes:        map[nodeIndex][]byte{root: encryptionSecret},
		senders:      make(map[LeafIndex]*senderRatchets),
		dirtyNodes:   map[nodeIndex]bool{root: true},
		dirtySenders: make(map[LeafIndex]bool),
	}
}

// A keyUse is a message key that was found but not yet used up: nothing in the
// tree has changed. Once the message proved genuine, consume makes it so.
type keyUse struct {
	messageKey
	sender LeafIndex
	kind   ratchetKind
	after  *ratchet // state of the ratchet once the key is used

	// Where this is the sender's first message of the epoch:
	ratchets *senderRatchets
	expanded map[nodeIndex][]byte // new secrets beside the path to the leaf
	origin   nodeIndex            // whose secret all of these derive from
}

// find looks up the key of a message (RFC 9420, Section 9.1).
func (t *secretTree) find(sender LeafIndex, kind ratchetKind, generation uint32) (*keyUse, error) {
	use := &keyUse{sender: sender, kind: kind, ratchets: t.senders[sender]}
	if use.ratchets == nil {
		if err := t.expand(use); err != nil {
			return nil, err
		}
	}
	r := use.ratchets[kind]
	if generation < r.next {
		return use, r.takeSkipped(use, generation)
	}
	if generation-r.next > MaxForwardDistance {
		return nil, &ForwardDistanceError{Sender: sender, Next: r.next, Generation: generation}
	}
	return use, r.advance(t.suite, use, generation)
}

// findNext looks up the key for the next message that we send ourselves.
func (t *secretTree) findNext(sender LeafIndex, kind ratchetKind) (*keyUse, error) {
	var next uint32
	if r := t.senders[sender]; r != nil {
		next = r[kind].next
	}
	return t.find(sender, kind, next)
}

// expand derives the ratchets of a sender from the secret above its leaf.
func (t *secretTree) expand(use *keyUse) error {
	top, secret := 0, []byte(nil)
	for ; top <= t.height; top++ {
		if secret = t.nodes[use.sender.ancestor(top)]; secret != nil {
			break
		}
	}
	if secret == nil {
		return fmt.Errorf("%w: no secret for leaf %d", ErrGenerationUsed, use.sender)
	}
	secret = bytes.Clone(secret) // which stays in the tree until the key is consumed
	use.origin = use.sender.ancestor(top)
	use.expanded = make(map[nodeIndex][]byte, top)
	for level := top; level > 0; level-- {
		on := use.sender.ancestor(level - 1)
		left := t.suite.expandWithLabel(secret, "tree", []byte("left"), t.suite.nh)
		right := t.suite.expandWithLabel(secret, "tree", []byte("right"), t.suite.nh)
		clear(secret)
		if on < on.sibling() {
			secret, use.expanded[on.sibling()] = left, right
		} else {
			secret, use.expanded[on.sibling()] = right, left
		}
	}
	use.ratchets = &senderRatchets{
		{secret: t.suite.expandWithLabel(secret, "handshake", nil, t.suite.nh)},
		{secret: t.suite.expandWithLabel(secret, "application", nil, t.suite.nh)},
	}
	clear(secret)
	return nil
}

// takeSkipped finds the key of a generation that was passed over.
func (r *ratchet) takeSkipped(use *keyUse, generation uint32) error {
	at, found := slices.BinarySearchFunc(r.skipped, generation, func(k messageKey, g uint32) int {
		return int(int64(k.generation) - int64(g))
	})
	if !found {
		return fmt.Errorf("%w: generation %d of leaf %d", ErrGenerationUsed, generation, use.sender)
	}
	use.messageKey = r.skipped[at]
	use.after = &ratchet{secret: r.secret, next: r.next, skipped: slices.Delete(slices.Clone(r.skipped), at, at+1)}
	return nil
}

// advance derives the key of a generation to come, and those before it.
func (r *ratchet) advance(s *suite, use *keyUse, generation uint32) error {
	if generation == 1<<32-1 {
		return fmt.Errorf("%w: ratchet is at its end", ErrGenerationUsed)
	}
	after := &ratchet{secret: r.secret, skipped: r.skipped}
	if skipped := generation - r.next; skipped > 0 {
		after.skipped = slices.Clone(r.skipped)
	}
	for g := r.next; ; g++ {
		secret := s.newExpander(after.secret)
		if generation-g <= MaxSkippedKeys {
			use.messageKey = messageKey{
				generation: g,
				key:        secret.deriveTreeSecret("key", g, s.nk),
				nonce:      secret.deriveTreeSecret("nonce", g, nonceSize),
			}
			if g != generation {
				after.skipped = append(after.skipped, use.messageKey)
			}
		}
		next := secret.deriveTreeSecret("secret", g, s.nh)
		if g > r.next {
			clear(after.secret) // that of r stays until the key is consumed
		}
		after.secret = next
		if g == generation {
			break
		}
	}
	after.next = generation + 1
	if surplus := len(after.skipped) - MaxSkippedKeys; surplus > 0 {
		after.skipped = slices.Delete(after.skipped, 0, surplus)
	}
	use.after = after
	return nil
}

// consume makes sure that the key is never used again, and forgets every secret
// that it derives from (RFC 9420, Section 9.2).
func (t *secretTree) consume(use *keyUse) {
	if use.expanded != nil {
		clear(t.nodes[use.origin])
		delete(t.nodes, use.origin)
		t.dirtyNodes[use.origin] = true
		for x, secret := range use.expanded {
			t.nodes[x] = secret
			t.dirtyNodes[x] = true
		}
		t.senders[use.sender] = use.ratchets
	}
	before := use.ratchets[use.kind]
	if use.after.next != before.next {
		clear(before.secret)
	}
	for _, k := range before.skipped {
		if len(use.after.skipped) > 0 && k.generation < use.after.skipped[0].generation && k.generation != use.generation {
			k.wipe() // too old to be kept
		}
	}
	use.ratchets[use.kind] = use.after
	t.dirtySenders[use.sender] = true
}

// wipe zeroes all secrets.
func (t *secretTree) wipe() {
	for _, secret := range t.nodes {
		clear(secret)
	}
	for _, ratchets := range t.senders {
		for _, r := range ratchets {
			clear(r.secret)
			for _, k := range r.skipped {
				k.wipe()
			}
		}
	}
	clear(t.nodes)
	clear(t.senders)
	clear(t.dirtyNodes)
	clear(t.dirtySenders)
}
