package mls

import (
	"crypto/subtle"
	"fmt"
)

// A PrivateMessage is signed and encrypted (RFC 9420, Section 6.3).
type PrivateMessage struct {
	groupID             []byte
	epoch               uint64
	contentType         ContentType
	authenticatedData   []byte
	encryptedSenderData []byte
	ciphertext          []byte
}

// GroupID returns the group that the message is for.
func (m *PrivateMessage) GroupID() []byte { return m.groupID }

// Epoch returns the epoch that the message was sent in.
func (m *PrivateMessage) Epoch() uint64 { return m.epoch }

// ContentType returns what the message claims to hold.
func (m *PrivateMessage) ContentType() ContentType { return m.contentType }

// AuthenticatedData returns the data that the application sent along. It can be
// read by anybody, and is proved only once the message was processed.
func (m *PrivateMessage) AuthenticatedData() []byte { return m.authenticatedData }

// appendSenderDataAAD appends SenderDataAAD (RFC 9420, Section 6.3.2).
func (m *PrivateMessage) appendSenderDataAAD(b []byte) []byte {
	b = appendUint64(appendVector(b, m.groupID), m.epoch)
	return append(b, byte(m.contentType))
}

// appendContentAAD appends PrivateContentAAD (RFC 9420, Section 6.3.1).
func (m *PrivateMessage) appendContentAAD(b []byte) []byte {
	return appendVector(m.appendSenderDataAAD(b), m.authenticatedData)
}

func (m *PrivateMessage) appendTo(b []byte) []byte {
	b = appendVector(m.appendContentAAD(b), m.encryptedSenderData)
	return appendVector(b, m.ciphertext)
}

func readPrivateMessage(r *reader) *PrivateMessage {
	m := &PrivateMessage{
		groupID:             r.vector(),
		epoch:               r.uint64(),
		contentType:         ContentType(r.uint8()),
		authenticatedData:   r.vector(),
		encryptedSenderData: r.vector(),
		ciphertext:          r.vector(),
	}
	if r.err == nil && (m.contentType < ContentTypeApplication || m.contentType > ContentTypeCommit) {
		r.fail("unknown content type")
	}
	return m
}

// senderData is SenderData (RFC 9420, Section 6.3.2).
type senderData struct {
	leafIndex  LeafIndex
	generation uint32
	reuseGuard [4]byte
}

// senderDataSize is the size of an encoded SenderData.
const senderDataSize = 12

func (d senderData) appendTo(b []byte) []byte {
	b = appendUint32(appendUint32(b, uint32(d.leafIndex)), d.generation)
	return append(b, d.reuseGuard[:]...)
}

func readSenderData(r *reader) senderData {
	d := senderData{leafIndex: LeafIndex(r.uint32()), generation: r.uint32()}
	copy(d.reuseGuard[:], r.take(4))
	return d
}

// senderDataKey derives key and nonce of the sender data from a sample of the
// ciphertext, which may be shorter than the sample would be.
func (s *suite) senderDataKey(senderDataSecret *expander, ciphertext []byte) (key, nonce []byte) {
	sample := ciphertext[:min(len(ciphertext), s.nh)]
	return senderDataSecret.withLabel("key", sample, s.nk), senderDataSecret.withLabel("nonce", sample, nonceSize)
}

// guardNonce returns the nonce with the reuse guard applied (RFC 9420,
// Section 6.3.1).
func guardNonce(nonce []byte, guard [4]byte) []byte {
	guarded := append([]byte(nil), nonce...)
	subtle.XORBytes(guarded, guarded, guard[:])
	return guarded
}

// tagSize is how much longer than its plaintext a ciphertext is, with each of the
// AEADs.
const tagSize = 16

// protectPrivate returns a signed content as a PrivateMessage. The key is for the
// caller to consume. The message is laid out once, and encrypted in place.
func (a *authenticatedContent) protectPrivate(s *suite, senderDataSecret *expander, use *keyUse, guard [4]byte, padding func(int) int) []byte {
	m := &PrivateMessage{
		groupID:           a.content.groupID,
		epoch:             a.content.epoch,
		contentType:       a.content.contentType,
		authenticatedData: a.content.authenticatedData,
	}
	data := senderData{leafIndex: use.sender, generation: use.generation, reuseGuard: guard}
	size := len(m.groupID) + len(m.authenticatedData) + len(a.content.applicationData)
	b := appendMessageHeader(make([]byte, 0, size+size/8+256), WireFormatPrivateMessage)
	start := len(b)
	b = m.appendSenderDataAAD(b)
	senderDataAAD := b[start:]
	b = appendVector(b, m.authenticatedData)
	contentAAD := b[start:]

	b = appendVarint(b, senderDataSize+tagSize)
	start = len(b)
	b = append(data.appendTo(b), make([]byte, tagSize)...)
	end := len(b)
	b = appendSized(b, func(b []byte) []byte {
		from := len(b)
		b = a.content.content.appendTo(b)
		b = a.auth.appendTo(b, a.content.contentType)
		return append(b, make([]byte, max(0, padding(len(b)-from))+tagSize)...)
	})
	r := reader{rest: b[end:]}
	ciphertext := r.vector()
	s.sealInPlace(use.key, guardNonce(use.nonce, guard), ciphertext, contentAAD)
	key, nonce := s.senderDataKey(senderDataSecret, ciphertext)
	s.sealInPlace(key, nonce, b[start:end], senderDataAAD)
	return b
}

// decryptSenderData says who sent the message, and which key it takes.
func (m *PrivateMessage) decryptSenderData(s *suite, senderDataSecret *expander) (senderData, error) {
	key, nonce := s.senderDataKey(senderDataSecret, m.ciphertext)
	plaintext, err := s.open(key, nonce, m.encryptedSenderData, m.appendSenderDataAAD(nil))
	if err != nil {
		return senderData{}, fmt.Errorf("decrypting sender data: %w", err)
	}
	return parseAll(plaintext, readSenderData)
}

// decryptContent opens the content. Its signature is still to be verified.
func (m *PrivateMessage) decryptContent(s *suite, data senderData, use *keyUse) (*authenticatedContent, error) {
	plaintext, err := s.open(use.key, guardNonce(use.nonce, data.reuseGuard), m.ciphertext, m.appendContentAAD(nil))
	if err != nil {
		return nil, fmt.Errorf("decrypting content: %w", err)
	}
	r := reader{rest: plaintext}
	a := &authenticatedContent{
		wireFormat: WireFormatPrivateMessage,
		content: framedContent{
			groupID:           m.groupID,
			epoch:             m.epoch,
			sender:            memberSender(data.leafIndex),
			authenticatedData: m.authenticatedData,
			content:           readContent(&r, m.contentType),
		},
		auth: readAuthData(&r, m.contentType),
	}
	if r.err != nil {
		return nil, r.err
	}
	for _, b := range r.rest {
		if b != 0 {
			return nil, invalid("6.3.1", "padding is not all zero")
		}
	}
	return a, nil
}

// encrypt seals a signed content as a PrivateMessage with our next key, which is
// used up thereby.
func (g *Group) encrypt(a *authenticatedContent) ([]byte, error) {
	guard, err := g.client.random(4)
	if err != nil {
		return nil, err
	}
	use, err := g.epoch.messages.findNext(g.private.leaf, ratchetFor(a.content.contentType))
	if err != nil {
		return nil, err
	}
	b := a.protectPrivate(g.suite, g.epoch.secrets.senderData(g.suite), use, [4]byte(guard), g.client.config.Padding)
	g.epoch.messages.consume(use)
	use.wipe()
	return b, nil
}
