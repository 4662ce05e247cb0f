package messenger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/identity"
)

// MaxTextLen is the length of the longest text of a message, in bytes.
const MaxTextLen = 60 << 10

// A MessageID names a message, the same on both sides: 16 random bytes. Its
// text form is "message:" and 32 hexadecimal digits.
type MessageID [16]byte

const messageIDPrefix = "message:"

func newMessageID() MessageID {
	var id MessageID
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// ParseMessageID reads the text form.
func ParseMessageID(s string) (MessageID, error) {
	digits, ok := strings.CutPrefix(s, messageIDPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != len(MessageID{}) || strings.ToLower(digits) != digits {
		return MessageID{}, errors.New(`a message id is "message:" and 32 hexadecimal digits`)
	}
	return MessageID(b), nil
}

// String returns the text form.
func (id MessageID) String() string { return messageIDPrefix + hex.EncodeToString(id[:]) }

// MarshalText returns the text form, for JSON.
func (id MessageID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form, for JSON.
func (id *MessageID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseMessageID(string(b))
	return err
}

// A State says how far a message of ours has come. States grow, but for Failed,
// which ends Queued.
type State int

// The states of a message of ours.
const (
	// Queued: on this disk only. It goes out as soon as it can.
	Queued State = iota + 1
	// Accepted: the relay has it on disk ("sent to relay").
	Accepted
	// Delivered: a device of the other person opened and stored it, and said so
	// under its signature.
	Delivered
	// Failed: it will not go out. The reason says why.
	Failed
)

// String returns the name in lower case.
func (s State) String() string {
	switch s {
	case Queued:
		return "queued"
	case Accepted:
		return "accepted"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// A Kind says what a row of a conversation is.
type Kind int

// The kinds of rows.
const (
	// KindText: a message that a person wrote.
	KindText Kind = iota + 1
	// KindGap: a notice in the place of Missing messages of the other person that
	// were sent before the next row and have not arrived. They fill it when they do.
	KindGap
	// KindKeyChanged: a notice that the contact's account key is not the pinned
	// one. Text holds the text form of the new key.
	KindKeyChanged
	// KindKeyAccepted: a notice that a changed key was accepted, by the person or
	// by [TrustAcceptNew]. Text holds the text form of the key.
	KindKeyAccepted
)

// String returns the name in lower case, as in JSON.
func (k Kind) String() string {
	switch k {
	case KindText:
		return "text"
	case KindGap:
		return "gap"
	case KindKeyChanged:
		return "key-changed"
	case KindKeyAccepted:
		return "key-accepted"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// A RowID names a row of this profile's conversations. It means nothing
// elsewhere, and says nothing about the order of rows.
type RowID int64

// A Message is a row of a conversation: a text, or a notice in its place.
type Message struct {
	Row      RowID
	Kind     Kind
	With     identity.Username // the other person of the conversation
	Outgoing bool              // ours; otherwise With sent it, or it is a notice
	ID       MessageID         // KindText
	Text     string            // not escaped: it may hold anything that is UTF-8
	Time     time.Time         // when its sender says that it was written (UTC, milliseconds)
	Stored   time.Time         // when it came into this profile's store (UTC, milliseconds)
	State    State             // Outgoing only
	Reason   string            // why Failed, or why still Queued; one line
	Missing  uint64            // KindGap: how many messages
	Read     bool              // MarkRead was called for it; true for what is ours
}

// A Quarantined is an envelope that was not shown: it cannot be opened, is not
// what it says, or waits for a person's decision.
type Quarantined struct {
	ID       int64
	Reason   string            // one line in words
	From     identity.Username // who claims to have sent it; empty where it could not be opened
	Held     bool              // it is shown once From's changed or new key is accepted
	Received time.Time         // UTC, milliseconds
	Size     int               // bytes of the envelope
}
