package mls

import (
	"bytes"
	"fmt"
)

// A WireFormat says what an MLSMessage holds (RFC 9420, Section 17.2).
type WireFormat uint16

// The wire formats of RFC 9420, Section 17.2.
const (
	WireFormatPublicMessage  WireFormat = 1
	WireFormatPrivateMessage WireFormat = 2
	WireFormatWelcome        WireFormat = 3
	WireFormatGroupInfo      WireFormat = 4
	WireFormatKeyPackage     WireFormat = 5
)

// A ContentType is the kind of content of a message to a group (RFC 9420,
// Section 6).
type ContentType uint8

// The content types (RFC 9420, Section 6).
const (
	ContentTypeApplication ContentType = 1
	ContentTypeProposal    ContentType = 2
	ContentTypeCommit      ContentType = 3
)

// A SenderType says in what role a message was sent (RFC 9420, Section 6).
type SenderType uint8

// The sender types (RFC 9420, Section 6).
const (
	SenderTypeMember            SenderType = 1
	SenderTypeExternal          SenderType = 2
	SenderTypeNewMemberProposal SenderType = 3
	SenderTypeNewMemberCommit   SenderType = 4
)

// A Sender is who sent a message (RFC 9420, Section 6).
type Sender struct {
	SenderType  SenderType
	LeafIndex   LeafIndex // of a member
	SenderIndex uint32    // of an external sender, in the group's list of these
}

func memberSender(i LeafIndex) Sender {
	return Sender{SenderType: SenderTypeMember, LeafIndex: i}
}

// isMember reports whether the sender is the member at index i.
func (s Sender) isMember(i LeafIndex) bool {
	return s.SenderType == SenderTypeMember && s.LeafIndex == i
}

func (s Sender) appendTo(b []byte) []byte {
	b = append(b, byte(s.SenderType))
	switch s.SenderType {
	case SenderTypeMember:
		b = appendUint32(b, uint32(s.LeafIndex))
	case SenderTypeExternal:
		b = appendUint32(b, s.SenderIndex)
	}
	return b
}

func readSender(r *reader) Sender {
	s := Sender{SenderType: SenderType(r.uint8())}
	switch s.SenderType {
	case SenderTypeMember:
		s.LeafIndex = LeafIndex(r.uint32())
	case SenderTypeExternal:
		s.SenderIndex = r.uint32()
	case SenderTypeNewMemberProposal, SenderTypeNewMemberCommit:
	default:
		r.fail("unknown sender type")
	}
	return s
}

// framedContent is FramedContent (RFC 9420, Section 6).
type framedContent struct {
	groupID           []byte
	epoch             uint64
	sender            Sender
	authenticatedData []byte
	content
}

// content is the part of FramedContent that PrivateMessage encrypts.
type content struct {
	contentType     ContentType
	applicationData []byte
	proposal        Proposal
	commit          *Commit
}

func (c *content) appendTo(b []byte) []byte {
	switch c.contentType {
	case ContentTypeProposal:
		return appendProposal(b, c.proposal)
	case ContentTypeCommit:
		return c.commit.appendTo(b)
	}
	return appendVector(b, c.applicationData)
}

func readContent(r *reader, t ContentType) content {
	c := content{contentType: t}
	switch t {
	case ContentTypeApplication:
		c.applicationData = r.vector()
	case ContentTypeProposal:
		c.proposal = readProposal(r)
	case ContentTypeCommit:
		c.commit = readCommit(r)
	default:
		r.fail("unknown content type")
	}
	return c
}

func (c *framedContent) appendTo(b []byte) []byte {
	b = appendVector(b, c.groupID)
	b = appendUint64(b, c.epoch)
	b = c.sender.appendTo(b)
	b = appendVector(b, c.authenticatedData)
	return c.content.appendTo(append(b, byte(c.contentType)))
}

func readFramedContent(r *reader) framedContent {
	c := framedContent{
		groupID:           r.vector(),
		epoch:             r.uint64(),
		sender:            readSender(r),
		authenticatedData: r.vector(),
	}
	c.content = readContent(r, ContentType(r.uint8()))
	return c
}

// authData is FramedContentAuthData (RFC 9420, Section 6.1).
type authData struct {
	signature       []byte
	confirmationTag []byte // of a commit
}

func (a *authData) appendTo(b []byte, t ContentType) []byte {
	b = appendVector(b, a.signature)
	if t == ContentTypeCommit {
		b = appendVector(b, a.confirmationTag)
	}
	return b
}

func readAuthData(r *reader, t ContentType) authData {
	a := authData{signature: r.vector()}
	if t == ContentTypeCommit {
		a.confirmationTag = r.vector()
	}
	return a
}

