package content

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Salt makes a message, and so its id, unlike any other. It is random and never all
// zeros (draft, section "Message Behavior Fields").
type Salt [16]byte

// Message is a MIMI message (draft, section "MIMI Content Container Message
// Semantics").
type Message struct {
	// Salt is random; New sets it.
	Salt Salt
	// Replaces is the message that this one edits or deletes, or the reaction that it
	// takes back; zero for none. It is the first instance of a message that was
	// edited before.
	Replaces MessageID
	// TopicID groups messages; empty for none. At most MaxTopicID bytes.
	TopicID []byte
	// Expires is when to delete the message; nil for never.
	Expires *Expiration
	// InReplyTo is the message that this one answers or reacts to; zero for none.
	InReplyTo MessageID
	// Extensions are the additions, known ones and others.
	Extensions Extensions
	// Body is what the message says.
	Body NestedPart
}

// wireMessage is mimiContent of the draft's CDDL.
type wireMessage struct {
	_          struct{} `cbor:",toarray"`
	Salt       []byte
	Replaces   *[]byte
	TopicID    []byte
	Expires    *wireExpiration
	InReplyTo  *[]byte
	Extensions map[any]cbor.RawMessage
	Body       cbor.RawMessage
}

// Marshal encodes a message. It gives ErrMalformed for one that breaks a rule of the
// draft, and ErrTooLarge for one of more than MaxMessage bytes.
func (m *Message) Marshal() ([]byte, error) {
	if err := m.checkFields(); err != nil {
		return nil, err
	}
	extensions, err := m.Extensions.wire()
	if err != nil {
		return nil, err
	}
	body, err := encodeBody(m.Body)
	if err != nil {
		return nil, err
	}
	data := encode(wireMessage{
		Salt:       m.Salt[:],
		Replaces:   wireID(m.Replaces),
		TopicID:    m.TopicID,
		Expires:    m.Expires.wire(),
		InReplyTo:  wireID(m.InReplyTo),
		Extensions: extensions,
		Body:       body,
	})
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrTooLarge, len(data))
	}
	return data, nil
}

func (m *Message) checkFields() error {
	if m.Salt == (Salt{}) {
		return malformed("no salt")
	}
	if len(m.TopicID) > MaxTopicID {
		return malformed("topic id is too long")
	}
	for _, id := range []MessageID{m.Replaces, m.InReplyTo} {
		if err := id.check(); err != nil {
			return err
		}
	}
	return m.Expires.check()
}

// Parse decodes a message. It gives ErrMalformed for bytes that Marshal would not have
// written, and ErrTooLarge for more than MaxMessage of them.
func Parse(data []byte) (*Message, error) {
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrTooLarge, len(data))
	}
	var wire wireMessage
	if decoder.Unmarshal(data, &wire) != nil {
		return nil, malformed("not a message")
	}
	m, err := wire.message()
	if err != nil {
		return nil, err
	}
	again, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	return m, compare(data, again)
}

func (w *wireMessage) message() (*Message, error) {
	m := &Message{TopicID: w.TopicID, Expires: w.Expires.expiration()}
	if len(w.Salt) != len(m.Salt) {
		return nil, malformed("salt is not of 16 bytes")
	}
	copy(m.Salt[:], w.Salt)
	var err error
	if m.Replaces, err = parseWireID(w.Replaces); err != nil {
		return nil, err
	}
	if m.InReplyTo, err = parseWireID(w.InReplyTo); err != nil {
		return nil, err
	}
	if m.Extensions, err = parseExtensions(w.Extensions); err != nil {
		return nil, err
	}
	m.Body, err = parseBody(w.Body)
	return m, err
}

// wireID is null for the zero id.
func wireID(id MessageID) *[]byte {
	if id.IsZero() {
		return nil
	}
	data := id[:]
	return &data
}

func parseWireID(data *[]byte) (MessageID, error) {
	if data == nil {
		return MessageID{}, nil
	}
	return messageID(*data)
}
