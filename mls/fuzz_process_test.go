package mls

import (
	"bytes"
	"slices"
	"testing"
)

// The targets of this file damage what is inside of genuine messages, and then sign
// and seal these again, so that a random change gets past signatures and tags.

// damage changes some bytes, and cuts off or adds some at the end.
func damage(b []byte, at uint16, with []byte, grow int8) []byte {
	b = bytes.Clone(b)
	for i, v := range with {
		if len(b) > 0 {
			b[(int(at)+i)%len(b)] ^= v
		}
	}
	if grow < 0 {
		return b[:max(0, len(b)+int(grow))]
	}
	return append(b, make([]byte, grow)...)
}

// FuzzProcessForged damages the content of handshake messages before they are signed.
// The group refuses them without a change, or does what they say; either way it
// takes part in what comes next.
func FuzzProcessForged(f *testing.F) {
	r := newDemandingRoom(f, 4)
	alice, bob, carol := r.members[0], cloneGroup(f, r.members[1]), cloneGroup(f, r.members[2])
	state, joiner := alice.group.Marshal(), newPerson(f, "joiner", classic, Config{})
	update := &Update{forgeUpdate(f, bob, nil).LeafNode}
	add := &Add{joiner.capable()}
	contents := []content{
		(&forgery{}).forge(f, bob).content.content,
		(&forgery{proposals: valueOf(bob, add, &Remove{3}, pskProposal("shared", 1))}).forge(f, bob).content.content,
		(&forgery{noPath: true, proposals: valueOf(bob, add)}).forge(f, bob).content.content,
		{contentType: ContentTypeProposal, proposal: update},
		{contentType: ContentTypeProposal, proposal: add},
		{contentType: ContentTypeProposal, proposal: &GroupContextExtensions{demandingOptions.Extensions}},
		text("hello"),
	}
	external := (&forgery{external: joiner, leaf: func(l *LeafNode) { l.Capabilities, l.Extensions = bob.ownLeaf().Capabilities, nil }}).forge(f, bob).content.content
	next := must(carol.Encrypt([]byte("next"), nil))
	commit := (&forgery{}).public(f, carol)
	for i := range contents {
		f.Add(uint8(i), uint16(10*i), []byte{1}, int8(0))
		f.Add(uint8(i), uint16(0), []byte{}, int8(0))
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, with []byte, grow int8) {
		c, sender, signer := external, Sender{SenderType: SenderTypeNewMemberCommit}, joiner.id.Signer
		if int(which) < len(contents) {
			c, sender, signer = contents[which], memberSender(1), bob.signer
		}
		b := damage(c.appendTo(nil), at, with, grow)
		rd := reader{rest: b}
		damaged := readContent(&rd, c.contentType)
		if rd.finish() != nil {
			return
		}
		g := must(alice.client.UnmarshalGroup(state, alice.id.Signer))
		a := bob.newContent(damaged, nil)
		a.content.sender, a.wireFormat = sender, WireFormatPublicMessage
		if c.contentType == ContentTypeApplication {
			a.wireFormat = WireFormatPrivateMessage
		}
		if err := a.sign(g.suite, signer, g.epoch.contextBytes); err != nil {
			t.Fatal(err)
		}
		a.auth.confirmationTag = make([]byte, 32)
		var message []byte
		if a.wireFormat == WireFormatPublicMessage {
			message = a.protectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
		} else {
			message = forgePrivate(t, bob, a, nil, nil)
		}
		before := g.Marshal()
		p, err := g.Process(message)
		if _, staged := p.(*StagedCommit); (err != nil || staged) && !bytes.Equal(before, g.Marshal()) {
			t.Fatalf("state changed: %v", err)
		}
		mustOpen(t, g, next)
		if err := g.Merge(mustStage(t, g, commit)); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzJoinForged damages the ratchet tree, the GroupContext and the group secrets in a
// Welcome before it is signed and sealed.
func FuzzJoinForged(f *testing.F) {
	r := newDemandingRoom(f, 4)
	p := newPerson(f, "newcomer", classic, Config{})
	pending := must(cloneGroup(f, r.members[0]).Commit(CommitOptions{Proposals: []Proposal{&Add{p.capable()}}}))
	n, k := pending.next, p.kps[0].KeyPackage
	for i := range 4 {
		f.Add(uint8(i), uint16(0), []byte{}, int8(0))
		f.Add(uint8(i), uint16(40), []byte{1, 0, 0, 2}, int8(0))
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, with []byte, grow int8) {
		var w welcomeForgery
		switch which % 4 {
		case 0: // a tree, with its hash in the GroupContext
			data := damage(n.epoch.tree.marshal(), at, with, grow)
			tree, err := parseRatchetTree(n.epoch.tree.suite, data)
			if err != nil {
				return
			}
			w.tree = data
			w.context = func(c *GroupContext) { c.TreeHash = tree.treeHash() }
		case 1:
			context := parseAllOrNil(damage(n.epoch.context.Marshal(), at, with, grow), readGroupContext)
			if context == nil {
				return
			}
			w.context = func(c *GroupContext) { *c = *context }
		case 2:
			w.plain = func(b []byte) []byte { return damage(b, at, with, grow) }
		case 3:
			w.secrets = func(s *groupSecrets) { s.pathSecret = damage(make([]byte, 32), at, with, grow) }
		}
		welcome := w.forge(t, n, k)
		g, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{})
		if err != nil {
			return
		}
		// Whatever we joined is a group that we can use.
		if _, err := p.client.UnmarshalGroup(g.Marshal(), p.id.Signer); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Encrypt(nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Commit(CommitOptions{}); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(g.Members(), func(m Member) bool { return m.Index == g.OwnIndex() }) {
			t.Fatal("we are not a member")
		}
	})
}

func parseAllOrNil[T any](b []byte, read func(*reader) T) *T {
	v, err := parseAll(b, read)
	if err != nil {
		return nil
	}
	return &v
}
