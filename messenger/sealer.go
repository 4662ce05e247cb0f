package messenger

import (
	"bytes"
	"crypto/sha256"
	"time"

	"sealpost/identity"
)

// A sealer turns what one device says to another into bytes that only the other
// can read and nobody can change, and back. It is the only part that knows how:
// the relay, the store and the rest of this package handle its payloads as they are.
type sealer interface {
	// Seal returns the payload for one device.
	Seal(to identity.DeviceRecord, c content) ([]byte, error)
	// Open reads a payload addressed to this device. It vouches for everything in
	// the result but one thing: whether the sender's account key is the one that
	// belongs to the name in its certificate. The error is a refusal.
	Open(payload []byte) (opened, error)
}

// content is what one device says to another.
type content struct {
	kind contentKind
	id   MessageID
	// counter numbers the texts from one device to another, from 1, so that a
	// missing one is noticed. It is 0 for what is not a text.
	counter uint64
	time    time.Time // milliseconds
	body    []byte
}

// contentKind says how to read the body.
type contentKind uint8

const (
	contentText    contentKind = 1 // UTF-8
	contentReceipt contentKind = 2 // message ids, delivered to the sender of this
)

// opened is content with its sender: the signature of the sending device
// verified, its certificate verified against the account key in it, addressed to
// this device, in the conversation of the two accounts.
type opened struct {
	sender identity.Certificate
	content
}

// A refusal says in one line of words why a payload is not taken. It is shown
// to the person, so it repeats nothing that the sender chose.
type refusal string

func (r refusal) Error() string { return string(r) }

// A conversationID names what two accounts say to each other. Both derive it
// from both account keys.
type conversationID [sha256.Size]byte

const conversationContext = "sealpost conversation v1"

func conversationOf(a, b identity.AccountKey) conversationID {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return sha256.Sum256(bytes.Join([][]byte{[]byte(conversationContext), a[:], b[:]}, nil))
}
