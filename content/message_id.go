package content

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
)

// hashSHA256 is the number of SHA-256 in IANA's registry of named information hash
// algorithms, the only one that messages use.
const hashSHA256 = 1

// MessageID names a message: the number of the hash algorithm, always 1 for
// SHA-256, and 31 bytes of the hash (draft, section "Message ID"). The zero value
// stands for none.
type MessageID [32]byte

// ParseMessageID reads the text form of an id: 64 lower-case hexadecimal digits.
func ParseMessageID(text string) (MessageID, error) {
	data, err := hex.DecodeString(text)
	if err != nil || hex.EncodeToString(data) != text {
		return MessageID{}, malformed("message id is not hexadecimal")
	}
	return messageID(data)
}

// messageID takes the 32 bytes of an id.
func messageID(data []byte) (MessageID, error) {
	var id MessageID
	if len(data) != len(id) || data[0] != hashSHA256 {
		return MessageID{}, malformed("not a message id")
	}
	copy(id[:], data)
	return id, nil
}

// IsZero says whether the id stands for none.
func (id MessageID) IsZero() bool { return id == MessageID{} }

// String is the text form, 64 hexadecimal digits.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

func (id MessageID) check() error {
	if !id.IsZero() && id[0] != hashSHA256 {
		return malformed("message id is of an unknown hash algorithm")
	}
	return nil
}

// ID computes the id of a message that sender sent to room (draft, section
// "Message ID"). Both are URIs of at most 65,535 bytes, and come from what was
// authenticated around the message, not from the message itself: one that names
// others in its extensions gives ErrAddress.
func (m *Message) ID(sender, room string) (MessageID, error) {
	if err := m.checkAddresses(sender, room); err != nil {
		return MessageID{}, err
	}
	data, err := m.Marshal()
	if err != nil {
		return MessageID{}, err
	}
	return hashMessage(data, m.Salt, sender, room)
}

func hashMessage(message []byte, salt Salt, sender, room string) (MessageID, error) {
	input := make([]byte, 0, 4+len(sender)+len(room)+len(message)+len(salt))
	for _, uri := range []string{sender, room} {
		if len(uri) > math.MaxUint16 {
			return MessageID{}, fmt.Errorf("%w: URI of %d bytes", ErrTooLarge, len(uri))
		}
		input = binary.BigEndian.AppendUint16(input, uint16(len(uri)))
		input = append(input, uri...)
	}
	input = append(input, message...)
	hash := sha256.Sum256(append(input, salt[:]...))
	id := MessageID{hashSHA256}
	copy(id[1:], hash[:])
	return id, nil
}

func (m *Message) checkAddresses(sender, room string) error {
	for key, want := range map[ExtensionKey]string{KeySender: sender, KeyRoom: room} {
		if named, ok := m.Extensions.Text(key); ok && named != want {
			return ErrAddress
		}
	}
	return nil
}
