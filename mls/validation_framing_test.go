package mls

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// forgePrivate seals a content with the sender's next key, but with a plaintext
// and sender data that a test changes.
func forgePrivate(t testing.TB, g *Group, a *authenticatedContent, plain func([]byte) []byte, data func(*senderData)) []byte {
	t.Helper()
	use := must(g.epoch.messages.findNext(g.private.leaf, ratchetFor(a.content.contentType)))
	m := &PrivateMessage{
		groupID: a.content.groupID, epoch: a.content.epoch, contentType: a.content.contentType,
		authenticatedData: a.content.authenticatedData,
	}
	plaintext := a.auth.appendTo(a.content.content.appendTo(nil), a.content.contentType)
	if plain != nil {
		plaintext = plain(plaintext)
	}
	d := senderData{leafIndex: use.sender, generation: use.generation}
	if data != nil {
		data(&d)
	}
	m.ciphertext = g.suite.seal(use.key, guardNonce(use.nonce, d.reuseGuard), plaintext, m.appendContentAAD(nil))
	return sealSenderData(g, m, d.appendTo(nil))
}

func sealSenderData(g *Group, m *PrivateMessage, data []byte) []byte {
	key, nonce := g.suite.senderDataKey(g.epoch.secrets.senderData(g.suite), m.ciphertext)
	m.encryptedSenderData = g.suite.seal(key, nonce, data, m.appendSenderDataAAD(nil))
	return m.appendTo(appendMessageHeader(nil, WireFormatPrivateMessage))
}

// signedContent makes a signed content of a member.
func signedContent(t testing.TB, g *Group, f WireFormat, c content) *authenticatedContent {
	t.Helper()
	a := g.newContent(c, []byte("authenticated"))
	a.wireFormat = f
	if err := a.sign(g.suite, g.signer, g.epoch.contextBytes); err != nil {
		t.Fatal(err)
	}
	return a
}

func text(s string) content {
	return content{contentType: ContentTypeApplication, applicationData: []byte(s)}
}

