package messenger

import "sealpost/identity"

// An Event is one of [MessageReceived], [StateChanged], [KeyChanged],
// [ConnectionChanged], [CaughtUp], [EnvelopeQuarantined] and [Lagged]. What it tells is on
// disk when it comes.
type Event interface{ event() }

// MessageReceived: a new row in a conversation that is not of our writing.
type MessageReceived struct{ Message Message }

// StateChanged: a message of ours came a step further, or has a new reason for
// waiting.
type StateChanged struct {
	ID     MessageID
	With   identity.Username
	State  State
	Reason string
}

// KeyChanged: the account key of a contact is not the pinned one. If
// Contact.NewKey is nil, the new one was accepted by [TrustAcceptNew].
type KeyChanged struct{ Contact Contact }

// ConnectionChanged: the line to the relay came up or went down.
type ConnectionChanged struct {
	Online bool
	Err    error // why it went down or does not come up; nil when Online
}

// CaughtUp: what waited at the relay when the line came up is in the store, or
// was put aside.
type CaughtUp struct{}

// EnvelopeQuarantined: an envelope was put aside.
type EnvelopeQuarantined struct{ Quarantined Quarantined }

// Lagged: the subscriber did not keep up and events were left out. Rows were
// not: read them again.
type Lagged struct{}

func (MessageReceived) event()     {}
func (StateChanged) event()        {}
func (KeyChanged) event()          {}
func (ConnectionChanged) event()   {}
func (CaughtUp) event()            {}
func (EnvelopeQuarantined) event() {}
func (Lagged) event()              {}