// authenticatedContent is AuthenticatedContent (RFC 9420, Section 6).
type authenticatedContent struct {
	wireFormat WireFormat
	content    framedContent
	auth       authData
}

func (a *authenticatedContent) appendTo(b []byte) []byte {
	b = a.content.appendTo(appendUint16(b, uint16(a.wireFormat)))
	return a.auth.appendTo(b, a.content.contentType)
}

// tbs returns FramedContentTBS. The GroupContext is signed along by those who
// know it (RFC 9420, Section 6.1).
func (a *authenticatedContent) tbs(groupContext []byte) []byte {
	b := make([]byte, 0, 64+len(a.content.groupID)+len(a.content.authenticatedData)+len(a.content.applicationData)+len(groupContext))
	b = appendUint16(b, uint16(ProtocolVersionMLS10))
	b = a.content.appendTo(appendUint16(b, uint16(a.wireFormat)))
	switch a.content.sender.SenderType {
	case SenderTypeMember, SenderTypeNewMemberCommit:
		b = append(b, groupContext...)
	}
	return b
}

const framedContentLabel = "FramedContentTBS"

// proposalRef names a proposal in a commit (RFC 9420, Section 5.2).
func (a *authenticatedContent) proposalRef(s *suite) []byte {
	return s.refHash("MLS 1.0 Proposal Reference", a.appendTo(nil))
}

// An MLSMessage is the outermost structure of everything that is sent (RFC 9420,
// Section 6). Exactly one of its pointers is set, as the wire format says.
// Delivery services can parse messages to see where they go.
type MLSMessage struct {
	WireFormat     WireFormat
	PublicMessage  *PublicMessage
	PrivateMessage *PrivateMessage
	Welcome        *Welcome
	GroupInfo      *GroupInfo
	KeyPackage     *KeyPackage
}

func appendMessageHeader(b []byte, f WireFormat) []byte {
	return appendUint16(appendUint16(b, uint16(ProtocolVersionMLS10)), uint16(f))
}

// ParseMessage parses an MLSMessage (RFC 9420, Section 6). It proves nothing about
// who made it.
func ParseMessage(b []byte) (*MLSMessage, error) {
	r := reader{rest: bytes.Clone(b)}
	if v := r.uint16(); r.err == nil && v != uint16(ProtocolVersionMLS10) {
		return nil, fmt.Errorf("%w: protocol version %d", ErrUnsupported, v)
	}
	m := &MLSMessage{WireFormat: WireFormat(r.uint16())}
	switch m.WireFormat {
	case WireFormatPublicMessage:
		m.PublicMessage = readPublicMessage(&r)
	case WireFormatPrivateMessage:
		m.PrivateMessage = readPrivateMessage(&r)
	case WireFormatWelcome:
		m.Welcome = readWelcome(&r)
	case WireFormatGroupInfo:
		m.GroupInfo = readGroupInfo(&r)
	case WireFormatKeyPackage:
		m.KeyPackage = readKeyPackage(&r)
	default:
		if r.err == nil {
			return nil, fmt.Errorf("%w: wire format %d", ErrUnsupported, m.WireFormat)
		}
	}
	if err := r.finish(); err != nil {
		return nil, err
	}
	if m.KeyPackage != nil && m.KeyPackage.Version != ProtocolVersionMLS10 {
		return nil, invalid("10", "key package has another version than its message")
	}
	return m, nil
}

// Marshal returns the encoding of the message.
func (m *MLSMessage) Marshal() []byte {
	b := appendMessageHeader(nil, m.WireFormat)
	switch {
	case m.PublicMessage != nil:
		return m.PublicMessage.appendTo(b)
	case m.PrivateMessage != nil:
		return m.PrivateMessage.appendTo(b)
	case m.Welcome != nil:
		return m.Welcome.appendTo(b)
	case m.GroupInfo != nil:
		return m.GroupInfo.appendTo(b)
	case m.KeyPackage != nil:
		return m.KeyPackage.appendTo(b)
	}
	return b
}

func (c *Client) handshakeFormat() WireFormat {
	if c.config.PublicHandshakes {
		return WireFormatPublicMessage
	}
	return WireFormatPrivateMessage
}

// newContent frames a content that we send as a member.
func (g *Group) newContent(c content, authenticatedData []byte) *authenticatedContent {
	return &authenticatedContent{
		wireFormat: g.client.handshakeFormat(),
		content: framedContent{
			groupID:           g.epoch.context.GroupID,
			epoch:             g.epoch.context.Epoch,
			sender:            memberSender(g.private.leaf),
			authenticatedData: authenticatedData,
			content:           c,
		},
	}
}