// TestFramingOfPublicMessages breaks each rule of RFC 9420, Sections 6.1 and 6.2.
func TestFramingOfPublicMessages(t *testing.T) {
	r := newDemandingRoom(t, 4)
	alice, bob := r.members[0], cloneGroup(t, r.members[1])
	retag := func(m *PublicMessage) {
		m.membershipTag = bob.suite.membershipTag(bob.epoch.secrets.membershipKey, m.authenticatedContent(), bob.epoch.contextBytes)
	}
	send := func(m *PublicMessage) []byte { return m.appendTo(appendMessageHeader(nil, WireFormatPublicMessage)) }
	commit := func(f forgery) *PublicMessage {
		a := f.forge(t, bob)
		m := &PublicMessage{content: a.content, auth: a.auth}
		retag(m)
		return m
	}
	mutate := func(change func(m *PublicMessage)) []byte {
		m := commit(forgery{})
		change(m)
		return send(m)
	}
	tests := []struct {
		name    string
		message []byte
		want    any
	}{
		{"valid", send(commit(forgery{})), nil},
		{"empty membership tag", mutate(func(m *PublicMessage) { m.membershipTag = nil }), brokenRule{"6.2", "membership tag"}},
		{"membership tag of one byte", mutate(func(m *PublicMessage) { m.membershipTag = m.membershipTag[:1] }), brokenRule{"6.2", "membership tag"}},
		{"truncated membership tag", mutate(func(m *PublicMessage) { m.membershipTag = m.membershipTag[:31] }), brokenRule{"6.2", "membership tag"}},
		{"extended membership tag", mutate(func(m *PublicMessage) { m.membershipTag = append(m.membershipTag, 0) }), brokenRule{"6.2", "membership tag"}},
		{"other membership tag", mutate(func(m *PublicMessage) { m.membershipTag = flip(m.membershipTag) }), brokenRule{"6.2", "membership tag"}},
		{"empty confirmation tag", mutate(func(m *PublicMessage) { m.auth.confirmationTag = nil; retag(m) }), brokenRule{"6.1", "confirmation tag"}},
		{"confirmation tag of one byte", mutate(func(m *PublicMessage) { m.auth.confirmationTag = m.auth.confirmationTag[:1]; retag(m) }), brokenRule{"6.1", "confirmation tag"}},
		{"truncated confirmation tag", mutate(func(m *PublicMessage) { m.auth.confirmationTag = m.auth.confirmationTag[:31]; retag(m) }), brokenRule{"6.1", "confirmation tag"}},
		{"extended confirmation tag", mutate(func(m *PublicMessage) { m.auth.confirmationTag = append(m.auth.confirmationTag, 0); retag(m) }), brokenRule{"6.1", "confirmation tag"}},
		{"other confirmation tag", mutate(func(m *PublicMessage) { m.auth.confirmationTag = flip(m.auth.confirmationTag); retag(m) }), brokenRule{"6.1", "confirmation tag"}},
		{"empty signature", mutate(func(m *PublicMessage) { m.auth.signature = nil; retag(m) }), ErrSignature},
		{"truncated signature", mutate(func(m *PublicMessage) { m.auth.signature = m.auth.signature[:63]; retag(m) }), ErrSignature},
		{"other signature", mutate(func(m *PublicMessage) { m.auth.signature = flip(m.auth.signature); retag(m) }), ErrSignature},
		{"signed by another", send(commit(forgery{signer: otherSigner(t, classic)})), ErrSignature},
		{"signed by another member", send(commit(forgery{signer: r.members[2].id.Signer})), ErrSignature},
		{"signed as a PrivateMessage", send(commit(forgery{content: func(a *authenticatedContent) { a.wireFormat = WireFormatPrivateMessage }})), ErrSignature},
		{"other group", send(commit(forgery{content: func(a *authenticatedContent) { a.content.groupID = []byte("other") }})), ErrWrongGroup},
		{"empty group", send(commit(forgery{content: func(a *authenticatedContent) { a.content.groupID = nil }})), ErrWrongGroup},
		{"group identifier with a tail", send(commit(forgery{content: func(a *authenticatedContent) {
			a.content.groupID = append(slices.Clone(a.content.groupID), 0)
		}})), ErrWrongGroup},
		{"next epoch", send(commit(forgery{content: func(a *authenticatedContent) { a.content.epoch++ }})), &EpochError{bob.Epoch(), bob.Epoch() + 1}},
		{"last epoch", send(commit(forgery{content: func(a *authenticatedContent) { a.content.epoch-- }})), &EpochError{bob.Epoch(), bob.Epoch() - 1}},
		{"sender out of the tree", send(commit(forgery{content: func(a *authenticatedContent) { a.content.sender.LeafIndex = 4 }})), brokenRule{"6.1", "sender 4 is not a member"}},
		{"sender at the largest index", send(commit(forgery{content: func(a *authenticatedContent) { a.content.sender.LeafIndex = 1<<32 - 1 }})), brokenRule{"6.1", "is not a member"}},
		{"sender is another member", send(commit(forgery{content: func(a *authenticatedContent) { a.content.sender.LeafIndex = 2 }})), ErrSignature},
		{"authenticated data after signing", mutate(func(m *PublicMessage) { m.content.authenticatedData = []byte("x"); retag(m) }), ErrSignature},
		{"application data", signedContent(t, bob, WireFormatPublicMessage, text("in the open")).protectPublic(bob.suite, bob.epoch.secrets.membershipKey, bob.epoch.contextBytes), brokenRule{"6", "application data"}},
		{"byte left over", append(send(commit(forgery{})), 0), ErrMalformed},
		{"unknown protocol version", append([]byte{0, 2}, send(commit(forgery{}))[2:]...), ErrUnsupported},
		{"unknown wire format", append([]byte{0, 1, 0, 9}, send(commit(forgery{}))[4:]...), ErrUnsupported},
		{"nothing", nil, ErrMalformed},
		{"key package", alice.capable().Message(), ErrUnsupported},
	}
	for _, sender := range []SenderType{0, 5, 255} {
		m := commit(forgery{})
		m.content.sender.SenderType = sender
		tests = append(tests, struct {
			name    string
			message []byte
			want    any
		}{"unknown sender type", send(m), ErrMalformed})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkOrRefuse(t, cloneGroup(t, alice), tt.message, tt.want) })
	}
	t.Run("signed without the GroupContext", func(t *testing.T) {
		m := commit(forgery{})
		a := m.authenticatedContent()
		if err := a.sign(bob.suite, bob.signer, nil); err != nil {
			t.Fatal(err)
		}
		m.auth.signature = a.auth.signature
		retag(m)
		mustRefuse(t, cloneGroup(t, alice), send(m), ErrSignature)
	})
	t.Run("membership tag of the last epoch's key", func(t *testing.T) {
		m := commit(forgery{})
		m.membershipTag = bob.suite.membershipTag(bytes.Repeat([]byte{1}, 32), m.authenticatedContent(), bob.epoch.contextBytes)
		mustRefuse(t, cloneGroup(t, alice), send(m), brokenRule{"6.2", "membership tag"})
	})
}

