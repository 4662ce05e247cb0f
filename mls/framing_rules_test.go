package mls

import (
	"bytes"
	"errors"
	"testing"
)

var public = Config{PublicHandshakes: true}

// TestPublicMessageRules breaks the rules of RFC 9420, Sections 6, 6.1 and 6.2.
func TestPublicMessageRules(t *testing.T) {
	r := newRoom(t, classic, public, 4)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	alice, bob := r.members[0], r.members[1].group
	proposal := content{contentType: ContentTypeProposal, proposal: &Remove{3}}
	commit := content{contentType: ContentTypeCommit, commit: &Commit{}}

	tests := map[string]struct {
		message []byte
		want    any
	}{
		"application data":             {alice.forge(memberSender(0), content{contentType: ContentTypeApplication}), "application data in a PublicMessage"},
		"blank sender":                 {alice.forge(memberSender(2), proposal), "sender 2 is not a member"},
		"sender outside of the tree":   {alice.forge(memberSender(1<<31), proposal), "is not a member"},
		"signature of another member":  {alice.forge(memberSender(3), proposal), ErrSignature},
		"external sender, no list":     {alice.forge(Sender{SenderType: SenderTypeExternal}, proposal), "not in the group's list"},
		"external sender commits":      {alice.forge(Sender{SenderType: SenderTypeExternal}, commit), "something other than a proposal"},
		"new member proposes a Remove": {alice.forge(Sender{SenderType: SenderTypeNewMemberProposal}, proposal), "other than to be added"},
		"new member commits":           {alice.forge(Sender{SenderType: SenderTypeNewMemberProposal}, commit), "other than to be added"},
		"external joiner proposes":     {alice.forge(Sender{SenderType: SenderTypeNewMemberCommit}, proposal), "sends something else"},
		"external commit, no path":     {alice.forge(Sender{SenderType: SenderTypeNewMemberCommit}, commit), "external commit without a path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { refused(t, bob, tt.message, tt.want) })
	}
}

// tamperPublic changes a PublicMessage after it was protected.
func tamperPublic(t *testing.T, message []byte, change func(*PublicMessage)) []byte {
	t.Helper()
	m, err := ParseMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	change(m.PublicMessage)
	return m.Marshal()
}

// TestTags cuts, empties, lengthens and changes the membership tag and the
// confirmation tag (RFC 9420, Sections 6.1 and 6.2).
func TestTags(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	alice, bob := r.members[0].group, r.members[1].group
	pending, err := alice.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"one byte":  func(b []byte) []byte { return b[:1] },
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"first bit": func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b },
		"last bit":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 0x80; return b },
	}
	for name, change := range changes {
		t.Run("membership/"+name, func(t *testing.T) {
			refused(t, bob, tamperPublic(t, pending.Commit, func(m *PublicMessage) {
				m.membershipTag = change(m.membershipTag)
			}), "membership tag does not match")
		})
		t.Run("confirmation/"+name, func(t *testing.T) {
			refused(t, bob, tamperPublic(t, pending.Commit, func(m *PublicMessage) {
				m.auth.confirmationTag = change(m.auth.confirmationTag)
				m.membershipTag = alice.suite.membershipTag(alice.epoch.secrets.membershipKey, m.authenticatedContent(), alice.epoch.contextBytes)
			}), "confirmation tag does not match")
		})
		t.Run("signature/"+name, func(t *testing.T) {
			refused(t, bob, tamperPublic(t, pending.Commit, func(m *PublicMessage) {
				m.auth.signature = change(m.auth.signature)
				m.membershipTag = alice.suite.membershipTag(alice.epoch.secrets.membershipKey, m.authenticatedContent(), alice.epoch.contextBytes)
			}), ErrSignature)
		})
	}
	if err := bob.Merge(mustStage(t, bob, pending.Commit)); err != nil {
		t.Fatal(err)
	}
}

