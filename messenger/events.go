package messenger

import "sealpost/identity"

// An Event is one of [MessageReceived], [MessageChanged], [StateChanged],
// [ConversationChanged], [RequestReceived], [KeyChanged], [ConnectionChanged],
// [CaughtUp], [EnvelopeQuarantined] and [Lagged]. What it tells is on disk when it
// comes.
type Event interface{ event() }

// MessageReceived tells of a new row in a conversation that is not of our writing.
type MessageReceived struct{ Message Message }

// MessageChanged tells that a row was edited, taken back, reacted to, or is gone
// because its time was over (then Gone, and Message has only Row and Conversation).
type MessageChanged struct {
	Message Message
	Gone    bool
}

// StateChanged says that a message of ours came a step further, or has a new reason for
// waiting.
type StateChanged struct {
	ID           MessageID
	Conversation ConversationID
	State        State
	Reason       string
}

// ConversationChanged says that a conversation began, or that its name, state or
// members changed.
type ConversationChanged struct{ Conversation Conversation }

// RequestReceived says that somebody who is no contact wants to talk, or added us
// to a group: see [Client.Accept].
type RequestReceived struct {
	Conversation Conversation
	From         identity.Username
}

// KeyChanged says that the account key of a contact is not the pinned one. If
// Contact.NewKey is nil, the new one was accepted by [TrustAcceptNew].
type KeyChanged struct{ Contact Contact }

// ConnectionChanged says that the line to the relay came up or went down.
type ConnectionChanged struct {
	Online bool
	Err    error // why it went down or does not come up; nil when Online
}

// CaughtUp says that what waited at the relay when the line came up is in the
// store, or was put aside.
type CaughtUp struct{}

// EnvelopeQuarantined says that an envelope was put aside.
type EnvelopeQuarantined struct{ Quarantined Quarantined }

// Lagged says that the subscriber did not keep up and events were left out. Rows were
// not: read them again.
type Lagged struct{}

func (MessageReceived) event()     {}
func (MessageChanged) event()      {}
func (StateChanged) event()        {}
func (ConversationChanged) event() {}
func (RequestReceived) event()     {}
func (KeyChanged) event()          {}
func (ConnectionChanged) event()   {}
func (CaughtUp) event()            {}
func (EnvelopeQuarantined) event() {}
func (Lagged) event()              {}