// TestSenderTypes breaks the rules about who may send what (RFC 9420, Sections 6.1
// and 12.1.8).
func TestSenderTypes(t *testing.T) {
	service, stranger := otherSigner(t, classic), newPerson(t, "stranger", classic, Config{})
	serviceKey := must(classic.SignaturePublicKey(service))
	r := &room{t: t}
	creator := newPerson(t, "member 0", classic, Config{})
	creator.create(GroupOptions{Extensions: []Extension{ExternalSendersExtension([]ExternalSender{
		{[]byte("not used"), BasicCredential([]byte("first"))},
		{serviceKey, BasicCredential([]byte("service"))},
	})}})
	r.members = append(r.members, creator)
	r.add(creator, 2, Config{})
	alice, bob := r.members[0], cloneGroup(t, r.members[1])
	external := func(i uint32) Sender { return Sender{SenderType: SenderTypeExternal, SenderIndex: i} }
	newMember, joiner := Sender{SenderType: SenderTypeNewMemberProposal}, Sender{SenderType: SenderTypeNewMemberCommit}
	k := stranger.keyPackage()
	proposals := []struct {
		name   string
		sender Sender
		p      Proposal
		signer crypto.Signer
		want   any
	}{
		{"external Add", external(1), &Add{k}, service, nil},
		{"external Remove", external(1), &Remove{2}, service, nil},
		{"external PreSharedKey", external(1), &PreSharedKey{PreSharedKeyID{PSKType: PSKTypeExternal, PSKNonce: make([]byte, 32)}}, service, nil},
		{"external ReInit", external(1), &ReInit{GroupID: []byte("new"), Version: 1, CipherSuite: classic}, service, nil},
		{"external GroupContextExtensions", external(1), &GroupContextExtensions{}, service, nil},
		{"external Update", external(1), forgeUpdate(t, bob, nil), service, brokenRule{"12.1.8", "from an external sender"}},
		{"external ExternalInit", external(1), &ExternalInit{make([]byte, 32)}, service, brokenRule{"12.1.8", "from an external sender"}},
		{"external sender of another index", external(0), &Remove{2}, service, ErrSignature},
		{"external sender past the list", external(2), &Remove{2}, service, brokenRule{"12.1.8", "not in the group's list"}},
		{"external sender at the largest index", external(1<<32 - 1), &Remove{2}, service, brokenRule{"12.1.8", "not in the group's list"}},
		{"external sender with another key", external(1), &Remove{2}, stranger.id.Signer, ErrSignature},
		{"external Remove of a blank leaf", external(1), &Remove{3}, service, brokenRule{"12.1.3", "blank leaf"}},
		{"new member", newMember, &Add{k}, stranger.id.Signer, nil},
		{"new member that adds another", newMember, &Add{k}, service, ErrSignature},
		{"new member removes", newMember, &Remove{2}, stranger.id.Signer, brokenRule{"6.1", "new member proposes"}},
		{"joiner proposes", joiner, &Add{k}, stranger.id.Signer, brokenRule{"6.1", "joiner of an external commit"}},
		{"ExternalInit of a member", memberSender(1), &ExternalInit{make([]byte, 32)}, bob.signer, brokenRule{"12.1.6", "ExternalInit"}},
	}
	for _, tt := range proposals {
		t.Run(tt.name, func(t *testing.T) {
			message, _ := forgeProposalFrom(t, bob, tt.sender, tt.signer, tt.p)
			checkOrRefuse(t, cloneGroup(t, alice), message, tt.want)
		})
	}
	for _, tt := range []struct {
		name   string
		sender Sender
		want   any
	}{
		{"commit of an external sender", external(1), brokenRule{"6.1", "something other than a proposal"}},
		{"commit of a new member's proposal", newMember, brokenRule{"6.1", "new member proposes"}},
		{"member's commit as an external one", joiner, brokenRule{"12.2", "0 ExternalInit"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			signer := service
			if tt.sender == joiner {
				signer = bob.signer
			}
			f := &forgery{signer: signer, content: func(a *authenticatedContent) { a.content.sender = tt.sender }}
			mustRefuse(t, cloneGroup(t, alice), f.public(t, bob), tt.want)
		})
	}
	for _, sender := range []Sender{external(1), newMember, joiner} {
		t.Run("application data from outside", func(t *testing.T) {
			a := bob.newContent(text("spam"), nil)
			a.wireFormat, a.content.sender = WireFormatPublicMessage, sender
			if err := a.sign(bob.suite, service, bob.epoch.contextBytes); err != nil {
				t.Fatal(err)
			}
			_, err := cloneGroup(t, alice).Process(a.protectPublic(bob.suite, nil, nil))
			var v *ValidationError
			if !errors.As(err, &v) || v.Section[0] != '6' {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("membership tag of a sender from outside", func(t *testing.T) {
		message, _ := forgeProposalFrom(t, bob, newMember, stranger.id.Signer, &Add{k})
		mustRefuse(t, cloneGroup(t, alice), appendVector(message, make([]byte, 32)), ErrMalformed)
	})
	t.Run("no external senders", func(t *testing.T) {
		r := newRoom(t, classic, Config{}, 2)
		g := cloneGroup(t, r.members[1])
		message, _ := forgeProposalFrom(t, g, external(0), service, &Remove{1})
		mustRefuse(t, r.members[0].group, message, brokenRule{"12.1.8", "not in the group's list"})
	})
}

// TestFramingOfPrivateMessages breaks each rule of RFC 9420, Sections 6.3 and 9.
func TestFramingOfPrivateMessages(t *testing.T) {
	r := newDemandingRoom(t, 5)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	alice, bob := r.members[0], r.members[1]
	seal := func(plain func([]byte) []byte, data func(*senderData)) []byte {
		g := cloneGroup(t, bob)
		return forgePrivate(t, g, signedContent(t, g, WireFormatPrivateMessage, text("hello")), plain, data)
	}
	pad := func(p ...byte) func([]byte) []byte {
		return func(b []byte) []byte { return append(b, p...) }
	}
	// raw sends a ciphertext and sender data as they are.
	raw := func(ciphertext, data []byte, t ContentType) []byte {
		g := bob.group
		return sealSenderData(g, &PrivateMessage{groupID: g.ID(), epoch: g.Epoch(), contentType: t, ciphertext: ciphertext}, data)
	}
	data := senderData{leafIndex: 1}.appendTo(nil)
	valid := seal(nil, nil)
	tests := []struct {
		name    string
		message []byte
		want    any
	}{
		{"valid", valid, nil},
		{"padded", seal(pad(0, 0, 0), nil), nil},
		{"padding of a one", seal(pad(1), nil), brokenRule{"6.3.1", "padding"}},
		{"padding that ends in a one", seal(pad(0, 0, 1), nil), brokenRule{"6.3.1", "padding"}},
		{"padding that begins with a one", seal(pad(1, 0, 0), nil), brokenRule{"6.3.1", "padding"}},
		{"empty plaintext", seal(func([]byte) []byte { return nil }, nil), ErrMalformed},
		{"plaintext cut short", seal(func(b []byte) []byte { return b[:len(b)-1] }, nil), ErrMalformed},
		{"length not in its shortest form", seal(func(b []byte) []byte { return append([]byte{0x40, b[0]}, b[1:]...) }, nil), ErrMalformed},
		{"sender is blank", seal(nil, func(d *senderData) { d.leafIndex = 2 }), brokenRule{"6.3.2", "sender 2"}},
		{"sender out of the tree", seal(nil, func(d *senderData) { d.leafIndex = 8 }), brokenRule{"6.3.2", "sender 8"}},
		{"sender at the largest index", seal(nil, func(d *senderData) { d.leafIndex = 1<<32 - 1 }), brokenRule{"6.3.2", "sender"}},
		{"sender is another member", seal(nil, func(d *senderData) { d.leafIndex = 3 }), ErrDecryption},
		{"sender is the receiver", seal(nil, func(d *senderData) { d.leafIndex = 0 }), ErrOwnMessage},
		{"other generation", seal(nil, func(d *senderData) { d.generation = 3 }), ErrDecryption},
		{"other reuse guard", func() []byte {
			var guard [4]byte
			m := must(ParseMessage(seal(nil, nil))).PrivateMessage
			guard[3] = 1
			return sealSenderData(bob.group, m, senderData{leafIndex: 1, reuseGuard: guard}.appendTo(nil))
		}(), ErrDecryption},
		{"empty ciphertext", raw(nil, data, ContentTypeApplication), ErrDecryption},
		{"ciphertext shorter than the sample", raw([]byte{1, 2, 3}, data, ContentTypeApplication), ErrDecryption},
		{"ciphertext shorter than a tag", raw(make([]byte, 15), data, ContentTypeCommit), ErrDecryption},
		{"sender data cut short", raw(make([]byte, 40), data[:11], ContentTypeApplication), ErrMalformed},
		{"bytes after the sender data", raw(make([]byte, 40), append(slices.Clone(data), 0), ContentTypeApplication), ErrMalformed},
		{"sender data empty", raw(make([]byte, 40), nil, ContentTypeApplication), ErrMalformed},
		{"unknown content type", raw(make([]byte, 40), data, 4), ErrMalformed},
		{"content type 0", raw(make([]byte, 40), data, 0), ErrMalformed},
		{"byte left over", append(slices.Clone(valid), 0), ErrMalformed},
	}
	for _, change := range []struct {
		name string
		f    func(*PrivateMessage)
		want any
	}{
		{"content type", func(m *PrivateMessage) { m.contentType = ContentTypeProposal }, ErrDecryption},
		{"authenticated data", func(m *PrivateMessage) { m.authenticatedData = nil }, ErrDecryption},
		{"sender data", func(m *PrivateMessage) { m.encryptedSenderData = flip(m.encryptedSenderData) }, ErrDecryption},
		{"no sender data", func(m *PrivateMessage) { m.encryptedSenderData = nil }, ErrDecryption},
		{"ciphertext", func(m *PrivateMessage) { m.ciphertext = flip(m.ciphertext) }, ErrDecryption},
		{"group", func(m *PrivateMessage) { m.groupID = flip(m.groupID) }, ErrWrongGroup},
		{"an epoch to come", func(m *PrivateMessage) { m.epoch++ }, &EpochError{bob.group.Epoch(), bob.group.Epoch() + 1}},
		{"another epoch", func(m *PrivateMessage) { m.epoch-- }, ErrDecryption},
	} {
		m := must(ParseMessage(valid))
		change.f(m.PrivateMessage)
		tests = append(tests, struct {
			name    string
			message []byte
			want    any
		}{"changed " + change.name, m.Marshal(), change.want})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkOrRefuse(t, cloneGroup(t, alice), tt.message, tt.want) })
	}

	g := bob.group
	t.Run("signed by another", func(t *testing.T) {
		a := g.newContent(text("x"), nil)
		a.wireFormat = WireFormatPrivateMessage
		if err := a.sign(g.suite, otherSigner(t, classic), g.epoch.contextBytes); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, cloneGroup(t, alice), forgePrivate(t, g, a, nil, nil), ErrSignature)
	})
	t.Run("signed as a PublicMessage", func(t *testing.T) {
		a := signedContent(t, g, WireFormatPublicMessage, text("x"))
		mustRefuse(t, cloneGroup(t, alice), forgePrivate(t, g, a, nil, nil), ErrSignature)
	})
	t.Run("commit with an empty confirmation tag", func(t *testing.T) {
		f := &forgery{
			content:  func(a *authenticatedContent) { a.wireFormat = WireFormatPrivateMessage },
			finished: func(a *authenticatedContent) { a.auth.confirmationTag = nil },
		}
		mustRefuse(t, cloneGroup(t, alice), forgePrivate(t, g, f.forge(t, g), nil, nil), brokenRule{"6.1", "confirmation tag"})
	})
	t.Run("commit", func(t *testing.T) {
		f := &forgery{content: func(a *authenticatedContent) { a.wireFormat = WireFormatPrivateMessage }}
		checkOrRefuse(t, cloneGroup(t, alice), forgePrivate(t, g, f.forge(t, g), nil, nil), nil)
	})
	t.Run("external commit", func(t *testing.T) {
		// A PrivateMessage has no sender type: whatever it holds is a member's.
		f := &forgery{external: newPerson(t, "joiner", classic, Config{}), content: func(a *authenticatedContent) { a.wireFormat = WireFormatPrivateMessage }}
		mustRefuse(t, cloneGroup(t, alice), forgePrivate(t, g, f.forge(t, g), nil, nil), ErrSignature)
	})
	t.Run("handshake of a past epoch", func(t *testing.T) {
		old := cloneGroup(t, bob)
		proposal := must(old.Propose(&Remove{3}, nil))
		receiver := cloneGroup(t, alice)
		pending := must(receiver.Commit(CommitOptions{}))
		if err := receiver.MergePendingCommit(); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, receiver, proposal, &EpochError{old.Epoch() + 1, old.Epoch()})
		_ = pending
	})
}

