package mls

import "crypto"

// A PublicMessage is signed but not encrypted (RFC 9420, Section 6.2).
type PublicMessage struct {
	content       framedContent
	auth          authData
	membershipTag []byte // of a member
}

// GroupID returns the group that the message is for.
func (m *PublicMessage) GroupID() []byte { return m.content.groupID }

// Epoch returns the epoch that the message was sent in.
func (m *PublicMessage) Epoch() uint64 { return m.content.epoch }

// ContentType returns what the message holds.
func (m *PublicMessage) ContentType() ContentType { return m.content.contentType }

// Sender returns who claims to have sent the message.
func (m *PublicMessage) Sender() Sender { return m.content.sender }

// AuthenticatedData returns the data that the application sent along.
func (m *PublicMessage) AuthenticatedData() []byte { return m.content.authenticatedData }

func (m *PublicMessage) appendTo(b []byte) []byte {
	b = m.auth.appendTo(m.content.appendTo(b), m.content.contentType)
	if m.content.sender.SenderType == SenderTypeMember {
		b = appendVector(b, m.membershipTag)
	}
	return b
}

func readPublicMessage(r *reader) *PublicMessage {
	m := &PublicMessage{content: readFramedContent(r)}
	m.auth = readAuthData(r, m.content.contentType)
	if m.content.sender.SenderType == SenderTypeMember {
		m.membershipTag = r.vector()
	}
	return m
}

func (m *PublicMessage) authenticatedContent() *authenticatedContent {
	return &authenticatedContent{wireFormat: WireFormatPublicMessage, content: m.content, auth: m.auth}
}

// membershipTag proves that the sender knows the keys of the epoch (RFC 9420,
// Section 6.2).
func (s *suite) membershipTag(membershipKey []byte, a *authenticatedContent, groupContext []byte) []byte {
	return s.mac(membershipKey, a.auth.appendTo(a.tbs(groupContext), a.content.contentType))
}

// sign signs the content as it is going to be sent.
func (a *authenticatedContent) sign(s *suite, key crypto.Signer, groupContext []byte) error {
	sig, err := s.signWithLabel(key, framedContentLabel, a.tbs(groupContext))
	a.auth.signature = sig
	return err
}

// verify checks the signature with the key of the sender.
func (a *authenticatedContent) verify(s *suite, publicKey, groupContext []byte) error {
	return s.verifyWithLabel(publicKey, framedContentLabel, a.tbs(groupContext), a.auth.signature)
}

// protectPublic returns a signed content as a PublicMessage; the sender is a
// member if it has a membership key.
func (a *authenticatedContent) protectPublic(s *suite, membershipKey, groupContext []byte) []byte {
	m := &PublicMessage{content: a.content, auth: a.auth}
	if a.content.sender.SenderType == SenderTypeMember {
		m.membershipTag = s.membershipTag(membershipKey, a, groupContext)
	}
	return m.appendTo(appendMessageHeader(nil, WireFormatPublicMessage))
}

// unprotectPublic checks the membership tag of a member's message, and that no
// application data is sent in the open (RFC 9420, Sections 6 and 6.2).
func (m *PublicMessage) unprotectPublic(s *suite, membershipKey, groupContext []byte) (*authenticatedContent, error) {
	if m.content.contentType == ContentTypeApplication {
		return nil, invalid("6", "application data in a PublicMessage")
	}
	a := m.authenticatedContent()
	if m.content.sender.SenderType == SenderTypeMember {
		if !macEqual(m.membershipTag, s.membershipTag(membershipKey, a, groupContext)) {
			return nil, invalid("6.2", "membership tag does not match")
		}
	}
	return a, nil
}
