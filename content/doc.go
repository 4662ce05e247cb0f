// Package content is what a conversation carries: the MIMI messages of
// draft-ietf-mimi-content-08, in CBOR, as they stand inside of MLS application
// messages.
//
// A [Message] is a salt, references to other messages, an expiration, extensions and
// a body of one part or more. [NewText], [Reply], [Reaction], [Unreaction], [Edit],
// [Delete] and [Receipt] make the usual ones, [New] any other. [Message.Marshal] and
// [Parse] turn them into bytes and back. [Message.View] says what a received message
// is and what of it is to be shown.
//
// A message has no name of its own on the wire: its [MessageID] is a hash over its
// bytes, its sender and its room ([Message.ID]), so that nobody can pass a message
// off under the id of another.
//
// # What it promises
//
// There is one encoding of a message: [Parse] refuses everything that
// [Message.Marshal] would write differently (RFC 8949, Section 4.2.1). Hence ids can be
// computed from a parsed message. What it does not know, extensions, dispositions and
// media types, survives unchanged. Size, depth and number of elements are bounded
// before anything is built, see the constants, and no input panics. Where the draft
// calls a value nonsensical (Section "General handling" of its security
// considerations) and neither clock nor history is needed to see it, Parse refuses
// the message.
//
// Messages, which are secret, print as the name of their type.
//
// # What it does not do
//
// It encrypts nothing and fetches nothing. It has no clock: [Expiration.Check] wants to
// be told the time. It does not know who sent a message: whether the sender may edit
// or delete the message in Replaces is for the caller to check, and whether a chain of
// replies is a loop. It neither renders Markdown nor reads HTML, and it leaves control
// characters in a text as they are: clean what goes to a terminal.
package content