// TestRatchetBounds breaks the rules about generations (RFC 9420, Section 9).
func TestRatchetBounds(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	var messages [][]byte
	for range MaxForwardDistance + 3 {
		messages = append(messages, must(bob.Encrypt([]byte("m"), nil)))
	}
	mustOpen(t, alice, messages[0])
	mustRefuse(t, alice, messages[0], ErrGenerationUsed)
	before := alice.Marshal()
	var distance *ForwardDistanceError
	if _, err := alice.Process(messages[MaxForwardDistance+2]); !errors.As(err, &distance) ||
		*distance != (ForwardDistanceError{Sender: 1, Next: 1, Generation: MaxForwardDistance + 2}) {
		t.Fatalf("got %v", err)
	}
	if !bytes.Equal(before, alice.Marshal()) {
		t.Fatal("state changed")
	}
	mustOpen(t, alice, messages[MaxForwardDistance+1])
	mustRefuse(t, alice, messages[MaxForwardDistance-MaxSkippedKeys], ErrGenerationUsed)
	mustOpen(t, alice, messages[MaxForwardDistance-MaxSkippedKeys+1])
	mustRefuse(t, alice, messages[MaxForwardDistance-MaxSkippedKeys+1], ErrGenerationUsed)
	mustOpen(t, alice, messages[MaxForwardDistance])
	mustOpen(t, alice, messages[MaxForwardDistance+2])
}

