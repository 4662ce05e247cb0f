package mls

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// This file makes messages that an insider could make: formed and signed as they
// should be, with one thing wrong.

// wantError checks that an error is the wanted one: a sentinel, or the text of the
// rule in a ValidationError.
func wantError(t *testing.T, err error, want any) {
	t.Helper()
	switch want := want.(type) {
	case error:
		if !errors.Is(err, want) {
			t.Errorf("error is %v, want %v", err, want)
		}
	case string:
		var v *ValidationError
		if !errors.As(err, &v) || !strings.Contains(v.Error(), want) {
			t.Errorf("error is %v, want a ValidationError with %q", err, want)
		}
	}
}

// refused checks that a group refuses a message, for the right reason, and is the
// same as before.
func refused(t *testing.T, g *Group, message []byte, want any) {
	t.Helper()
	before := g.Marshal()
	_, err := g.Process(message)
	if err == nil {
		t.Errorf("message was accepted, want %v", want)
		return
	}
	wantError(t, err, want)
	if !bytes.Equal(g.Marshal(), before) {
		t.Error("refused message changed the group")
	}
}

// forge makes a signed PublicMessage with any content from any sender.
func (p *person) forge(sender Sender, c content) []byte {
	p.t.Helper()
	g := p.group
	a := g.newContent(c, nil)
	a.wireFormat = WireFormatPublicMessage
	a.content.sender = sender
	if err := a.sign(g.suite, p.id.Signer, g.epoch.contextBytes); err != nil {
		p.t.Fatal(err)
	}
	return a.protectPublic(g.suite, g.epoch.secrets.membershipKey, g.epoch.contextBytes)
}

// forgeProposal makes a proposal as a member, whatever it says.
func (p *person) forgeProposal(q Proposal) []byte {
	return p.forge(memberSender(p.group.private.leaf), content{contentType: ContentTypeProposal, proposal: q})
}

// forgeCommit makes a commit of the given proposals without a path, as a member.
// Its confirmation tag is wrong: what is tested has to be found before.
func (p *person) forgeCommit(proposals ...proposalOrRef) []byte {
	return p.forge(memberSender(p.group.private.leaf), content{contentType: ContentTypeCommit, commit: &Commit{proposals: proposals}})
}

// tamperKeyPackage makes a key package, changes it, and signs it again.
func (p *person) tamperKeyPackage(change func(*KeyPackage)) *KeyPackage {
	p.t.Helper()
	k := p.keyPackage()
	change(k)
	s, err := p.suite.suite()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := k.LeafNode.sign(s, p.id.Signer, p.groupID(), 0); err != nil {
		p.t.Fatal(err)
	}
	if k.Signature, err = s.signWithLabel(p.id.Signer, keyPackageLabel, k.tbs()); err != nil {
		p.t.Fatal(err)
	}
	return k
}

func (p *person) groupID() []byte {
	if p.group == nil {
		return nil
	}
	return p.group.ID()
}

func byValue(p Proposal) proposalOrRef { return proposalOrRef{proposal: p} }

// rewrap encrypts a changed plaintext content as a PrivateMessage of a member.
func (p *person) encryptContent(a *authenticatedContent, padding []byte, guard [4]byte, use *keyUse) []byte {
	p.t.Helper()
	g := p.group
	m := &PrivateMessage{
		groupID: a.content.groupID, epoch: a.content.epoch, contentType: a.content.contentType,
		authenticatedData: a.content.authenticatedData,
	}
	plaintext := a.auth.appendTo(a.content.content.appendTo(nil), a.content.contentType)
	plaintext = append(plaintext, padding...)
	m.ciphertext = g.suite.seal(use.key, guardNonce(use.nonce, guard), plaintext, m.appendContentAAD(nil))
	return p.sealSenderData(m, senderData{leafIndex: use.sender, generation: use.generation, reuseGuard: guard})
}

func (p *person) sealSenderData(m *PrivateMessage, data senderData) []byte {
	g := p.group
	key, nonce := g.suite.senderDataKey(g.epoch.secrets.senderData(g.suite), m.ciphertext)
	m.encryptedSenderData = g.suite.seal(key, nonce, data.appendTo(nil), m.appendSenderDataAAD(nil))
	return m.appendTo(appendMessageHeader(nil, WireFormatPrivateMessage))
}
