package messenger

import (
	"crypto/ed25519"
	"crypto/hpke"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"sealpost/api"
	"sealpost/identity"
)

// The payload, in network byte order:
//
//	uint8   version (1)
//	byte    HPKE encapsulated key, MLKEM768-X25519 [1120]
//	byte    HPKE ciphertext, AES-256-GCM, over the padded envelope
//
// HPKE (RFC 9180) runs in base mode with HKDF-SHA256 and sealInfo; its key is
// the message key in the device record of the recipient. The padded envelope:
//
//	uint32  length of the statement
//	byte    statement
//	byte    signature of the sending device over the statement [64]
//	byte    zeros, up to the next size of paddedSize
//
// The statement, all of which is signed in identity.ContextMessage:
//
//	uint8   version (1)
//	uint8   kind
//	uint16  length of the sender's certificate, then the certificate
//	uint8   length of the recipient's username, then the username
//	byte    recipient's account key [32], device key [32], device id [16]
//	byte    conversation [32]
//	byte    message id [16]
//	uint64  counter
//	uint64  milliseconds since 1970 UTC
//	uint32  length of the body, then the body
const (
	payloadVersion   = 1
	sealInfo         = "sealpost sealed message v1"
	encapsulatedSize = 1120
	tagSize          = 16
	payloadOverhead  = 1 + encapsulatedSize + tagSize

	minPadded = 1 << 10
	maxPadded = api.DefaultMaxMessage - payloadOverhead

	maxTime        = 253402300799999   // the end of the year 9999, milliseconds
	maxCounter     = math.MaxInt64 - 1 // what the store can count
	maxReceiptBody = 64 * len(MessageID{})
)

// What a person reads about payloads that are not taken.
const (
	errSize      = refusal("the envelope has a size that no message has")
	errVersion   = refusal("the envelope is of a kind that this version does not know")
	errUnsealed  = refusal("the envelope is not sealed to this device, or was changed on its way")
	errMalformed = refusal("the envelope holds no well-formed message")
	errPadding   = refusal("the padding of the message is not as it must be")
	errSender    = refusal("the sender's certificate is not valid")
	errSignature = refusal("the sender's signature is not valid")
	errOwn       = refusal("the message claims to come from this account itself")
	errRecipient = refusal("the message was written to somebody else")
	errPlace     = refusal("the message belongs to another conversation")
)

// paddedSize returns the size that n bytes are padded to: a power of two, or
// the most that a message can have. What the relay sees of a length is one of
// seven sizes, and a receipt looks like a short text.
func paddedSize(n int) int {
	size := minPadded
	for size < n {
		size *= 2
	}
	return min(size, maxPadded)
}

// hpkeSealer seals each message on its own to the message key of a device.
type hpkeSealer struct {
	certificate identity.Certificate
	deviceKey   identity.DevicePrivateKey
	messageKey  hpke.PrivateKey
}

var _ sealer = (*hpkeSealer)(nil)

// Seal implements sealer.
func (s *hpkeSealer) Seal(to identity.DeviceRecord, c content) ([]byte, error) {
	statement := s.statement(to.Certificate, c)
	envelope := seal(statement, s.deviceKey.Sign(identity.ContextMessage, statement))
	if len(envelope) > maxPadded {
		return nil, &TooLargeError{Size: len(c.body), Limit: MaxTextLen}
	}
	key, err := hpke.MLKEM768X25519().NewPublicKey(to.MessageKey)
	if err != nil {
		return nil, fmt.Errorf("reading a message key: %w", err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), envelope)
	if err != nil {
		return nil, fmt.Errorf("sealing a message: %w", err)
	}
	return append([]byte{payloadVersion}, sealed...), nil
}

// seal frames and pads a statement with its signature.
func seal(statement, signature []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint32(uint32(len(statement)))
	b.AddBytes(statement)
	b.AddBytes(signature)
	envelope := b.BytesOrPanic() // cannot fail: no bounded length in it
	return append(envelope, make([]byte, max(0, paddedSize(len(envelope))-len(envelope)))...)
}

func (s *hpkeSealer) statement(to identity.Certificate, c content) []byte {
	conversation := conversationOf(s.certificate.AccountKey, to.AccountKey)
	var b cryptobyte.Builder
	b.AddUint8(payloadVersion)
	b.AddUint8(uint8(c.kind))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.certificate.Marshal()) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(to.Username)) })
	b.AddBytes(to.AccountKey[:])
	b.AddBytes(to.DeviceKey[:])
	b.AddBytes(to.DeviceID[:])
	b.AddBytes(conversation[:])
	b.AddBytes(c.id[:])
	b.AddUint64(c.counter)
	b.AddUint64(uint64(c.time.UnixMilli()))
	b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.body) })
	return b.BytesOrPanic() // cannot fail: certificates and usernames are short
}