// TestGroupAndEpoch sends messages of other groups and epochs.
func TestGroupAndEpoch(t *testing.T) {
	for _, config := range []Config{public, {}} {
		r := newRoom(t, classic, config, 2)
		other := newRoom(t, classic, config, 2)
		bob := r.members[1].group
		message, err := other.members[0].group.Propose(&Remove{1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, bob, message, ErrWrongGroup)

		old, err := r.members[0].group.Propose(&Remove{1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.members[0].group.ClearProposals()
		r.commit(r.members[1], CommitOptions{})
		var epoch *EpochError
		if _, err := bob.Process(old); !errors.As(err, &epoch) || epoch.Behind() || epoch.Want != 1 || epoch.Have != 2 {
			t.Errorf("proposal of an old epoch: %v", err)
		}
		commit, err := r.members[0].group.Commit(CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.members[0].group.MergePendingCommit(); err != nil {
			t.Fatal(err)
		}
		next, err := r.members[0].group.Encrypt(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Process(next); !errors.As(err, &epoch) || !epoch.Behind() {
			t.Errorf("message of an epoch to come: %v", err)
		}
		if err := bob.Merge(mustStage(t, bob, commit.Commit)); err != nil {
			t.Fatal(err)
		}
		refused(t, bob, commit.Commit, epoch)
	}
}

// Is lets refused compare with any EpochError.
func (e *EpochError) Is(target error) bool { _, ok := target.(*EpochError); return ok }

// TestPrivateMessageRules breaks the rules of RFC 9420, Section 6.3.
func TestPrivateMessageRules(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	alice, bob := r.members[0], r.members[1].group
	g := alice.group
	signed := func(format WireFormat) *authenticatedContent {
		a := g.newContent(content{contentType: ContentTypeApplication, applicationData: []byte("hi")}, nil)
		a.wireFormat = format
		if err := a.sign(g.suite, g.signer, g.epoch.contextBytes); err != nil {
			t.Fatal(err)
		}
		return a
	}
	use := func(sender LeafIndex) *keyUse {
		u, err := g.epoch.messages.findNext(sender, applicationRatchet)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	a := signed(WireFormatPrivateMessage)
	refused(t, bob, alice.encryptContent(a, []byte{0, 0, 1}, [4]byte{}, use(0)), "padding is not all zero")
	refused(t, bob, alice.encryptContent(a, []byte{1, 0, 0}, [4]byte{}, use(0)), "padding is not all zero")
	refused(t, bob, alice.encryptContent(signed(WireFormatPublicMessage), nil, [4]byte{}, use(0)), ErrSignature)
	refused(t, bob, alice.encryptContent(a, nil, [4]byte{}, use(3)), ErrSignature)

	message := &PrivateMessage{groupID: g.ID(), epoch: g.Epoch(), contentType: ContentTypeApplication}
	for _, sender := range []LeafIndex{2, 4, 1 << 31, 1<<32 - 1} {
		message.ciphertext = make([]byte, 100)
		refused(t, bob, alice.sealSenderData(message, senderData{leafIndex: sender}), "is not a member")
	}
	for _, size := range []int{0, 1, 15, 16, 31, 32} {
		message.ciphertext = make([]byte, size)
		refused(t, bob, alice.sealSenderData(message, senderData{}), ErrDecryption)
	}
	message.encryptedSenderData = nil
	refused(t, bob, message.appendTo(appendMessageHeader(nil, WireFormatPrivateMessage)), ErrDecryption)
	message.ciphertext = make([]byte, 100)
	var far *ForwardDistanceError
	if _, err := bob.Process(alice.sealSenderData(message, senderData{generation: MaxForwardDistance + 1})); !errors.As(err, &far) || far.Generation != MaxForwardDistance+1 {
		t.Errorf("generation too far ahead: %v", err)
	}
	if _, err := bob.Process(alice.sealSenderData(message, senderData{generation: 1<<32 - 1})); !errors.As(err, &far) {
		t.Errorf("last generation: %v", err)
	}

	// After all that, the genuine message still opens, and the same padding of
	// zeros is fine.
	if m := mustOpen(t, bob, alice.encryptContent(a, make([]byte, 3), [4]byte{1, 2, 3, 4}, use(0))); string(m.Data) != "hi" {
		t.Errorf("opened %q", m.Data)
	}
}

// TestReplay opens a message twice, and one whose copy was damaged before.
func TestReplay(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	message, err := alice.Encrypt([]byte("once"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range message {
		damaged := bytes.Clone(message)
		damaged[i] ^= 0x10
		before := bob.Marshal()
		if _, err := bob.Process(damaged); err == nil {
			t.Fatalf("byte %d does not matter", i)
		}
		if !bytes.Equal(bob.Marshal(), before) {
			t.Fatalf("message damaged at byte %d changed the group", i)
		}
	}
	mustOpen(t, bob, message)
	refused(t, bob, message, ErrGenerationUsed)
	loaded, err := r.members[1].client.UnmarshalGroup(bob.Marshal(), r.members[1].id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, loaded, message, ErrGenerationUsed)
	refused(t, alice, message, ErrOwnMessage)
}

// TestOutOfOrder opens messages backwards, within the bound on skipped keys.
func TestOutOfOrder(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	var messages [][]byte
	for range MaxSkippedKeys + 3 {
		m, err := alice.Encrypt([]byte("late"), nil)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	for i := len(messages) - 1; i >= 2; i-- {
		mustOpen(t, bob, messages[i])
		refused(t, bob, messages[i], ErrGenerationUsed)
	}
	refused(t, bob, messages[1], ErrGenerationUsed)
	refused(t, bob, messages[0], ErrGenerationUsed)
}

// TestPastEpochs opens late messages of the last epochs, each from the sender as
// it was then, and no older ones.
func TestPastEpochs(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0], r.members[1].group
	carol := r.members[2]
	var late [][]byte
	send := func(p *person) {
		m, err := p.group.Encrypt([]byte(p.name), nil)
		if err != nil {
			t.Fatal(err)
		}
		late = append(late, m)
	}
	send(carol)
	send(alice)
	r.commit(alice, CommitOptions{Proposals: []Proposal{&Remove{2}}})
	r.add(alice, 1, Config{}) // takes the place of the one who was removed
	if r.members[2].group.OwnIndex() != 2 {
		t.Fatal("the new member has another place")
	}
	if m := mustOpen(t, bob, late[0]); string(m.Data) != carol.name || string(m.Sender.Credential.Identity) != carol.name || m.Epoch != 1 {
		t.Errorf("message of %q from %q", m.Data, m.Sender.Credential.Identity)
	}
	for range MaxPastEpochs - 2 {
		r.commit(alice, CommitOptions{})
	}
	mustOpen(t, bob, late[1])
	refused(t, bob, late[1], ErrGenerationUsed)

	late = nil
	send(alice)
	for range MaxPastEpochs + 1 {
		r.commit(alice, CommitOptions{})
	}
	refused(t, bob, late[0], &EpochError{})
	send(alice)
	r.commit(alice, CommitOptions{})
	bob.ForgetPastEpochs(bob.Epoch())
	refused(t, bob, late[1], &EpochError{})
}

// TestHandshakeOfPastEpoch refuses a private handshake message of a past epoch,
// for which there are keys.
func TestHandshakeOfPastEpoch(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	old, err := alice.Propose(&Remove{1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice.ClearProposals()
	r.commit(r.members[1], CommitOptions{})
	refused(t, bob, old, &EpochError{})
}
