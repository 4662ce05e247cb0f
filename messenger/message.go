package messenger

import (
	"errors"
	"fmt"
	"time"

	"sealpost/content"
	"sealpost/identity"
)

// MaxTextLen is the length of the longest text of a message, in bytes.
const MaxTextLen = content.MaxText - 512

// A MessageID names a message, the same for everybody in the conversation. Its
// text form is "message:" and 64 hexadecimal digits, of which the first two are 01.
type MessageID content.MessageID

const messageIDPrefix = "message:"

// ParseMessageID reads the text form.
func ParseMessageID(s string) (MessageID, error) {
	if len(s) > len(messageIDPrefix) && s[:len(messageIDPrefix)] == messageIDPrefix {
		if id, err := content.ParseMessageID(s[len(messageIDPrefix):]); err == nil {
			return MessageID(id), nil
		}
	}
	return MessageID{}, errors.New(`a message id is "message:" and 64 hexadecimal digits, the first of them 01`)
}

// String returns the text form.
func (id MessageID) String() string { return messageIDPrefix + content.MessageID(id).String() }

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

// The states of a message of ours. In a group, Delivered and Read say that they
// are true for somebody; [Client.Receipts] tells for whom.
const (
	// Queued: on this disk only. It goes out as soon as it can.
	Queued State = iota + 1
	// Accepted: the relay has it on disk ("sent to relay").
	Accepted
	// Delivered: a device of another person opened and stored it, and said so
	// under its signature.
	Delivered
	// Read: another person saw it, and lets us know.
	Read
	// Failed: it will not go out by itself. The reason says why; [Client.Retry]
	// tries again.
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
	case Read:
		return "read"
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
	// KindGap: a notice in the place of Missing messages of Sender that were
	// sent before the next row and have not arrived. They fill it when they do.
	KindGap
	// KindKeyChanged: a notice that the account key of Sender is not the pinned
	// one. Text holds the text form of the new key.
	KindKeyChanged
	// KindKeyAccepted: a notice that a changed key of Sender was accepted, by the
	// person or by [TrustAcceptNew]. Text holds the text form of the key.
	KindKeyAccepted
	// KindMembers: a notice that somebody changed the group: Text says what, in a
	// sentence that begins with a verb ("added bob"), of which Sender is the subject.
	KindMembers
	// KindWarning: a notice of something that a person should know: that the relay
	// did not play fair, or that this device missed messages. Text says what.
	KindWarning
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
	case KindMembers:
		return "members"
	case KindWarning:
		return "warning"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// A RowID names a row of this profile's conversations. It means nothing
// elsewhere, and says nothing about the order of rows.
type RowID int64

// A Message is a row of a conversation: a text, or a notice in its place.
type Message struct {
	Row          RowID
	Kind         Kind
	Conversation ConversationID
	Sender       identity.Username // who wrote the text, or whom the notice is about; empty if nobody
	Outgoing     bool              // ours
	ID           MessageID         // KindText
	Text         string            // not escaped: it may hold anything that is UTF-8
	ReplyTo      MessageID         // zero if it answers no message
	Edited       bool              // Text is not what was written first
	Deleted      bool              // its sender took it back; Text is empty
	Reactions    []Reaction        // in the order of their senders' names
	Expiry       time.Duration     // it disappears so long after it was read; 0 for never
	Expires      time.Time         // when it disappears here; zero if that is not known yet
	Time         time.Time         // when its sender says that it was written (UTC, milliseconds)
	Stored       time.Time         // when it came into this profile's store (UTC, milliseconds)
	State        State             // Outgoing only
	Reason       string            // why Failed, or why still Queued; one line
	Missing      uint64            // KindGap: how many messages
	Read         bool              // MarkRead was called for it; true for what is ours
}

// A Reaction is what somebody thinks of a message, an emoji as a rule.
type Reaction struct {
	Sender identity.Username
	Emoji  string // 1 to [content.MaxReaction] bytes without control characters
}

// A Receipt says what became of a message of ours at somebody.
type Receipt struct {
	Username identity.Username
	State    State // Delivered or Read
}

// A Quarantined is an envelope that was not shown: it cannot be opened, or is not
// what it says.
type Quarantined struct {
	ID       int64
	Reason   string            // one line in words
	From     identity.Username // who claims to have sent it; empty where it could not be opened
	Received time.Time         // UTC, milliseconds
	Size     int               // bytes of the envelope
}