// Open implements sealer.
func (s *hpkeSealer) Open(payload []byte) (opened, error) {
	size := len(payload) - payloadOverhead
	if size < minPadded || size > maxPadded {
		return opened{}, errSize
	}
	if payload[0] != payloadVersion {
		return opened{}, errVersion
	}
	envelope, err := hpke.Open(s.messageKey, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), payload[1:])
	if err != nil {
		return opened{}, errUnsealed
	}
	statement, signature, err := unpad(envelope)
	if err != nil {
		return opened{}, err
	}
	claimed, err := parseStatement(statement)
	if err != nil {
		return opened{}, err
	}
	if err := claimed.sender.DeviceKey.Verify(identity.ContextMessage, statement, signature); err != nil {
		return opened{}, errSignature
	}
	return s.accept(claimed)
}

// unpad splits an envelope and checks that it is padded in the one way there is.
func unpad(envelope []byte) (statement, signature []byte, err error) {
	s := cryptobyte.String(envelope)
	var length uint32
	if !s.ReadUint32(&length) || uint64(length) > uint64(len(s)) ||
		!s.ReadBytes(&statement, int(length)) ||
		!s.ReadBytes(&signature, ed25519.SignatureSize) {
		return nil, nil, errMalformed
	}
	if len(envelope) != paddedSize(len(envelope)-len(s)) {
		return nil, nil, errPadding
	}
	for _, b := range s {
		if b != 0 {
			return nil, nil, errPadding
		}
	}
	return statement, signature, nil
}

// statement is what a payload claims: parsed, its certificate consistent in
// itself, its signature not yet verified.
type statement struct {
	opened
	username     string // of the recipient
	account      []byte
	device       []byte
	deviceID     []byte
	conversation []byte
}

// parseStatement reads a statement. The certificate's own signature is verified.
func parseStatement(b []byte) (statement, error) {
	var (
		st                          statement
		version, kind               uint8
		certificate, username, body cryptobyte.String
		bodyLen                     uint32
		id                          []byte
		milliseconds                uint64
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != payloadVersion ||
		!s.ReadUint8(&kind) ||
		!s.ReadUint16LengthPrefixed(&certificate) ||
		!s.ReadUint8LengthPrefixed(&username) ||
		!s.ReadBytes(&st.account, len(identity.AccountKey{})) ||
		!s.ReadBytes(&st.device, len(identity.DeviceKey{})) ||
		!s.ReadBytes(&st.deviceID, len(identity.DeviceID{})) ||
		!s.ReadBytes(&st.conversation, len(conversationID{})) ||
		!s.ReadBytes(&id, len(MessageID{})) ||
		!s.ReadUint64(&st.counter) || st.counter > maxCounter ||
		!s.ReadUint64(&milliseconds) || milliseconds == 0 || milliseconds > maxTime ||
		!s.ReadUint32(&bodyLen) || uint64(bodyLen) != uint64(len(s)) {
		return statement{}, errMalformed
	}
	body = s
	var err error
	if st.sender, err = identity.ParseCertificate(certificate); err != nil {
		return statement{}, errSender
	}
	st.kind, st.id, st.body = contentKind(kind), MessageID(id), body
	st.username, st.time = string(username), time.UnixMilli(int64(milliseconds)).UTC()
	return st, st.checkContent()
}

// checkContent checks what each kind promises of its body and counter.
func (c content) checkContent() error {
	switch c.kind {
	case contentText:
		if c.counter == 0 || len(c.body) == 0 || len(c.body) > MaxTextLen || !utf8.Valid(c.body) {
			return errMalformed
		}
	case contentReceipt:
		if c.counter != 0 || len(c.body) == 0 || len(c.body) > maxReceiptBody || len(c.body)%len(MessageID{}) != 0 {
			return errMalformed
		}
	default:
		return errVersion
	}
	return nil
}

// accept checks that a message was written by somebody else, to this device, in
// the conversation of the two.
func (s *hpkeSealer) accept(st statement) (opened, error) {
	us := s.certificate
	if st.sender.AccountKey == us.AccountKey || st.sender.DeviceKey == us.DeviceKey || st.sender.Username == us.Username {
		return opened{}, errOwn
	}
	if st.username != string(us.Username) || identity.AccountKey(st.account) != us.AccountKey ||
		identity.DeviceKey(st.device) != us.DeviceKey || identity.DeviceID(st.deviceID) != us.DeviceID {
		return opened{}, errRecipient
	}
	if conversationID(st.conversation) != conversationOf(us.AccountKey, st.sender.AccountKey) {
		return opened{}, errPlace
	}
	return st.opened, nil
}