// TestLengthHeaders breaks RFC 9420, Section 2.1.2.
func TestLengthHeaders(t *testing.T) {
	read := func(b []byte) error {
		r := reader{rest: b}
		r.vector()
		return r.finish()
	}
	for _, n := range []int{0, 1, 0x3e, 0x3f, 0x40, 0x3ffe, 0x3fff, 0x4000, 0x4001} {
		b := appendVector(nil, make([]byte, n))
		want := 1
		if n > 0x3f {
			want = 2
		}
		if n > 0x3fff {
			want = 4
		}
		if len(b) != n+want {
			t.Errorf("vector of 0x%x bytes has a header of %d", n, len(b)-n)
		}
		if err := read(b); err != nil {
			t.Errorf("vector of 0x%x bytes: %v", n, err)
		}
		if n > 0 {
			checkRefusal(t, read(b[:len(b)-1]), ErrMalformed)
		}
		checkRefusal(t, read(append(b, 0)), ErrMalformed)
		// The same length in each longer form.
		if want < 2 {
			checkRefusal(t, read(append(binary.BigEndian.AppendUint16(nil, uint16(n)|1<<14), make([]byte, n)...)), ErrMalformed)
		}
		if want < 4 {
			checkRefusal(t, read(append(binary.BigEndian.AppendUint32(nil, uint32(n)|2<<30), make([]byte, n)...)), ErrMalformed)
		}
	}
	for _, b := range [][]byte{{0xc0}, {0xff, 0xff, 0xff, 0xff}, {0xc0, 0, 0, 0, 0, 0, 0, 0}, {0x40}, {0x80, 0, 0}, {0xbf, 0xff, 0xff, 0xff}, {}} {
		checkRefusal(t, read(b), ErrMalformed)
	}
	for _, presence := range []byte{2, 0xff} {
		r := reader{rest: []byte{presence}}
		r.optional()
		checkRefusal(t, r.finish(), ErrMalformed)
	}
}
