package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// TestInconsistentState saves groups that cannot be, and loads them: a damaged or
// forged state must not become a group that acts on it.
func TestInconsistentState(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
		r.say(p, "hello")
	}
	p := r.members[1]
	for _, other := range r.members[:1] {
		if _, err := p.group.Process(must(other.group.Propose(&Remove{2}, nil))); err != nil {
			t.Fatal(err)
		}
	}
	must(p.group.ProposeUpdate(UpdateOptions{}))
	must(p.group.Commit(CommitOptions{}))
	foreign := must(p.client.generateKeyPair(p.group.suite))
	root := rootOf(p.group.epoch.tree.height)
	ratchet := func(g *Group) *ratchet { return g.epoch.messages.senders[0][applicationRatchet] }
	key := func(generation uint32) messageKey {
		return messageKey{generation, make([]byte, 16), make([]byte, nonceSize)}
	}
	for _, tt := range []struct {
		name   string
		damage func(g *Group)
	}{
		{"unknown status", func(g *Group) { g.status = 9 }},
		{"closed without a ReInit", func(g *Group) { g.status = groupReinitialised }},
		{"ReInit of an open group", func(g *Group) { g.reInit = &ReInit{} }},
		{"removed, with secrets", func(g *Group) { g.status = groupRemoved }},
		{"past epochs without end", func(g *Group) { g.past = slices.Repeat(g.past[:1], MaxPastEpochs+1) }},
		{"secret of another length", func(g *Group) { g.epoch.secrets.exporterSecret = make([]byte, 31) }},
		{"secret missing", func(g *Group) { g.epoch.secrets.exporterSecret = nil }},
		{"secret of a past epoch missing", func(g *Group) { g.past[0].secrets.resumptionPSK = nil }},
		{"other GroupContext", func(g *Group) { g.epoch.contextBytes = flip(g.epoch.contextBytes) }},
		{"place of a blank leaf", func(g *Group) { g.private.leaf = 3 }},
		{"place out of the tree", func(g *Group) { g.private.leaf = 1 << 20 }},
		{"no key of our leaf", func(g *Group) { delete(g.private.keys, LeafIndex(1).node()) }},
		{"other key of our leaf", func(g *Group) { g.private.keys[LeafIndex(1).node()] = foreign }},
		{"other key of a node", func(g *Group) { g.private.keys[root] = foreign }},
		{"key of a node that is not above us", func(g *Group) { g.private.keys[LeafIndex(2).ancestor(1)] = foreign }},
		{"ratchets of nobody", func(g *Group) { g.epoch.messages.senders[99] = g.epoch.messages.senders[0] }},
		{"short ratchet secret", func(g *Group) { ratchet(g).secret = make([]byte, 31) }},
		{"short skipped key", func(g *Group) {
			ratchet(g).next = 1
			ratchet(g).skipped = []messageKey{{0, make([]byte, 15), make([]byte, nonceSize)}}
		}},
		{"short skipped nonce", func(g *Group) {
			ratchet(g).next = 1
			ratchet(g).skipped = []messageKey{{0, make([]byte, 16), make([]byte, nonceSize-1)}}
		}},
		{"skipped key to come", func(g *Group) { ratchet(g).skipped = []messageKey{key(ratchet(g).next)} }},
		{"skipped keys out of order", func(g *Group) {
			ratchet(g).next = 5
			ratchet(g).skipped = []messageKey{key(3), key(2)}
		}},
		{"skipped keys without end", func(g *Group) {
			ratchet(g).next = 1000
			for i := range uint32(MaxSkippedKeys + 1) {
				ratchet(g).skipped = append(ratchet(g).skipped, key(i))
			}
		}},
		{"Update without its key", func(g *Group) {
			for _, p := range g.proposals {
				if p.leafKey != nil {
					p.leafKey = &keyPair{secret: make([]byte, 5)}
				}
			}
		}},
		{"pending commit with a short secret", func(g *Group) {
			n := g.pending.next.epoch
			n.messages.nodes[rootOf(n.tree.height)] = make([]byte, 31)
		}},
		{"pending commit without secrets", func(g *Group) { g.pending.next.epoch.secrets.retire() }},
		{"pending commit with another key", func(g *Group) { g.pending.next.private.keys[LeafIndex(1).node()] = foreign }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := cloneGroup(t, p)
			tt.damage(g)
			if _, err := p.client.UnmarshalGroup(g.Marshal(), p.id.Signer); !errors.Is(err, ErrState) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("record of another epoch", func(t *testing.T) {
		records := p.group.Records()
		var epochs []int
		for i, rec := range records {
			if rec.Key[0] == recordEpoch {
				epochs = append(epochs, i)
			}
		}
		a, b := epochs[0], epochs[1]
		records[a].Value, records[b].Value = records[b].Value, records[a].Value
		_, err := p.client.LoadGroup(func(yield func(k, v []byte) bool) {
			for _, rec := range records {
				if !yield(rec.Key, rec.Value) {
					return
				}
			}
		}, p.id.Signer)
		if !errors.Is(err, ErrState) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		if !bytes.Equal(cloneGroup(t, p).Marshal(), p.group.Marshal()) {
			t.Error("group loads as another")
		}
	})
}
